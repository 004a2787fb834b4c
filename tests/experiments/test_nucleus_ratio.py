"""Nucleus to cytoplasm on drawn cells in the layout of segmentation_WBC."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from datasets.errors import DatasetError
from experiments import nucleus_ratio

SIZE = 60


def square(side: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    start = (SIZE - side) // 2
    mask[start : start + side, start : start + side] = True
    return mask


def write_cell(folder: Path, number: int, cell: int, nucleus: int, *, stray: bool = False) -> None:
    """Write a cell of known areas: squares of the sides `cell` and `nucleus`, in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    levels = np.where(square(nucleus), 255, np.where(square(cell), 128, 0)).astype(np.uint8)
    if stray:
        levels[levels == 128] = 131
    pixels = np.full((SIZE, SIZE, 3), (240, 230, 160), dtype=np.uint8)
    pixels[square(cell)] = (190, 150, 190)
    pixels[square(nucleus)] = (80, 20, 110)
    Image.fromarray(pixels).save(folder / f"{number:03d}.bmp")
    Image.fromarray(levels).save(folder / f"{number:03d}.png")


def write_labels(root: Path, rows: dict[int, object], name: str = "Dataset 1") -> None:
    lines = ["image ID,class label", *(f"{number},{label}" for number, label in rows.items())]
    (root / f"Class Labels of {name}.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for number, cell, nucleus in ((1, 40, 20), (2, 40, 30), (3, 40, 40)):
        write_cell(root / "Dataset 1", number, cell, nucleus, stray=number == 2)
    write_labels(root, {1: 1, 2: 2, 3: 2})
    return root


def test_ratio_of_squares_is_exact(root: Path, tmp_path: Path, capsys):
    cells = nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))
    assert cells["class"].tolist() == ["neutrophil", "lymphocyte", "lymphocyte"]
    assert cells["nucleus_to_cytoplasm"].tolist() == [400 / 1200, 900 / 700, np.inf]
    assert cells["nucleus_fraction"].tolist() == [0.25, 900 / 1600, 1]
    assert cells["stray_pixels"].tolist() == [0, 700, 0]
    assert cells["parts"].tolist() == [1, 1, 1]
    assert (cells["problem"] == "").all()
    text = capsys.readouterr().out
    assert "0 of 3 masks (0.0%) are suspicious; 1 have stray levels" in text
    assert max(len(line) for line in text.splitlines() if "Written" not in line) <= 80


def test_cells_without_cytoplasm_are_counted_apart(root: Path, tmp_path: Path):
    nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out" / "classes.csv").set_index("class")
    assert table.loc["lymphocyte", ["cells", "without_cytoplasm"]].tolist() == [2, 1]
    assert table.loc["lymphocyte", "ratio_median"] == pytest.approx(900 / 700, abs=1e-4)
    assert np.isnan(table.loc["basophil", "ratio_median"])
    for name in ("nucleus_ratio", "outlines", "suspicious"):
        assert np.asarray(Image.open(tmp_path / "out" / f"{name}.png")).std() > 5


def test_empty_and_misplaced_masks_are_suspicious(root: Path, tmp_path: Path, capsys):
    folder = root / "Dataset 1"
    Image.new("L", (SIZE, SIZE)).save(folder / "001.png")
    mask = np.asarray(Image.open(folder / "002.png"))
    Image.fromarray(np.roll(mask, 25, axis=1)).save(folder / "002.png")
    cells = nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))
    assert cells["problem"].tolist()[0] == "the mask is empty"
    assert "dark pixels" in cells["problem"].tolist()[1]
    assert np.isnan(cells["nucleus_to_cytoplasm"][0])
    assert "2 of 3 masks (66.7%) are suspicious" in capsys.readouterr().out


def test_set_of_empty_masks_still_gives_a_picture(root: Path, tmp_path: Path):
    for number in (1, 2, 3):
        Image.new("L", (SIZE, SIZE)).save(root / "Dataset 1" / f"{number:03d}.png")
    nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))
    assert (tmp_path / "out" / "nucleus_ratio.png").is_file()


def test_broken_and_missized_files_are_left_out_and_counted(
    root: Path, tmp_path: Path, capsys, caplog
):
    (root / "Dataset 1" / "001.bmp").write_bytes(b"BM")
    Image.new("L", (SIZE, SIZE + 1)).save(root / "Dataset 1" / "002.png")
    cells = nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))
    assert cells["cell_id"].tolist() == ["Dataset 1/003.bmp"]
    assert "Left out as unusable: 2" in capsys.readouterr().out
    assert "001.bmp" in caplog.text
    assert "60x61 pixels, its image 60x60" in caplog.text


def test_two_data_sets_are_read_together(root: Path, tmp_path: Path):
    write_cell(root / "Dataset 2", 7, 30, 10)
    write_labels(root, {7: 5}, "Dataset 2")
    cells = nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))
    assert cells["cell_id"].tolist()[-1] == "Dataset 2/007.bmp"
    assert cells["class"].tolist()[-1] == "basophil"


def test_nothing_usable_is_an_error(root: Path, tmp_path: Path):
    for path in (root / "Dataset 1").glob("*.bmp"):
        path.unlink()
    with pytest.raises(DatasetError, match="No usable pair"):
        nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))


def test_earlier_results_are_replaced_only_when_asked(root: Path, tmp_path: Path):
    options = nucleus_ratio.Options(root=root, out=tmp_path / "out")
    nucleus_ratio.main(options)
    with pytest.raises(ValueError, match="--overwrite"):
        nucleus_ratio.main(options)
    nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out", overwrite=True))


def test_script_explains_itself(python):
    text = python("experiments/nucleus_ratio.py", "--help").stdout
    assert "python experiments/nucleus_ratio.py" in text
    assert "--overwrite" in text


def test_lymphocytes_have_the_largest_nuclei_in_the_real_set(tmp_path: Path):
    root = Path(os.environ.get("LEUKOFUSE_REAL_DATA", "")) / "segmentation_wbc"
    if "LEUKOFUSE_REAL_DATA" not in os.environ or not root.is_dir():
        pytest.skip("LEUKOFUSE_REAL_DATA names no folder with segmentation_wbc")
    cells = nucleus_ratio.main(nucleus_ratio.Options(root=root, out=tmp_path / "out"))
    assert cells["class"].value_counts().to_dict() == {
        "neutrophil": 176, "lymphocyte": 53, "monocyte": 48, "eosinophil": 22, "basophil": 1,
    }  # fmt: skip
    medians = cells.groupby("class")["nucleus_to_cytoplasm"].median()
    assert medians.idxmax() == "lymphocyte"
    assert medians["lymphocyte"] > medians["monocyte"] > medians["neutrophil"]
