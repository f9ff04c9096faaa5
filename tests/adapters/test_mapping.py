"""Rows and conversations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.columns import recognise
from ftbridge.adapters.mapping import Mapping
from ftbridge.adapters.values import BadCell, BadValueError
from ftbridge.core.records import Row, Turn, Where

ANYTHING = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "x", "\n问", "\0", "\ud800", "1"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.lists(st.lists(st.text(max_size=2), max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
    st.just(BadCell("#N/A")),
)


def row(**values):
    return Row(Where("faq.xlsx", 17, "Q"), values)


def mapping(system="", letters=None, **columns):
    return Mapping(columns, frozenset(columns.values()), letters or {}, system)


def test_a_row_becomes_a_conversation():
    made = mapping(system="be kind", instruction="q", output="a").conversation(row(q="why?", a=69.0))
    assert made.system == "be kind"
    assert made.turns == (Turn("why?", "", "69"),)
    assert str(made.source) == "faq.xlsx Q!17"


def test_a_rows_own_system_wins():
    columns = Mapping({"instruction": "q", "output": "a", "system": "s"}, frozenset("qas"), {}, "be kind")
    assert columns.conversation(row(q="q", a="a", s="be brief")).system == "be brief"
    assert columns.conversation(row(q="q", a="a", s=None)).system == "be kind"


def test_history_is_earlier_turns():
    columns = mapping(instruction="q", input="i", output="a", history="h")
    made = columns.conversation(row(q="q", i="more", a="a", h=[["hi", "hello"]]))
    assert made.turns == (Turn("hi", "", "hello"), Turn("q", "more", "a"))
    assert columns.conversation(row(q="q", a="a", h=[])).turns == (Turn("q", "", "a"),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"q": "", "a": "x"}, ("Q!A17", "instruction", "is empty", "")),
        ({"q": "x", "a": " \u00a0"}, ("Q!D17", "output", "is empty", "  ")),
        ({"a": "x"}, ("Q!A17", "instruction", "is empty", "")),
        ({"q": "x", "a": BadCell("#N/A")}, ("Q!D17", "output", "is an error value of the workbook", "#N/A")),
        ({"q": ["x"], "a": "y"}, ("Q!A17", "instruction", "holds a list, not text", "['x']")),
        ({"q": "x", "a": {}}, ("Q!D17", "output", "holds an object, not text", "{}")),
        ({"q": "x", "a": "y\0"}, ("Q!D17", "output", "holds a NUL character", "y ")),
        ({"q": "\ud800", "a": "y"}, ("Q!A17", "instruction", "holds half of a surrogate pair", " ")),
        ({"q": "x", "a": "y", "h": "z"}, ("Q!17", "history", "is no list of [question, answer] pairs", "z")),
        (
            {"q": "x", "a": "y", "h": [["z"]]},
            ("Q!17", "history", "is no list of [question, answer] pairs", "[['z']]"),
        ),
        (
            {"q": "x", "a": "y", "h": [["z", ""]]},
            ("Q!17", "history", "has an empty question or answer", "[['z', '']]"),
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_with_its_cell(values, expected):
    columns = mapping(letters={"instruction": "A", "output": "D"}, instruction="q", output="a", history="h")
    (problem,) = columns.problems(row(**values))
    assert (problem.address, problem.field, problem.reason, problem.value) == expected


def test_the_question_may_stand_in_either_column():
    columns = mapping(instruction="q", input="i", output="a")
    assert not columns.problems(row(q="", i="x", a="y"))
    assert [each.field for each in columns.problems(row(q="", i="", a=""))] == ["instruction", "output"]


def test_a_row_that_cannot_be_read_says_why():
    broken = Row(Where("faq.jsonl", 3), {}, error="is no JSON object")
    (problem,) = mapping(instruction="q", output="a").problems(broken)
    assert (problem.address, problem.reason) == ("line 3", "is no JSON object")


def test_a_known_column_that_comes_late_is_not_lost_silently():
    columns = mapping(instruction="q", output="a")
    with pytest.raises(BadValueError):
        columns.conversation(row(q="x", a="y", history=[]))
    assert [each.field for each in columns.problems(row(q="x", a="y", history=[]))] == ["history"]
    assert columns.conversation(row(q="x", a="y", other=1))
    assert recognise(["other"]) == {}


@given(st.dictionaries(st.sampled_from(["q", "i", "a", "s", "h", "history", "else"]), ANYTHING))
def test_a_row_makes_a_sample_or_says_why_not(values):
    from ftbridge.adapters.targets import alpaca

    columns = {"system": "s", "instruction": "q", "input": "i", "output": "a", "history": "h"}
    reads = Mapping(columns, frozenset(columns.values()), {})
    try:
        alpaca.encode(reads.conversation(row(**values)))
    except (BadValueError, UnicodeEncodeError):
        assert reads.problems(row(**values))
    else:
        assert not reads.problems(row(**values))
