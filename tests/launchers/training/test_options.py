"""What a training is told, and what is missing."""

import sys

import pytest
from click.testing import CliRunner

import ftbridge
from ftbridge.cli import cli
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.training.options import resolve_train_spec


def test_missing_backend_dataset_or_model_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ftbridge.yaml").write_text(f"backends: {{xtuner: {{python: {sys.executable}}}}}")
    with pytest.raises(UsageError, match="--backend"):
        ftbridge.train()
    with pytest.raises(UsageError, match="convert one first"):
        ftbridge.train(backend="xtuner")
    with pytest.raises(InputError, match="no dataset `medqa`"):
        ftbridge.train(backend="xtuner", dataset="medqa", model=str(tmp_path))
    with pytest.raises(UsageError, match="no backend `axolotl`"):
        ftbridge.train(backend="axolotl", dataset="medqa", model=str(tmp_path))
    (tmp_path / "faq.jsonl").write_text('{"question": "a", "answer": "b"}')
    ftbridge.convert("faq.jsonl")
    with pytest.raises(UsageError, match="--model"):
        ftbridge.train(backend="xtuner")
    with pytest.raises(InputError, match="no model folder"):
        ftbridge.train(backend="xtuner", model="./nowhere")


@pytest.mark.parametrize("environment", [True, False])
def test_all_that_a_newcomer_lacks_is_named_at_once_with_the_commands(tmp_path, monkeypatch, environment):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    python = default_folder() / "bin" / "python"
    assert python.is_relative_to(tmp_path)
    if environment:
        python.parent.mkdir(parents=True)
        python.touch()
    with pytest.raises(UsageError) as told:
        ftbridge.train()
    said = str(told.value).splitlines()
    assert said[0] == "several things are missing:"
    commands = ["`ftbridge convert FILE`", "`--model Qwen/", "`--backend`: llamafactory or xtuner"]
    commands = commands if environment else ["`ftbridge setup`", *commands]
    assert len(said) == 1 + len(commands)
    for line, command in zip(said[1:], commands, strict=True):
        assert command in line
    (tmp_path / "faq.jsonl").write_text('{"question": "a", "answer": "b"}')
    ftbridge.convert("faq.jsonl")
    with pytest.raises(UsageError, match=r"--model(.*\n)+.*--backend"):
        ftbridge.train()
    with pytest.raises(UsageError, match=r"^choose a framework.*xtuner$"):
        ftbridge.train(model="base")


LIMITS = {
    "lora_rank": (-3, "takes a whole number of at least 1; got `-3`"),
    "max_steps": (0, "takes a whole number of at least 1; got `0`"),
    "epochs": (0, "takes a number above 0; got `0`"),
    "lora_dropout": (1, "takes a number of at least 0 and below 1; got `1`"),
    "seed": (-1, "takes a whole number of at least 0; got `-1`"),
    "cutoff_length": (1 << 31, "takes a whole number of at least 1 and below 2147483648; got `2147483648`"),
}


@pytest.mark.parametrize("key", LIMITS)
def test_a_value_beyond_its_limits_is_told_by_its_option_or_its_line(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value, words = LIMITS[key]
    option = f"--{key.replace('_', '-')}"
    (tmp_path / "faq.jsonl").write_text('{"question": "a", "answer": "b"}')
    ftbridge.convert("faq.jsonl")
    settings = tmp_path / "ftbridge.yaml"
    settings.write_text(f"model: x\nbackend: xtuner\n{key}: {value}\n")
    with pytest.raises(UsageError) as told:
        ftbridge.train()
    assert str(told.value).startswith(f"`{settings}`, line 3: `{key}` {words}")
    settings.write_text(f"model: x\nbackend: xtuner\n{key}: 1\n")
    said = CliRunner().invoke(cli, ["train", option, str(value)]).exception
    assert isinstance(said, UsageError)
    assert str(said).startswith(f"`{option}` {words}")


@pytest.mark.parametrize(
    ("settings", "given", "told"),
    [
        (
            "template: qwen2.5\n",
            {},
            r"`--template` is for `--tokens native`; .* \(`template` stands in ftbridge.yaml\)$",
        ),
        ("", {"template": "qwen2.5"}, "`--template` is for `--tokens native`; take that, or leave `--template` out$"),
        ("tokens: native\n", {"learn": "last"}, "`--learn` is for `--tokens once`; take that, or leave `--learn` out$"),
        (
            "tokens: native\nchat_template: plain\n",
            {},
            r"`--tokens once`; .* \(`chat_template` stands in ftbridge.yaml\)$",
        ),
    ],
)
def test_options_of_the_other_tokens_are_refused_with_their_place(tmp_path, settings, given, told):
    (tmp_path / "ftbridge.yaml").write_text(settings)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text('{"faq": {"file_name": "faq.json"}}')
    project = Project.find(tmp_path)
    with pytest.raises(UsageError, match=told):
        resolve_train_spec(project, {"backend": "xtuner", "model": "base", "dataset": "faq", **given})
