"""What a baseline learns from."""

import json
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.project import Project
from ftbridge.evaluation.answers.questions import Question
from ftbridge.evaluation.baselines.training_texts import Labelled, TrainingTexts, text_of

from ...builders.trained_runs import trained  # noqa: TID252


@pytest.fixture
def texts_of(tmp_path, monkeypatch):
    """Return a function that converts rows, and returns what a run that was trained on them has as texts."""
    monkeypatch.chdir(tmp_path)

    def texts(rows):
        Path("x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        ftbridge.convert("x.jsonl")
        found = TrainingTexts(Project.find(), trained("x"))
        assert list(found) == list(found)
        return list(found)

    return texts


def test_the_label_is_the_answer_without_thoughts(texts_of):
    rows = [
        {"question": "good?", "answer": "<think>\nhm, good\n</think>\n\n pos "},
        {"question": "bad?", "answer": "neg"},
    ]
    assert texts_of(rows) == [Labelled("good?", "pos"), Labelled("bad?", "neg")]


def test_what_was_said_before_the_last_question_stands_before_it(texts_of):
    said = [("user", "Sort what follows"), ("assistant", "Yes"), ("user", "good"), ("assistant", "pos")]
    assert texts_of([{"messages": [{"role": role, "content": text} for role, text in said]}]) == [
        Labelled("Sort what follows\nYes\ngood", "pos")
    ]


def test_a_system_prompt_counts_where_there_are_several(texts_of):
    one = {"question": "good", "answer": "pos", "system": "As a child"}
    assert [text for text, _ in texts_of([one, {**one, "system": "As a judge"}])] == [
        "As a child\ngood",
        "As a judge\ngood",
    ]


def test_a_system_prompt_that_all_share_does_not_count(texts_of):
    assert texts_of([{"question": "good", "answer": "pos", "system": "As a child"}]) == [Labelled("good", "pos")]


def test_a_question_is_read_as_the_training_texts_are():
    question = Question(1, "sys", (("one", "two"), ("three", None)), "x")
    assert text_of(question, with_system=True) == "sys\none\ntwo\nthree"
    assert text_of(question, with_system=False) == "one\ntwo\nthree"
