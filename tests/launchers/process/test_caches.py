"""Caches of the frameworks, where the home folder cannot be written."""

import os
import sys
from pathlib import Path

import pytest

from ftbridge.core.files.owner import data_folder
from ftbridge.core.records import Launch
from ftbridge.launchers.process import caches
from ftbridge.launchers.process.child import execute

ALL = {*caches.places()}


@pytest.fixture(autouse=True)
def unset(monkeypatch, tmp_path):
    names = (*ALL, "HF_HOME", "HUGGINGFACE_HUB_CACHE", "TRITON_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    for name in (*names, "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_home_that_can_be_written_is_used_for_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "not made yet"))
    assert caches.environment_variables() == {}
    assert data_folder() == tmp_path / "not made yet" / ".local" / "share" / "ftbridge"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("home", ["file", "/proc/nobody"])
def test_child_without_a_writable_home_has_caches_in_the_users_own_folder(tmp_path, monkeypatch, home):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    argv = (sys.executable, "-c", "import os; print(os.environ['TRITON_CACHE_DIR'])")
    assert execute(Launch(argv, {}, str(tmp_path), {}), tmp_path / "log.txt", lambda: None) == 0
    folder = Path((tmp_path / "log.txt").read_text().strip())
    moved = caches.environment_variables()
    assert {*moved} == ALL
    assert moved["TRITON_CACHE_DIR"] == str(folder)  # the same the next time
    own = data_folder().parent
    assert folder.is_relative_to(own)
    assert own.parent == tmp_path
    assert own.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["link", "open to others"])
def test_a_folder_that_others_may_have_prepared_is_not_taken(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HOME", "/proc/nobody")
    own = data_folder().parent
    own.rmdir()
    (tmp_path / "prepared").mkdir(mode=0o700)
    if kind == "link":
        own.symlink_to(tmp_path / "prepared")
    else:
        (tmp_path / "prepared").rename(own)
        own.chmod(0o777)
    assert not data_folder().is_relative_to(own)
    assert not any(Path(path).is_relative_to(own) for path in caches.environment_variables().values())


def test_caches_that_can_be_written_or_were_set_are_not_moved(tmp_path, monkeypatch):
    """Models for all users of a machine may lie where none of them writes; what the user has set stays."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", "/proc/models")
    monkeypatch.setenv("HF_MODULES_CACHE", "/proc/modules")
    assert {*caches.environment_variables()} == {name for name in ALL if name.startswith("HF_")} - {"HF_MODULES_CACHE"}


def test_places_are_those_of_the_users_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches.places()["HF_HUB_CACHE"] == tmp_path / ".cache" / "huggingface" / "hub"
    assert caches.places()["MODELSCOPE_CACHE"] == tmp_path / ".cache" / "modelscope"
    for name, value in {"XDG_CACHE_HOME": "/x", "HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/older"}.items():
        monkeypatch.setenv(name, value)
    assert caches.places()["HF_DATASETS_CACHE"] == Path("/hf/datasets")
    assert caches.places()["HF_HUB_CACHE"] == Path("/older")
    assert caches.places()["UV_CACHE_DIR"] == Path("/x/uv")


def test_a_user_without_a_name_gets_one_for_the_caches_that_are_called_by_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    known = caches.environment_variables()
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as of a container's --user 12345
    assert {*caches.environment_variables().items()} - {*known.items()} == {("USER", f"user{os.geteuid()}")}
