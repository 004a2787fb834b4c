"""The synthetic set: deterministic, balanced in its accidents, and not linearly solved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from datasets.synthetic import SyntheticSizes, ensure_synthetic_bundle, write_synthetic_bundle
from datasets.synthetic.cells import draw_cell
from datasets.synthetic.tissue import draw_lymph_node_tile, draw_renal_tile
from datasets.taxonomy import WBC_CLASSES

SMALL = SyntheticSizes(
    cells_by_class=(2,) * 5,
    val_cells_by_class=(2,) * 5,
    cell_size=32,
    tiles_by_class=4,
    tile_size=32,
    renal_images=3,
    renal_size=32,
)


def test_same_seed_gives_the_same_files(tmp_path: Path):
    for name in ("a", "b"):
        write_synthetic_bundle(tmp_path / name, SMALL)
    first = sorted(path for path in (tmp_path / "a").rglob("*.jp*g"))
    assert len(first) > 40
    for path in first:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_bundle_is_drawn_once_and_kept(tmp_path: Path):
    folder = ensure_synthetic_bundle(tmp_path, SMALL)
    marker = folder / "WBC_100"
    before = marker.stat().st_mtime_ns
    assert ensure_synthetic_bundle(tmp_path, SMALL) == folder
    assert marker.stat().st_mtime_ns == before


def test_unfinished_bundle_is_drawn_again(tmp_path: Path):
    folder = ensure_synthetic_bundle(tmp_path, SMALL)
    folder.rename(folder.with_name(f".{folder.name}.unfinished"))
    assert ensure_synthetic_bundle(tmp_path, SMALL).is_dir()


def test_mask_lies_on_the_cell():
    for label in WBC_CLASSES:
        picture, mask = draw_cell(label, 96, np.random.default_rng(1))
        assert picture.shape == (96, 96, 3)
        assert mask.shape == (96, 96)
        inside, outside = picture[mask > 127].mean(), picture[mask <= 127].mean()
        assert 0.05 < (mask > 127).mean() < 0.5
        assert inside < outside - 10, "the stained cell is darker than the smear"


def test_tissue_tiles_have_the_asked_size():
    rng = np.random.default_rng(0)
    tile, mask = draw_lymph_node_tile("tumor", 64, rng)
    assert tile.shape == (64, 64, 3)
    assert set(np.unique(mask)) <= {0, 255}
    assert draw_renal_tile(80, rng).shape == (80, 80, 3)


def test_linear_classifier_on_raw_pixels_does_not_solve_the_cells():
    def draw(number: int, seed: int) -> tuple[np.ndarray, list[str]]:
        rng = np.random.default_rng(seed)
        labels = [label for label in WBC_CLASSES for _ in range(number)]
        cells = (Image.fromarray(draw_cell(label, 64, rng)[0]).resize((32, 32)) for label in labels)
        return np.array([np.asarray(cell).reshape(-1) / 255 for cell in cells]), labels

    train, train_labels = draw(60, 0)
    test, test_labels = draw(30, 1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    accuracy = model.fit(train, train_labels).score(test, test_labels)
    assert 0.25 < accuracy < 0.8
