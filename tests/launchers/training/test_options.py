"""What a training is told, and what is missing."""

import sys

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

import ftbridge
from ftbridge.cli import cli
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.training.options import ask_about_values, check_settings, resolve_train_spec


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
        for package in ("xtuner", "llamafactory"):
            (python.parents[1] / "lib" / "python3.11" / "site-packages" / f"{package}-1.dist-info").mkdir(parents=True)
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
    with pytest.raises(UsageError) as told:
        ftbridge.train(model="base")
    if environment:
        assert isinstance(told.value, QuestionError)
        assert [*told.value.answers.values()] == [["--backend", "llamafactory"], ["--backend", "xtuner"]]
    else:
        assert str(told.value).splitlines()[1:] == [
            "  there is no training environment: `ftbridge setup` makes it",
            "  choose a framework with `--backend`: llamafactory or xtuner",
        ]


def test_the_only_framework_that_is_installed_need_not_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "ftbridge.yaml").write_text(f"backends: {{xtuner: {{python: {sys.executable}}}}}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text('{"faq": {"file_name": "faq.json"}}')
    spec = resolve_train_spec(Project.find(tmp_path), {"model": "base", "dataset": "faq"})
    assert spec.backend == "xtuner"


@pytest.mark.parametrize(
    ("rate", "answers"), [(5, ["5e-5", "5e-4"]), (0.25, ["2.5e-5", "2.5e-4"]), (1, ["1e-5", "1e-4"])]
)
def test_a_learning_rate_that_is_far_too_high_is_asked_about(rate, answers):
    spec = TrainSpec(backend="xtuner", model="base", dataset="faq", learning_rate=rate)
    with pytest.raises(QuestionError, match=f"a learning rate of {rate} is too high") as told:
        ask_about_values(spec)
    assert [*told.value.answers.values()] == [*(["--learning-rate", each] for each in answers), ["--yes"]]
    ask_about_values(replace(spec, optimizer="sgd"))
    ask_about_values(replace(spec, learning_rate=0.004))


def test_a_setting_that_the_framework_lacks_is_refused_before_it_starts(tmp_path):
    python = tmp_path / "bin" / "python"
    spec = TrainSpec(backend="llamafactory", model="base", dataset="faq", set={"foo": "1"})
    backend = load_backend("llamafactory")
    check_settings(spec, backend, python)  # without its source it is left to the framework
    source = tmp_path / "lib" / "python3.11" / "site-packages" / "llamafactory" / "hparams" / "model_args.py"
    source.parent.mkdir(parents=True)
    source.write_text("class ModelArguments:\n    loraplus_lr_ratio: float = 0\n    flash_attn: str = ''\n")
    with pytest.raises(UsageError, match=r"LLaMA-Factory has no setting `foo` for `--set`$"):
        check_settings(spec, backend, python)
    with pytest.raises(UsageError, match="did you mean `loraplus_lr_ratio`"):
        check_settings(replace(spec, set={"loraplus_ratio": "1"}), backend, python)
    check_settings(replace(spec, set={"loraplus_lr_ratio": "1"}), backend, python)


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
            r"`--template` is for `--tokens native`; .* \(`template` is set in ftbridge.yaml\)$",
        ),
        ("", {"template": "qwen2.5"}, "`--template` is for `--tokens native`; take that, or leave `--template` out$"),
        ("tokens: native\n", {"learn": "last"}, "`--learn` is for `--tokens once`; take that, or leave `--learn` out$"),
        (
            "tokens: native\nchat_template: plain\n",
            {},
            r"`--tokens once`; .* \(`chat_template` is set in ftbridge.yaml\)$",
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
