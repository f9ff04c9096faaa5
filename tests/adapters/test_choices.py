"""Each record is converted as the refusal says: what is offered has to work."""

import json
import re
import shlex

import pytest

import ftbridge
from ftbridge.adapters.choices import choices_of
from ftbridge.core.errors import InputError

QUESTION = "Which city is the capital?"


def write(folder, record):
    (folder / "exam.jsonl").write_text(json.dumps(record), encoding="utf-8")
    return folder / "exam.jsonl"


@pytest.mark.parametrize(
    ("record", "asked"),
    [
        ({"choices": ["Bonn", "Paris"], "answer": 1}, f"{QUESTION} 0. Bonn 1. Paris"),
        ({"选项": ["Bonn", "Paris"], "answer": "B"}, f"{QUESTION} A. Bonn B. Paris"),
        ({"options": {"A": "Bonn", "B": "Paris"}, "answer": "(b)"}, f"{QUESTION} A. Bonn B. Paris"),
        ({"options": "A) Bonn B) Paris", "answer": "AB"}, f"{QUESTION} A) Bonn B) Paris"),
        ({"A": "Bonn", "B": "Paris", "C": "Rome", "答案": "B"}, f"{QUESTION} A. Bonn B. Paris C. Rome"),
    ],
)
@pytest.mark.parametrize("question", ["question", "user question"])
def test_choices_that_answers_name_are_asked_for(folder, record, asked, question):
    exam = write(folder, {question: QUESTION} | record)
    with pytest.raises(InputError, match="only names one of") as refused:
        ftbridge.convert(exam)
    offered = re.search(r"`--instruction (.*)`, or leave them out", str(refused.value))[1]
    done = ftbridge.convert(exam, instruction=shlex.split(offered)[0])
    (turn,) = done.tables[0].first[0].turns
    assert (turn.instruction, turn.output) == (asked, str([*record.values()][-1]))


@pytest.mark.parametrize(
    "record",
    [
        {"question": QUESTION, "options": {"A": "Bonn", "B": "Paris"}, "answer": "Paris", "answer_idx": "B"},
        {"question": QUESTION, "answer": "B"},
        {"q": QUESTION, "a": "B"},
    ],
    ids=["as MedQA has them", "no choices", "no choices, short headers"],
)
def test_other_answers_are_read_as_they_are(folder, record):
    (table,) = ftbridge.convert(write(folder, record)).tables
    assert table.first[0].turns[0].instruction == QUESTION


def test_two_letters_are_no_choices():
    assert choices_of(["a", "b", "answer"]) == []
    assert choices_of(["A", "b", "C", "answer"]) == ["A", "b", "C"]
