"""Caches of the frameworks, where the home folder cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.records import Launch
from ftbridge.launchers.process import caches
from ftbridge.launchers.process.child import execute

MOVED = {"HF_DATASETS_CACHE", "HF_MODULES_CACHE", "MPLCONFIGDIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR"}


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in (*MOVED, "HF_HOME", "TRITON_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_home_that_can_be_written_is_used_for_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "not made yet"))
    assert caches.environment_variables() == {}
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("home", ["file", "/proc/nobody"])
def test_child_without_a_writable_home_gets_a_private_cache_folder(tmp_path, monkeypatch, home):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    argv = (sys.executable, "-c", "import os; print(os.environ['TRITON_CACHE_DIR'])")
    assert execute(Launch(argv, {}, str(tmp_path), {}), tmp_path / "log.txt", lambda: None) == 0
    folder = Path((tmp_path / "log.txt").read_text().strip()).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(caches.environment_variables()) == MOVED


def test_private_cache_folder_goes_with_the_process(tmp_path):
    program = "from ftbridge.launchers.process import caches; print(caches.environment_variables()['MPLCONFIGDIR'])"
    environment = {**os.environ, "HOME": "/proc/nobody"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip()).parent
    assert folder.name.startswith("ftbridge-caches-")
    assert not folder.exists()


def test_caches_that_can_be_written_or_were_set_are_not_moved(tmp_path, monkeypatch):
    """Models for all users of a machine may lie where none of them writes; what the user has set stays."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", "/proc/models")
    monkeypatch.setenv("HF_MODULES_CACHE", "/proc/modules")
    assert set(caches.environment_variables()) == {"HF_DATASETS_CACHE"}
