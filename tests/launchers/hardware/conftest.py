"""An nvidia-smi of our own for every test of the hardware."""

import pytest

from ftbridge.launchers.hardware import nvidia

from ...builders.gpus import FIRST, SECOND, TURING, rows  # noqa: TID252
from ...fake_gpu.fake import nvidia_smi  # noqa: TID252


@pytest.fixture(autouse=True)
def smi(tmp_path, monkeypatch):
    """Make an nvidia-smi with three GPUs the only program on the path; returns a function for another output."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvidia, "DRIVER_FILES", (tmp_path / "nvidia0",))

    def says(*lines, listed=""):
        nvidia_smi(tmp_path, *lines, listed=listed)

    says(*rows(FIRST, SECOND, TURING))
    return says
