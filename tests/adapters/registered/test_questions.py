"""Files of questions without answers."""

import json

import pytest

from ftbridge.adapters.registered.questions import QuestionFile, questions_dataset
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.evaluation.answers.questions import questions_of


@pytest.fixture
def asked(folder):
    """Return a function that writes a file and returns the questions in it, with the system prompt."""

    def ask(name, text, column="", system="You help."):
        path = folder / name
        path.write_text(text, "utf-8")
        data = questions_dataset(QuestionFile(path, column), system, folder / "cache")
        found = [*questions_of(data)]
        assert {each.reference for each in found} == {""}
        return data, [(each.system, each.turns[-1][0]) for each in found]

    return ask


def test_the_column_of_the_questions_is_detected_and_rows_without_one_are_skipped(asked, capsys):
    data, found = asked("客服 问题.csv", '编号,问题\n1,在吗？\n2,\n3,"=cmd()"\n')
    assert found == [("You help.", "在吗？"), ("You help.", "=cmd()")]
    assert (data.name, data.entry.samples) == ("客服-问题", 2)
    assert "skipped 1 row without a question" in capsys.readouterr().err


def test_the_only_column_has_the_questions_and_a_number_is_text(asked):
    _, found = asked("a.json", json.dumps([{"anything": 5}, {"anything": "why?"}]), system="")
    assert found == [("", "5"), ("", "why?")]


def test_a_column_is_asked_for_where_none_fits_and_taken_where_it_is_named(asked):
    text = "left,right\na,b\n"
    with pytest.raises(QuestionError, match=r"which column of `.*two.csv` has the questions\?") as raised:
        asked("two.csv", text)
    assert raised.value.answers == {"`left`": ["--column", "left"], "`right`": ["--column", "right"]}
    assert asked("two.csv", text, "right")[1] == [("You help.", "b")]
    with pytest.raises(UsageError, match="there is no column `middle`"):
        asked("two.csv", text, "middle")


def test_a_file_without_questions_is_refused_and_leaves_nothing(asked, folder):
    with pytest.raises(InputError, match=r"there are no questions in the column `question` of `.*a.csv`"):
        asked("a.csv", "question,b\n,1\n,2\n")
    assert not [*(folder / "cache").glob("questions*")]


def test_a_cell_that_is_no_text_is_named_by_its_row(asked):
    with pytest.raises(InputError, match=r"`question` holds a list, not text"):
        asked("a.json", json.dumps([{"question": ["why?"]}]))
