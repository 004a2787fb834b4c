"""Run folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trainers.errors import RunError
from trainers.run import Run, read_finished

IDENTITY = {"experiment": "toy", "seed": 0, "trainer": {"epochs": 3}}


def open_run(fabric, path: Path, identity=IDENTITY, *, resume=False, overwrite=False) -> Run:
    return Run(fabric, path, identity, {"device": "cpu"}, resume=resume, overwrite=overwrite)


def finish(fabric, path: Path) -> None:
    with open_run(fabric, path) as run:
        run.finish({"test": 1})


def test_folder_says_what_was_asked_and_where_it_ran(fabric, tmp_path):
    finish(fabric, tmp_path / "run")
    config, summary = read_finished(tmp_path / "run")
    assert config == {**IDENTITY, "options": {"device": "cpu"}}
    assert summary == {"test": 1}
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert {"git_commit", "git_dirty", "packages", "device", "python"} <= environment.keys()


def test_finished_run_is_not_overwritten_unasked(fabric, tmp_path):
    finish(fabric, tmp_path)
    with pytest.raises(RunError, match="a finished run.*--resume.*--overwrite"):
        open_run(fabric, tmp_path)
    with open_run(fabric, tmp_path, resume=True) as run:
        assert run.is_finished


def test_unfinished_run_is_not_overwritten_unasked(fabric, tmp_path):
    with open_run(fabric, tmp_path):
        pass
    with pytest.raises(RunError, match="an unfinished run.*last checkpoint"):
        open_run(fabric, tmp_path)
    with open_run(fabric, tmp_path, resume=True) as run:
        assert not run.is_finished


def test_overwrite_deletes_everything_of_the_earlier_run(fabric, tmp_path):
    finish(fabric, tmp_path)
    (tmp_path / "metrics.csv").write_text("old")
    (tmp_path / "checkpoints" / "last.ckpt").write_text("old")
    with open_run(fabric, tmp_path, overwrite=True) as run:
        assert not run.is_finished
        assert run.last_checkpoint is None
        assert not (tmp_path / "metrics.csv").exists()


def test_resume_with_other_settings_is_refused_and_they_are_named(fabric, tmp_path):
    with open_run(fabric, tmp_path):
        pass
    changed = {**IDENTITY, "trainer": {"epochs": 4}}
    with pytest.raises(RunError, match=r"trainer: {'epochs': 3} there, {'epochs': 4} now"):
        open_run(fabric, tmp_path, changed, resume=True)


def test_two_processes_cannot_hold_one_run(fabric, tmp_path):
    first = open_run(fabric, tmp_path)
    with first, pytest.raises(RunError, match="Another process is working in"):
        open_run(fabric, tmp_path, resume=True)
    with open_run(fabric, tmp_path, resume=True):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_refused(fabric, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Cannot write to.*--runs-root"):
        open_run(fabric, tmp_path / "run")


def test_folder_under_a_file_is_refused(fabric, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match="Cannot write to.*--runs-root"):
        open_run(fabric, tmp_path / "file" / "run")


def test_unfinished_run_has_no_result(tmp_path):
    with pytest.raises(RunError, match=r"no finished run: there is no summary\.json"):
        read_finished(tmp_path)
