"""What a training is told, and what is missing."""

import sys

import pytest

import ftbridge
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
