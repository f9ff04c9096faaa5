"""What a training is told, and what is missing."""

import sys

import pytest
from click.testing import CliRunner

import ftbridge
from ftbridge.cli import cli
from ftbridge.core.errors import InputError, UsageError


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


LIMITS = {
    "lora_rank": (-3, "takes a whole number of at least 1; got `-3`"),
    "max_steps": (0, "takes a whole number of at least 1; got `0`"),
    "epochs": (0, "takes a number above 0; got `0"),
    "lora_dropout": (1, "takes a number of at least 0 and below 1; got `1"),
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
