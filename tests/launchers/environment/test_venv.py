"""The training environment: where it is, how it is asked, and what setting it up does."""

import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.core.project import BackendSettings, Project, Settings
from ftbridge.launchers.backends import xtuner
from ftbridge.launchers.environment import venv
from ftbridge.launchers.environment.venv import (
    NEWEST,
    Inspection,
    Package,
    any_backend,
    backends_of,
    default_folder,
    interpreter,
)
from ftbridge.launchers.environment.venv import pinned_versions as pinned

from ...builders.environments import make_environment  # noqa: TID252
from ...fake_gpu.fake import H100, T4, nvidia_smi  # noqa: TID252

HERE = Path(sys.executable)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Stand in an empty folder, with an empty place for data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path


def test_the_tested_set_pins_every_package_once():
    found = pinned(NEWEST)
    assert {"torch", "xtuner", "llamafactory", "transformers", "deepspeed", "bitsandbytes"} <= set(found)
    assert all(version and version[0].isdigit() and " " not in version for version in found.values())
    assert not any("#" in name or " " in name for name in found)


def test_default_environment_is_one_for_all_projects_of_a_user(monkeypatch, folder):
    assert default_folder() == folder / "share" / "ftbridge" / "training"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(folder))
    assert default_folder() == folder / ".local" / "share" / "ftbridge" / "training"


def test_an_interpreter_of_the_users_wins(folder):
    (folder / "mine").touch(0o755)
    settings = Settings(backends={"xtuner": BackendSettings("mine"), "llamafactory": BackendSettings("absent")})
    project = Project(folder, settings)
    assert interpreter(project, "xtuner") == folder / "mine"
    with pytest.raises(SetupError, match=r"names `.*/absent` as the Python of llamafactory, but it is not there"):
        interpreter(project, "llamafactory")


def test_missing_environment_is_refused_with_the_setup_command(folder):
    project = Project(folder, Settings())
    with pytest.raises(SetupError, match=r"`ftbridge setup` .*`backends: \{xtuner: \{python: PATH\}\}`"):
        interpreter(project, "xtuner")
    python = make_environment(default_folder())
    assert interpreter(project, "xtuner") == python
    with pytest.raises(SetupError, match=r"`ftbridge setup --environment transformers4` .*python_transformers4: PATH"):
        interpreter(project, "xtuner", "transformers4")


def test_the_second_environment_is_the_one_named_the_users_own_or_setups(folder):
    own = make_environment(folder / "own", "transformers4")
    newer = make_environment(folder / "newer")
    setups = make_environment(default_folder("transformers4"), "transformers4")

    def second(**settings):
        project = Project(folder, Settings(backends={"xtuner": BackendSettings(**settings)}))
        return interpreter(project, "xtuner", "transformers4")

    assert second(python=str(newer)) == setups
    assert second(python=str(own)) == own
    assert second(python=str(newer), python_transformers4=str(own)) == own


def test_an_environment_of_an_older_ftbridge_is_told_once_and_used(folder, capsys):
    python = make_environment(
        default_folder(), torch="2.8.0", transformers="4.57.1", numpy="2.3.0", **{"cuda-bindings": None}
    )
    for _ in range(2):
        assert interpreter(Project(folder, Settings()), "xtuner") == python
    said = capsys.readouterr().err
    assert said.count("note:") == 1
    named = [f"{name} {old} instead of {pinned(NEWEST)[name]}" for name, old in (("torch", "2.8.0"),)]
    assert all(each in said for each in [*named, "transformers 4.57.1 instead of", "renew it with `ftbridge setup`"])
    assert "numpy" not in said


@pytest.mark.parametrize("environment", ["transformers5", "transformers4"])
@pytest.mark.parametrize("older", [{}, {"torch": "2.7.0"}])
def test_an_environment_that_is_half_made_is_refused(folder, environment, older):
    make_environment(default_folder(environment), environment, deepspeed=None, **older)
    command = "setup" if environment == NEWEST else f"setup --environment {environment}"
    with pytest.raises(SetupError, match=rf"incomplete \(1 of .* e.g. deepspeed\); .*`ftbridge {command}`"):
        interpreter(Project(folder, Settings()), "xtuner", environment)


def test_environment_gives_its_versions_and_imports():
    found = venv.inspect_environment(HERE, ["json", "no_such_module"])
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.imports["json"] == ""
    assert "no_such_module" in found.imports["no_such_module"]
    assert found.packages["msgspec"].missing == 0
    assert found.differences()["torch"] == "not installed"


def holding(**changed):
    """Return an environment with the tested set but for what is `changed`."""
    packages = {name: Package(version, 0) for name, version in pinned(NEWEST).items()}
    packages = {name: changed.get(name, package) for name, package in packages.items()}
    return Inspection("3.11.7", {name: package for name, package in packages.items() if package}, {})


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({}, {}),
        ({"torch": None}, {"torch": "not installed"}),
        ({"torch": Package("1.0", 0)}, {"torch": f"1.0 instead of {pinned(NEWEST)['torch']}"}),
        ({"torch": Package(pinned(NEWEST)["torch"], 3)}, {"torch": "3 files missing"}),
    ],
)
def test_packages_that_differ_from_the_tested_set_are_named(changed, wrong):
    assert holding(**changed).differences() == wrong


@pytest.fixture
def imported(folder, monkeypatch):
    """Put in an interpreter that has everything; returns what is asked of it, and what imports raise."""
    asked, errors = [], {}

    def inspect(_python, wanted):
        asked.append(wanted)
        return Inspection("3.11.7", {}, {module: errors.get(module, "") for module in wanted})

    monkeypatch.setattr(venv, "inspect_environment", inspect)
    packages = folder / "lib" / "python3.11" / "site-packages"
    (packages / "torch-2.8.0.dist-info").mkdir(parents=True)
    nvidia_smi(folder / "path", T4.format(0))
    monkeypatch.setenv("PATH", str(folder / "path"))
    return asked, errors


def test_imports_are_tried_once_for_the_same_packages_and_cards(imported, folder):
    asked, errors = imported
    python = folder / "bin" / "python"
    errors["deepspeed"] = "MissingCUDAException"
    for _ in range(2):
        assert venv.broken_imports(python, ["xtuner"]) == {"deepspeed": "MissingCUDAException"}
    errors.clear()
    for _ in range(2):
        assert venv.broken_imports(python, ["xtuner"]) == {}
    assert asked == [["xtuner", "deepspeed", "bitsandbytes"]] * 3
    nvidia_smi(folder / "path", H100.format(0))
    venv.broken_imports(python, ["xtuner"])
    (folder / "lib" / "python3.11" / "site-packages" / "peft-0.18.1.dist-info").mkdir()
    venv.broken_imports(python, ["xtuner"])
    assert len(asked) == 5


def test_versions_are_read_from_the_names_of_folders(tmp_path):
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("Flash_Attn-2.8.3.dist-info", "ruamel.yaml-0.18.dist-info", "torch"):
        (packages / name).mkdir(parents=True)
    assert venv.installed_versions(tmp_path / "bin" / "python") == {"flash-attn": "2.8.3", "ruamel-yaml": "0.18"}


@pytest.mark.slow
def test_packages_that_an_environment_takes_from_its_parent_count(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", tmp_path], check=True)
    (tmp_path / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "own-1.0.dist-info").mkdir()
    found = venv.installed_versions(tmp_path / "bin" / "python")
    # A virtual environment's parent is the interpreter that it was made from, not another virtual environment.
    assert found.keys() != {"own"}
    assert "pip" in found


def test_a_second_environment_with_another_transformers_is_refused(folder):
    make_environment(default_folder("transformers4"), transformers="5.24.0")
    with pytest.raises(SetupError, match=r"now holds transformers 5\.24\.0; .*--environment transformers4"):
        interpreter(Project(folder, Settings()), "xtuner", "transformers4")


@pytest.mark.parametrize(
    ("named", "why"), [(".", "not executable"), ("text", "not executable"), ("~nobody-here/x", "not there")]
)
def test_setting_that_names_no_python_is_refused(folder, named, why):
    (folder / "text").touch()
    project = Project(folder, Settings(backends={"xtuner": BackendSettings(named)}))
    with pytest.raises(SetupError, match=rf"names `.*` as the Python of xtuner, but it is {why}"):
        interpreter(project, "xtuner")


@pytest.mark.parametrize(
    ("settings", "preferred", "chosen"),
    [
        ({"llamafactory": {}}, "", "llamafactory"),
        ({"llamafactory": {}}, "xtuner", "llamafactory"),
        ({"llamafactory": {}, "xtuner": {}}, "xtuner", "xtuner"),
        ({"llamafactory": {}}, "of no package", "llamafactory"),
        ({}, "", "xtuner"),
        ({}, "llamafactory", "llamafactory"),
    ],
)
def test_any_backend_is_one_whose_interpreter_is_there(folder, monkeypatch, settings, preferred, chosen):
    """Nothing is in the default folder: a backend that is named in no settings has no interpreter."""
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "empty"))
    python = make_environment(folder / "own")
    named = {name: BackendSettings(python=str(python)) for name in settings}
    project = Project(folder, Settings(backends=named))
    assert any_backend(project, preferred) == chosen
    if settings:
        assert interpreter(project, any_backend(project, preferred)) == python


def test_a_backend_that_setup_does_not_install_needs_an_interpreter_of_its_own(folder, monkeypatch):
    monkeypatch.setattr(xtuner, "packages", ("xtuner", "of-nobody"))
    assert backends_of() == ["llamafactory"]
    with pytest.raises(SetupError, match="`ftbridge setup` installs nothing for xtuner; name a Python that has it"):
        interpreter(Project(folder, Settings()), "xtuner")
