"""The doctor: what is looked at, and the remedy where it is not well."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.launchers import doctor as module
from ftbridge.launchers.doctor import GIB, doctor
from ftbridge.launchers.environment import Inspection, Package
from ftbridge.launchers.environment import tested_set as pinned
from ftbridge.launchers.machine import Gpu


@pytest.fixture(autouse=True)
def well(tmp_path, monkeypatch):
    """Stand on a machine where all is well; returns what an environment holds, to be changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    python = tmp_path / "ftbridge" / "training" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    seen = {
        "python": "3.11.7",
        "packages": {name: Package(version, 0) for name, version in pinned().items()},
        "imports": {"xtuner": "", "llamafactory": ""},
    }
    monkeypatch.setattr(module, "inspect", lambda *_: Inspection(**seen))
    monkeypatch.setattr(module.machine, "gpus", lambda: [Gpu("A100", 81920, 8.0, "570.86")])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * GIB))
    return seen


def poor():
    """Return the checks that are not ok, by name."""
    return {check.name: check for check in doctor() if check.status != "ok"}


def test_all_is_well():
    assert poor() == {}
    names = [check.name for check in doctor()]
    assert names[:3] == ["Python", "GPU", "versions"]
    assert {"xtuner", "llamafactory", "disk for runs", "disk for the environment"} == set(names[3:])


def test_another_python_is_a_failure(monkeypatch):
    monkeypatch.setattr(module.sys, "version_info", (3, 13, 0))
    assert (poor()["Python"].status, poor()["Python"].found) == ("failure", "3.13.0")


@pytest.mark.parametrize(
    ("gpu", "remedy"),
    [
        (Gpu("P100", 16280, 6.0, "570.86"), "use a newer card"),
        (Gpu("A100", 81920, 8.0, "535.1"), "needs driver 570 or newer"),
    ],
)
def test_a_card_or_driver_too_old_is_a_failure(monkeypatch, gpu, remedy):
    monkeypatch.setattr(module.machine, "gpus", lambda: [gpu])
    assert poor()["GPU"].status == "failure"
    assert remedy in poor()["GPU"].remedy


@pytest.mark.parametrize(("visible", "remedy"), [(None, "install its driver"), ("", "unset it")])
def test_no_gpu_is_a_warning(monkeypatch, visible, remedy):
    monkeypatch.setattr(module.machine, "gpus", list)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert poor()["GPU"].status == "warning"
    assert remedy in poor()["GPU"].remedy


def test_other_versions_and_broken_imports_are_failures_with_a_remedy(well):
    well["packages"]["torch"] = Package("1.0", 0)
    well["imports"]["xtuner"] = "ImportError: no mmengine"
    found = poor()
    assert found.keys() == {"versions", "xtuner"}
    assert "torch 1.0 instead of" in found["versions"].found
    assert {(check.status, check.remedy) for check in found.values()} == {("failure", "ftbridge setup")}


def test_other_versions_in_an_environment_of_the_users_are_a_warning(well, tmp_path):
    settings = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    well["packages"]["torch"] = Package("1.0", 0)
    found = poor()["versions"]
    assert found.status == "warning"
    assert str(Path(sys.executable).parent.parent) in found.remedy


def test_no_environment_is_a_failure_of_each_backend(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    assert {name: check.remedy for name, check in poor().items()} == dict.fromkeys(
        ["xtuner", "llamafactory"], "ftbridge setup"
    )


def test_an_environment_that_does_not_answer_is_a_failure(monkeypatch):
    def fail(*_):
        raise SetupError("no answer")

    monkeypatch.setattr(module, "inspect", fail)
    assert poor()["environment"].found == "no answer"


def test_a_full_disk_is_a_warning(monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * GIB))
    assert {name: check.status for name, check in poor().items()} == {"disk for runs": "warning"}
