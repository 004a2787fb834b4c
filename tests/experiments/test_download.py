"""download.py as a user runs it; no host is asked."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.downloads.addresses import FILES, RemoteFile
from experiments import download


@pytest.fixture
def offline_set(tmp_path, monkeypatch) -> list[str]:
    """The addresses that the script asks for; each gives a zip with one photograph."""
    asked: list[str] = []

    def fetch(url: str, path: Path, *, checksum: str | None) -> Path:
        asked.append(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("BCCD_Dataset-master/BCCD/JPEGImages/x.jpg", b"x")
        return path

    monkeypatch.setattr(download, "fetch_file", fetch)
    return asked


def test_licence_is_shown_first_and_must_be_accepted(offline_set, tmp_path, capsys):
    options = download.Options(source="bccd", out=tmp_path / "out")
    with pytest.raises(SystemExit, match="1"):
        download.main(options)
    printed = capsys.readouterr().out
    assert "Licence: MIT" in printed
    assert "size unknown, checksum unknown" in printed
    assert "--accept-licence" in printed
    assert offline_set == []
    new = download.main(replace(options, accept_licence=True))
    assert new == [tmp_path / "out" / "BCCD_Dataset-master"]
    assert offline_set == [FILES["bccd"][0].url]
    assert not (tmp_path / "out" / "BCCD_Dataset.zip").exists()
    shutil.rmtree(tmp_path / "out")
    download.main(replace(options, accept_licence=True, keep_archive=True))
    assert (tmp_path / "out" / "BCCD_Dataset.zip").exists()


@pytest.mark.parametrize(
    ("source", "expected"),
    [("raabin", "raabindata.com"), ("aml", "Aspera"), ("kaggle_blood_cells", "Sign in")],
)
def test_sets_behind_a_form_get_steps_and_an_exit_code_that_is_no_success(
    offline_set, tmp_path, capsys, source, expected
):
    options = download.Options(source=source, out=tmp_path / "here", accept_licence=True)
    with pytest.raises(SystemExit, match="1"):
        download.main(options)
    printed = capsys.readouterr().out
    assert expected in printed
    assert str(tmp_path / "here") in printed.replace("\n", "")
    assert offline_set == []


def test_files_are_chosen_by_name(tmp_path, monkeypatch):
    asked = []

    def fetch(url: str, path: Path, *, checksum: str | None) -> Path:
        asked.append((path.name, checksum))
        return path

    monkeypatch.setattr(download, "fetch_file", fetch)
    options = download.Options(source="bloodmnist", out=tmp_path, accept_licence=True)
    download.main(options)
    download.main(replace(options, files=("bloodmnist_64.npz",)))
    assert asked == [
        ("bloodmnist.npz", "md5:7053d0359d879ad8a5505303e11de1dc"),
        ("bloodmnist_64.npz", "md5:2b94928a2ae4916078ca51e05b6b800b"),
    ]
    with pytest.raises(ValueError, match=r"--files x\.npz: bloodmnist has bloodmnist\.npz"):
        download.Options(source="bloodmnist", out=tmp_path, files=("x.npz",))
    with pytest.raises(ValueError, match="--files x: raabin has nothing to download"):
        download.Options(source="raabin", out=tmp_path, files=("x",))
    with pytest.raises(ValueError, match="--source lisc is none of"):
        download.Options(source="lisc", out=tmp_path)


def test_remote_files_default_to_unknown_checksum():
    file = RemoteFile("a.zip", "https://host/a.zip")
    assert (file.checksum, file.size, file.is_usual) == (None, "", True)


def test_help_documents_every_flag(python):
    text = python("experiments/download.py", "--help").stdout
    assert "python experiments/download.py" in text
