"""Runs that have trained, and cards that are of no run."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ftbridge.core.records import Launch
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.runs.record import Attempt, Run
from ftbridge.templates.families import get_family
from ftbridge.weights.card import ModelCard


def trained_run(name, status="succeeded", backend="xtuner", family="qwen2"):
    """Save and return a run of the project that is stood in."""
    return Run(
        id=name,
        folder=str(Path("runs", name).absolute()),
        status=status,
        spec=TrainSpec(backend=backend, model="base", dataset="faq", trust_remote_code=True),
        launch=Launch(("python",), {}, "/", {}),
        family=family,
        model=str(Path("base").absolute()),
        system="说中文",
        samples=1,
        steps=1,
        versions={},
        datasets={},
        attempts=(Attempt(datetime(2026, 1, 2, tzinfo=UTC)),),
        pid=os.getpid(),
    ).save()


def card(base="base", **values):
    """Return the card of a model that was made of `base`."""
    template = msgspec.json.decode(msgspec.json.encode(get_family("qwen2").cell("llamafactory").prompt))
    facts = {"family": "qwen2", "backend": "llamafactory", "template": template, "system": "s", "thinking": "none"}
    return ModelCard(base=str(Path(base).absolute()), **facts | values)
