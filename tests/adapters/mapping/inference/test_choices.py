"""Each record is converted as the question offers it: what is offered has to work."""

import json

import pytest

import ftbridge
from ftbridge.adapters.mapping.inference.choices import choice_columns
from ftbridge.core.errors import QuestionError

from ....builders.tables import taken  # noqa: TID252

QUESTION = "Which city is the capital?"
BY_LETTER = f"{QUESTION} A. Bonn B. Paris"
BY_NUMBER = f"{QUESTION} 0. Bonn 1. Paris"
BOTH = (BY_NUMBER, f"{QUESTION} 1. Bonn 2. Paris")


def write(folder, *records):
    (folder / "exam.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return folder / "exam.jsonl"


def turns_of(exam, options):
    done = ftbridge.convert(exam, replace=True, **taken(options))
    return done.tables[0].first[0].turns[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("record", "asked"),
    [
        ({"choices": ["Bonn", "Paris"], "answer": 0}, [BY_NUMBER]),
        ({"choices": ["Bonn", "Paris"], "answer": 2}, BOTH[1:]),
        ({"choices": ["Bonn", "Paris"], "answer": 1}, BOTH),
        ({"选项": ["Bonn", "Paris"], "answer": "B"}, [BY_LETTER]),
        ({"options": {"A": "Bonn", "B": "Paris"}, "answer": "(b)"}, [BY_LETTER]),
        ({"options": "A) Bonn B) Paris", "answer": "AB"}, [f"{QUESTION} A) Bonn B) Paris"]),
        ({"choices": {"label": ["A", "B"], "text": ["Bonn", "Paris"]}, "answerKey": "B"}, [BY_LETTER]),
        ({"options": [{"key": "A", "value": "Bonn"}, {"key": "B", "value": "Paris"}], "answer": "B"}, [BY_LETTER]),
        ({"A": "Bonn", "B": "Paris", "C": "Rome", "答案": "B"}, [f"{BY_LETTER} C. Rome"]),
        ({"A": "Bonn", "B": "Paris", "答案": "B"}, [BY_LETTER]),
        ({"选项A": "Bonn", "选项B": "Paris", "正确答案": "选B"}, [BY_LETTER]),
        ({"option_a": "Bonn", "option_b": "Paris", "answer": "A,B"}, [BY_LETTER]),
        ({"option1": "Bonn", "option2": "Paris", "answer": 1}, BOTH[1:]),
        ({"opa": "Bonn", "opb": "Paris", "cop": 1}, BOTH),
        ({"answerA": "Bonn", "answerB": "Paris", "label": "B"}, [BY_LETTER]),
        ({"A选项": "Bonn", "B选项": "Paris", "答案": "B\uff0e"}, [BY_LETTER]),
        ({"选项一": "Bonn", "选项二": "Paris", "答案": "B"}, [BY_LETTER]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("question", ["question", "题目"])
def test_exam_choices_that_an_answer_names_are_asked_about(folder, record, asked, question):
    exam = write(folder, {question: QUESTION} | record)
    with pytest.raises(QuestionError, match="names one of") as refused:
        ftbridge.convert(exam)
    *shown, alone = refused.value.answers.items()
    assert [turns_of(exam, options).instruction for _, options in shown] == [*asked]
    assert {turns_of(exam, options).output for _, options in shown} == {str([*record.values()][-1])}
    assert "alone" in alone[0]
    assert turns_of(exam, alone[1]).instruction == QUESTION


def test_exam_choice_that_is_empty_in_a_row_is_left_out_there(folder):
    records = [
        {"题目": "q", "选项A": "x", "选项B": "y", "答案": "A"},
        {"题目": "r", "选项A": "", "选项B": "", "答案": "z"},
    ]
    exam = write(folder, *records)
    with pytest.raises(QuestionError) as refused:
        ftbridge.convert(exam)
    done = ftbridge.convert(exam, **taken(next(iter(refused.value.answers.values()))))
    assert [sample.turns[0].instruction for sample in done.tables[0].first] == ["q A. x B. y", "r"]


def test_passage_of_an_exam_question_stays_in_the_prompt(folder):
    exam = write(folder, {"article": "long", "question": "q", "options": ["x", "y"], "label": 0})
    with pytest.raises(QuestionError) as refused:
        ftbridge.convert(exam)
    for options in refused.value.answers.values():
        assert turns_of(exam, options).input == "long"


@pytest.mark.parametrize(
    "record",
    [
        {"question": QUESTION, "options": {"A": "Bonn", "B": "Paris"}, "answer": "Paris", "answer_idx": "B"},
        {"question": QUESTION, "answer": "B"},
        {"q": QUESTION, "a": "B"},
    ],
    ids=["as MedQA has them", "no choices", "no choices, short headers"],
)
def test_answers_that_name_no_choice_are_read_as_they_are(folder, record):
    (table,) = ftbridge.convert(write(folder, record)).tables
    assert table.first[0].turns[0].instruction == QUESTION


def test_columns_named_a_to_d_or_numbered_options_are_choices():
    assert choice_columns(["q", "a", "b"]) == []
    assert choice_columns(["a", "b", "answer"]) == ["a", "b"]
    assert choice_columns(["A", "b", "C", "answer"]) == ["A", "b", "C"]
    assert choice_columns(["option 1", "option 2", "option 4"]) == ["option 1", "option 2"]
    assert choice_columns(["data", "mean", "option b"]) == []
