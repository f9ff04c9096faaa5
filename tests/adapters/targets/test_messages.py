"""Messages."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.targets import messages
from ftbridge.core.records import Beside, Conversation, Observation, Turn, Where

TEXT = st.text()
TURNS = st.lists(st.builds(Turn, TEXT, TEXT, TEXT), min_size=1, max_size=4)


def written(conversation):
    return json.loads(msgspec.json.encode(messages.sample(conversation)))


@given(TEXT, TURNS)
def test_conversation_is_written_as_messages_of_role_and_content(system, turns):
    said = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        said += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.output}]
    assert written(Conversation(system, tuple(turns), Where("f", 1))) == {"messages": said}


def test_what_goes_with_an_answer_has_keys_of_its_own():
    calls = '[{"type":"function","function":{"name":"f","arguments":{"x":1}}}]'
    turns = (
        Turn("q", "", "", Beside(calls=calls, thought="hm")),
        Turn("", "", "a", Beside(train=False, observations=(Observation("42", "f", "c"), Observation("43")))),
    )
    assert written(Conversation("", turns, Where("f", 1), "", '[{"name":"f"}]')) == {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": json.loads(calls)},
            {"role": "tool", "content": "42", "name": "f", "tool_call_id": "c"},
            {"role": "tool", "content": "43"},
            {"role": "assistant", "content": "a", "train": False},
        ],
        "tools": [{"name": "f"}],
    }
