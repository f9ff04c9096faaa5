"""What may be conversations; test_conversations.py tries the answers."""

import pytest

from ftbridge.adapters.mapping.conversations.ambiguous import ask_for_turns, refuse_single_messages
from ftbridge.core.errors import InputError, QuestionError
from ftbridge.core.records import Row, Table, Where


def table(**values):
    return Table(file="a.jsonl", columns=tuple(values), pieces=[], first=(Row(Where("a.jsonl", 1), values),))


@pytest.mark.parametrize("role", ["user", "tool", "Assistant"])
def test_a_message_a_row_is_refused_with_what_to_do(role):
    with pytest.raises(InputError, match=r'one message \(`role`, `text`\); give each conversation as one row, `{"mess'):
        refuse_single_messages(table(id=1, role=role, text="hi"))


@pytest.mark.parametrize("values", [{"role": "Person", "text": "Ann"}, {"role": "user", "name": "x"}, {"text": "x"}])
def test_rows_that_are_no_messages_are_not_refused_as_such(values):
    refuse_single_messages(table(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"tags": ["a", "b"]},
        {"chat": "text"},
        {"talks": [{"x": "a", "y": "b"}]},
        {"chat": [{"x": "a", "y": 1}]},
        {"x": None},
    ],
)
def test_columns_without_turns_are_not_asked_about(values):
    ask_for_turns(table(**values))


def test_columns_that_may_be_turns_are_asked_about():
    with pytest.raises(QuestionError, match=r"`pairs` of `a\.jsonl` holds questions and answers"):
        ask_for_turns(table(pairs=[{"q": "x", "a": "y"}]))
    with pytest.raises(QuestionError, match="who `x` and `y` of `chat` are"):
        ask_for_turns(table(chat=[{"x": "a", "y": "b"}]))
