"""Cards against the torch of an interpreter, with what nvidia-smi would print."""

import resource
import subprocess
import sys

import pytest

from ftbridge.launchers.environment.gpu_checks import LOCKED_BUILD, interpreter_checks, read_torch_build
from ftbridge.launchers.hardware import nvidia

from ...builders.environments import program, torch_environment  # noqa: TID252
from ...fake_gpu.fake import nvidia_smi  # noqa: TID252


@pytest.fixture(autouse=True)
def a100(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    nvidia_smi(tmp_path / "path", "0, GPU-aaaa-1, NVIDIA A100-SXM4-80GB, 81920, 8.0, 570.86.15, 81150")


def judged(python):
    return interpreter_checks(python, nvidia.gpus())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "cuda", "status", "remedy"),
    [
        ("Tesla P100, 16280, 6.0, 570.86, 16000", "12.8", "failure", "no code for this card, only for sm_70, sm_75"),
        ("NVIDIA X, 16280, 13.0, 580.1, 16000", "12.8", "failure", "no code for this card"),
        ("NVIDIA A100, 81920, 8.0, 470.82.01, 81000", "12.8", "failure", "for CUDA 12.8 needs driver 525 or newer"),
        ("NVIDIA A100, 81920, 8.0, 570.86.15, 81000", "13.0", "failure", "for CUDA 13.0 needs driver 580 or newer"),
        ("NVIDIA A100, 81920, 8.0, 570.86.15, 81000", "14.1", "warning", "minimum driver of CUDA 14.1 is not known"),
        ("Tesla T4, 15360, 7.5, 535.1, 15000", "12.8", "warning", "training uses float16"),
        ("NVIDIA A100, 81920, 8.0, 535.183.01, 81000", "12.8", "ok", ""),
        ("NVIDIA L4, 23034, 8.9, 535.183.01, 22000", "12.8", "ok", ""),
        ("NVIDIA GB10, [N/A], 12.1, 580.95.05, [N/A]", "12.8", "ok", ""),
        ("NVIDIA A100, 81920, 8.0, [N/A], [N/A]", "12.8", "ok", ""),
        ("GRID A100-10C, 10240, [N/A], 570.86, 10000", "12.8", "warning", "training uses float16"),
    ],
)
def test_card_is_judged_by_the_torch_of_the_interpreter(tmp_path, row, cuda, status, remedy):
    nvidia_smi(tmp_path / "path", f"0, GPU-1, {row}")
    torch, gpu = judged(torch_environment(tmp_path / "own", cuda))
    assert (torch.status, gpu.status) == ("ok", status)
    assert remedy in gpu.remedy
    assert bool(gpu.remedy) == (status != "ok")


def test_code_that_the_driver_compiles_serves_later_cards(tmp_path):
    nvidia_smi(tmp_path / "path", "0, GPU-1, NVIDIA X, 16280, 13.0, 590.1, 16000")
    assert judged(torch_environment(tmp_path / "own", targets="sm_80 compute_120"))[1].status == "ok"


def test_a_torch_for_the_cpu_is_a_failure_where_there_is_a_gpu(tmp_path):
    python = torch_environment(tmp_path / "own", cuda=None, targets="")
    assert [check.status for check in judged(python)] == ["failure", "ok"]
    (tmp_path / "path" / "nvidia-smi").unlink()
    assert [check.status for check in judged(python)] == ["ok"]


def test_an_interpreter_without_torch_says_so(tmp_path):
    program(tmp_path / "own" / "bin" / "python", f'exec "{sys.executable}" "$@"')
    (check,) = judged(tmp_path / "own" / "bin" / "python")
    assert check.status == "failure"
    assert "torch is not installed there" in check.found
    (check,) = judged(tmp_path)  # a folder where a program should be
    assert "Permission denied" in check.found


def cpu_seconds(call):
    """Return the processor's time that the children of `call` take; others who compute do not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.framework
def test_looking_at_torch_costs_a_fraction_of_importing_it(training_python):
    looks, imports = zip(
        *(
            (
                cpu_seconds(lambda: read_torch_build(training_python)),
                cpu_seconds(lambda: subprocess.run([training_python, "-c", "import torch"], check=True)),
            )
            for _ in range(3)
        ),
        strict=True,
    )
    assert min(looks) < min(imports) / 4


@pytest.mark.framework
def test_the_locks_torch_is_what_the_training_environment_has(training_python):
    build = read_torch_build(training_python)
    assert (build.version, build.cuda, build.targets) == (LOCKED_BUILD.version, LOCKED_BUILD.cuda, LOCKED_BUILD.targets)
