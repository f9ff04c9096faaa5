"""What the tests on a real card share; without one each is skipped, and says why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.launchers import machine
from ftbridge.launchers.environment import QUIET

from ..conftest import ROOT  # noqa: TID252

KERNELS = Path(__file__).with_name("kernels.py")


@pytest.fixture(scope="session")
def cards():
    """Return the GPUs; skips where there are none, or none that can be used."""
    try:
        return machine.computing("cuda")
    except SetupError as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")


@pytest.fixture(scope="session")
def kernels(cards, training_python):
    """Return what kernels.py finds on the card."""
    return compared(training_python, "cuda", {**QUIET, **machine.environment(cards[:1])})


def compared(python, device, env):
    """Return how far apart a device and the CPU are, by what they compute."""
    done = subprocess.run(
        [python, KERNELS, device], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def parts(monkeypatch):
    """Let a test import what `make gpu` measures with."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield
    for name in [name for name in sys.modules if name.startswith("gpu_parts")]:
        del sys.modules[name]
