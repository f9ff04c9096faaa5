"""Models: a folder here, or one of a hub's, and a sentence for what is neither."""

from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.project import Project, Settings
from ftbridge.launchers.environment import model_download
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.runs.record import base_folder

from ...builders.runs import record_run  # noqa: TID252

PYTHON = Path("/python")


@pytest.fixture
def asked(monkeypatch):
    """Put in a download that succeeds, and return what it was asked for."""
    specs = []

    def ask(python, helper, spec):
        specs.append((python, helper, spec["hub"], spec["name"], spec["weights"]))
        return "/cache/model"

    monkeypatch.setattr(model_download, "run_script", ask)
    return specs


def model_folder(folder, part="config.json"):
    folder.mkdir(parents=True)
    (folder / part).write_text("{}")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("dataset_info.json", "; it is a folder of datasets, which `--dataset-dir` takes"),
        ("run.json", "; it is a run, whose model `ftbridge merge` makes"),
        ("adapter_config.json", "; it is an adapter, and `--model` takes the base that it was trained on"),
        ("qwen/config.json", "; `{folder}/qwen` is one"),
        ("README.md", ""),
    ],
)
def test_a_folder_without_a_model_is_told_with_what_one_has(asked, tmp_path, part, told):
    model_folder((tmp_path / "data" / part).parent, Path(part).name)
    with pytest.raises(InputError) as refused:
        local_model("data", lambda: PYTHON, tmp_path)
    assert str(refused.value) == (
        "`data` is not a model folder: a model folder has a config.json, a tokenizer "
        "(tokenizer.json or tokenizer.model) and weights (*.safetensors)" + told.format(folder=tmp_path / "data")
    )
    assert asked == []
    if part == "adapter_config.json":  # as LLaMA-Factory writes it
        (tmp_path / "data" / "tokenizer.json").write_text("{}")
        with pytest.raises(InputError, match="it is an adapter"):
            local_model("data", lambda: PYTHON, tmp_path)


def test_a_folder_with_a_tokenizer_alone_is_taken(tmp_path):
    model_folder(tmp_path / "base", "tokenizer.json")
    assert local_model("base", lambda: PYTHON, tmp_path) == tmp_path / "base"


@pytest.mark.parametrize("name", ["base", "./base", "owner/name", "药 it's"])
def test_a_folder_is_taken_before_a_hub_is_asked(asked, tmp_path, name):
    model_folder(tmp_path / name)
    assert local_model(name, lambda: PYTHON, tmp_path) == tmp_path / name
    assert local_model(str(tmp_path / name), lambda: PYTHON, Path("/")) == tmp_path / name
    assert asked == []


def test_the_home_folder_has_its_short_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    model_folder(tmp_path / "base")
    assert local_model("~/base", lambda: PYTHON, Path("/")) == tmp_path / "base"


@pytest.mark.parametrize(
    ("name", "hub"), [("Qwen/Qwen2.5-7B", "hf"), ("hf://Qwen/Qwen2.5-7B", "hf"), ("ms://Qwen/Qwen2.5-7B", "ms")]
)
def test_a_hubs_model_is_downloaded(asked, tmp_path, name, hub):
    assert local_model(name, lambda: PYTHON, tmp_path) == Path("/cache/model")
    assert local_model(name, lambda: PYTHON, tmp_path, weights=False) == Path("/cache/model")
    assert asked == [(PYTHON, "download", hub, "Qwen/Qwen2.5-7B", weights) for weights in (True, False)]


@pytest.mark.parametrize(
    "name", ["absent", "./owner/name", "../owner/name", "/owner/name", "~/absent", "a/b/c", "gh://a/b", "", "file"]
)
def test_name_that_is_no_model_is_one_sentence(asked, tmp_path, name):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "inner" if name == "" else tmp_path
    with pytest.raises(InputError, match=f"there is no model folder `{name}`; give a folder, or a hub's name"):
        local_model(name, lambda: PYTHON, folder)
    assert asked == []


def test_a_model_folder_that_is_called_nearly_so_is_named(asked, tmp_path):
    model_folder(tmp_path / "base")
    with pytest.raises(InputError, match=r"there is no model folder `bsae`; did you mean `base`\?"):
        local_model("bsae", lambda: PYTHON, tmp_path)
    assert asked == []


@pytest.mark.parametrize(("hub", "title", "other"), [("hf", "Hugging Face", "ms"), ("ms", "ModelScope", "hf")])
def test_a_download_that_fails_names_the_other_hub(monkeypatch, tmp_path, hub, title, other):
    def fail(*_):
        raise SetupError("no network")

    monkeypatch.setattr(model_download, "run_script", fail)
    with pytest.raises(InputError, match=f"could not get `a/b` from {title}.*`{other}://a/b`"):
        local_model(f"{hub}://a/b", lambda: PYTHON, tmp_path)


@pytest.mark.parametrize(
    ("model", "there", "found"),
    [
        ("base", "base", "base"),
        ("base", "other", "/base"),
        ("../models/base", "../models/base", "../models/base"),
        ("owner/name", "owner", "/base"),
        ("/other", "base", "/base"),
    ],
)
def test_the_base_of_a_run_is_that_of_its_own_project(tmp_path, model, there, found):
    project = Project(tmp_path / "project", Settings())
    run = record_run(project, "one", model=model)
    (project.folder / there).mkdir(parents=True)
    assert base_folder(run) == str((project.folder / found).resolve())
