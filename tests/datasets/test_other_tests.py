"""Other sets as tests: common labels, what is left out, groups, nothing that was seen."""

from __future__ import annotations

from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from datasets.errors import DatasetError, UnreadableImageError
from datasets.other_tests import OtherTest, find_shared_photographs, open_other_test, pick_evenly
from datasets.requested_tests import TestRequest, parse_request
from datasets.samples import Sample, hash_file
from datasets.taxonomy import WBC_CLASSES
from experiments import prepare_wbc

_number = count()
PREFIXES = {
    "basophil": "BA", "eosinophil": "EO", "erythroblast": "ERB", "ig": "MY", "lymphocyte": "LY",
    "monocyte": "MO", "neutrophil": "SNE", "platelet": "PLATELET",
}  # fmt: skip


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = next(_number)
    Image.new("RGB", (12, 10), (number % 256, number // 256, 77)).save(path)


@pytest.fixture
def pbc_root(tmp_path: Path) -> Path:
    for label, prefix in PREFIXES.items():
        for index in range(6):
            draw(tmp_path / "PBC_dataset_normal_DIB" / label / f"{prefix}_{index}.png")
    return tmp_path


def open_test(text: str, out: Path, **more: object) -> OtherTest:
    arguments = {
        "nameable": WBC_CLASSES, "seen": frozenset(), "source_options": {}, "find_copies": False,
    } | more  # fmt: skip
    return open_other_test(parse_request(text), out=out, **arguments)


def test_classes_without_counterpart_are_counted_by_name(pbc_root: Path, tmp_path: Path):
    other = open_test(f"pbc={pbc_root}", tmp_path / "out")
    assert Counter(sample.label for sample in other.samples) == dict.fromkeys(WBC_CLASSES, 6)
    assert other.left_out == {
        "no common counterpart: erythroblast": 6,
        "no common counterpart: ig": 6,
        "no common counterpart: platelet": 6,
    }
    assert (other.name, other.data, other.is_synthetic) == ("pbc", "PBC", False)


def test_classes_that_the_run_cannot_name_are_left_out(pbc_root: Path, tmp_path: Path):
    other = open_test(f"pbc={pbc_root}", tmp_path, nameable=("neutrophil", "monocyte"))
    assert Counter(s.label for s in other.samples) == {"neutrophil": 6, "monocyte": 6}
    assert other.left_out["the run cannot name: basophil"] == 6
    assert sum(other.left_out.values()) == 3 * 6 + 3 * 6
    with pytest.raises(DatasetError, match="no image of .* has a class that the run can name"):
        open_test(f"pbc={pbc_root}", tmp_path, nameable=())


def test_images_that_the_run_has_seen_are_refused_by_their_bytes(pbc_root: Path, tmp_path: Path):
    folder = pbc_root / "PBC_dataset_normal_DIB"
    moved = folder / "neutrophil" / "SNE_99.png"
    (folder / "neutrophil" / "SNE_3.png").rename(moved)
    with pytest.raises(DatasetError, match=r"trained or selected on 1 of these 30.*SNE_99.png"):
        open_test(f"pbc={pbc_root}", tmp_path, seen={hash_file(moved)}, max_images=5)
    # What the run has seen of classes that are left out does not matter.
    platelet = hash_file(folder / "platelet" / "PLATELET_0.png")
    assert len(open_test(f"pbc={pbc_root}", tmp_path, seen={platelet}).samples) == 30


def test_part_of_a_set_is_chosen_and_a_wrong_one_lists_those_there(tmp_path: Path):
    for part in ("Train", "TestB"):
        for name in ("Lymphocyte", "Neutrophil"):
            draw(tmp_path / part / name / "0.png")
    other = open_test(f"raabin/TestB={tmp_path}", tmp_path)
    assert other.name == "raabin-TestB"
    assert {sample.sample_id.split("/")[0] for sample in other.samples} == {"TestB"}
    assert len(open_test(f"raabin={tmp_path}", tmp_path).samples) == 4
    with pytest.raises(DatasetError, match="has the parts TestB, Train"):
        open_test(f"raabin/TestC={tmp_path}", tmp_path)


def test_prepared_set_brings_its_groups_and_all_its_splits(pbc_root: Path, tmp_path: Path):
    prepare_wbc.main(
        prepare_wbc.Options(
            source="pbc",
            root=pbc_root,
            out=tmp_path / "a set",
            find_copies=False,
            group_pattern=r"_(\d)",
        )
    )
    other = open_test(f"prepared={tmp_path / 'a set'}", tmp_path, find_copies=True)
    assert other.name == "a_set"
    assert len(other.samples) == 30
    assert len({sample.group for sample in other.samples}) == 6
    assert other.left_out["no common counterpart: ig"] == 6
    with pytest.raises(DatasetError, match="neither manifest.csv"):
        open_test(f"prepared={tmp_path}", tmp_path)


def test_same_file_twice_is_one_group(pbc_root: Path, tmp_path: Path):
    folder = pbc_root / "PBC_dataset_normal_DIB" / "monocyte"
    (folder / "MO_9.png").write_bytes((folder / "MO_0.png").read_bytes())
    other = open_test(f"pbc={pbc_root}", tmp_path)
    assert len(other.samples) == 31
    assert len({sample.group for sample in other.samples}) == 30


def test_unreadable_files_are_an_error_or_left_out_and_counted(pbc_root: Path, tmp_path: Path):
    broken = pbc_root / "PBC_dataset_normal_DIB" / "monocyte" / "MO_0.png"
    broken.write_text("no image")
    with pytest.raises(UnreadableImageError, match=r"MO_0\.png"):
        open_test(f"pbc={pbc_root}", tmp_path)
    other = open_test(f"pbc={pbc_root}", tmp_path, skip_unreadable=True)
    assert len(other.samples) == 29
    assert other.left_out["unreadable"] == 1


def test_few_images_keep_every_class_and_the_choice_is_the_same_each_time(
    pbc_root: Path, tmp_path: Path
):
    chosen = open_test(f"pbc={pbc_root}", tmp_path, max_images=11)
    assert Counter(Counter(s.label for s in chosen.samples).values()) == {2: 4, 3: 1}
    assert chosen.left_out["more than --max-images"] == 19
    assert open_test(f"pbc={pbc_root}", tmp_path, max_images=11) == chosen
    samples = [Sample(str(i), Path(), "a" if i < 90 else "b", "test", "", "") for i in range(100)]
    assert Counter(s.label for s in pick_evenly(samples, 20)) == {"a": 18, "b": 2}


@pytest.mark.parametrize("text", ["pbc", "pbc=", "=x", "unknown=x", "prepared/val=x", "pcam=x"])
def test_wrong_requests_are_refused_with_what_is_allowed(text: str):
    with pytest.raises(ValueError, match="expected SOURCE=DIR or SOURCE/PART=DIR.*prepared"):
        parse_request(text)


def test_folder_of_a_request_may_hold_an_equals_sign():
    assert parse_request("bccd=a=b") == TestRequest("bccd", "", Path("a=b"))


@pytest.mark.parametrize(
    ("learnt_from", "tested_on", "found"),
    [
        ("Kaggle blood cells", "BCCD", "Kaggle blood cells"),
        ("PBC in the layout of Raabin-WBC (stand-in)", "BloodMNIST", "PBC"),
        ("PBC", "PBC", None),
        ("PBC", "segmentation_WBC", None),
        ("Raabin-WBC", "BCCD", None),
    ],
)
def test_sets_of_the_same_photographs_are_known(learnt_from, tested_on, found):
    assert find_shared_photographs(learnt_from, tested_on) == found
