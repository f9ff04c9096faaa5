"""What the tests of trainings share."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """Let every process of a training record what it does, in the folder that is returned."""
    shutil.copy(Path(__file__).with_name("recorder.py"), tmp_path / "sitecustomize.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path
