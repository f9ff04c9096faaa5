"""`ftbridge setup`: what it installs, renews and repairs, and what it says where that cannot be."""

import sys
from types import SimpleNamespace

import pytest

from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.project import Project
from ftbridge.launchers.environment import setup as module
from ftbridge.launchers.environment.setup import _pip_index_variables, _run_uv, setup
from ftbridge.launchers.environment.venv import Inspection, Package, default_folder
from ftbridge.launchers.environment.venv import pinned_versions as pinned
from ftbridge.launchers.hardware.host import GIB


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Stand in an empty folder, with an empty place for data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path


def holding(environment="transformers5", **changed):
    """Return an environment with the tested set but for what is `changed`."""
    packages = {name: Package(version, 0) for name, version in pinned(environment).items()} | changed
    return Inspection("3.11.7", {name: package for name, package in packages.items() if package}, {})


@pytest.fixture
def uv(monkeypatch):
    """Put in an environment that is whole once uv was called, and return the calls."""
    calls = []
    monkeypatch.setattr(module, "_run_uv", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(module, "broken_imports", lambda *_: calls.append("checked") or {})
    monkeypatch.setattr(module, "inspect_environment", lambda *_: holding())
    monkeypatch.setattr(module, "forget_imports", lambda *_: None)
    monkeypatch.setattr(module, "_can_start", lambda _: True)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=90 << 30, total=100 << 30))
    default_folder().mkdir(parents=True)
    return calls


def test_a_second_setup_installs_nothing(uv):
    assert setup() == default_folder() / "bin" / "python"
    assert setup() == default_folder() / "bin" / "python"
    assert uv == ["checked", "checked"]


def test_module_that_cannot_be_imported_ends_the_setup(uv, monkeypatch):
    monkeypatch.setattr(module, "broken_imports", lambda *_: {"deepspeed": "MissingCUDAException: no nvcc"})
    with pytest.raises(SetupError, match="`deepspeed` is installed but cannot be imported: MissingCUDAException"):
        setup()


def test_a_damaged_package_is_installed_again(uv, monkeypatch):
    damaged = Package(pinned("transformers5")["torch"], 3)
    monkeypatch.setattr(module, "inspect_environment", lambda *_: holding(torch=damaged))
    setup()
    assert uv[0][:4] == ("pip", "install", "--compile-bytecode", "--python")
    assert uv[0][uv[0].index("--reinstall-package") + 1] == "torch"
    assert "--no-deps" in uv[0]


def test_setup_in_another_folder_writes_it_into_the_settings(uv, monkeypatch, folder):
    monkeypatch.setattr(module, "_can_start", lambda _: False)
    (folder / "own").mkdir()
    python = setup("own")
    assert python == folder / "own" / "bin" / "python"
    assert uv[0][0] == "venv"
    assert uv[0][-1] == str(folder / "own")
    assert {each.python for each in Project.find().settings.backends.values()} == {str(python)}


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["thesis.txt"], "thesis.txt"),
        (["bin/", "lib/"], "bin"),
        (["pyvenv.cfg", "bin/", "src/"], "src"),
        ([".git/"], ".git"),
    ],
)
def test_setup_in_a_folder_with_other_files_is_refused(uv, monkeypatch, folder, names, named):
    monkeypatch.setattr(module, "_can_start", lambda _: False)
    for name in names:
        (folder / "own" / name).mkdir(parents=True) if name.endswith("/") else write(folder / "own" / name)
    with pytest.raises(InputError, match=f"own` holds `{named}`, which is not a virtual env.* `--venv DIR`"):
        setup("own")
    assert uv == []
    write(folder / "file")
    with pytest.raises(InputError, match="file` is not a virtual environment"):
        setup("file")
    assert uv == []


def write(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def test_an_environment_that_is_broken_is_made_anew(uv, monkeypatch, folder):
    monkeypatch.setattr(module, "_can_start", lambda _: False)
    for name in ("own/pyvenv.cfg", "own/bin/python", "own/.gitignore", "own/lib64/x"):
        write(folder / name)
    setup("own")
    write(default_folder() / "CACHEDIR.TAG")  # it was killed before it had made more
    setup()
    assert [each[0] for each in uv if each != "checked"] == ["venv", "venv"]


def test_settings_that_are_there_are_not_edited(uv, capsys, folder):
    (folder / "ftbridge.yaml").write_text("model: base\n")
    (folder / "own").mkdir()
    setup("own")
    assert (folder / "ftbridge.yaml").read_text() == "model: base\n"
    assert "put this into" in capsys.readouterr().err


def test_settings_of_somebody_else_are_refused_before_anything_is_made(uv, folder, give_away):
    (folder / "ftbridge.yaml").write_text("model: base\n")
    give_away(folder / "ftbridge.yaml")
    (folder / "own").mkdir()
    with pytest.raises(InputError, match="belongs to"):
        setup("own")
    assert uv == []


@pytest.mark.slow
def test_pips_index_is_handed_to_uv(monkeypatch):
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.example/simple https://b.example/simple")
    found = _pip_index_variables()
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert found["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    assert "UV_DEFAULT_INDEX" not in _pip_index_variables()


@pytest.mark.slow
def test_a_uv_that_fails_is_an_error():
    with pytest.raises(SetupError, match="uv no-such-command failed"):
        _run_uv("no-such-command")


@pytest.mark.slow
def test_uv_and_pip_ignore_files_of_the_current_folder(folder):
    (folder / "uv.toml").write_text("no toml [")  # uv would end with it, as it would take an index from it
    _run_uv("pip", "list", "--quiet", "--python", sys.executable)
    for name in ("pip", "runpy"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    _pip_index_variables()
    assert not (folder / "ran").exists()


def test_an_environment_of_an_older_ftbridge_is_renewed(uv, monkeypatch, capsys):
    monkeypatch.setattr(module, "inspect_environment", lambda *_: holding("transformers4"))
    setup()
    install, checked = uv
    assert install[-1].endswith("training.lock")
    assert checked == "checked"
    older = holding("transformers4").differences()
    assert older["transformers"] == f"4.57.1 instead of {pinned('transformers5')['transformers']}"
    assert f"installing {len(older)} packages" in capsys.readouterr().err


def test_the_second_environment_lies_beside_the_first(uv, monkeypatch):
    monkeypatch.setattr(module, "inspect_environment", lambda *_: holding("transformers5"))
    python = setup(environment="transformers4")
    assert python == default_folder().with_name("training-transformers4") / "bin" / "python"
    assert uv[0][-1].endswith("training-transformers4.lock")


def test_the_second_environment_elsewhere_is_written_under_its_own_key(uv, folder):
    (folder / "own").mkdir()
    python = setup("own", "transformers4")
    named = Project.find().settings.backends.values()
    assert {(each.python, each.python_transformers4) for each in named} == {("", str(python))}


@pytest.mark.parametrize(("beside", "free", "fits"), [(False, 8, False), (False, 10, True), (True, 5, True)])
def test_too_little_disk_is_told_before_anything_is_downloaded(uv, monkeypatch, beside, free, fits):
    default_folder().rmdir()
    if beside:
        default_folder("transformers4").mkdir()
    monkeypatch.setattr(module, "inspect_environment", lambda *_: Inspection("3.11.7", {}, {}))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free * GIB, total=100 * GIB))
    if fits:
        setup()
        assert uv[0][:2] == ("pip", "install")
        return
    with pytest.raises(SetupError, match=r"takes about 9 GiB, and 8\.0 GiB are free in .*`--venv DIR`"):
        setup()
    assert uv == []
