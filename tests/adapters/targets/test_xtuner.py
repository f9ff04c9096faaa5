"""XTuner's format."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.targets import xtuner
from ftbridge.core.records import Conversation, Turn, Where

TEXT = st.text()
TURNS = st.lists(st.builds(Turn, TEXT, TEXT, TEXT), min_size=1, max_size=4)


@given(TEXT, TURNS)
def test_conversation_is_written_as_xtuner_turns(system, turns):
    line = msgspec.json.encode(xtuner.sample(Conversation(system, tuple(turns), Where("f", 1))))
    assert b"\n" not in line
    sample = json.loads(line)
    assert list(sample) == ["conversation"]
    assert [(turn["input"], turn["output"]) for turn in sample["conversation"]] == [
        (turn.user, turn.output) for turn in turns
    ]
    assert [turn["system"] for turn in sample["conversation"]] == [system] + [""] * (len(turns) - 1)
    assert {tuple(turn) for turn in sample["conversation"]} == {("system", "input", "output")}


def test_text_that_was_never_decoded_is_copied():
    raw = {key: msgspec.Raw(json.dumps(key).encode()) for key in ("instruction", "input", "output", "system")}
    turn = Turn(raw["instruction"], raw["input"], raw["output"])
    line = msgspec.json.encode(xtuner.sample(Conversation(raw["system"], (turn, turn), Where("f", 1))))
    assert json.loads(line) == {
        "conversation": [
            {"system": "system", "input": "instruction\ninput", "output": "output"},
            {"system": "", "input": "instruction\ninput", "output": "output"},
        ]
    }
