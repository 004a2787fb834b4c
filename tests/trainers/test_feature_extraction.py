"""Features that are extracted once, and again where the store is not whole."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from datasets.errors import DatasetError
from datasets.features import ViewStores
from datasets.images import to_tensor
from datasets.locks import OwnedLock
from datasets.samples import Sample, hash_file
from datasets.views import NUM_VIEWS, take_view
from models.frozen import FrozenEncoder
from trainers import feature_extraction
from trainers.feature_extraction import ensure_features


def save_images(folder: Path, images: list[Image.Image]) -> list[Sample]:
    """Save images; return their samples in the order of a store's rows."""
    folder.mkdir()
    made = []
    for index, image in enumerate(images):
        path = folder / f"{index}.png"
        image.save(path)
        made.append(Sample(str(index), path, None, "train", str(index), hash_file(path)))
    return sorted(made, key=lambda sample: sample.content_key)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    plain = [Image.new("RGB", (8, 8), (40 * index, 9, 200)) for index in range(5)]
    return save_images(tmp_path / "plain", plain)


@pytest.fixture
def encoder() -> FrozenEncoder:
    torch.manual_seed(0)
    return FrozenEncoder("toy", nn.Conv2d(3, 3, 3, padding=1), 8, (3, 8, 8))


@pytest.fixture
def encoded(encoder, monkeypatch) -> list[int]:
    """The numbers of images in the passes so far, which are of one image each."""
    monkeypatch.setattr(feature_extraction, "_CPU_IMAGES", 1)
    passes: list[int] = []
    encoder.register_forward_pre_hook(lambda _, images: passes.append(len(images[0])))
    return passes


@pytest.fixture
def extract(fabric, encoder, samples, tmp_path):
    """Returns the store, two images a batch."""
    return lambda: ensure_features(fabric, encoder, samples, tmp_path / "cache", batch_size=2)


def test_a_store_that_is_there_is_served_without_the_images_and_without_writing(
    extract, samples, caplog
):
    first = extract().read(samples[3].content_key)
    for sample in samples:
        sample.path.unlink()
    for path in extract().path.parent.glob("*.lock*"):
        path.unlink()
    assert torch.equal(extract().read(samples[3].content_key), first)
    assert [path.suffix for path in extract().path.parent.iterdir()] == [".h5"]


def test_a_store_that_was_cut_short_is_made_again_with_the_same_bytes(extract, encoded, caplog):
    path = extract().path
    whole = path.read_bytes()
    path.write_bytes(whole[:-700])
    encoded.clear()
    extract()
    assert encoded == [1] * 5  # HDF5 opens no file that is shorter than it says.
    assert "is no whole feature store" in caplog.text
    assert "Its features are made again." in caplog.text
    assert path.read_bytes() == whole


def test_damaged_features_are_not_served_and_made_again_by_the_next_run(
    extract, samples, encoder, caplog
):
    store = extract()
    whole = store.path.read_bytes()
    content = bytearray(whole)
    content[content.find(store.read(samples[4].content_key).numpy().tobytes())] ^= 1
    store.path.write_bytes(content)
    with pytest.raises(DatasetError, match="is damaged"):
        extract().read(samples[4].content_key)
    for sample in samples[:4]:
        sample.path.unlink()  # They are not needed again: the last batch is the fifth image's.
    extract()
    assert store.path.read_bytes() == whole


@pytest.fixture
def speckled(tmp_path: Path) -> list[Sample]:
    """Images that differ in each of their views."""
    images = []
    for index in range(5):
        generator = torch.Generator().manual_seed(index)
        pixels = torch.randint(256, (8, 8, 3), dtype=torch.uint8, generator=generator)
        images.append(Image.fromarray(pixels.numpy()))
    return save_images(tmp_path / "speckled", images)


def test_stored_features_of_a_view_are_those_of_the_image_seen_so(
    fabric, encoder, speckled, tmp_path
):
    # Three rows a batch, so that views of an image lie in several batches.
    stores = ensure_features(
        fabric, encoder, speckled, tmp_path, turned=speckled[1:4], batch_size=3
    )
    assert isinstance(stores, ViewStores)
    assert (len(stores.upright), len(stores.turned)) == (5, 3 * (NUM_VIEWS - 1))
    seen = set()
    for sample in speckled[1:4]:
        image = to_tensor(Image.open(sample.path), 8)
        for view in range(NUM_VIEWS):
            expected = encoder(take_view(image, view)[None] / 255)[0]
            found = stores.read(sample.content_key, view)
            assert torch.allclose(found.float(), expected, atol=1e-3), view
            seen.add(found.numpy().tobytes())
    assert len(seen) == 3 * NUM_VIEWS
    with pytest.raises(DatasetError, match="holds no features of the image .*, view 2"):
        stores.read(speckled[0].content_key, 2)


def test_a_file_that_changed_since_the_set_was_opened_leaves_nothing_in_the_store(
    extract, samples, encoder
):
    kept = samples[3].path.read_bytes()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(samples[3].path)
    with pytest.raises(DatasetError, match=r"\d\.png changed since this set was opened"):
        extract()
    samples[3].path.write_bytes(kept)
    expected = encoder(to_tensor(Image.open(samples[3].path), 8)[None] / 255)[0]
    found = extract().read(samples[3].content_key)
    assert torch.allclose(found.float(), expected, atol=1e-3)


def test_turned_images_leave_the_store_of_the_upright_ones_as_it_was(
    fabric, encoder, speckled, tmp_path
):
    path = ensure_features(fabric, encoder, speckled, tmp_path / "cache").path
    before = path.stat().st_mtime_ns
    stores = ensure_features(fabric, encoder, speckled, tmp_path / "cache", turned=speckled[:1])
    assert isinstance(stores, ViewStores)
    assert (stores.upright.path, path.stat().st_mtime_ns) == (path, before)
    assert stores.turned.path != path


@pytest.mark.parametrize("together", [1, 2])
def test_few_images_at_a_time_have_the_features_of_all_at_once(
    fabric, encoder, speckled, tmp_path, monkeypatch, together
):
    found = []
    for number in (together, 64):
        monkeypatch.setattr(feature_extraction, "_CPU_IMAGES", number)
        cache = tmp_path / str(number)
        store = ensure_features(fabric, encoder, speckled, cache, batch_size=5)
        found.append(torch.stack([store.read(sample.content_key) for sample in speckled]))
    assert torch.allclose(*found, rtol=1e-3, atol=1e-4)  # Stored in half precision.
    assert found[0].std(dim=0).min() > 0.01, "one image's features were stored for all"


def test_encoders_that_see_images_in_other_sizes_have_stores_of_their_own(
    fabric, samples, tmp_path
):
    flat = nn.AdaptiveAvgPool2d(1)
    paths = [
        ensure_features(
            fabric, FrozenEncoder("toy", flat, size, (3, 1, 1)), samples, tmp_path / "cache"
        ).path
        for size in (8, 16)
    ]
    assert paths[0] != paths[1]


class TellsOfWaiting(logging.Handler):
    """Does something once, when somebody is said to wait."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act = act

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Waiting: "):
            self.act()


@pytest.mark.parametrize("is_written", [True, False])
def test_one_that_waits_for_a_store_encodes_only_what_the_first_one_did_not_write(
    extract, encoded, caplog, is_written
):
    path = extract().path
    whole = path.read_bytes()
    path.unlink()
    encoded.clear()
    first = OwnedLock(path.with_suffix(".lock"), path)

    def end_first() -> None:
        assert not encoded, "it did not wait"
        if is_written:
            path.write_bytes(whole)
        first.release()

    tells = TellsOfWaiting(end_first)
    logging.getLogger("datasets.locks").addHandler(tells)
    try:
        first.acquire()
        extract()
    finally:
        first.release()
        logging.getLogger("datasets.locks").removeHandler(tells)
    assert f"Waiting: {path} is held by process" in caplog.text
    assert encoded == ([] if is_written else [1] * 5)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("stopped_at", "again"), [(16, 17), (17, 1)])
def test_an_extraction_that_was_stopped_loses_at_most_its_batch_of_16(
    fabric, encoder, encoded, tmp_path, stopped_at, again
):
    samples = save_images(
        tmp_path / "many", [Image.new("RGB", (8, 8), (9 * index, 7, 1)) for index in range(17)]
    )

    def stop(*_: object) -> None:
        if len(encoded) == stopped_at:
            raise KeyboardInterrupt

    hook = encoder.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        ensure_features(fabric, encoder, samples, tmp_path / "cache")
    hook.remove()
    encoded.clear()
    ensure_features(fabric, encoder, samples, tmp_path / "cache")
    assert len(encoded) == again
