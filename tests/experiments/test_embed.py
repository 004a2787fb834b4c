"""embed.py: features of a finished run, maps of them, and what TensorBoard is given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from sklearn.decomposition import PCA
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import nn

from datasets.cells import open_cells
from datasets.errors import DatasetError
from datasets.samples import Sample, hash_file
from experiments import embed, own_images, projector
from experiments.classifiers import train_classifier
from experiments.embedding import Part, lay_out
from experiments.options import RunOptions
from experiments.projector import read_thumbnails
from experiments.reporting.html.embedding import read_embedding
from experiments.reporting.load_runs import find_finished
from models.encoder_spec import EncoderSpec
from models.fusion import FusionModel
from models.gray_cnn import GrayCnn
from models.penultimate import record_penultimate
from models.registry import FusionSpec, SmallCnnSpec
from trainers.errors import RunError


@pytest.fixture(scope="module")
def run_dir(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small CNN on synthetic cells."""
    root = tmp_path_factory.mktemp("runs")
    options = RunOptions(
        data_root=tiny_bundle, runs_root=root, cache_root=root / "cache", device="cpu",
        precision="32-true", lr=1e-3, epochs=1, batch_size=4,
    )  # fmt: skip
    cells = open_cells(tiny_bundle, 100)
    spec = SmallCnnSpec("baseline")
    return train_classifier(
        options, Path("small", "seed-0"), cells, spec, options.trainer_config(1)
    ).path


def options_for(run_dir: Path, **more: object) -> embed.Options:
    return embed.Options((run_dir,), device="cpu", num_workers=2, **more)


@pytest.fixture(scope="module")
def done(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run with its maps."""
    copied = tmp_path_factory.mktemp("done") / "seed-0"
    shutil.copytree(run_dir, copied)
    # In batches, the last of which is smaller.
    assert embed.main(options_for(copied, batch_size=5)) == [copied]
    return copied


def test_the_report_reads_a_point_an_image_and_method(done: Path):
    run = find_finished([done])[0]
    table, predictions = read_embedding(run), run.predictions()
    assert table is not None
    assert list(table) == ["sample_id", "label", "method", "x", "y"]
    for method in ("PCA", "t-SNE"):
        rows = table[table["method"] == method]
        assert rows["sample_id"].tolist() == predictions["sample_id"].tolist()
        assert rows["label"].tolist() == predictions["label"].tolist()
        assert rows[["x", "y"]].std().min() > 0
    with Image.open(done / "embedding.png") as picture:
        assert picture.width > picture.height > 300


def test_facts_say_what_the_map_is_of(done: Path):
    facts = json.loads((done / "embedding.json").read_text())
    assert facts["values"] == {"trunk": 32 * 29 * 39}
    assert facts["difference_to_run"] < 1e-5
    assert facts["images"] == 17
    assert facts["pca_variance"][0] > facts["pca_variance"][1] > 0


def test_the_same_seed_gives_the_same_map(done: Path, tmp_path: Path):
    embed.main(options_for(done, batch_size=5, out=tmp_path / "again", images=False))
    again = (tmp_path / "again" / "embedding.csv").read_bytes()
    assert again == (done / "embedding.csv").read_bytes()
    assert (tmp_path / "again" / "projector" / "projector_config.pbtxt").is_file()
    assert not list((tmp_path / "again").rglob("sprite.png"))


def test_the_projector_has_label_prediction_and_thumbnail_of_each_image(done: Path):
    config = text_format.Parse(
        (done / "projector" / "projector_config.pbtxt").read_text(), ProjectorConfig()
    )
    (found,) = config.embeddings
    folder = done / "projector"
    names, *rows = (folder / found.metadata_path).read_text().splitlines()
    assert names.split("\t") == ["label", "predicted", "correct", "sample_id"]
    predictions = find_finished([done])[0].predictions()
    right = (predictions["label"] == predictions["pred"]).map({True: "yes", False: "no"})
    expected = zip(
        predictions["label"], predictions["pred"], right, predictions["sample_id"], strict=True
    )
    assert [tuple(row.split("\t")) for row in rows] == list(expected)
    values = np.loadtxt(folder / found.tensor_path, delimiter="\t")
    assert values.shape == (17, 17)
    with Image.open(folder / found.sprite.image_path) as sheet:
        assert list(found.sprite.single_image_dim) == [64, 64]
        assert sheet.size == (5 * 64, 5 * 64)
        fourth = np.asarray(sheet.convert("RGB"))[:64, 3 * 64 : 4 * 64]
    path = next(
        s.path
        for s in open_cells(Path(read_data_root(done)), 100, use_masks=False).samples
        if s.sample_id == predictions["sample_id"][3]
    )
    with Image.open(path) as image:
        wanted = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS))
    assert np.abs(fourth.astype(int) - wanted).mean() < 2


def read_data_root(run_dir: Path) -> str:
    return json.loads((run_dir / "config.json").read_text())["options"]["data_root"]


def test_thumbnails_shrink_so_that_their_sheet_stays_in_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "_MAX_SPRITE", 100)
    path = tmp_path / "a.png"
    Image.new("RGB", (30, 20), (255, 0, 0)).save(path)
    samples = [Sample(str(i), path, "a", "test", str(i), hash_file(path)) for i in range(10)]
    thumbnails = read_thumbnails(samples, 2)
    assert thumbnails.shape == (10, 3, 25, 25)  # Four by four of 25 pixels.
    assert thumbnails[9, :, 5, 5].tolist() == [1, 0, 0]


def test_validation_images_get_files_of_their_own(done: Path):
    before = (done / "embedding.csv").read_bytes()
    embed.main(options_for(done, split="val", images=False))
    table = pd.read_csv(done / "embedding-val.csv")
    val = find_finished([done])[0].val_predictions()
    assert table["sample_id"].tolist() == 2 * val["sample_id"].tolist()
    assert (done / "projector-val" / "projector_config.pbtxt").is_file()
    assert (done / "embedding.csv").read_bytes() == before


def test_a_run_whose_images_have_changed_is_refused(run_dir, tiny_bundle, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    for number, path in enumerate(sorted(other.rglob("*.jpg"))):
        Image.new("RGB", (48, 48), (255, number % 256, number // 256)).save(path)
    monkeypatch.setattr(own_images, "MAX_MEAN_DIFFERENCE", 1e-4)
    with pytest.raises(
        RunError, match=r"do not give the predictions .* --cache-root that it had\."
    ):
        embed.main(options_for(run_dir, data_root=other, out=tmp_path / "out"))
    with pytest.raises(DatasetError, match=r"test images of .* from this folder\."):
        embed.main(options_for(run_dir, data_root=tmp_path / "none", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_of_several_runs_those_without_a_map_are_named_at_the_end(run_dir, tmp_path, capsys):
    for name in ("good", "probe"):
        shutil.copytree(run_dir, tmp_path / name / "seed-0")
    config = json.loads((tmp_path / "probe/seed-0/config.json").read_text())
    del config["model"]
    (tmp_path / "probe/seed-0/config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit):
        embed.main(embed.Options((tmp_path,), device="cpu", num_workers=2, images=False))
    assert (tmp_path / "good/seed-0/embedding.csv").is_file()
    text = capsys.readouterr().out
    assert "1 of 2 runs have no map" in text
    assert "probe" in text.split("have no map")[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"runs": ()}, "No run given"),
        ({"max_images": 0}, "--max-images must be at least 1"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"seed": -1}, "--seed must be in"),
    ],
)
def test_wrong_options_are_refused_naming_the_flag(more: dict, message: str):
    with pytest.raises(ValueError, match=message):
        embed.Options(**({"runs": (Path("run"),)} | more))


def make_part(number: int, size: int, scale: float, vote_scale: float) -> Part:
    generator = np.random.default_rng(size)
    features = 100 + scale * generator.normal(size=(number, size))
    return Part(features, vote_scale * generator.normal(size=(number, 2)))


def test_a_part_weighs_on_the_map_as_its_votes_do_whatever_its_unit():
    parts = {"a": make_part(40, 5, 1e-3, 3.0), "b": make_part(40, 3, 1e3, 1.0)}
    found = lay_out(parts, 0)
    joined = []
    for part in parts.values():
        values = part.features - part.features.mean(0)
        shares = np.cov(part.votes.T, bias=True).trace() / np.cov(values.T, bias=True).trace()
        joined.append(values * np.sqrt(shares))
    expected = PCA(2, svd_solver="full").fit_transform(np.concatenate(joined, axis=1))
    np.testing.assert_allclose(found.maps["PCA"], expected, atol=1e-9)
    votes = np.concatenate([part.votes for part in parts.values()], axis=1)
    assert found.components.var(axis=0).sum() == pytest.approx(votes.var(axis=0).sum())
    assert found.explained.sum() == pytest.approx(1)


def test_classes_that_are_apart_are_apart_on_both_maps():
    part = make_part(30, 6, 0.1, 1.0)
    part.features[15:] += 5
    for places in lay_out({"a": part}, 0).maps.values():
        first, second = places[:15], places[15:]
        gap = np.linalg.norm(first.mean(0) - second.mean(0))
        assert gap > first.std(0).max() + second.std(0).max()


def test_parts_that_say_nothing_are_left_out_and_nothing_at_all_is_refused():
    part = make_part(10, 3, 1.0, 1.0)
    alone = lay_out({"a": part}, 0).maps["PCA"]
    rounded = 0.1 + 1e-12 * np.arange(10)[:, None] + np.zeros((10, 4))
    constant = Part(rounded, part.votes)
    np.testing.assert_allclose(lay_out({"a": part, "b": constant}, 0).maps["PCA"], alone)
    silent = Part(part.features, np.ones((10, 2)))
    for nothing in (constant, silent):
        with pytest.raises(RunError, match="the same of all images"):
            lay_out({"b": nothing}, 0)
    with pytest.raises(RunError, match="4 images make no map; at least 5"):
        lay_out({"a": make_part(4, 3, 1.0, 1.0)}, 0)


def test_linear_layers_make_the_logits_of_the_recorded_features():
    torch.manual_seed(0)
    specs = (EncoderSpec("autoencoder"), EncoderSpec("camelyon", "squeezenet1_1"))
    model = FusionSpec(specs, "gated").build(5, "random").eval()
    assert isinstance(model, FusionModel)
    images = torch.rand(2, 3, 256, 256)
    features = {"prcc": torch.rand(2, 128, 64, 64), "cam16": torch.rand(2, 5)}
    with torch.inference_mode():
        with record_penultimate(model) as found:
            logits = torch.cat([model(images, features), model(images.flip(0), features)])
        parts = {name: torch.cat(part.features) for name, part in found.items()}
        sizes = {name: tuple(values.shape) for name, values in parts.items()}
        assert sizes == {"cell CNN": (4, 512), "prcc": (4, 512), "cam16": (4, 5)}
        dense = nn.Sequential(*list(model.wbc_cnn.head)[4:])
        votes = [dense(parts["cell CNN"]), model.vote_heads["prcc"].linear(parts["prcc"])]
        again = model.combination(model._join([*votes, parts["cam16"]]))
        for part, vote in zip(found.values(), [*votes, parts["cam16"]], strict=True):
            torch.testing.assert_close(torch.cat(part.votes), vote)
    torch.testing.assert_close(again, logits)
    assert len(found["prcc"].votes) == 2, "nothing is recorded afterwards"


def test_a_trunk_is_recorded_before_its_head():
    model = GrayCnn().eval()
    with torch.inference_mode(), record_penultimate(model) as found:
        logits = model(torch.rand(3, 3, 96, 96))
        torch.testing.assert_close(model.head(found["trunk"].features[0]), logits)
