"""Alpaca."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.targets import alpaca
from ftbridge.core.records import Conversation, Turn, Where

TEXT = st.text()
TURNS = st.lists(st.builds(Turn, TEXT, TEXT, TEXT), min_size=1, max_size=4)


@given(TEXT, TURNS)
def test_conversation_is_written_as_one_alpaca_record(system, turns):
    line = msgspec.json.encode(alpaca.sample(Conversation(system, tuple(turns), Where("f", 1))))
    assert b"\n" not in line
    assert json.loads(line) == {
        "instruction": turns[-1].instruction,
        "input": turns[-1].input,
        "output": turns[-1].output,
        "system": system,
        "history": [[turn.user, turn.output] for turn in turns[:-1]],
    }


def test_text_that_was_never_decoded_is_copied():
    raw = {key: msgspec.Raw(json.dumps(key).encode()) for key in ("instruction", "input", "output", "system")}
    turn = Turn(raw["instruction"], raw["input"], raw["output"])
    line = msgspec.json.encode(alpaca.sample(Conversation(raw["system"], (turn, turn), Where("f", 1))))
    assert json.loads(line) == {key: key for key in raw} | {"history": [["instruction\ninput", "output"]]}
