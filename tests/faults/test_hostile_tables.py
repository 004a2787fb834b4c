"""Tables and XML from strangers: read, or refused by an error that names the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import defusedxml.ElementTree
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets import safe_xml
from datasets.errors import DatasetError
from datasets.grouping import read_groups
from datasets.image_roots import VARIABLE
from datasets.leakage.sources import read_sources
from datasets.manifest import MANIFEST_COLUMNS, read_manifest
from datasets.safe_json import read_json_object
from datasets.samples import SampleSet
from datasets.sources.bccd import cut_box, read_boxes
from datasets.sources.kaggle_blood_cells import read_photograph_labels
from datasets.sources.segmentation_wbc import read_class_codes
from datasets.wsi.annotations import read_asap
from datasets.wsi.lesions import Lesions
from datasets.wsi.manifest import TILE_COLUMNS
from datasets.wsi.training import read_slide_tiles

few = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
"""The same examples each time; found faults became tests of their own below."""

INFO_NAMES = ("name", "classes", "image_root", "pack_dir", "synthetic", "skipped", "left_out")
texts = st.text(max_size=6)
cells = texts | st.sampled_from(
    ["a.png", "train", "val", "test", "1", "../x", "/etc/passwd", "a\0.png", "x" * 5000, '"', "\n"]
)
numbers = texts | st.sampled_from(
    ["1", "-5", "nan", "inf", "1e308", "9" * 5000, "", "0x10", "²", "٣", "1_000", " 7 "]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
infos = st.dictionaries(st.sampled_from(INFO_NAMES), json_values, max_size=4) | json_values


def to_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([columns, *rows])
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def tables(columns: Sequence[str], row: st.SearchStrategy | None = None) -> st.SearchStrategy:
    """Tables with these columns, with rows of any length or such as `row`, and no tables at all."""
    rows = st.lists(cells, max_size=len(columns) + 2)
    chosen = st.lists(rows if row is None else row | rows, max_size=4)
    return chosen.map(lambda found: to_csv(columns, found)) | st.binary(max_size=60)


def read_or_refuse(read: Callable[[Path], object], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read(path)
    except DatasetError as error:
        if path.name not in str(error) and path.parent.name not in str(error):
            raise AssertionError(f"an error without the file: {error}") from error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "hostile"
    folder.mkdir()
    for name in ("a.png", "../b.png"):
        Image.new("RGB", (20, 10)).save(folder / name)
    return folder


@pytest.fixture
def nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are read from the set's own folder only."""
    monkeypatch.setenv(VARIABLE, "")


def require_below(folder: Path, cells: SampleSet) -> None:
    for sample in cells.samples:
        for path in (sample.path, sample.mask_path, sample.pack_dir):
            assert path is None or path.resolve().is_relative_to(folder.resolve()), path


paths = st.sampled_from(["a.png", "a.png", "../b.png", "x/../../b.png", "/etc/passwd"])
good_row = st.tuples(
    texts, paths, st.sampled_from("ab"), st.sampled_from(["val", "test"]), texts,
    st.just(""), texts,
)  # fmt: skip


@few
@given(info=infos, content=tables(MANIFEST_COLUMNS, good_row))
def test_manifest(folder: Path, nowhere_else: None, info: object, content: bytes):
    (folder / "manifest.json").write_text(json.dumps(info))

    def read(path: Path) -> None:
        cells = read_manifest(path)
        require_below(folder, cells)
        assert cells.fingerprint
        assert sum(cells.count("test").values()) <= len(cells.samples)

    read_or_refuse(read, folder / "manifest.csv", content)


tile_row = st.tuples(
    texts, paths, texts, numbers, numbers, numbers, st.sampled_from(["tumor", "x"]),
    numbers, numbers, st.sampled_from(["train", "x"]), texts, texts,
)  # fmt: skip
tile_infos = infos | st.fixed_dictionaries({"name": texts, "synthetic": st.booleans()})


@few
@given(info=tile_infos, content=tables(TILE_COLUMNS, tile_row))
def test_tiles(folder: Path, info: object, content: bytes):
    (folder / "tiles.json").write_text(json.dumps(info))

    def read(path: Path) -> None:
        require_below(folder, read_slide_tiles(path.parent))

    read_or_refuse(read, folder / "tiles.csv", content)
    read_or_refuse(lambda path: read_sources([path]), folder / "tiles.csv", content)


@pytest.mark.parametrize("name", ["../b.png", "in/../../b.png", "/etc/passwd"])
def test_a_file_outside_of_the_set_is_refused_though_it_is_there(
    folder: Path, nowhere_else: None, name: str
):
    row = ("a", name, "x", "test", "g", "", "h")
    (folder / "manifest.csv").write_bytes(to_csv(MANIFEST_COLUMNS, [row]))
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(DatasetError, match="leads out of"):
        read_manifest(folder)
    tile = ["n/x0_y0", name, "n", "0", "0", "8", "tumor", "1", "1", "train", "g", "h"]
    (folder / "tiles.csv").write_bytes(to_csv(TILE_COLUMNS, [tile]))
    (folder / "tiles.json").write_text(json.dumps({"name": "n", "synthetic": False}))
    with pytest.raises(DatasetError, match="leads out of"):
        read_slide_tiles(folder)


@few
@given(content=tables(("path", "group"), st.tuples(st.just("a.png"), texts)))
def test_groups(folder: Path, content: bytes):
    read_or_refuse(lambda path: read_groups(path, ["a.png"]), folder / "groups.csv", content)


kinds = st.sampled_from(["NEUTROPHIL", "", "NEUTROPHIL, EOSINOPHIL"])


@few
@given(content=tables(("Image", "Category"), st.tuples(numbers, kinds)))
def test_labels(folder: Path, content: bytes):
    read_or_refuse(read_photograph_labels, folder / "labels.csv", content)
    read_or_refuse(read_class_codes, folder / "labels.csv", content)


def to_voc(objects: Sequence[tuple[str, Sequence[str]]]) -> bytes:
    corners = ("xmin", "ymin", "xmax", "ymax")
    parts = [
        f"<object><name>{printable(name)[1:-1]}</name><bndbox>"
        + "".join(f"<{c}>{printable(v)[1:-1]}</{c}>" for c, v in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for name, box in objects
    ]
    return f"<annotation>{''.join(parts)}</annotation>".encode()


def printable(text: str) -> str:
    return quoteattr("".join(c for c in text if c.isprintable()), {'"': "&quot;"})


corner = st.integers(-5, 40).map(str)
boxes = st.tuples(*[corner] * 4) | st.tuples(*[numbers] * 4)


@few
@given(content=st.lists(st.tuples(st.just("WBC") | texts, boxes), max_size=3).map(to_voc))
def test_voc(folder: Path, content: bytes):
    def read(path: Path) -> None:
        for box in read_boxes(path):
            if box.name == "WBC":
                assert min(cut_box(folder / "a.png", box, 0.1).size) > 0

    read_or_refuse(read, folder / "a.xml", content)


def to_asap(annotations: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> bytes:
    parts = [
        f"<Annotation Name='n' Type='Polygon' PartOfGroup={printable(group)}><Coordinates>"
        + "".join(
            f"<Coordinate Order='{order}' X={printable(x)} Y={printable(y)}/>"
            for order, (x, y) in enumerate(points)
        )
        + "</Coordinates></Annotation>"
        for group, points in annotations
    ]
    return (
        f"<ASAP_Annotations><Annotations>{''.join(parts)}</Annotations></ASAP_Annotations>"
    ).encode()


place = st.floats(0, 1000, width=16).map(repr)
points = st.lists(st.tuples(place, place), max_size=8) | st.lists(
    st.tuples(numbers, numbers), max_size=4
)
known_groups = st.sampled_from(["_0", "_1", "_2", "Tumor"])


@few
@given(content=st.lists(st.tuples(known_groups | texts, points), max_size=3).map(to_asap))
def test_asap(folder: Path, content: bytes):
    def read(path: Path) -> None:
        lesions = Lesions(read_asap(path, (1000, 1000)).outlines)
        shares = lesions.fractions(np.array([[0, 0], [500, 500]]), 256)
        assert ((shares >= 0) & (shares <= 1)).all()
        assert lesions.area <= 1200**2

    read_or_refuse(read, folder / "slide.xml", content)


@pytest.mark.parametrize(
    "info",
    [[], None, {"classes": 3}, {"classes": [{}]}, {"name": None}, {"image_root": None},
     {"pack_dir": 7}, {"left_out": []}, {"skipped": "x"}],
    ids=str,
)  # fmt: skip
def test_entry_of_another_kind_is_refused(info: object, tmp_path: Path):
    (tmp_path / "manifest.csv").write_bytes(to_csv(MANIFEST_COLUMNS, []))
    (tmp_path / "manifest.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_json_that_is_nested_too_deep_or_too_large_is_refused(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"a\.json cannot be read"):
        read_json_object(path)
    monkeypatch.setattr("datasets.safe_json.MAX_BYTES", 10)
    with pytest.raises(ValueError, match="are refused"):
        read_json_object(path)


def test_number_of_a_photograph_with_thousands_of_digits_is_refused(tmp_path: Path):
    (tmp_path / "labels.csv").write_bytes(to_csv(("Image", "Category"), [("9" * 5000, "")]))
    with pytest.raises(DatasetError, match=r"labels\.csv, line 2"):
        read_photograph_labels(tmp_path / "labels.csv")


def test_xml_of_many_small_parts_is_refused_unread(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(safe_xml, "MAX_MARKS", 100)
    (tmp_path / "a.xml").write_text("<a>" + "<b/>" * 100 + "</a>")
    with pytest.raises(DatasetError, match="elements and attributes"):
        safe_xml.read_xml(tmp_path / "a.xml")


def test_xml_reaches_the_parser_at_once_lest_it_read_long_values_again(tmp_path: Path, monkeypatch):
    """In blocks of 64 kB a value of 40 MB took 17 s, all at once 2 s."""
    lengths = []

    def feed(self, data):
        lengths.append(len(data))
        original(self, data)

    original = defusedxml.ElementTree.DefusedXMLParser.feed
    monkeypatch.setattr(defusedxml.ElementTree.DefusedXMLParser, "feed", feed)
    content = b'<a b="' + b"x" * 300_000 + b'"/>'
    (tmp_path / "a.xml").write_bytes(content)
    assert len(safe_xml.read_xml(tmp_path / "a.xml").attrib["b"]) == 300_000
    assert lengths == [len(content)]


def test_xml_with_a_nul_byte_is_told_so_and_utf16_is_read(tmp_path: Path):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a>\0</a>")
    with pytest.raises(DatasetError, match=r"a\.xml: .*it holds a NUL byte"):
        safe_xml.read_xml(path)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes('<?xml version="1.0"?><a>'.encode(encoding))
        with pytest.raises(DatasetError, match="no element found"):
            safe_xml.read_xml(path)


def test_attributes_of_xml_are_counted_as_its_elements_are(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(safe_xml, "MAX_MARKS", 101)
    for number in (100, 101):
        attributes = " ".join(f'a{index}=""' for index in range(number))
        (tmp_path / f"{number}.xml").write_text(f"<a {attributes}/>")
    assert len(safe_xml.read_xml(tmp_path / "100.xml").attrib) == 100
    with pytest.raises(DatasetError, match=r"101\.xml has 102 elements and attributes"):
        safe_xml.read_xml(tmp_path / "101.xml")


@pytest.fixture
def set_elsewhere(tmp_path: Path, monkeypatch) -> Path:
    """A prepared set whose manifest states images outside of its folder."""
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "private").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "private/a.png")
    (tmp_path / "set").mkdir()
    row = ("a", "a.png", "x", "test", "g", "", "h")
    (tmp_path / "set/manifest.csv").write_bytes(to_csv(MANIFEST_COLUMNS, [row]))
    info = {"image_root": str(tmp_path / "private")}
    (tmp_path / "set/manifest.json").write_text(json.dumps(info))
    return tmp_path / "set"


def test_images_elsewhere_are_said_and_may_be_forbidden(set_elsewhere: Path, monkeypatch, caplog):
    with caplog.at_level("INFO"):
        assert len(read_manifest(set_elsewhere).samples) == 1
    assert str(set_elsewhere.parent / "private") in caplog.text
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(DatasetError, match=f"private.*{VARIABLE}"):
        read_manifest(set_elsewhere)
    monkeypatch.setenv(VARIABLE, f"/somewhere:{set_elsewhere.parent / 'private'}")
    assert len(read_manifest(set_elsewhere).samples) == 1


def test_a_folder_called_as_a_draw_does_not_open_what_lies_around_it(
    set_elsewhere: Path, monkeypatch
):
    draw = set_elsewhere.rename(set_elsewhere.parent / "private" / "draw-0")
    (draw / "manifest.json").write_text(json.dumps({"image_root": "..", "pack_dir": ".."}))
    assert len(read_manifest(draw).samples) == 1
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(DatasetError, match=VARIABLE):
        read_manifest(draw)
    monkeypatch.setenv(VARIABLE, str(draw.parent))
    assert len(read_manifest(draw).samples) == 1


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_link_that_leads_out_of_the_images_is_refused(kind: str, set_elsewhere: Path, monkeypatch):
    (set_elsewhere / "manifest.json").unlink()
    private = set_elsewhere.parent / "private"
    if kind == "file":
        (set_elsewhere / "a.png").symlink_to(private / "a.png")
    else:
        (set_elsewhere / "in").symlink_to(private)
        row = ("a", "in/a.png", "x", "test", "g", "", "h")
        (set_elsewhere / "manifest.csv").write_bytes(to_csv(MANIFEST_COLUMNS, [row]))
    with pytest.raises(DatasetError, match=f"link that leads out.*{VARIABLE}"):
        read_manifest(set_elsewhere)
    monkeypatch.setenv(VARIABLE, str(private))
    assert len(read_manifest(set_elsewhere).samples) == 1


def test_link_inside_the_set_and_to_the_set_are_followed(set_elsewhere: Path, tmp_path: Path):
    (set_elsewhere / "manifest.json").unlink()
    Image.new("RGB", (4, 4)).save(set_elsewhere / "b.png")
    (set_elsewhere / "a.png").symlink_to("b.png")
    (tmp_path / "short").symlink_to(set_elsewhere)
    assert len(read_manifest(tmp_path / "short").samples) == 1


def test_tile_outside_of_the_folder_is_refused_by_the_audit_too(tmp_path: Path):
    row = ["n/x0_y0", "../private/a.png", "n", "0", "0", "8", "tumor", "1", "1", "train", "g", "h"]
    (tmp_path / "tiles.csv").write_bytes(to_csv(TILE_COLUMNS, [row]))
    with pytest.raises(DatasetError, match="leads out of"):
        read_sources([tmp_path])
