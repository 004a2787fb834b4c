"""What is read of HDF5 files from strangers: values of known kinds, and only so many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from datasets import safe_hdf5
from datasets.safe_hdf5 import read_attribute, read_column, read_texts, to_text, to_texts

VARYING = h5py.string_dtype()


@pytest.fixture
def file(tmp_path: Path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        yield file
        assert (tmp_path / "x.h5").stat().st_size < 100_000


def test_what_is_written_is_read(file: h5py.File):
    file["numbers"], file["flags"] = np.array([[1.5], [2.5]]), np.array([True, False])
    file["texts"] = to_texts(["a", "", "ünïcode"])
    file.attrs["text"], file.attrs["number"] = to_text("µ"), 3
    assert read_column(file, "numbers").tolist() == [[1.5], [2.5]]
    assert read_column(file, "flags").tolist() == [True, False]
    assert read_texts(file, "texts") == ["a", "", "ünïcode"]
    assert (read_attribute(file, "text"), read_attribute(file, "number")) == ("µ", 3)


@pytest.mark.parametrize(("read", "kind"), [(read_column, "u1"), (read_texts, "S100")])
def test_a_billion_rows_are_refused_unread(file: h5py.File, read: Callable, kind: str):
    file.create_dataset("x", shape=(2**30,), dtype=kind, chunks=(2**20,))
    with pytest.raises(ValueError, match="x is uint8 of the shape|texts of x are too many"):
        read(file, "x")


def test_as_many_rows_and_bytes_as_allowed_are_read_and_one_more_is_not(
    file: h5py.File, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(safe_hdf5, "MAX_ROWS", 4)
    file["numbers"], file["too many numbers"] = np.zeros((2, 2)), np.zeros((5, 1))
    file["texts"], file["too many texts"] = to_texts(["ab"] * 4), to_texts(["a"] * 5)
    file["too long texts"] = to_texts(["abc"] * 3)
    assert read_column(file, "numbers").shape == (2, 2)
    with pytest.raises(ValueError, match="too many numbers"):
        read_column(file, "too many numbers")
    with pytest.raises(ValueError, match="too many texts"):
        read_texts(file, "too many texts")
    monkeypatch.setattr(safe_hdf5, "MAX_TEXT_BYTES", 8)
    assert read_texts(file, "texts") == ["ab"] * 4
    with pytest.raises(ValueError, match="too long texts"):
        read_texts(file, "too long texts")


COLUMNS = {
    "texts of varying length": np.array(["a"], dtype=VARYING),
    "texts of one length": np.array([b"a"]),
    "several values a row": np.zeros(2, dtype=[("a", "i4"), ("b", "i4")]),
    "complex numbers": np.zeros(2, dtype=np.complex64),
    "a single number": np.float64(3),
}


@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS)
def test_a_column_of_numbers_holds_nothing_else(file: h5py.File, values: np.ndarray):
    file.create_dataset("x", data=values)
    with pytest.raises(ValueError, match="x is .* of the shape"):
        read_column(file, "x")


TEXTS = {
    "of varying length": np.array(["a"], dtype=VARYING),
    "numbers": np.zeros(2),
    "a table": to_texts(["a", "b"]).reshape(1, 2),
    "a single one": np.bytes_(b"a"),
}


@pytest.mark.parametrize("values", TEXTS.values(), ids=TEXTS)
def test_a_column_of_texts_holds_nothing_else(file: h5py.File, values: np.ndarray):
    file.create_dataset("x", data=values)
    with pytest.raises(ValueError, match="x holds no texts of one length"):
        read_texts(file, "x")


ATTRIBUTES = {
    "a text of varying length": "a",
    "several numbers": np.arange(3),
    "one number in a list": np.arange(1),
    "several texts": to_texts(["a", "b"]),
    "several values": np.zeros((), dtype=[("a", "i4"), ("b", "i4")]),
    "nothing": h5py.Empty("f4"),
}


@pytest.mark.parametrize("value", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_an_attribute_is_one_number_or_one_text_of_a_length(file: h5py.File, value: object):
    file.attrs["x"] = value
    with pytest.raises(ValueError, match="the attribute x is"):
        read_attribute(file, "x")
