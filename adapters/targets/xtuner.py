"""XTuner's format: `{"conversation": [{"system": "...", "input": "...", "output": "..."}, ...]}`.

Every turn has the same keys, since `datasets` fills what is missing with null; only the first has a system.
"""

from typing import Any

import msgspec

from ftbridge.core.records import Conversation, Text

suffix = "xtuner.jsonl"
entry: dict[str, Any] | None = None


class WrittenTurn(msgspec.Struct, gc=False):
    """One question and its answer, as they are written."""

    system: Text
    input: Text
    output: Text


class Sample(msgspec.Struct, gc=False):
    """One sample as it is written."""

    conversation: list[WrittenTurn]


def sample(conversation: Conversation) -> Sample:
    """Return the sample as it is written."""
    turns = [WrittenTurn("", turn.user, turn.output) for turn in conversation.turns]
    turns[0].system = conversation.system
    return Sample(turns)
