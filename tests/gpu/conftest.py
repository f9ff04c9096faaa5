"""What the tests on a real card share; without one each is skipped, and says why."""

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.process.script import CHILD_ENV

from .compared import compared


@pytest.fixture(scope="session")
def cards():
    """Return the GPUs; skips where there are none, or none that can be used."""
    try:
        return devices.usable_gpus("cuda")
    except SetupError as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")


@pytest.fixture(scope="session")
def kernels(cards, training_python):
    """Return what kernels.py finds on the card."""
    return compared(training_python, "cuda", {**CHILD_ENV, **devices.device_variables(cards[:1])})
