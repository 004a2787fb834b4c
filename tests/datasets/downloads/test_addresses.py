"""Every published set can be had: by an address, or by steps that are told."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.catalogue import SOURCES
from datasets.downloads.addresses import FILES, STEPS


def test_every_source_has_an_address_or_steps():
    assert set(SOURCES) == set(FILES) | set(STEPS)


def test_addresses_are_well_formed():
    for files in FILES.values():
        assert len({file.name for file in files}) == len(files)
        for file in files:
            assert file.url.startswith("https://")
            assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}", file.checksum)
            assert Path(file.name).name == file.name
