"""Runs a script's main: command line, logging, and errors that a user can act on."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import TypeVar

import tyro
from tqdm.contrib.logging import logging_redirect_tqdm

from datasets.errors import DatasetError
from experiments.reporting.prediction_tables import show
from models.errors import ModelError
from trainers.distributed import explain_lost_processes, unwind_on_sigterm
from trainers.errors import InterruptedRunError, RunError

Options = TypeVar("Options")

_USER_ERRORS = (DatasetError, ModelError, RunError, ValueError, OSError, MemoryError)
_WRONG_USE = 2
_INTERRUPTED = 130


@unwind_on_sigterm()
def run_script(main: Callable[[Options], object], options_type: type[Options], about: str) -> None:
    """Parse the command line into `options_type`, call `main`, and exit.

    Errors that a user can cause are printed without a traceback, exit code 2; set
    ``LEUKOFUSE_DEBUG=1`` to see it. A stopped run exits with 130 and says how to resume.

    Args:
        main: Takes the options.
        options_type: A dataclass.
        about: Help text, the script's docstring.
    """
    is_first = os.environ.get("RANK", "0") == "0"
    handler = logging.StreamHandler()
    handler.setFormatter(_WrappingFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO if is_first else logging.ERROR, handlers=[handler])
    for noisy in ("lightning_fabric", "PIL", "matplotlib", "timm", "torch.distributed"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    log = logging.getLogger("leukofuse")
    try:
        options = tyro.cli(options_type, description=about)
        with logging_redirect_tqdm(), explain_lost_processes():
            main(options)
    except InterruptedRunError as error:
        log.error("%s Its state is saved. Resume with:\n  %s", error, _resume_command())
        sys.exit(_INTERRUPTED)
    except KeyboardInterrupt:
        log.error("Stopped. Resume from the last checkpoint with:\n  %s", _resume_command())
        sys.exit(_INTERRUPTED)
    except (*_USER_ERRORS, RuntimeError) as error:
        is_known = isinstance(error, _USER_ERRORS) or _ran_out_of_memory(error)
        if not is_known or os.environ.get("LEUKOFUSE_DEBUG"):
            raise
        log.error("Error: %s", _message_of(error) or type(error).__name__)
        sys.exit(_WRONG_USE)


class _WrappingFormatter(logging.Formatter):
    """Wraps long lines between words on a terminal; log files keep them whole.

    Names of files and classes come from strangers: what would move a cursor is written out.
    """

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines()
        text = "\n".join(show(line) for line in lines)
        if not sys.stderr.isatty():
            return text
        columns = shutil.get_terminal_size().columns
        return "\n".join(textwrap.fill(line, columns) for line in text.splitlines())


def _message_of(error: Exception) -> str:
    """Return what an error says, without the traceback that a loader's process adds to it."""
    text = str(error)
    if "Original Traceback" in text:
        text = text.rpartition(f"{type(error).__qualname__}: ")[2].strip()
    if _ran_out_of_memory(error):
        # Python's own says nothing at all, NumPy's and PyTorch's what could not be had.
        return (
            f"Memory ran out{f' ({text})' if text else ''}. Lower --batch-size, --num-workers or "
            "--input-size, of those that the script has (--help lists them), or end other programs."
        )
    return text


def _ran_out_of_memory(error: Exception) -> bool:
    """Return whether memory is lacking, of the machine or of a GPU.

    PyTorch's own errors are told by name and text, since scripts that need no PyTorch start
    without it.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _resume_command() -> str:
    arguments = [a for a in sys.argv if a not in ("--resume", "--overwrite")]
    return shlex.join(["python", *arguments, "--resume"])
