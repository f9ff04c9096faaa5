"""The shapes of conversations, and what only looks like one; test_reader.py has each of them read."""

import pytest

from ftbridge.adapters.mapping.conversations.formats import (
    ALTERNATING,
    MOSS,
    OPENAI,
    PAIRS,
    SHAREGPT,
    XTUNER,
    conversation_items,
    is_one_conversation,
    is_surely_conversation,
    style_of,
    wants_answer,
)
from ftbridge.core.errors import InputError

from ....builders.tables import GOOD, choose, table  # noqa: TID252


@pytest.mark.parametrize(
    ("value", "style"),
    [
        (GOOD, OPENAI),
        ({"role": ["user", "assistant"], "content": ["q", "a"]}, OPENAI),
        ([["user", "q"], ["assistant", "a"]], OPENAI),
        ([{"from": "human", "value": "q"}], SHAREGPT),
        ([{"system": "", "input": "q", "output": "a"}], XTUNER),
        ([{"speaker": "Ann", "text": "q"}, {"speaker": "Bob", "text": "a"}], "messages of speaker/text"),
        ([{"human": "q", "assistant": "a"}], "turns of human/assistant"),
        ({"turn_1": {"Human": "q", "MOSS": "a"}}, MOSS),
        ("[Human]: q<eoh> [MOSS]: a<eoa>", MOSS),
        ([["q", "a"], ["p", "b"]], PAIRS),
        (["q", "a"], ALTERNATING),
        *((value, "") for value in ("q", [], ["q"], [{"a": 1}], [["q", "a", "b"]], {"q": "a"}, None, 7)),
        ([{"role": "Person", "text": "Ann"}], ""),
    ],
    ids=str,
)
def test_style_of_a_value_is_told_by_its_keys(value, style):
    assert style_of(value) == style


def test_turns_that_may_be_questions_on_their_own_need_a_column_called_a_conversation():
    style = style_of([{"question": "q", "answer": "a"}])
    assert is_surely_conversation("多轮对话", style)
    assert not is_surely_conversation("qa", style)
    assert is_surely_conversation("qa", style_of([{"user": "q", "gpt": "a"}]))
    assert is_surely_conversation("data", ALTERNATING)
    assert not is_surely_conversation("data", PAIRS)


def test_messages_that_end_with_the_users_want_an_answer():
    assert wants_answer(GOOD[:1], {}, {}, unknown=False)
    assert not wants_answer(GOOD, {}, {}, unknown=True)
    narrated = [{"role": "narrator", "content": "x"}]
    assert [wants_answer(narrated, {}, {}, unknown=each) for each in (True, False)] == [True, False]


def test_rows_are_one_conversation_unless_a_key_parts_them():
    assert is_one_conversation(GOOD)
    assert not is_one_conversation([{**each, "session": at} for at, each in enumerate(GOOD)])
    assert not is_one_conversation([{**each, "parent_id": None} for each in GOOD])
    assert not is_one_conversation(GOOD[1:])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("options", ["a", "b"]),
        ("entities", [{"role": "Person", "text": "Ann"}]),
        ("examples", [{"input": "x", "output": "y"}]),
    ],
)
def test_list_that_is_no_conversation_does_not_hide_the_question_column(column, value):
    choice = choose(table({"question": "hi", "answer": "hello", column: value}))
    assert choice.columns == {"instruction": "question", "output": "answer"}


def test_list_of_texts_with_an_empty_answer_is_no_conversation():
    with pytest.raises(InputError, match="no column is recognised"):
        choose(table({"data": ["hi", "hello"]}, {"data": ["hi", ""]}))


def test_numbered_keys_that_are_no_turns_are_not_unfolded():
    for value in ({"q1": "x", "a1": "y"}, {"1": "x"}, {"role": ["x"], "content": ["y", "z"]}, {}):
        assert conversation_items(value) == value
