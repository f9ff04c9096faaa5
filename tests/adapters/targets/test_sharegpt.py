"""ShareGPT."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.targets import sharegpt
from ftbridge.core.records import Conversation, Turn, Where

TEXT = st.text()
TURNS = st.lists(st.builds(Turn, TEXT, TEXT, TEXT), min_size=1, max_size=4)


@given(TEXT, TURNS)
def test_conversation_is_written_as_sharegpt_messages(system, turns):
    line = msgspec.json.encode(sharegpt.sample(Conversation(system, tuple(turns), Where("f", 1))))
    assert b"\n" not in line
    sample = json.loads(line)
    assert list(sample) == ["messages", "system"]
    assert sample["system"] == system
    assert [message["role"] for message in sample["messages"]] == ["user", "assistant"] * len(turns)
    assert [message["content"] for message in sample["messages"]] == [
        text for turn in turns for text in (turn.user, turn.output)
    ]


def test_text_that_was_never_decoded_is_copied():
    turn = Turn(msgspec.Raw(b'"a\\t"'), msgspec.Raw('"问"'.encode()), msgspec.Raw(b'"b"'))
    line = msgspec.json.encode(sharegpt.sample(Conversation(msgspec.Raw(b'"s"'), (turn,), Where("f", 1))))
    assert json.loads(line) == {
        "messages": [{"role": "user", "content": "a\t\n问"}, {"role": "assistant", "content": "b"}],
        "system": "s",
    }


def test_entry_of_sharegpt_names_all_columns_and_seven_tags():
    assert set(sharegpt.entry["columns"].values()) == {"messages", "system"}
    assert len(sharegpt.entry["tags"]) == 7
