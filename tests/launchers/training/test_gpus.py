"""The frameworks on machines with GPUs, as far as a machine without one can show it.

An nvidia-smi of given lines and a torch that believes in the cards (tests/fake_gpu) stand in for them.
"""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, SetupError
from ftbridge.core.files.atomic import write_atomic
from ftbridge.launchers.environment import venv
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.launchers.training.prepare import prepare

from ...conftest import SMALL  # noqa: TID252
from ...fake_gpu import fake  # noqa: TID252

PROGRAMS = Path(fake.__file__).parent
pytestmark = pytest.mark.framework
BACKENDS = ["xtuner", "llamafactory"]
H100S, T4, MIG = [fake.H100.format(number) for number in range(8)], [fake.T4.format(0)], [fake.MIG]
RTX4090S = [fake.RTX4090.format(number) for number in range(2)]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that makes this process, and all that it starts, one on a machine with cards."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("CUDA_HOME", "CUDA_PATH", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
        monkeypatch.delenv(name, raising=False)

    def make(*rows, **options):
        for name, value in fake.gpus(tmp_path / "driver", *rows, **options).items():
            monkeypatch.setenv(name, value)

    return make


def ready(project, backend, **options):
    with contextlib.chdir(project):
        return prepare(**{**SMALL, "device": "auto", "dataset": "medqa", "backend": backend, **options})


def parsed(prepared, folder):
    """Return what each process says that starts as `prepared` would, up to its framework's arguments."""
    argv = [
        str(PROGRAMS / "parse.py") if part.endswith("scripts/run_backend.py") else part for part in prepared.launch.argv
    ]
    assert argv != list(prepared.launch.argv)
    run = str(prepared.plan.run)
    for name, content in prepared.launch.files.items():
        write_atomic(folder / Path(name).name, content.replace(run, str(folder)))
    env = {**os.environ, **prepared.launch.env}
    env["PYTHONPATH"] += f":{SCRIPTS}"
    done = subprocess.run(
        [part.replace(run, str(folder)) for part in argv], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads(line.removeprefix("PARSED ")) for line in done.stdout.splitlines() if line.startswith("PARSED ")]


@pytest.mark.parametrize(
    "toolkit", [pytest.param("", id="no toolkit"), pytest.param("/nonexistent", marks=pytest.mark.matrix)]
)
def test_imports_of_a_training_work_without_a_cuda_toolkit(machine, training_python, toolkit):
    machine(*T4, toolkit=toolkit)
    modules = venv.imported_modules(BACKENDS)
    assert venv.inspect_environment(training_python, modules).imports == dict.fromkeys(modules, "")


CASES = {
    "one of 8": (H100S, {}, {}, {"cards": 1, "processes": 1, "dtype": "bfloat16"}),
    "one of 8, DeepSpeed": (
        H100S,
        {"deepspeed": "zero2"},
        {},
        {"cards": 1, "processes": 1, "dtype": "bfloat16", "free": 2**30},
    ),
    "8 of 8": (H100S, {"gpus": "all"}, {}, {"cards": 8, "processes": 8, "dtype": "bfloat16", "free": 2**30}),
    "T4": (T4, {}, {}, {"cards": 1, "processes": 1, "dtype": "float16"}),
    "4090 with driver 535": (RTX4090S, {}, {}, {"cards": 1, "processes": 1, "dtype": "bfloat16"}),
    "MIG": (MIG, {}, {"listed": fake.SLICES}, {"cards": 1, "processes": 1, "dtype": "bfloat16"}),
}
QUICK = {("llamafactory", "4090 with driver 535"), ("xtuner", "one of 8, DeepSpeed")}


@pytest.mark.parametrize(
    ("backend", "case"),
    [
        pytest.param(backend, case, marks=() if (backend, case) in QUICK else pytest.mark.matrix)
        for backend in BACKENDS
        for case in CASES
    ],
)
def test_frameworks_use_the_cards_that_they_are_given(machine, project, tmp_path, backend, case):
    rows, options, others, found = CASES[case]
    machine(*rows, **others)
    prepared = ready(project, backend, **options)
    assert parsed(prepared, tmp_path / "run") == [found] * found["processes"]


@pytest.mark.parametrize("method", ["qlora", pytest.param("full", marks=pytest.mark.matrix)])
def test_xtuners_config_for_a_gpu_trains_under_autocast(machine, project, method):
    """On the CPU: ftbridge believes in the card, torch does not, and mmengine takes the CPU for one."""
    machine(fake.A100.format(0), amp=True)
    with contextlib.chdir(project):
        run = ftbridge.train(**{**SMALL, "device": "cuda", "dataset": "medqa", "backend": "xtuner", "method": method})
    config = (run.path / "xtuner_config.py").read_text(encoding="utf-8")
    assert "type=AmpOptimWrapper,\n    loss_scale=1.0,\n    dtype='bfloat16'" in config
    losses = [msgspec.json.decode(line)["loss"] for line in (run.path / "metrics.jsonl").read_bytes().splitlines()]
    assert losses[-1] < losses[0]


def test_a_torch_that_sees_no_gpu_is_no_silent_run_on_the_cpu(project, tmp_path, monkeypatch):
    """The nvidia-smi is made up and the torch is not."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake.nvidia_smi(tmp_path, *T4)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = {**SMALL, "device": "auto", "dtype": "float32", "dataset": "medqa", "backend": "llamafactory"}
    with contextlib.chdir(project):
        with pytest.raises(FrameworkError, match="torch finds no GPU that it can use"):
            ftbridge.train(**options)
        with pytest.raises(SetupError, match="the torch of the training environment sees none"):
            ftbridge.chat("base", "what is aspirin", template="qwen2.5")


def test_xtuner_keeps_attention_and_dtype_where_flash_attn_is_installed(training_python, tmp_path):
    done = subprocess.run(
        [training_python, PROGRAMS / "flash_attention.py", tmp_path],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found = [line for line in done.stdout.splitlines() if line.startswith("FORWARD")]
    assert found == [f"FORWARD {kind} sdpa torch.float32 True" for kind in ("qwen2", "llama", "mistral")]


def test_processes_meet_where_the_machines_own_name_does_not_resolve(project, tmp_path):
    prepared = ready(project, "xtuner", device="cpu", gpus=2)
    helper = next(at for at, part in enumerate(prepared.launch.argv) if part.endswith("scripts/run_backend.py"))
    (tmp_path / "meet.py").write_text(
        "import os, torch.distributed as dist\ndist.init_process_group('gloo')\n"
        "open(f'{dist.get_rank()}.txt', 'w').write(os.environ['MASTER_ADDR'])\n"
    )
    (tmp_path / "sitecustomize.py").write_text("import socket\nsocket.getfqdn = lambda *_: 'no.such.host.invalid'\n")
    done = subprocess.run(
        [*prepared.launch.argv[:helper], tmp_path / "meet.py"],
        cwd=tmp_path,
        env={**os.environ, **prepared.launch.env, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["127.0.0.1", "127.0.0.1"]
