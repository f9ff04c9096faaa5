"""Columns and the fields they are for."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.columns import choose, find_column, fits, letter, listing, unique_headers
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.plugins import Table


def table(*columns, lettered=True):
    return Table(columns, [], lettered=lettered)


@pytest.mark.parametrize(
    ("headers", "chosen"),
    [
        (("Question", "Answer"), {"instruction": "Question", "output": "Answer"}),
        (("答案", "问题"), {"instruction": "问题", "output": "答案"}),
        (
            (" INSTRUCTION ", "input", "Output"),
            {"instruction": " INSTRUCTION ", "input": "input", "output": "Output"},
        ),
        (
            ("指令", "输入", "输出", "系统提示"),
            {"system": "系统提示", "instruction": "指令", "input": "输入", "output": "输出"},
        ),
        (("input", "output"), {"instruction": "input", "output": "output"}),
        (
            ("instruction", "output", "history", "id"),
            {"instruction": "instruction", "output": "output", "history": "history"},
        ),
    ],
)
def test_headers_are_recognised(headers, chosen):
    assert fits(headers)
    assert choose(table(*headers), None) == chosen


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (("question", "instruction", "answer"), "`question` and `instruction` both fit instruction"),
        (("question", "answer [B]", "answer [C]"), r"`answer \[B\]` and `answer \[C\]` both fit output"),
        (("a thing", "another"), "no column is recognised.*--map.*A `a thing`, B `another`"),
        (("question", "score"), "no column is recognised"),
        (("conversation",), "XTuner conversations"),
        (("messages", "id"), "OpenAI messages"),
        (("id", "conversations"), "ShareGPT conversations"),
    ],
)
def test_headers_that_do_not_say_enough_are_not_guessed(headers, message):
    with pytest.raises(InputError, match=r"(?s)" + message):
        choose(table(*headers), None)


@pytest.mark.parametrize(
    ("wanted", "column"),
    [("B", "two"), ("b", "two"), ("2", "two"), ("C", "C"), ("A", "C "), ("4", "1"), ("1", "1")],
)
def test_a_column_is_a_header_a_letter_or_a_number(wanted, column):
    assert find_column(table("C ", "two", "C", "1"), wanted) == column


@pytest.mark.parametrize("wanted", ["E", "0", "5", "tow", "", "ZZZ", "99999"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(wanted):
    with pytest.raises(UsageError, match=r"(?s)there is no column.*A `one`, B `two`"):
        find_column(table("one", "two"), wanted)


def test_the_closest_column_is_named():
    with pytest.raises(UsageError, match="did you mean `Answer`"):
        find_column(table("Question", "Answer"), "Anser")


def test_json_has_no_letters():
    keys = table("one", "two", lettered=False)
    assert find_column(keys, "2") == "two"
    with pytest.raises(UsageError, match="1 `one`, 2 `two`"):
        find_column(keys, "B")


def test_a_field_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no field `outpt`; did you mean `output`"):
        choose(table("a", "b"), {"instruction": "a", "outpt": "b"})


def test_question_and_answer_are_both_needed():
    with pytest.raises(UsageError, match="names no output"):
        choose(table("a", "b"), {"instruction": "a"})
    assert choose(table("a", "b"), {"input": "a", "output": "b"}) == {"instruction": "a", "output": "b"}


def test_many_columns_are_listed_in_part():
    assert "and 5 more" in listing(table(*(f"c{number}" for number in range(35))))


@given(st.integers(1, 16384))
def test_letters_count_as_in_a_sheet(index):
    letters = letter(index)
    assert set(letters) <= set(string.ascii_uppercase)
    assert find_column(table(*(f"column {at}" for at in range(1, 16385))), letters) == f"column {index}"


def test_headers_that_are_missing_or_occur_twice_get_their_letter():
    assert unique_headers(["a", " b ", "", "a", "", " "]) == ("a [A]", "b", "[C]", "a [D]")
    with pytest.raises(InputError, match=r"several columns have the header `a \[A\]`"):
        unique_headers(["a", "a [A]", "a"])
