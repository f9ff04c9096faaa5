"""A project with a dataset, and a model folder that a parrot speaks for."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.templates import families
from ftbridge.weights.card import ModelCard

from .parrot import NEWS, SYSTEM, Parrot


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Stand in a project with a dataset of six news, and return a model folder that a parrot speaks for."""
    monkeypatch.chdir(tmp_path)
    Path("news.json").write_text(
        json.dumps([{"instruction": "Sort it", "input": q, "output": a, "system": SYSTEM} for q, a in NEWS])
    )
    ftbridge.convert("news.json", name="parts", split="1:1")
    ftbridge.convert("news.json", name="all")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    prompt = msgspec.to_builtins(families.get("qwen2.5").cell("xtuner").prompt)
    ModelCard(base="", family="qwen2.5", backend="xtuner", template=prompt, system="", thinking="none").save(folder)
    monkeypatch.setattr(Parrot, "asked", [], raising=False)
    monkeypatch.setattr(Parrot, "stop_after", None, raising=False)
    monkeypatch.setattr("ftbridge.evaluation.predict.Generator", Parrot)
    monkeypatch.setattr("ftbridge.evaluation.predict.interpreter_for", lambda *_, **__: Path(sys.executable))
    return folder
