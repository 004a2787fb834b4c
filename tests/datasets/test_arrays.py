"""Sets that are published as arrays: PatchCamelyon and BloodMNIST."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.sources import bloodmnist, pcam
from datasets.sources.bloodmnist import read_bloodmnist
from datasets.sources.pcam import read_pcam

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def closed_files():
    yield
    pcam._open.cache_clear()
    bloodmnist._read_images.cache_clear()


@pytest.fixture
def pcam_root(tmp_path: Path) -> Path:
    for part, number in (("train", 8), ("valid", 4), ("test", 4)):
        stem = f"camelyonpatch_level_2_split_{part}"
        labels = np.arange(number, dtype=np.uint8) % 2
        with h5py.File(tmp_path / f"{stem}_x.h5", "w") as file:
            file["x"] = RNG.integers(0, 255, (number, 96, 96, 3), dtype=np.uint8)
        with h5py.File(tmp_path / f"{stem}_y.h5", "w") as file:
            file["y"] = labels.reshape(-1, 1, 1, 1)
        rows = "".join(
            f"{i},0,0,True,{bool(k)},camelyon16_{part}_{i // 2:03d}\n" for i, k in enumerate(labels)
        )
        header = ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n"
        (tmp_path / f"{stem}_meta.csv").write_text(header + rows)
    return tmp_path


def write_bloodmnist(path: Path, size: int = 28, **changes) -> Path:
    arrays = {}
    for part, number in (("train", 16), ("val", 8), ("test", 8)):
        arrays[f"{part}_images"] = RNG.integers(0, 255, (number, size, size, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(number, dtype=np.uint8) % 8).reshape(-1, 1)
    np.savez_compressed(path, **{**arrays, **changes})
    return path


def test_pcam_tiles_come_with_label_slide_and_pixels(pcam_root: Path):
    tiles = read_pcam(pcam_root)
    assert tiles.parts == {"train": "train", "valid": "val", "test": "test"}
    assert Counter((i.part, i.label) for i in tiles.images)["train", "tumor"] == 4
    second = tiles.images[1]
    assert second.image_id == "train/tumor/000001.png"
    assert second.group == "camelyon16_train_000"
    with h5py.File(pcam_root / "camelyonpatch_level_2_split_train_x.h5") as file:
        assert (np.asarray(second.make()) == file["x"][1]).all()
    assert "train: 8 files, published 262144" in tiles.differences


def test_pcam_counts_are_compared(pcam_root: Path, monkeypatch):
    monkeypatch.setattr(pcam, "PUBLISHED", {"train": 8, "valid": 4, "test": 4})
    assert read_pcam(pcam_root).differences == ()


def test_pcam_without_slides_has_no_groups(pcam_root: Path):
    for path in pcam_root.glob("*_meta.csv"):
        path.unlink()
    assert {image.group for image in read_pcam(pcam_root).images} == {""}


@pytest.mark.parametrize("kind", ["x", "y"])
def test_truncated_pcam_file_is_named(pcam_root: Path, kind: str):
    path = pcam_root / f"camelyonpatch_level_2_split_valid_{kind}.h5"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match=rf"valid_{kind}\.h5.*Download it again"):
        read_pcam(pcam_root)


def test_pcam_files_that_do_not_fit_are_refused(pcam_root: Path):
    path = pcam_root / "camelyonpatch_level_2_split_test_y.h5"
    with h5py.File(path, "w") as file:
        file["y"] = np.zeros((3, 1, 1, 1), dtype=np.uint8)
    with pytest.raises(DatasetError, match=r"\(4, 96, 96, 3\), expected uint8 \(3, 96, 96, 3\)"):
        read_pcam(pcam_root)
    with h5py.File(path, "w") as file:
        file["y"] = np.full((4, 1, 1, 1), 7, dtype=np.uint8)
    with pytest.raises(DatasetError, match="with 0 and 1"):
        read_pcam(pcam_root)
    with h5py.File(path, "w") as file:
        file["z"] = np.zeros(4)
    with pytest.raises(DatasetError, match=r"test_y\.h5 cannot be read"):
        read_pcam(pcam_root)


def test_pcam_meta_of_another_length_is_refused(pcam_root: Path):
    path = pcam_root / "camelyonpatch_level_2_split_train_meta.csv"
    path.write_text("wsi\na\n")
    with pytest.raises(DatasetError, match="1 rows for 8 tiles"):
        read_pcam(pcam_root)
    path.write_text("slide\na\n")
    with pytest.raises(DatasetError, match="no CSV with a column wsi"):
        read_pcam(pcam_root)


def test_packed_pcam_is_to_be_unpacked(tmp_path: Path):
    with gzip.open(tmp_path / "camelyonpatch_level_2_split_train_x.h5.gz", "wb") as file:
        file.write(b"x")
    with pytest.raises(DatasetError, match="still packed: gunzip it"):
        read_pcam(tmp_path)
    with pytest.raises(DatasetError, match="no such file"):
        read_pcam(tmp_path / "nowhere")


@pytest.mark.parametrize("size", [28, 64])
def test_bloodmnist_keeps_split_class_order_and_pixels(tmp_path: Path, size: int):
    path = write_bloodmnist(tmp_path / bloodmnist._FILES[size], size)
    cells = read_bloodmnist(tmp_path)
    assert cells.classes[3] == "ig"
    assert cells.classes == (
        "basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    )  # fmt: skip
    image = next(i for i in cells.images if i.part == "val" and i.label == "monocyte")
    assert image.make().size == (size, size)
    assert (np.asarray(image.make()) == np.load(path)["val_images"][5]).all()
    assert "train: 16 files, published 11959" in cells.differences


def test_several_bloodmnist_files_are_a_choice(tmp_path: Path):
    path = write_bloodmnist(tmp_path / "bloodmnist.npz")
    write_bloodmnist(tmp_path / "bloodmnist_64.npz", 64)
    with pytest.raises(DatasetError, match=r"bloodmnist\.npz, bloodmnist_64\.npz.*--root"):
        read_bloodmnist(tmp_path)
    assert len(read_bloodmnist(path).images) == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": np.full((8, 1), 8)}, "val_labels must lie in 0 to 7"),
        ({"val_labels": np.zeros((8, 2))}, r"expected \(N, 1\)"),
        ({"train_images": np.zeros((16, 28, 28), np.uint8)}, r"expected uint8 \(N, S, S, 3\)"),
        ({"train_images": np.zeros((3, 28, 28, 3), np.uint8)}, "3 train_images for 16 labels"),
        ({"train_images": np.array([{}], dtype=object)}, "train_images cannot be read"),
    ],
)
def test_bloodmnist_of_another_shape_is_refused(tmp_path: Path, changes: dict, message: str):
    path = write_bloodmnist(tmp_path / "bloodmnist.npz", **changes)
    with pytest.raises(DatasetError, match=message):
        read_bloodmnist(path).images[0].make()


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_truncated_bloodmnist_is_refused(tmp_path: Path, keep: int):
    path = write_bloodmnist(tmp_path / "bloodmnist.npz")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match="Download the file again"):
        read_bloodmnist(path)


def test_array_that_is_no_npz_is_refused(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DatasetError, match="single array"):
        read_bloodmnist(tmp_path / "a.npy")
    with pytest.raises(DatasetError, match=r"no \.npz file"):
        read_bloodmnist(tmp_path)
