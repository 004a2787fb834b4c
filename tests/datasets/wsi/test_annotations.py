"""ASAP files and the share of tumor in tiles."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.synthetic.slides import write_asap
from datasets.wsi.annotations import Outline, read_asap
from datasets.wsi.crossings import crosses_more_than
from datasets.wsi.lesions import Lesions


def square(left: float, top: float, side: float) -> list[tuple[float, float]]:
    return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]


def lesions(*shapes: tuple[list[tuple[float, float]], bool]) -> Lesions:
    return Lesions([Outline(tuple(points), is_tumor) for points, is_tumor in shapes])


def fraction(found: Lesions, x: int, y: int, size: int) -> float:
    return float(found.fractions(np.array([[x, y]]), size)[0])


def test_groups_tell_tumor_from_holes(tmp_path: Path):
    write_asap(
        tmp_path / "a.xml",
        {"_0": [square(0, 0, 9)], "_1": [square(20, 0, 9)], "_2": [square(2, 2, 3)]},
    )
    outlines = read_asap(tmp_path / "a.xml").outlines
    assert [outline.is_tumor for outline in outlines] == [True, True, False]
    assert outlines[2].points == tuple(square(2, 2, 3))


def test_points_are_taken_in_their_order(tmp_path: Path):
    points = square(0, 0, 10)
    rows = [f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(points)]
    write_text(tmp_path, "".join(reversed(rows)))
    assert read_asap(tmp_path / "a.xml").outlines[0].points == tuple(points)


def test_square_with_a_hole_has_the_share_that_geometry_says():
    found = lesions((square(0, 0, 100), True), (square(25, 25, 50), False))
    assert found.area == pytest.approx(7500)
    assert fraction(found, 0, 0, 100) == pytest.approx(0.75)
    assert fraction(found, 30, 30, 40) == 0
    assert fraction(found, 0, 0, 20) == 1
    assert fraction(found, 0, 0, 50) == pytest.approx(1 - 625 / 2500)
    assert fraction(found, 90, 90, 20) == pytest.approx(0.25)
    assert fraction(found, 100, 0, 50) == 0


def test_tumor_inside_a_hole_is_tumor_whatever_the_order_of_the_file():
    shapes = [(square(0, 0, 100), True), (square(20, 20, 60), False), (square(40, 40, 20), True)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        found = lesions(*(shapes[index] for index in order))
        assert found.area == pytest.approx(10000 - 3600 + 400)
        assert fraction(found, 40, 40, 20) == 1
        assert fraction(found, 20, 20, 20) == 0


def test_overlapping_and_nested_tumor_is_not_counted_twice():
    found = lesions((square(0, 0, 10), True), (square(5, 0, 10), True), (square(2, 2, 4), True))
    assert found.area == pytest.approx(150)
    assert fraction(found, 0, 0, 20) == pytest.approx(150 / 400)


def test_line_that_crosses_itself_counts_its_two_halves():
    bow = [(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)]
    assert lesions((bow, True)).area == pytest.approx(50)


def test_share_agrees_with_a_drawn_mask():
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = rng.uniform(60, 140, 40)
    points = np.stack([150 + radius * np.cos(angles), 150 + radius * np.sin(angles)], axis=1)
    found = lesions(([tuple(point) for point in points], True))
    corners = np.array([[x, y] for x in range(0, 300, 30) for y in range(0, 300, 30)])
    exact = found.fractions(corners, 30)
    y, x = np.mgrid[0:300:0.5, 0:300:0.5] + 0.25
    inside = winds_around(points, x, y)
    drawn = [inside[2 * t : 2 * t + 60, 2 * l_ : 2 * l_ + 60].mean() for l_, t in corners]
    np.testing.assert_allclose(exact, drawn, atol=0.02)


def winds_around(points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Even-odd rule by crossings of a ray, written out as an independent oracle."""
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0 + 1e-300))
    return inside


def test_without_polygons_nothing_is_tumor():
    assert Lesions(()).fractions(np.array([[0, 0], [5, 5]]), 10).tolist() == [0, 0]
    assert Lesions(()).rings == []


def test_polygon_partly_outside_is_kept_and_one_far_outside_is_refused(tmp_path: Path):
    write_asap(tmp_path / "a.xml", {"_0": [square(-50, -50, 100)]})
    outlines = read_asap(tmp_path / "a.xml", (1000, 800)).outlines
    assert fraction(Lesions(outlines), 0, 0, 100) == pytest.approx(0.25)
    write_asap(tmp_path / "a.xml", {"_0": [square(31000, 20, 100)]})
    with pytest.raises(DatasetError, match=r"\(31000, 20\), far outside.*1000 x 800"):
        read_asap(tmp_path / "a.xml", (1000, 800))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "five", ""])
def test_coordinate_that_is_no_finite_number_is_refused(tmp_path: Path, value: str):
    write_text(tmp_path, f'<Coordinate Order="0" X="{value}" Y="1"/>')
    with pytest.raises(DatasetError, match="'A'.*two finite ones"):
        read_asap(tmp_path / "a.xml")


def test_coordinate_beyond_any_scanner_is_refused_without_a_slide(tmp_path: Path):
    write_text(tmp_path, '<Coordinate Order="0" X="1e300" Y="1"/>')
    with pytest.raises(DatasetError, match="far outside"):
        read_asap(tmp_path / "a.xml")


def test_repeated_order_is_refused(tmp_path: Path):
    write_text(tmp_path, '<Coordinate Order="7" X="1" Y="1"/>' * 2)
    with pytest.raises(DatasetError, match="two points with Order 7"):
        read_asap(tmp_path / "a.xml")


@pytest.mark.parametrize("number", [500, 4000])
def test_outline_that_crosses_itself_everywhere_is_refused_by_name(tmp_path: Path, number: int):
    points = np.random.default_rng(0).integers(0, 10_000, (number, 2)).tolist()
    write_asap(tmp_path / "a.xml", {"_0": [square(0, 0, 9), points]})
    with pytest.raises(DatasetError, match=r"a\.xml, annotation 'Annotation 1' crosses itself"):
        read_asap(tmp_path / "a.xml")


def test_crossings_and_touches_are_counted_and_neighbours_are_not():
    waves = [(float(x), float(x % 2) * 2 - 1) for x in range(12)]  # Cross the axis 11 times.
    # And once more on the way down.
    line = [*waves, (11.0, -3.0), (12.0, -3.0), (12.0, 0.0), (-1.0, 0.0)]
    assert crosses_more_than(line, 11)
    assert not crosses_more_than(line, 12)
    doubled = [point for point in line for _ in range(2)]
    assert not crosses_more_than(doubled, 12)
    there_and_back = [(0.0, 0.0), (4.0, 0.0), (1.0, 0.0), (3.0, 0.0), (0.0, 5.0)]
    assert crosses_more_than(there_and_back, 0)
    assert not crosses_more_than(square(0, 0, 9), 0)


def test_unknown_group_is_refused_with_the_known_ones(tmp_path: Path):
    write_asap(tmp_path / "a.xml", {"None": [square(0, 0, 9)]})
    with pytest.raises(DatasetError, match="group 'None'.*_0, _1.*_2"):
        read_asap(tmp_path / "a.xml")


def test_annotations_without_an_area_are_counted(tmp_path: Path):
    write_asap(tmp_path / "a.xml", {"_0": [[(1, 1), (2, 2), (1, 1)], square(0, 0, 9)]})
    found = read_asap(tmp_path / "a.xml")
    assert (len(found.outlines), found.skipped) == (1, 1)


BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=1)
    )
    + "]><ASAP_Annotations>&i;</ASAP_Annotations>"
)


def test_entity_expansion_is_refused_before_it_starts(tmp_path: Path):
    (tmp_path / "a.xml").write_text(BILLION_LAUGHS)
    with pytest.raises(DatasetError, match="document type declaration"):
        read_asap(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]>',
        '<!DOCTYPE a SYSTEM "file://{secret}">',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file://{secret}"> %p;]>',
    ],
)
def test_external_entities_are_refused(tmp_path: Path, declaration: str):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    text = declaration.format(secret=secret) + "<ASAP_Annotations>&x;</ASAP_Annotations>"
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DatasetError, match="document type declaration") as caught:
        read_asap(tmp_path / "a.xml")
    assert "secret.txt" not in str(caught.value).replace(str(tmp_path / "a.xml"), "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as XML"),
        (b"<ASAP_Annotations><Annotations>", "cannot be read as XML"),
        (b"\xff\xfe\x00\x01 binary", "cannot be read as XML"),
        (b'<?xml version="1.0" encoding="martian"?><a/>', "cannot be read as XML"),
        (b"<annotation><object/></annotation>", "root is <annotation>"),
    ],
)
def test_file_that_is_no_asap_xml_is_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_asap(tmp_path / "a.xml")


def test_huge_file_is_refused_unread(tmp_path: Path):
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(300_000_000)  # Sparse: it takes no room.
    with pytest.raises(DatasetError, match="300 MB.*more than 200 MB"):
        read_asap(tmp_path / "a.xml")


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="No XML file"):
        read_asap(tmp_path / "a.xml")


def write_text(folder: Path, coordinates: str) -> None:
    (folder / "a.xml").write_text(
        '<ASAP_Annotations><Annotations><Annotation Name="A" Type="Polygon" PartOfGroup="_0">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


@pytest.mark.skipif("LEUKOFUSE_REAL_DATA" not in os.environ, reason="LEUKOFUSE_REAL_DATA not set")
@pytest.mark.parametrize(("name", "number"), [("001", 2), ("002", 1), ("011", 63)])
def test_published_annotation_files_are_read(name: str, number: int):
    root = Path(os.environ["LEUKOFUSE_REAL_DATA"]) / "camelyon16"
    found = read_asap(root / "annotations" / f"tumor_{name}.xml")
    assert (len(found.outlines), found.skipped) == (number, 0)
    assert Lesions(found.outlines).area > 0
    with pytest.raises(DatasetError, match="far outside"):
        read_asap(root / "annotations" / f"tumor_{name}.xml", (3072, 7168))
