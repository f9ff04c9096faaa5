"""The project's folder, its settings, and what the last conversion left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core.errors import InputError
from ftbridge.core.project import BackendSettings, Project, Settings, State


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(folder, text, name="ftbridge.yaml"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_the_nearest_parent_with_settings_is_the_project(folder):
    settings(folder, "epochs: 1")
    settings(folder / "inner", "epochs: 2")
    deep = folder / "inner" / "a" / "b"
    deep.mkdir(parents=True)
    found = Project.find(deep)
    assert (found.folder, found.settings.train) == (folder / "inner", {"epochs": 2})
    assert Project.find().settings.train == {"epochs": 1}
    assert Project.find(deep).runs == folder / "inner" / "runs"


def test_current_folder_without_settings_is_the_project(folder):
    assert Project.find() == Project(folder, Settings())


def test_a_file_named_by_the_user_takes_the_place_of_the_settings(folder):
    settings(folder, "epochs: 1")
    other = settings(folder / "other", "lora_rank: 8", "mine.yaml")
    found = Project.find(config=other)
    assert (found.folder, found.settings.train) == (folder, {"lora_rank": 8})
    assert found.settings.places == {"lora_rank": f"`{other}`, line 1: `lora_rank`"}
    with pytest.raises(InputError, match=r"there is no settings file at `absent.yaml`"):
        Project.find(config=Path("absent.yaml"))


def test_settings_hold_options_and_interpreters(folder):
    settings(folder, "model: 基座\nbackends: {xtuner: {python: bin/python}}")
    found = Project.find().settings
    assert (found.train, found.backends) == ({"model": "基座"}, {"xtuner": BackendSettings("bin/python")})


@pytest.mark.parametrize("text", ["", "# nothing yet", "backends:\n"])
def test_empty_settings_are_settings(folder, text):
    settings(folder, text)
    found = Project.find().settings
    assert (found.train, found.backends) == ({}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora_rnak: 8", "unknown key `lora_rnak`; did you mean `lora_rank`"),
        ("epochs: 1\n# so\n\nlora_rnak: 8", ", line 4 has an unknown key"),
        ("0x10: 8", "unknown key `16`"),
        ("epochs: 1\nbackends: {xtuner: {pyton: x}}", ", line 2: `backends`: `xtuner` has an unknown key `pyton`; did"),
        ("backends: {xtuner: {python: [x]}}", r"`backends`: `xtuner`: `python` takes text; got `\['x'\]`"),
        ("backends: {xtuner: 3}", "line 1: `backends`: `xtuner` is followed by a line such as `python: PATH`; got `3`"),
        ("backends: {3: {python: x}}", "there is no backend `3`"),
        ("backends: {vllm: {python_transformers4: x}}", "`backends`: `vllm` has an unknown key `python_transformers4`"),
        ("backends: {xtunr: {python: x}}", "`backends`: there is no backend `xtunr`; did you mean `xtuner`"),
        ("backends: {swift: {python: x}}", "no backend `swift`; known are: llamafactory, vllm, xtuner"),
        ("backends: [xtuner]", r"line 1: `backends` takes `key: value` lines; got `\['xtuner'\]`"),
        ("- model", "holds list"),
        ("epochs: 1\nmodel: [", "is not valid YAML: line 2: .*did not find"),
        ("epochs: 1\nlora_rank：8", "is not valid YAML: line 2: "),
        ("lora_rank:8", "holds str, not `key: value` lines; a key is followed by `:` and a blank"),
    ],
)
def test_settings_that_do_not_fit_name_file_and_key(folder, text, message):
    settings(folder, text)
    with pytest.raises(InputError, match=f"ftbridge.yaml`.*{message}"):
        Project.find()


def test_the_last_conversion_is_remembered(folder):
    project = Project.find()
    assert project.state() == State()
    project.remember(State("faq-train", "data", "medqa"))
    project.remember(State("问答-train", "资料"))
    assert Project.find().state() == State("问答-train", "资料")


def test_damaged_state_file_is_refused_with_what_to_do(folder):
    (folder / ".ftbridge").mkdir()
    (folder / ".ftbridge" / "state.json").write_text("{")
    with pytest.raises(InputError, match=r"state.json` is damaged; delete it and convert again"):
        Project.find().state()


def test_settings_are_written_under_a_comment_in_the_users_language(folder):
    code = "from ftbridge.core.project import Project; Project.find().write_settings({'epochs': 1})"
    env = {**os.environ, "FTBRIDGE_LANG": "zh", "PYTHONUTF8": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    written = (folder / "ftbridge.yaml").read_text(encoding="utf-8")
    assert written == "# 本文件夹中 `ftbridge train` 的默认值；命令行选项优先。\nepochs: 1\n"


def test_settings_are_written_once_and_never_edited(folder):
    project = Project.find()
    assert project.write_settings({"backend": "xtuner", "model": "基座: 'a'"}) == folder / "ftbridge.yaml"
    before = (folder / "ftbridge.yaml").read_bytes()
    assert project.write_settings({"backend": "llamafactory"}) is None
    assert (folder / "ftbridge.yaml").read_bytes() == before
    assert Project.find().settings.train == {"backend": "xtuner", "model": "基座: 'a'"}


@pytest.fixture
def theirs(folder, give_away):
    """Return the settings of somebody else in the parent folder, which name what runs."""
    return give_away(settings(folder, "backends: {xtuner: {python: ./evil.sh}}"))


@pytest.mark.parametrize("how", ["file", "link"])
def test_settings_of_somebody_else_are_refused_with_what_to_do(folder, give_away, how):
    inner = folder / "inner"
    inner.mkdir()
    if how == "file":
        give_away(settings(folder, "epochs: 1"))
    else:
        (folder / "ftbridge.yaml").symlink_to(settings(folder, "epochs: 1", "own.yaml"))
        give_away(folder / "ftbridge.yaml")
    told = (
        rf"`{folder}/ftbridge.yaml` belongs to `.+`, not to you, and its `backends` decide which programs run.*"
        rf"FTBRIDGE_SAFE_FOLDERS={folder}; else put an ftbridge.yaml of your own into `{inner}`"
    )
    with pytest.raises(InputError, match=told):
        Project.find(inner)
    with pytest.raises(InputError, match="else work in another folder"):
        Project.find()


def test_settings_of_ones_own_are_found_before_those_of_somebody_else(folder, theirs):
    inner = folder / "inner"
    if os.geteuid():
        pytest.skip("only root makes files of two owners")
    settings(inner, "epochs: 2")
    assert Project.find(inner).settings.train == {"epochs": 2}


def test_a_folder_that_is_called_safe_has_its_settings(folder, theirs, monkeypatch):
    monkeypatch.setenv("FTBRIDGE_SAFE_FOLDERS", str(folder))
    assert Project.find().settings.backends["xtuner"].python == "./evil.sh"


def test_settings_named_by_the_user_are_taken_whoever_owns_them(folder, theirs, give_away):
    for config in (theirs, Path("ftbridge.yaml")):
        found = Project.find(config=config)
        assert (found.folder, found.settings.backends["xtuner"].python) == (folder, "./evil.sh")
    inner = folder / "inner"
    mine = give_away(settings(inner, "epochs: 3", "mine.yaml"))
    # Relative paths of the named file do not begin in the folder of somebody else.
    found = Project.find(inner, config=mine)
    assert (found.folder, found.settings.train) == (inner, {"epochs": 3})


@pytest.mark.parametrize("command", ["doctor", "datasets list", "runs list", "chat base --prompt hi", "convert x.csv"])
def test_every_command_refuses_settings_of_somebody_else(folder, theirs, command):
    done = CliRunner().invoke(cli, command.split())
    assert isinstance(done.exception, InputError)
    assert "belongs to" in str(done.exception)
