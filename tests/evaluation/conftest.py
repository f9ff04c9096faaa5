"""A project with a dataset, and a model folder that a stand-in answers for."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.evaluation.answers.engines import engine
from ftbridge.templates.families import get_family
from ftbridge.weights.card import ModelCard

from .answering_model import NEWS, SYSTEM, AnsweringModel


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Stand in a project with a dataset of six news, and return a model folder that a stand-in answers for."""
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
    prompt = msgspec.to_builtins(get_family("qwen2.5").cell("xtuner").prompt)
    ModelCard(base="", family="qwen2.5", backend="xtuner", template=prompt, system="", thinking="none").save(folder)
    monkeypatch.setattr(AnsweringModel, "asked", [], raising=False)
    monkeypatch.setattr(AnsweringModel, "stop_after", None, raising=False)
    monkeypatch.setattr(engine, "Generator", AnsweringModel)
    monkeypatch.setattr(engine, "interpreter_for", lambda *_, **__: Path(sys.executable))
    return folder
