"""The exploration script on small sets, whole and broken ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datasets.errors import DatasetError
from datasets.listing import list_labelled_images
from experiments import exploration, explore_data
from experiments.exploration import summarise_class

PICTURES = {
    "class_counts", "image_sizes", "colour_histograms", "gray_histograms", "thresholds",
    "mean_images", "contact_sheet",
}  # fmt: skip


def add_images(folder: Path, colours: list[tuple[int, int, int]], size=(20, 16)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, colour in enumerate(colours):
        Image.new("RGB", size, colour).save(folder / f"{index}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes in two splits: dark red, and light."""
    root = tmp_path / "cells"
    add_images(root / "TRAIN" / "DARK", [(100, 0, 0)] * 3)
    add_images(root / "TRAIN" / "LIGHT", [(210, 210, 210)] * 2, (30, 40))
    add_images(root / "TEST" / "LIGHT", [(150, 150, 150)])
    return root


def printed_width(text: str) -> int:
    return max(len(line) for line in text.splitlines() if not line.startswith("Written"))


def test_exploration_leaves_pictures_events_and_tables(root: Path, tmp_path: Path, capsys):
    out = explore_data.main(explore_data.Options(source=root, out=tmp_path / "out"))
    assert {path.stem for path in out.glob("*.png")} == PICTURES
    for path in out.glob("*.png"):
        pixels = np.asarray(Image.open(path))
        assert pixels.std() > 5, path.name
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {f"exploration/{name}" for name in PICTURES}
    assert "cells: 6 images in 2 class(es)" in (text := capsys.readouterr().out)
    assert printed_width(text) <= 80


def test_tables_hold_what_the_images_hold(root: Path, tmp_path: Path):
    out = explore_data.main(explore_data.Options(source=root, out=tmp_path / "out"))
    table = pd.read_csv(out / "summary.csv").set_index("class")
    assert table["images"].to_dict() == {"dark": 3, "light": 3}
    assert table["images_TEST"].to_dict() == {"dark": 0, "light": 1}
    assert table.loc["dark", ["mean_red", "mean_green", "mean_blue"]].tolist() == [100, 0, 0]
    assert table.loc["light", "mean_gray"] == pytest.approx(190)
    assert table.loc["light", "share_below_180"] == pytest.approx(1 / 3, abs=1e-4)
    assert table.loc["light", "share_from_180"] == pytest.approx(2 / 3, abs=1e-4)
    assert table["share_below_150"].to_dict() == {"dark": 1, "light": 0}
    assert table["most_common_size"].to_dict() == {"dark": "20x16", "light": "30x40"}
    content = json.loads((out / "exploration.json").read_text())
    assert content["synthetic"] is False
    assert content["sizes"]["light"] == {"20x16": 1, "30x40": 2}
    assert [row["class"] for row in content["classes"]] == ["dark", "light"]


def test_at_most_so_many_images_are_measured_but_all_are_counted(root: Path, tmp_path: Path):
    options = explore_data.Options(source=root, out=tmp_path / "out", max_images=2)
    table = pd.read_csv(explore_data.main(options) / "summary.csv")
    assert table["measured"].tolist() == [2, 2]
    assert table["images"].tolist() == [3, 3]
    assert table["sizes"].tolist() == [1, 2]


def test_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path):
    for name in ("a", "b"):
        options = explore_data.Options(source=root, out=tmp_path / name, max_images=1)
        explore_data.main(options)
    for path in (tmp_path / "a").iterdir():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_broken_images_are_left_out_and_named(root: Path, tmp_path: Path, capsys):
    (root / "TRAIN" / "DARK" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = explore_data.main(explore_data.Options(source=root, out=tmp_path / "out"))
    assert "Not readable, left out: 1" in (text := capsys.readouterr().out)
    assert printed_width(text) <= 80
    content = json.loads((out / "exploration.json").read_text())
    assert content["unreadable"] == [str(root / "TRAIN" / "DARK" / "bad.png")]
    assert content["classes"][0]["measured"] == 3


def test_class_without_any_readable_image_is_shown_as_empty(root: Path, tmp_path: Path, capsys):
    (root / "TRAIN" / "BAD").mkdir()
    (root / "TRAIN" / "BAD" / "x.png").write_bytes(b"")
    out = explore_data.main(explore_data.Options(source=root, out=tmp_path / "out"))
    assert "no readable image" in capsys.readouterr().out
    row = pd.read_csv(out / "summary.csv").set_index("class").loc["bad"]
    assert (row["images"], row["measured"], row["unreadable"]) == (1, 0, 1)
    assert np.isnan(row["mean_gray"])


@pytest.mark.filterwarnings("error::UserWarning")
def test_set_without_any_readable_image_is_still_reported(tmp_path: Path, capsys):
    (tmp_path / "set" / "only").mkdir(parents=True)
    (tmp_path / "set" / "only" / "x.jpg").write_bytes(b"x")
    explore_data.main(explore_data.Options(source=tmp_path / "set", out=tmp_path / "out"))
    assert "Not readable, left out: 1" in capsys.readouterr().out


def test_set_of_a_single_gray_image_can_be_explored(tmp_path: Path, capsys):
    (tmp_path / "set").mkdir()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "set" / "x.png")
    explore_data.main(explore_data.Options(source=tmp_path / "set", out=tmp_path / "out"))
    assert "set: 1 images in 1 class(es)" in capsys.readouterr().out


@pytest.mark.filterwarnings("error::UserWarning")
def test_names_that_a_drawing_library_could_take_for_formulas_are_drawn(tmp_path: Path):
    for name in ("$x^{", "_hidden", "a" * 60):
        add_images(tmp_path / "a $\\frac{ set" / name, [(9, 9, 9)])
    explore_data.main(
        explore_data.Options(source=tmp_path / "a $\\frac{ set", out=tmp_path / "out")
    )


def test_of_many_classes_the_largest_are_drawn_and_all_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for index in range(5):
        add_images(tmp_path / "many" / f"class_{index}", [(index, 9, 9)] * (index + 1), (4, 4))
    listing = list_labelled_images(tmp_path / "many")
    summaries = [
        summarise_class(listing, name, max_images=9, seed=0, thresholds=(150,), num_examples=1)
        for name in listing.classes
    ]
    assert [summary.num_images for summary in summaries] == [1, 2, 3, 4, 5]
    monkeypatch.setattr(exploration, "_MAX_DRAWN", 2)
    few = exploration.draw_pictures(listing, summaries, {}, 9)
    monkeypatch.undo()
    all_five = exploration.draw_pictures(listing, summaries, {}, 9)
    assert few["contact_sheet"].shape[0] < all_five["contact_sheet"].shape[0]
    options = explore_data.Options(source=tmp_path / "many", out=tmp_path / "out", columns=1)
    assert len(pd.read_csv(explore_data.main(options) / "summary.csv")) == 5


def test_synthetic_pictures_are_stamped_and_masks_are_checked(
    tiny_bundle: Path, tmp_path: Path, capsys
):
    out = explore_data.main(
        explore_data.Options(source=tiny_bundle, out=tmp_path / "out", max_images=3)
    )
    text = capsys.readouterr().out
    assert "SYNTHETIC data" in text
    assert "Masks: 5, 5 looked at" in text
    assert printed_width(text) <= 80
    assert {path.stem for path in out.glob("*.png")} == PICTURES | {"masks", "masked_images"}
    for path in out.glob("*.png"):
        red, green, blue = np.asarray(Image.open(path), dtype=int).transpose(2, 0, 1)
        crimson = (red - green > 60) & (red - blue > 40) & (red > 200)
        assert crimson.mean() > 0.004, path.name


def test_mask_beside_its_cell_is_reported(tmp_path: Path, tiny_bundle: Path, capsys):
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    mask = next((tmp_path / "bundle" / "WBC_100" / "train" / "mask").rglob("*.jpg"))
    inverted = 255 - np.asarray(Image.open(mask))
    Image.fromarray(inverted).save(mask)
    out = explore_data.main(
        explore_data.Options(source=tmp_path / "bundle", out=tmp_path / "out", max_images=3)
    )
    suspicious = json.loads((out / "exploration.json").read_text())["suspicious_masks"]
    assert any(Path(path).stem == mask.stem for path in suspicious)


def test_earlier_pictures_are_replaced_only_when_asked(root: Path, tmp_path: Path):
    options = explore_data.Options(source=root, out=tmp_path / "out")
    explore_data.main(options)
    with pytest.raises(ValueError, match="--overwrite"):
        explore_data.main(options)
    explore_data.main(explore_data.Options(source=root, out=tmp_path / "out", overwrite=True))
    assert len(list((tmp_path / "out" / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_images": 0}, "--max-images must be 1 or more, not 0"),
        ({"columns": 0}, "--columns must be 1 or more"),
        ({"seed": -1}, "--seed must be 0 or more"),
        ({"thresholds": (150, 300)}, "--thresholds must lie in 1 to 255"),
    ],
)
def test_impossible_options_are_refused(change: dict, words: str):
    with pytest.raises(ValueError, match=words):
        explore_data.Options(source=Path("data"), **change)


def test_folder_without_images_is_refused_before_anything_is_written(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no images"):
        explore_data.main(explore_data.Options(source=tmp_path / "empty", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_script_explains_itself_and_its_errors(script, tmp_path: Path):
    text = script("experiments/explore_data.py", "--help").stdout
    assert "python experiments/explore_data.py" in text
    failed = script("experiments/explore_data.py", tmp_path / "none")
    assert failed.returncode == 2
    assert "No folder" in failed.stderr


def test_real_sets_are_read_in_their_layouts(tmp_path: Path, capsys):
    data = os.environ.get("LEUKOFUSE_REAL_DATA")
    if data is None:
        pytest.skip("LEUKOFUSE_REAL_DATA is not set")
    for name, classes in (("pbc", 8), ("kaggle_blood_cells", 4)):
        if not (Path(data) / name).is_dir():
            pytest.skip(f"LEUKOFUSE_REAL_DATA holds no {name}")
        out = explore_data.main(
            explore_data.Options(source=Path(data) / name, out=tmp_path / name, max_images=4)
        )
        table = pd.read_csv(out / "summary.csv")
        assert len(table) == classes
        assert table["measured"].tolist() == [4] * classes
        assert table["unreadable"].sum() == 0
    assert printed_width(capsys.readouterr().out) <= 80
