"""Run folders."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from datasets.locks import OwnedLock
from trainers.errors import RunError
from trainers.run import Run, read_finished, remove_run, tidy_up

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


def test_killed_while_overwriting_no_checkpoint_is_taken_for_the_new_runs(fabric, tmp_path):
    """Whatever the order in which a folder lists its files."""
    folders = [tmp_path / str(last) for last in range(12)]
    resumed = [resumes_after_kill(fabric, folder, last) for last, folder in enumerate(folders)]
    assert any(resumed), "no kill left a folder that a run of other settings may go on in"


def resumes_after_kill(fabric, run_dir: Path, last: int) -> bool:
    """Overwrite a run, killed before deletion number `last`; return if another one goes on there.

    Of that one, nothing must be there.
    """
    finish(fabric, run_dir)
    for name in ("last.ckpt", "best.ckpt"):
        (run_dir / "checkpoints" / name).write_text("old")
    (run_dir / "a.csv").write_text("old")
    (run_dir / "z.csv").write_text("old")
    calls = iter(range(100))
    unlink = os.unlink

    def unlink_until_killed(path, **more):
        if next(calls) == last:
            raise KeyboardInterrupt
        unlink(path, **more)

    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(os, "unlink", unlink_until_killed)
        open_run(fabric, run_dir, overwrite=True)
    was_killed = next(calls) > last
    assert was_killed or last > 3, "the kill came too late"
    (run_dir / ".lock.owner").unlink(missing_ok=True)
    other = {**IDENTITY, "seed": 1}
    resumed = False
    with suppress(RunError), open_run(fabric, run_dir, other, resume=True) as run:
        assert run.last_checkpoint is None
        assert not run.is_finished
        resumed = True
    checkpoints = run_dir / "checkpoints"
    assert (checkpoints / "best.ckpt").exists() or not (checkpoints / "last.ckpt").exists()
    return resumed


def test_a_run_is_removed_unless_another_process_works_in_it(fabric, tmp_path):
    finish(fabric, tmp_path / "run")
    with OwnedLock(tmp_path / "run" / ".lock", "run"), pytest.raises(RunError, match="process"):
        remove_run(tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").exists()
    remove_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    remove_run(tmp_path / "run")


def test_checkpoints_without_a_config_are_nobodys(fabric, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with open_run(fabric, tmp_path, resume=True) as run:
        assert run.last_checkpoint is None
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_looking_at_a_finished_run_changes_nothing_even_while_others_hold_it(fabric, tmp_path):
    finish(fabric, tmp_path)
    (tmp_path / "environment.json").write_text("that of its making")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with OwnedLock(tmp_path / ".lock", tmp_path), open_run(fabric, tmp_path, resume=True) as run:
        assert run.is_finished
    for name, content in before.items():
        if not name.startswith(".lock"):
            assert (tmp_path / name).read_bytes() == content, name


def test_resume_with_other_settings_is_refused_and_they_are_named(fabric, tmp_path):
    with open_run(fabric, tmp_path):
        pass
    changed = {**IDENTITY, "trainer": {"epochs": 4}}
    with pytest.raises(RunError, match=r"\n  trainer\.epochs: 3 there, 4 now\nPass"):
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


def test_what_a_kill_left_in_a_finished_run_goes_when_it_is_looked_at(fabric, tmp_path):
    finish(fabric, tmp_path)
    (tmp_path / ".summary.json.1.tmp").touch()
    (tmp_path / ".lock.owner").write_text("{}")
    with open_run(fabric, tmp_path, resume=True) as run:
        assert run.is_finished
    assert not list(tmp_path.glob("*.tmp"))
    assert not (tmp_path / ".lock.owner").exists()


def test_what_a_kill_left_of_a_checkpoint_goes_when_the_run_is_resumed(fabric, tmp_path):
    with open_run(fabric, tmp_path):
        pass
    (tmp_path / "checkpoints" / "last.ckpt").write_text("whole")
    for folder in (tmp_path, tmp_path / "checkpoints"):
        (folder / ".last.ckpt.1.tmp").touch()
    with open_run(fabric, tmp_path, resume=True) as run:
        assert run.last_checkpoint is not None
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_another_process_is_writing_in_a_run_is_left_alone(fabric, tmp_path):
    finish(fabric, tmp_path)
    (tmp_path / ".summary.json.1.tmp").touch()
    with OwnedLock(tmp_path / ".lock", tmp_path):
        tidy_up(tmp_path)
    assert (tmp_path / ".summary.json.1.tmp").exists()
    tidy_up(tmp_path)
    assert not (tmp_path / ".summary.json.1.tmp").exists()
