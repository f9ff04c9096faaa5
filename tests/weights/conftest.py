"""What the tests of cards and sources share."""

import sys

import pytest

from ..builders.model_sources import trained_run  # noqa: TID252
from ..builders.torch_files import save_pickled  # noqa: TID252


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a project with a base model and interpreters that are never started."""
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "qwen2"}')
    return tmp_path


@pytest.fixture
def saved(folder):
    """Make a run with two checkpoints and a best one; returns its folder with them."""
    output = trained_run("1").path / "output"
    for name in ("iter_16.pth", "iter_32.pth", "best_val_loss_iter_16.pth"):
        save_pickled(output / name, b"N.")
    return output
