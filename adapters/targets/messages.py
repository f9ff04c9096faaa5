"""Messages, of which ready tokens are made.

{"messages": [{"role": "system", "content": "..."}, {"role": "user", ...}, {"role": "assistant", ...}]}
"""

from typing import Any

import msgspec

from ftbridge.core.records import Conversation, Text

suffix = "messages.jsonl"
entry: dict[str, Any] | None = None


class Message(msgspec.Struct, gc=False):
    """What one side says, as it is written."""

    role: str
    content: Text


class Sample(msgspec.Struct, gc=False):
    """One sample as it is written."""

    messages: list[Message]


def sample(conversation: Conversation) -> Sample:
    """Return the sample as it is written."""
    messages = [Message("system", conversation.system)] if conversation.system else []
    for turn in conversation.turns:
        messages += [Message("user", turn.user), Message("assistant", turn.output)]
    return Sample(messages)
