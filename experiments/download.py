"""Get a published set: shows its card and licence first, then downloads, checks and unpacks it.

    python experiments/download.py --source NAME --out DIR --accept-licence

Resumes where an earlier call stopped. Sets behind a form or a login are not downloaded: the steps
and what to place where are printed instead. python experiments/list_sources.py shows all names.
Exit code 1: nothing was downloaded, for want of --accept-licence or since it is done by hand.
"""

from __future__ import annotations

import logging
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.catalogue import PREPARED_SOURCES, SOURCES
from datasets.downloads.addresses import FILES, STEPS, RemoteFile
from datasets.downloads.fetch import fetch_file
from datasets.downloads.unpack import unpack
from experiments.cli import run_script

ARCHIVE_SUFFIXES = (".zip", ".gz")
_NOTHING = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What is fetched, and where it goes."""

    source: str
    """Name of the set, as list_sources.py shows it."""
    out: Path
    """Folder for the files; afterwards the --root of prepare_wbc.py."""
    files: tuple[str, ...] = ()
    """Files to fetch, where a set has several; default: the usual ones."""
    accept_licence: bool = False
    """You have read the licence and keep to it. Without this nothing is downloaded."""
    keep_archive: bool = False
    """Keep what was downloaded after unpacking it."""

    def __post_init__(self) -> None:
        """Refuse unknown names.

        Raises:
            ValueError: Naming the known ones.
        """
        if self.source not in SOURCES:
            raise ValueError(f"--source {self.source} is none of {', '.join(SOURCES)}.")
        known = [file.name for file in FILES.get(self.source, ())]
        unknown = [name for name in self.files if name not in known]
        if unknown:
            allowed = ", ".join(known) or "nothing to download"
            raise ValueError(f"--files {unknown[0]}: {self.source} has {allowed}.")


def main(options: Options) -> list[Path]:
    """Print card and steps, fetch what may be fetched; return the new files and folders.

    Raises:
        SystemExit: With code 1, where nothing was downloaded.
    """
    print(f"{options.source}\n{textwrap.indent(SOURCES[options.source].card, '  ')}\n")
    files = [
        file
        for file in FILES.get(options.source, ())
        if (file.name in options.files if options.files else file.is_usual)
    ]
    for file in files:
        print(f"{file.name}: {file.url}\n  {_describe(file)}")
    steps = STEPS.get(options.source)
    if steps:
        print(textwrap.fill(steps.replace("OUT", str(options.out)), 98))
    if not files:
        sys.exit(_NOTHING)
    if not options.accept_licence:
        print("Nothing was downloaded. If you keep to the licence, add --accept-licence.")
        sys.exit(_NOTHING)
    new: list[Path] = []
    for file in files:
        path = fetch_file(file.url, options.out / file.name, checksum=file.checksum)
        if file.checksum is None:
            log.warning("%s: no checksum is published; it was not verified.", path)
        if path.name.endswith(ARCHIVE_SUFFIXES):
            new += unpack(path, options.out)
            if not options.keep_archive:
                path.unlink()
        else:
            new.append(path)
    print("New: " + ", ".join(map(str, new)))
    if options.source in PREPARED_SOURCES:
        print(
            f"Next: python experiments/prepare_wbc.py --source {options.source} --root "
            f"{options.out} --out data/{options.source}"
        )
    return new


def _describe(file: RemoteFile) -> str:
    return f"size {file.size or 'unknown'}, checksum {file.checksum or 'unknown'}"


if __name__ == "__main__":
    run_script(main, Options, __doc__)
