"""Files of tensors: whole, of honest size, and read without running code."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.errors import ModelError

MAX_ENTRIES: Final = 100_000
"""Of an archive: one for each tensor. Large networks with their optimizer's state have 3,000."""

_ARCHIVE: Final = b"PK\x03\x04"
"""How a zip archive begins, by which `torch.load` too tells it from the older plain pickle."""

_BROKEN: Final = (
    OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
    AssertionError, MemoryError, OverflowError, struct.error, zipfile.BadZipFile, SafetensorError,
)  # fmt: skip
"""What a broken file can make the readers of archives and pickles raise."""


class StateFileError(ModelError):
    """A file of tensors is not to be read; the message is the reason without the file's name."""


class CodeInFileError(StateFileError):
    """A file holds more than plain types and tensors."""


def load_state(path: Path) -> Any:
    """Return what stands in a file of `torch.save` or safetensors: plain types, CPU tensors.

    `torch.save` writes a CRC-32 of each tensor, which `torch.load` does not look at; here they are
    compared first. Safetensors and the plain pickles of PyTorch before 1.6 have none.

    Raises:
        FileNotFoundError: There is no such file.
        CodeInFileError: It holds anything else, which could run code.
        StateFileError: It is broken, no regular file, or larger unpacked than packed.
    """
    try:
        # A named pipe would be waited for without end.
        if path.exists() and not path.is_file():
            raise StateFileError("it is no regular file")
        if path.suffix == ".safetensors":
            return load_file(path)
        with path.open("rb") as file:
            if file.read(len(_ARCHIVE)) == _ARCHIVE:
                _require_sound(file, path.stat().st_size)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        raise CodeInFileError("it holds more than plain types and tensors") from error
    except _BROKEN as error:
        raise StateFileError(str(error) or type(error).__name__) from error


def _require_sound(file: BinaryIO, size: int) -> None:
    """Raise if an archive of `size` bytes is none that `torch.save` wrote, or was changed since.

    Raises:
        StateFileError: Naming the entry.
        BadZipFile: It is not even an archive.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise StateFileError(f"more than {MAX_ENTRIES:,} entries are refused")
        packed = [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise StateFileError(
                f"{packed[0][:60]!r} in it is compressed, which torch.save does not"
            )
        if sum(entry.file_size for entry in entries) > size:
            raise StateFileError(f"its entries claim more than its {size:,} bytes")
        wrong = archive.testzip()
        if wrong is not None:
            raise StateFileError(f"the checksum of {wrong[:60]!r} in it is wrong: it was damaged")
