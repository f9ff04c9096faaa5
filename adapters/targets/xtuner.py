"""XTuner's format: `{"conversation": [{"system": "...", "input": "...", "output": "..."}, ...]}`.

Every turn has the same keys, since `datasets` fills what is missing with null; only the first has a system.
"""

from typing import Any

import msgspec

from ftbridge.core.records import Conversation

suffix = "xtuner.jsonl"
entry: dict[str, Any] | None = None
_encode = msgspec.json.Encoder().encode


def encode(conversation: Conversation) -> bytes:
    """Return the sample as one JSON object, without a newline."""
    system = conversation.system
    turns = []
    for turn in conversation.turns:
        turns.append({"system": system, "input": turn.user, "output": turn.output})
        system = ""
    return _encode({"conversation": turns})
