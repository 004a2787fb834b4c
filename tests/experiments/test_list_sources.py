"""list_sources.py as a user runs it."""

from __future__ import annotations

import pytest

from datasets.catalogue import PREPARED_SOURCES, SOURCES, Source
from datasets.cells import open_cells
from datasets.errors import DatasetError
from experiments import list_sources


def test_every_source_has_a_whole_card():
    for name, source in SOURCES.items():
        card = source.card
        for head in ("What:", "Splits:", "Source:", "Folders:"):
            assert head in card, (name, head)
        assert "Args:" not in card
        if name in PREPARED_SOURCES:
            assert "Licence:" in card, name
            assert "Citation:" in card, name
            assert "Classes:" in card, name


def test_reader_without_card_is_refused():
    with pytest.raises(ValueError, match="no card"):
        _ = Source(open_cells, ()).card


def test_list_shows_what_is_there_and_how_it_differs(pbc_root, raabin_root, tmp_path, capsys):
    found = list_sources.main(list_sources.Options(data_root=tmp_path))
    assert list(found) == list(SOURCES)
    assert "Found: 80 images" in found["pbc"]
    assert "ig: 10 files, published 2895" in found["pbc"]
    assert "TestB: lymphocyte 1, neutrophil 1" in found["raabin"]
    assert found["aml"] == f"Found: nothing under {tmp_path}."
    assert "doi 10.7937/tcia.2019.36f5o9ld" in capsys.readouterr().out


def test_list_says_what_cannot_be_read(tmp_path):
    (tmp_path / "BCCD" / "Annotations").mkdir(parents=True)
    found = list_sources.main(list_sources.Options(data_root=tmp_path, source="bccd"))
    assert "cannot be read" in found["bccd"]
    assert "JPEGImages" in found["bccd"]


def test_list_counts_the_bundle(tiny_bundle):
    found = list_sources.main(list_sources.Options(data_root=tiny_bundle, source="prcc"))
    assert found["prcc"].startswith("Found: 6 images in")


def test_list_refuses_unknown_names_and_folders(tmp_path):
    with pytest.raises(ValueError, match="--source lisc is none of wbc_bundle"):
        list_sources.Options(source="lisc")
    with pytest.raises(DatasetError, match="No folder .*--data-root"):
        list_sources.main(list_sources.Options(data_root=tmp_path / "gone"))


def test_help_documents_every_flag(python):
    text = python("experiments/list_sources.py", "--help").stdout
    assert "python experiments/list_sources.py" in text
