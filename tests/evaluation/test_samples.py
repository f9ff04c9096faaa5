"""The questions of a run's dataset."""

import json

import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.project import Project
from ftbridge.evaluation.verify import questions

from ..builders import recorded_runs  # noqa: TID252


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Stand in a project with a dataset `faq` of three samples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = [{"instruction": f"q{number}", "input": "", "output": "a", "system": "s"} for number in range(3)]
    (tmp_path / "data" / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"file_name": "faq.jsonl", "columns": {"prompt": "instruction", "response": "output", "system": "system"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"faq": entry}))
    (tmp_path / "runs" / "one").mkdir(parents=True)
    return Project.find()


def test_the_first_samples_are_asked_with_their_system_prompt(project):
    run = recorded_runs.run(project, "one")
    assert questions(project, run, 2) == [("s", "q0"), ("s", "q1")]
    assert len(questions(project, run, 9)) == 3


def test_a_dataset_that_is_gone_is_told(project):
    with pytest.raises(InputError, match="other"):
        questions(project, recorded_runs.run(project, "one", dataset="other"), 2)
