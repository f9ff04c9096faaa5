"""The training environment: where it is, how it is asked, and what setting it up does."""

import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.core.project import BackendSettings, Project, Settings
from ftbridge.launchers import environment
from ftbridge.launchers.environment import Inspection, Package, ask, default_folder, interpreter
from ftbridge.launchers.environment import tested_set as pinned

from ..fake_gpu.fake import H100, T4, nvidia_smi  # noqa: TID252

HERE = Path(sys.executable)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Stand in an empty folder, with an empty place for data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path


def test_the_tested_set_pins_every_package_once():
    found = pinned()
    assert {"torch", "xtuner", "llamafactory", "transformers", "deepspeed", "bitsandbytes"} <= set(found)
    assert all(version and version[0].isdigit() and " " not in version for version in found.values())
    assert not any("#" in name or " " in name for name in found)


def test_it_is_one_for_all_projects_of_a_user(monkeypatch, folder):
    assert default_folder() == folder / "share" / "ftbridge" / "training"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(folder))
    assert default_folder() == folder / ".local" / "share" / "ftbridge" / "training"


def test_an_interpreter_of_the_users_wins(folder):
    (folder / "mine").touch()
    settings = Settings(backends={"xtuner": BackendSettings("mine"), "llamafactory": BackendSettings("absent")})
    project = Project(folder, settings)
    assert interpreter(project, "xtuner") == folder / "mine"
    with pytest.raises(SetupError, match=r"names `.*/absent` as the Python of llamafactory, but it is not there"):
        interpreter(project, "llamafactory")


def test_without_an_environment_the_message_says_how_to_make_it(folder):
    project = Project(folder, Settings())
    with pytest.raises(SetupError, match=r"`ftbridge setup` .*`backends: \{xtuner: \{python: PATH\}\}`"):
        interpreter(project, "xtuner")
    python = default_folder() / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert interpreter(project, "xtuner") == python


@pytest.fixture
def helper(folder, monkeypatch):
    """Return a function that makes `code` the helper `own`."""

    def make(code):
        monkeypatch.setattr(environment, "HELPERS", folder)
        (folder / "own.py").write_text(code)

    return make


def test_a_helper_answers_in_its_last_line(helper):
    helper("import os, sys; print('noise'); print(sys.argv[1], os.environ['PYTHONUTF8'])")
    assert ask(HERE, "own", {"名": 1}) == '{"名":1} 1'


def test_a_helper_that_fails_is_quoted(helper):
    helper("import sys; print('the reason', file=sys.stderr); sys.exit(9)")
    with pytest.raises(SetupError, match=r"could not run own \(exit status 9\)\nthe reason$"):
        ask(HERE, "own", {}, stderr=subprocess.PIPE)


def test_an_environment_is_inspected():
    found = environment.inspect(HERE, ["json", "no_such_module"])
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.imports["json"] == ""
    assert "no_such_module" in found.imports["no_such_module"]
    assert found.packages["msgspec"].missing == 0
    assert found.wrong()["torch"] == "not installed"


def holding(**changed):
    """Return an environment with the tested set but for what is `changed`."""
    packages = {name: Package(version, 0) for name, version in pinned().items()}
    packages = {name: changed.get(name, package) for name, package in packages.items()}
    return Inspection("3.11.7", {name: package for name, package in packages.items() if package}, {})


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({}, {}),
        ({"torch": None}, {"torch": "not installed"}),
        ({"torch": Package("1.0", 0)}, {"torch": f"1.0 instead of {pinned()['torch']}"}),
        ({"torch": Package(pinned()["torch"], 3)}, {"torch": "3 files missing"}),
    ],
)
def test_what_differs_from_the_tested_set_is_named(changed, wrong):
    assert holding(**changed).wrong() == wrong


@pytest.fixture
def uv(monkeypatch):
    """Put in an environment that is whole once uv was called, and return the calls."""
    calls = []
    monkeypatch.setattr(environment, "_uv", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(environment, "broken_imports", lambda *_: calls.append("checked") or {})
    monkeypatch.setattr(environment, "inspect", lambda *_: holding())
    monkeypatch.setattr(environment, "_runs", lambda _: True)
    default_folder().mkdir(parents=True)
    return calls


def test_a_second_setup_installs_nothing(uv):
    assert environment.setup() == default_folder() / "bin" / "python"
    assert environment.setup() == default_folder() / "bin" / "python"
    assert uv == ["checked", "checked"]


def test_a_module_that_cannot_be_imported_ends_it(uv, monkeypatch):
    monkeypatch.setattr(environment, "broken_imports", lambda *_: {"deepspeed": "MissingCUDAException: no nvcc"})
    with pytest.raises(SetupError, match="`deepspeed` is installed but cannot be imported: MissingCUDAException"):
        environment.setup()


@pytest.fixture
def imported(folder, monkeypatch):
    """Put in an interpreter that has everything; returns what is asked of it, and what imports raise."""
    asked, errors = [], {}

    def inspect(_python, wanted):
        asked.append(wanted)
        return Inspection("3.11.7", {}, {module: errors.get(module, "") for module in wanted})

    monkeypatch.setattr(environment, "inspect", inspect)
    packages = folder / "lib" / "python3.11" / "site-packages"
    (packages / "torch-2.8.0.dist-info").mkdir(parents=True)
    nvidia_smi(folder / "path", T4.format(0))
    monkeypatch.setenv("PATH", str(folder / "path"))
    return asked, errors


def test_what_a_training_imports_is_tried_once_for_packages_and_cards(imported, folder):
    asked, errors = imported
    python = folder / "bin" / "python"
    errors["deepspeed"] = "MissingCUDAException"
    for _ in range(2):
        assert environment.broken_imports(python, ["xtuner"]) == {"deepspeed": "MissingCUDAException"}
    errors.clear()
    for _ in range(2):
        assert environment.broken_imports(python, ["xtuner"]) == {}
    assert asked == [["xtuner", "deepspeed", "bitsandbytes"]] * 3
    nvidia_smi(folder / "path", H100.format(0))
    environment.broken_imports(python, ["xtuner"])
    (folder / "lib" / "python3.11" / "site-packages" / "peft-0.18.1.dist-info").mkdir()
    environment.broken_imports(python, ["xtuner"])
    assert len(asked) == 5


def test_children_let_deepspeed_be_imported_without_a_toolkit():
    assert environment.QUIET["DS_IGNORE_CUDA_DETECTION"] == "1"


def test_a_damaged_package_is_installed_again(uv, monkeypatch):
    monkeypatch.setattr(environment, "inspect", lambda *_: holding(torch=Package(pinned()["torch"], 3)))
    environment.setup()
    assert uv[0][:4] == ("pip", "install", "--compile-bytecode", "--python")
    assert uv[0][uv[0].index("--reinstall-package") + 1] == "torch"
    assert "--no-deps" in uv[0]


def test_an_environment_elsewhere_is_made_and_written_into_the_settings(uv, monkeypatch, folder):
    monkeypatch.setattr(environment, "_runs", lambda _: False)
    (folder / "own").mkdir()
    python = environment.setup("own")
    assert python == folder / "own" / "bin" / "python"
    assert uv[0][0] == "venv"
    assert uv[0][-1] == str(folder / "own")
    assert {each.python for each in Project.find().settings.backends.values()} == {str(python)}


def test_settings_that_are_there_are_not_edited(uv, capsys, folder):
    (folder / "ftbridge.yaml").write_text("model: base\n")
    (folder / "own").mkdir()
    environment.setup("own")
    assert (folder / "ftbridge.yaml").read_text() == "model: base\n"
    assert "put this into" in capsys.readouterr().err


def test_pips_index_is_handed_to_uv(monkeypatch):
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.example/simple https://b.example/simple")
    found = environment._pip_index()
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert found["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    assert "UV_DEFAULT_INDEX" not in environment._pip_index()


def test_a_uv_that_fails_is_an_error():
    with pytest.raises(SetupError, match="uv no-such-command failed"):
        environment._uv("no-such-command")


def test_versions_are_read_from_the_names_of_folders(tmp_path):
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("Flash_Attn-2.8.3.dist-info", "ruamel.yaml-0.18.dist-info", "torch"):
        (packages / name).mkdir(parents=True)
    assert environment.versions(tmp_path / "bin" / "python") == {"flash-attn": "2.8.3", "ruamel-yaml": "0.18"}
