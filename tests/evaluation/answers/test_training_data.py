"""The samples that a run was trained on."""

import json
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError
from ftbridge.core.project import Project
from ftbridge.evaluation.answers.training_data import training_data

from ...builders.trained_runs import trained  # noqa: TID252


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"q{at}", "answer": f"a{at}"} for at in range(4)]
    Path("x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ftbridge.convert("x.jsonl", split="3:1")
    return trained("x")


def test_the_samples_are_those_that_were_trained_on(run):
    data = training_data(Project.find(), run)
    samples = list(data.samples())
    assert len(samples) == 3
    assert all(turn.output == f"a{turn.user[1:]}" for sample in samples for turn in sample.turns)
    assert list(data.samples()) == samples


def test_a_file_that_was_changed_is_refused(run):
    for file in Path("data").glob("x-train*"):
        file.write_text(file.read_text().replace("q", "Q"))
    with pytest.raises(InputError, match="is gone, or has changed since the training"):
        training_data(Project.find(), run)
