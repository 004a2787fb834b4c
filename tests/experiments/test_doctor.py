"""The doctor finds what it is shown, says what to do, and its exit code tells."""

from __future__ import annotations

import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from experiments import doctor
from experiments.health import folders, machine, packages
from experiments.health.findings import Finding, format_findings

ROOT = Path(__file__).resolve().parents[2]
Usage = namedtuple("Usage", "total used free")


def versions(**known: str):
    return lambda name: known.get(name)


def test_this_machine_has_what_the_code_needs(tmp_path: Path, capsys):
    found = doctor.main(doctor.Options(tmp_path / "runs", tmp_path / "cache"))
    assert [finding.name for finding in found if finding.status == "fail"] == []
    assert {finding.name for finding in found} == {
        "Python", "packages", "torch and torchvision", "OpenSlide", "import of datasets", "memory",
        "shared memory", "threads", "GPU", f"--runs-root {tmp_path / 'runs'}",
        f"--cache-root {tmp_path / 'cache'}", "pretrained weights",
    }  # fmt: skip
    assert "0 to mend" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_the_exit_code(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setattr(doctor, "check_python", lambda: packages.check_python((3, 10, 1)))
    with pytest.raises(SystemExit) as stopped:
        doctor._run(doctor.Options(tmp_path / "runs", tmp_path / "cache"))
    assert stopped.value.code == 1
    printed = capsys.readouterr().out
    assert "fail  Python: 3.10.1" in printed
    assert "-> 3.11 or newer is needed" in printed


def test_without_the_packages_it_says_how_to_install_them(tmp_path: Path, python):
    (tmp_path / "tyro.py").write_text("raise ImportError('No module named tyro')")
    result = python("experiments/doctor.py", check=False, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("Error: No module named tyro. Install the packages: make run")


def test_it_starts_where_torch_does_not(tmp_path: Path, python):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so: cannot open shared object')")
    result = python(
        "experiments/doctor.py", "--runs-root", tmp_path, "--cache-root", tmp_path,
        check=False, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "libcudart" in result.stdout


def test_missing_and_outdated_packages_are_named():
    lines = ["# why", "torch>=2.11,<2.13   # pair", "", "h5py>=3.11,<4 # store", "tyro>=0.9 # cli"]
    found = packages.check_requirements(lines, versions(torch="2.13.0", tyro="1.0"))
    assert found.status == "fail"
    assert "torch is 2.13.0, needed is <2.13,>=2.11; h5py is not installed" in found.detail
    good = versions(torch="2.12.1+cpu", h5py="3.16", tyro="1.0")
    assert packages.check_requirements(lines, good).detail.startswith("all 3 of")


@pytest.mark.parametrize(
    ("torch_version", "vision", "status"),
    [("2.12.1", "0.27.1", "ok"), ("2.12.1", "0.26.0", "fail"), ("2.12.1", None, "fail")],
)
def test_torch_and_torchvision_must_be_a_pair(torch_version: str, vision: str | None, status: str):
    known = {"torch": torch_version, **({"torchvision": vision} if vision else {})}
    assert packages.check_torch_pair(versions(**known)).status == status


def test_a_pair_that_does_not_work_together_fails(monkeypatch):
    def broken(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("torchvision.ops.nms", broken)
    found = packages.check_torch_pair(versions(torch="2.12.1", torchvision="0.27.1"))
    assert found.status == "fail"
    assert "operator torchvision::nms does not exist" in found.detail


def test_a_lacking_openslide_library_fails(monkeypatch):
    monkeypatch.delitem(sys.modules, "datasets.wsi.library", raising=False)
    monkeypatch.setitem(sys.modules, "openslide", None)
    found = packages.check_openslide()
    assert found.status == "fail"
    assert "openslide-bin" in found.advice


def test_a_stray_datasets_package_is_told_of(tmp_path: Path):
    assert packages.check_stray_datasets(ROOT, versions()).status == "ok"
    stray = packages.check_stray_datasets(ROOT, versions(datasets="4.0.0"))
    assert stray.status == "warn"
    assert "pip uninstall datasets" in stray.advice
    hidden = packages.check_stray_datasets(tmp_path, versions(datasets="4.0.0"))
    assert hidden.status == "fail"
    assert "hides this project's folder" in hidden.detail


@pytest.mark.parametrize(("size", "status"), [(3e9, "fail"), (6e9, "warn"), (16e9, "ok")])
def test_memory(size: float, status: str):
    assert machine.check_memory(size).status == status


def test_limits_of_a_container_count(tmp_path: Path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.find_memory(tmp_path) == 1_000_000
    assert machine.count_cores(tmp_path) == 0.5
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.find_memory(tmp_path) > 1e8
    assert machine.count_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("threads", "cores", "advice"),
    [(8, 2, "OMP_NUM_THREADS=2"), (1, 8, "unset OMP_NUM_THREADS"), (2, 2, ""), (1, 2, "")],
)
def test_threads(threads: int, cores: float, advice: str):
    found = machine.check_threads(threads, cores, {})
    assert advice in found.advice
    assert (found.status == "ok") == (not advice)


def test_little_shared_memory_is_told_of(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 << 20, 0, 64 << 20))
    assert "--shm-size" in machine.check_shared_memory(tmp_path).advice
    assert machine.check_shared_memory(tmp_path / "none").status == "ok"


@pytest.mark.parametrize(("built", "advice"), [(None, "built for the CPU"), ("13.0", "CUDA 13.0")])
def test_a_gpu_that_pytorch_does_not_see_is_told_of(monkeypatch, built, advice: str):
    monkeypatch.setattr(machine, "_ask_driver", lambda: "NVIDIA H200, 550.54")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = machine.check_gpu()
    assert found.status == "warn"
    assert "NVIDIA H200" in found.detail
    assert advice in found.advice


def test_a_gpu_that_does_not_compute_fails(monkeypatch):
    def broken():
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setattr(machine, "_ask_driver", lambda: "GTX 680, 450")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", broken)
    found = machine.check_gpu()
    assert found.status == "fail"
    assert found.detail.endswith("no kernel image is available")


@pytest.mark.parametrize(
    ("value", "free", "status", "said"),
    [
        (1.0, 100e9, "ok", ""),
        (0.5, 100e9, "fail", "it computes wrongly"),
        (1.0, 3e9, "warn", "Others use it: wait, or pass --device cpu."),
    ],
)
def test_a_gpu_that_computes_wrongly_or_is_full_is_told_of(
    monkeypatch, value: float, free: float, status: str, said: str
):
    ones = torch.ones
    monkeypatch.setattr(machine, "_ask_driver", lambda: "NVIDIA H200, 550.54")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H200")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 140e9))
    monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size) * value)
    found = machine.check_gpu()
    assert found.status == status
    assert said in f"{found.detail} {found.advice}"
    assert f"H200, {free / 1e9:.1f} of 140.0 GB free" in found.detail


@pytest.mark.parametrize(("free", "status"), [(5e8, "fail"), (5e9, "warn"), (5e10, "ok")])
def test_room_on_the_disk(tmp_path: Path, monkeypatch, free: float, status: str):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e12, 0, free))
    assert folders.check_folder("--runs-root", tmp_path / "a" / "b").status == status
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_fails(tmp_path: Path):
    (tmp_path / "file").write_text("")
    found = folders.check_folder("--cache-root", tmp_path / "file")
    assert found.status == "fail"
    assert "another --cache-root" in found.advice


@pytest.mark.parametrize("lacking", ["locks", "renaming", "writing"])
def test_a_folder_without_locks_or_renaming_fails(tmp_path: Path, monkeypatch, lacking: str):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    owner, name = {
        "locks": (FileLock, "acquire"), "renaming": (Path, "replace"),
        "writing": (Path, "write_bytes"),
    }[lacking]  # fmt: skip
    monkeypatch.setattr(owner, name, refuse)
    found = folders.check_folder("--runs-root", tmp_path)
    assert found.status == "fail"
    assert "Function not implemented" in found.detail
    assert list(tmp_path.iterdir()) == []


def test_weights_in_the_cache_are_found(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lacking = folders.check_weights(["resnet18"])
    assert lacking.status == "warn"
    assert "--backbone-weights" in lacking.advice
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/resnet18-f37072fd.pth").write_bytes(b"")
    assert folders.check_weights(["resnet18"]).status == "ok"


def test_findings_are_wrapped_and_counted():
    text = format_findings(
        [Finding("ok", "a", "b"), Finding("fail", "c", "word " * 30, "do " * 40)]
    )
    assert max(map(len, text.splitlines())) <= 80
    assert text.endswith("1 to mend, 0 to know of.")
