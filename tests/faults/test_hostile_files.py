"""Mutated binary files through every reader: refused by name or read, never a crash or a hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from datasets.downloads.unpack import unpack
from datasets.errors import DatasetError
from datasets.features import FeatureStore
from datasets.packing import ImagePack
from datasets.safe_hdf5 import get_dataset, read_texts
from datasets.samples import Sample
from datasets.sources import bloodmnist, pcam
from datasets.synthetic.slides import draw_slide, write_slide
from datasets.wsi.manifest import hash_origin
from datasets.wsi.store import read_table
from datasets.wsi.training import SlideTileDataset
from models.backbones import read_state
from models.errors import ModelError
from tests.faults.corpus import FEATURES, IMAGES, KEYS, SIDE, SPEC, TILE_PIXELS, TILES, WRITERS
from tests.faults.mutations import mutate, read_mutated_slides, read_slide
from trainers.checkpoint import load_model_state, read_checkpoint
from trainers.errors import RunError

REFUSALS = (DatasetError, ModelError, RunError)
FEW, MANY = 12, 1000
"""Mutations of each kind of file: always, and in the long run."""
MAX_SECONDS = 5.0


def read_pack(path: Path) -> None:
    pack = ImagePack(path, SIDE)
    for key, image in zip(KEYS, IMAGES, strict=True):
        if key in pack:
            assert torch.equal(pack.read(key), image)


def read_store(path: Path) -> None:
    store = FeatureStore(path, SPEC.key(KEYS))
    for key, features in zip(KEYS, FEATURES, strict=True):
        assert np.array_equal(store.read(key), features)


def read_tiles(path: Path) -> None:
    facts, table = read_table(path)
    origins = [hash_origin(facts, *corner.tolist()) for corner in table.corners]
    samples = [
        Sample(name, path, "normal", "train", "g", origin)
        for name, origin in zip(TILES, origins, strict=True)
    ]
    tiles = SlideTileDataset(samples, ("normal", "tumor"), SIDE)
    for row in range(len(TILES)):
        assert np.array_equal(tiles[row]["image"].permute(1, 2, 0), TILE_PIXELS[row])


def read_pcam_tiles(path: Path) -> None:
    pcam._open.cache_clear()
    pcam._require_tiles(path, 2)
    assert pcam._read_tile(path, 1).size == (96, 96)


def read_cells(path: Path) -> None:
    bloodmnist._read_images.cache_clear()
    for image in bloodmnist.read_bloodmnist(path).images:
        assert image.make is not None
        image.make()


def read_run_checkpoint(path: Path) -> None:
    model = nn.Module()
    model.register_buffer("weight", torch.zeros(3))
    load_model_state(model, read_checkpoint(path).get("model", {}), path)


def unpack_archive(path: Path) -> None:
    unpack(path, path.parent / f"{path.name}-{time.monotonic_ns()}")


READERS: dict[str, Callable[[Path], object]] = {
    "pack.h5": read_pack,
    "store.h5": read_store,
    "tiles.h5": read_tiles,
    "pcam.h5": read_pcam_tiles,
    "bloodmnist.npz": read_cells,
    "last.ckpt": read_run_checkpoint,
    "legacy.ckpt": read_run_checkpoint,
    "weights.safetensors": read_state,
    "archive.zip": unpack_archive,
}


def read_mutations(name: str, number: int, seed: int, folder: Path) -> Counter[str]:
    """Return how many mutations are read and refused; any other error fails the test."""
    rng = np.random.default_rng([seed, sorted(READERS).index(name)])
    WRITERS[name](folder / name)
    content = (folder / name).read_bytes()
    READERS[name](folder / name)
    found: Counter[str] = Counter()
    for index in range(number):
        path = folder / f"{index}-{name}"
        path.write_bytes(mutate(content, rng))
        start = time.monotonic()
        try:
            READERS[name](path)
            found["read"] += 1
        except REFUSALS as error:
            found["refused" if path.name in str(error) else "refused without a name"] += 1
        assert time.monotonic() - start < MAX_SECONDS
        # A damaged store is put aside under another name.
        path.unlink(missing_ok=True)
    assert not found["refused without a name"]
    return found


@pytest.mark.parametrize("name", READERS)
def test_some_mutated_files_are_read_or_refused(name: str, tmp_path: Path):
    assert read_mutations(name, FEW, 0, tmp_path)["refused"] >= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", READERS)
def test_many_mutated_files_are_read_or_refused(name: str, tmp_path: Path):
    """About 30 seconds each: 9,000 files."""
    found = read_mutations(name, MANY, 1, tmp_path)
    assert found["read"] + found["refused"] == MANY
    assert found["refused"] >= MANY / 20


def read_slides_apart(folder: Path, number: int) -> Counter[str]:
    """Return how many of `number` spoilt slides are read and refused, by a child that lives on."""
    write_slide(folder / "slide.tif", draw_slide(256, 512, np.random.default_rng(0), None))
    read_slide(folder / "slide.tif")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=read_mutated_slides, args=(folder, number, theirs), daemon=True)
    child.start()
    theirs.close()
    found: Counter[str] = Counter()
    with contextlib.suppress(EOFError):
        while ours.poll(60):
            found[ours.recv()] += 1
    child.join(60)
    assert child.exitcode == 0, f"{found}, exit code {child.exitcode}"
    return found


def test_some_mutated_slides_are_read_or_refused(tmp_path: Path):
    found = read_slides_apart(tmp_path, FEW)
    assert found.total() == FEW
    assert found["refused"] >= 1


@pytest.mark.slow
def test_many_mutated_slides_are_read_or_refused(tmp_path: Path):
    """About a minute."""
    found = read_slides_apart(tmp_path, MANY)
    assert found.total() == MANY
    assert found["refused"] >= MANY / 20


def test_store_of_another_byte_order_is_refused(tmp_path: Path):
    WRITERS["store.h5"](tmp_path / "store.h5")
    with h5py.File(tmp_path / "store.h5", "r+") as file:
        swapped = file["features"][:].astype(">f2")
        del file["features"]
        file["features"] = swapped
    with pytest.raises(DatasetError, match="no whole feature store"):
        read_store(tmp_path / "store.h5")


def test_few_bytes_that_unpack_to_much_are_refused(tmp_path: Path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("names", shape=(2**30,), dtype="S1", chunks=(2**20,))
        file.create_dataset(
            "images", shape=(2**14, 3, 256, 256), dtype="u1", chunks=(2**13, 3, 256, 256)
        )
        assert (tmp_path / "x.h5").stat().st_size < 10_000
        with pytest.raises(ValueError, match="names are too many or too long"):
            read_texts(file, "names")
        with pytest.raises(ValueError, match="each chunk of images takes 1611 MB"):
            get_dataset(file, "images")


def test_hdf5_packed_by_filters_with_known_holes_is_refused(tmp_path: Path):
    pixels = np.zeros((8, 8), dtype=np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=pixels, chunks=(4, 4), scaleoffset=0)
        file.create_dataset("y", data=pixels, compression="gzip", shuffle=True, fletcher32=True)
        with pytest.raises(ValueError, match="x is packed by a filter that is not read here: 6"):
            get_dataset(file, "x")
        assert not get_dataset(file, "y")[:].any()


def test_hdf5_whose_chunks_have_other_dimensions_is_refused(tmp_path: Path):
    """HDF5 itself reads on: the rank of the data, a byte of its header, is made 1 here."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((8, 8), dtype=np.uint8), chunks=(4, 4))
    content = bytearray(path.read_bytes())
    content[content.index(bytes([1, 2, 1]) + bytes(5) + struct.pack("<QQ", 8, 8)) + 1] = 1
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert file["x"].shape == (8,)
        with pytest.raises(ValueError, match="x has 1 dimensions, its chunks 2"):
            get_dataset(file, "x")


@pytest.mark.parametrize("kind", ["external", "link", "virtual", "texts"])
def test_hdf5_that_leads_out_of_its_file_is_refused(kind: str, tmp_path: Path):
    """Bytes of other files would be shown as pixels; texts of varying length can hang."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(2 * 96 * 96 * 3))
    shape = (2, 96, 96, 3)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(shape, dtype=np.uint8)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        if kind == "external":
            file.create_dataset("x", shape, "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        elif kind == "link":
            file["x"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, "u1")
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", shape)
            file.create_virtual_dataset("x", layout)
        else:
            file["x"] = np.array(["text"], dtype=h5py.string_dtype())
    with pytest.raises(DatasetError, match=r"x\.h5"):
        pcam._require_tiles(path, 2)
    with pytest.raises(DatasetError, match=r"x\.h5"):
        pcam._read_tile(path, 0)


def lead_out(path: Path, name: str, kind: str) -> None:
    """Put the values of a dataset into another file, and a way to them into its place."""
    other = path.with_name("other")
    with h5py.File(path, "r+") as file:
        values = file[name][:]
        del file[name]
        if kind == "external":
            other.write_bytes(values.tobytes())
            place = [(str(other), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(name, values.shape, values.dtype, external=place)
            return
        with h5py.File(other, "w") as target:
            target["x"] = values
        if kind == "link":
            file[name] = h5py.ExternalLink(str(other), "/x")
        else:
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(other, "x", values.shape)
            file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("kind", ["external", "link", "virtual"])
@pytest.mark.parametrize(
    ("file_name", "dataset"),
    [("pack.h5", "images"), ("store.h5", "features"), ("tiles.h5", "image")],
)
def test_what_the_project_wrote_is_refused_once_its_values_lie_elsewhere(
    file_name: str, dataset: str, kind: str, tmp_path: Path
):
    """Even the right values: whoever can say where they lie can have any file read."""
    path = tmp_path / file_name
    WRITERS[file_name](path)
    READERS[file_name](path)
    lead_out(path, dataset, kind)
    with h5py.File(path) as file:
        assert file[dataset][:].any(), "h5py alone follows"
    with pytest.raises(DatasetError, match=f"{file_name}.*(is a link|outside of the file)"):
        READERS[file_name](path)


def test_array_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(bloodmnist, "MAX_ARRAY_BYTES", 1000)
    np.savez_compressed(tmp_path / "bloodmnist.npz", train_labels=np.zeros(10**6, dtype=np.uint8))
    with pytest.raises(DatasetError, match="allowed are 1,000"):
        bloodmnist.read_bloodmnist(tmp_path)
