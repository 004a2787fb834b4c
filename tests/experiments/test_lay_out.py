"""Images of one published set in the layout of another, and the name that they keep."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from datasets import laying_out
from datasets.catalogue import read_source
from datasets.errors import DatasetError
from datasets.laying_out import AML_CODES
from datasets.preparing import hash_images
from datasets.protocols import Protocol, open_protocol
from datasets.sources import aml, pbc
from datasets.stand_in import STAND_IN_MARKER
from datasets.synthetic import PublishedSizes, is_synthetic_root, write_synthetic_published
from experiments import lay_out
from experiments.classifiers import PublishedOptions

NAME = "PBC in the layout of Raabin-WBC (stand-in)"


@pytest.fixture
def full_pbc_root(pbc_root: Path) -> Path:
    """PBC with all prefixes; a class has 10 images or more, two of them of each further prefix."""
    folder = pbc_root / pbc.FOLDER
    for number, (prefix, (label, _)) in enumerate(pbc.SUBTYPES.items()):
        for index in range(2):
            colour = (number, index, 200)
            Image.new("RGB", (9, 9), colour).save(folder / label / f"{prefix}_{90 + index}.png")
    return pbc_root


@pytest.fixture
def other_root(tmp_path: Path) -> Path:
    """segmentation_WBC with 5 cells of each class, but a single basophil, and masks."""
    folder = tmp_path / "other" / "Dataset 1"
    folder.mkdir(parents=True)
    codes = [code for code in (1, 2, 3, 4) for _ in range(5)] + [5]
    for number, code in enumerate(codes, start=1):
        Image.new("RGB", (8, 8), (number, code, 7)).save(folder / f"{number:03}.bmp")
        Image.new("L", (8, 8), 255).save(folder / f"{number:03}.png")
    rows = ["image ID,class label", *(f"{n},{code}" for n, code in enumerate(codes, start=1))]
    (folder.parent / "Class Labels of Dataset 1.csv").write_text("\n".join(rows) + "\n")
    return folder.parent


def options(root: Path, out: Path, layout: str = "raabin", **changes) -> lay_out.Options:
    return lay_out.Options(layout=layout, root=root, out=out, **changes)


def files_below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_parts_have_their_shares_and_images_their_class(pbc_root, tmp_path, capsys):
    before = {path: path.read_bytes() for path in files_below(pbc_root / pbc.FOLDER)}
    stand_in = lay_out.main(options(pbc_root, tmp_path / "out"))
    for label in stand_in.classes:
        counts = [stand_in.count(part)[label] for part in ("Train", "TestA", "TestB")]
        assert counts == [7, 2, 1], "61, 26 and 13 % of 10, Train takes what rounding leaves"
    prefix_of = {label: prefix for prefix, (label, _) in pbc.SUBTYPES.items() if prefix != "BNE"}
    prefix_of |= {"neutrophil": "SNE"}
    for image in stand_in.images:
        assert image.path.name.startswith(f"{prefix_of[image.label]}_")
    assert {path: path.read_bytes() for path in before} == before, "the source is untouched"
    assert len({image.path.name for image in stand_in.images}) == 50
    printed = capsys.readouterr().out
    assert NAME in printed
    assert "no common counterpart: platelet: 10" in printed


def test_the_draw_is_that_of_the_seed(pbc_root, tmp_path):
    drawn = [
        {i.image_id for i in lay_out.main(options(pbc_root, tmp_path / str(n), seed=seed)).images}
        for n, seed in enumerate((0, 0, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_test_b_may_come_from_another_camera_without_masks_and_single_cells(
    pbc_root, other_root, tmp_path, capsys
):
    alone = lay_out.main(options(pbc_root, tmp_path / "alone"))
    both = lay_out.main(options(pbc_root, tmp_path / "both", test_b=other_root))
    assert both.name == "PBC and segmentation_WBC in the layout of Raabin-WBC (stand-in)"
    for part in ("Train", "TestA"):
        names = [{i.image_id for i in s.images if i.part == part} for s in (alone, both)]
        assert names[0] == names[1]
    in_b = [image for image in both.images if image.part == "TestB"]
    assert {image.path.suffix for image in in_b} == {".bmp"}
    assert Counter(i.label for i in in_b) == dict.fromkeys(
        ("eosinophil", "lymphocyte", "monocyte", "neutrophil"), 5
    )
    printed = capsys.readouterr().out
    assert "fewer than 5 images of basophil: 1" in printed
    assert "PBC: TestB is of segmentation_WBC: 5" in printed


def test_prefixes_become_codes_and_the_rest_is_counted(full_pbc_root, tmp_path, capsys):
    stand_in = lay_out.main(options(full_pbc_root, tmp_path / "out", "aml"))
    assert stand_in.name == "PBC in the layout of AML-Cytomorphology (stand-in)"
    expected = {
        "BAS": {"BA"}, "EOS": {"EO"}, "EBO": {"ERB"}, "LYT": {"LY"}, "MON": {"MO"},
        "NGS": {"SNE"}, "NGB": {"BNE"}, "MYB": {"MY"}, "MMZ": {"MMY"}, "PMO": {"PMY"},
    }  # fmt: skip
    found: dict[str, set[str]] = {}
    for image in stand_in.images:
        found.setdefault(image.path.parent.name, set()).add(image.path.stem.split("_")[0])
    assert found == expected
    assert set(AML_CODES.values()) < set(aml.CODES)
    assert set(stand_in.classes) == {aml.CODES[code] for code in expected}
    hash_images(stand_in, check_readable=False)  # It asks for an image of every class.
    printed = capsys.readouterr().out
    for left_out in ("immature granulocyte: 2", "neutrophil: 2", "platelet: 12"):
        assert f"no code for {left_out}\n" in printed


def test_images_are_linked_or_else_copied(pbc_root, tmp_path, monkeypatch):
    linked = lay_out.main(options(pbc_root, tmp_path / "linked")).images[0]
    source = next((pbc_root / pbc.FOLDER).rglob(linked.path.name))
    assert linked.path.samefile(source)

    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(laying_out.os, "link", refuse)
    copied = lay_out.main(options(pbc_root, tmp_path / "copied")).images[0]
    assert not copied.path.samefile(source)
    assert copied.path.read_bytes() == source.read_bytes()


def test_an_image_behind_a_symbolic_link_is_laid_out_itself(pbc_root, tmp_path):
    source = pbc_root / pbc.FOLDER / "basophil" / "BA_0.png"
    kept = source.rename(tmp_path / "elsewhere.png")
    source.symlink_to(os.path.relpath(kept, source.parent))
    stand_in = lay_out.main(options(pbc_root, tmp_path / "out"))
    image = next(i for i in stand_in.images if i.path.name == "BA_0.png")
    assert not image.path.is_symlink()
    assert image.path.read_bytes() == kept.read_bytes()


def test_the_name_reaches_the_splits_and_survives_the_search_for_copies(pbc_root, tmp_path, caplog):
    lay_out.main(options(pbc_root, tmp_path / "out"))
    published = PublishedOptions(data_root=tmp_path / "out").read("raabin")
    assert f"this is not Raabin-WBC but {NAME}" in caplog.text
    protocol = Protocol(val_fraction=0.2, test_fraction=0.1)
    cells = open_protocol(published, protocol, tmp_path / "cache")
    assert cells.name == NAME
    assert open_protocol(published, protocol, tmp_path / "cache").name == NAME, "from the manifest"
    (tmp_path / "out" / STAND_IN_MARKER).unlink()
    unnamed = open_protocol(read_source("raabin", tmp_path / "out"), protocol, tmp_path / "cache")
    assert unnamed.name == "Raabin-WBC", "the draw of the stand-in is not taken for that of a set"


def test_the_name_is_found_from_the_inner_folder_and_only_for_its_layout(full_pbc_root, tmp_path):
    lay_out.main(options(full_pbc_root, tmp_path / "out", "aml"))
    assert "stand-in" in read_source("aml", tmp_path / "out" / aml.FOLDER).name
    (tmp_path / "out" / pbc.FOLDER).symlink_to(full_pbc_root / pbc.FOLDER)
    assert read_source("pbc", tmp_path / "out").name == "PBC"


def test_counts_of_a_stand_in_are_refused_where_published_ones_are_asked_for(pbc_root, tmp_path):
    lay_out.main(options(pbc_root, tmp_path / "out"))
    with pytest.raises(DatasetError, match="this is not Raabin-WBC"):
        PublishedOptions(data_root=tmp_path / "out", check_counts=True).read("raabin")


def test_what_is_laid_out_of_synthetic_cells_is_synthetic(tmp_path):
    write_synthetic_published(tmp_path / "in", "pbc", PublishedSizes(scale=0.2, width=32))
    stand_in = lay_out.main(options(tmp_path / "in", tmp_path / "out"))
    assert is_synthetic_root(stand_in.root)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", '{"name": ""}', '{"name": 3}', "{}"])
def test_a_damaged_marker_is_named(pbc_root, tmp_path, content):
    lay_out.main(options(pbc_root, tmp_path / "out"))
    (tmp_path / "out" / STAND_IN_MARKER).write_text(content)
    with pytest.raises(
        DatasetError, match=f"{STAND_IN_MARKER} (cannot be read|holds no JSON|names no set)"
    ):
        read_source("raabin", tmp_path / "out")


def test_a_failed_call_leaves_nothing(pbc_root, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("No space left on the disk")

    monkeypatch.setattr(laying_out, "write_stand_in_marker", fail)
    with pytest.raises(OSError, match="No space"):
        lay_out.main(options(pbc_root, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == [pbc.FOLDER]


def test_what_cannot_work_is_refused(pbc_root, other_root, tmp_path):
    with pytest.raises(ValueError, match="--test-b is a part of --as raabin"):
        options(pbc_root, tmp_path / "out", "aml", test_b=other_root)
    with pytest.raises(ValueError, match="lies in the source"):
        lay_out.main(options(pbc_root, pbc_root / pbc.FOLDER / "out"))
    with pytest.raises(DatasetError, match="Pass a new or an empty folder"):
        lay_out.main(options(pbc_root, pbc_root))
    for path in files_below(pbc_root / pbc.FOLDER):
        path.rename(path.with_name(f"cell-{path.name}"))
    with pytest.raises(DatasetError, match="bears a prefix of PBC"):
        lay_out.main(options(pbc_root, tmp_path / "out", "aml"))


def test_a_class_without_enough_images_is_left_out(pbc_root, tmp_path):
    for index in range(6):
        (pbc_root / pbc.FOLDER / "basophil" / f"BA_{index}.png").unlink()
    stand_in = lay_out.main(options(pbc_root, tmp_path / "out"))
    assert stand_in.classes == ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
    marker = json.loads((tmp_path / "out" / STAND_IN_MARKER).read_text())
    assert marker["left_out"]["PBC: fewer than 5 images of basophil"] == 4


def test_wrong_use_is_answered_without_a_traceback(script, tmp_path):
    result = script(
        "experiments/lay_out.py", "--as", "aml", "--root", tmp_path, "--out", tmp_path / "out"
    )
    assert result.returncode == 2
    assert "Expected PBC_dataset_normal_DIB/" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_real_set_is_laid_out_both_ways(tmp_path):
    real = os.environ.get("LEUKOFUSE_REAL_DATA")
    if real is None:
        pytest.skip("LEUKOFUSE_REAL_DATA is not set: no real images at hand")
    total = {name: read_source("pbc", Path(real) / "pbc").count()[name] for name in pbc.PUBLISHED}
    raabin = lay_out.main(
        options(Path(real) / "pbc", tmp_path / "raabin", test_b=Path(real) / "segmentation_wbc")
    )
    for part, share in (("Train", 0.61), ("TestA", 0.26)):
        for label, number in raabin.count(part).items():
            assert number == pytest.approx(share * total[label], abs=2)
    assert raabin.count("TestB") == {
        "basophil": 0, "eosinophil": 22, "lymphocyte": 53, "monocyte": 48, "neutrophil": 176,
    }  # fmt: skip
    by_code = lay_out.main(options(Path(real) / "pbc", tmp_path / "aml", "aml")).count()
    assert by_code["neutrophil_segmented"] + by_code["neutrophil_band"] <= total["neutrophil"]
    assert by_code["erythroblast"] == total["erythroblast"]


def test_halves_share_no_image_and_hold_all(pbc_root, tmp_path):
    halves = [
        lay_out.main(options(pbc_root, tmp_path / half, "pbc", half=half))
        for half in ("first", "second")
    ]
    names = [{Path(image.image_id).name for image in half.images} for half in halves]
    assert not names[0] & names[1]
    whole = {path.name for path in files_below(pbc_root / pbc.FOLDER)}
    assert names[0] | names[1] == whole
    assert [half.name for half in halves] == ["PBC, first half", "PBC, second half"]
    for half in halves:
        assert set(half.count()) == set(halves[0].count())


def test_copies_of_a_photograph_are_in_one_half(pbc_root, tmp_path):
    folder = pbc_root / pbc.FOLDER
    for path in files_below(folder)[::7]:
        copy = path.with_stem(f"{path.stem}0000")
        copy.write_bytes(path.read_bytes())
    for half in ("first", "second"):
        lay_out.main(options(pbc_root, tmp_path / half, "pbc", half=half))
    first, second = (
        {p.read_bytes() for p in files_below(tmp_path / h / pbc.FOLDER)}
        for h in ("first", "second")
    )
    assert not first & second


def test_a_layout_of_its_own_needs_a_half(tmp_path):
    with pytest.raises(ValueError, match="--as pbc would be the source itself: pass --half"):
        options(tmp_path, tmp_path / "out", "pbc")
