"""Messages, of which ready tokens are made: whole conversations, in a file that no framework reads by itself.

    {"messages": [{"role": "system", "content": "..."}, {"role": "user", ...}, {"role": "assistant", ...}]}

What there is of it, an answer has as well: `"reasoning_content"`, a thought; `"tool_calls"`, whose arguments are
objects; `"train": false` where it is not learned. A message of the role `tool` is what a tool answered, and `"tools"`
beside the messages are those that are offered.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from ftbridge.core.records import Conversation, Text

suffix = "messages.jsonl"
entry: dict[str, Any] | None = None


class Message(msgspec.Struct, gc=False):
    """What one side says, as it is written."""

    role: str
    content: Text


class ToolMessage(Message, omit_defaults=True, gc=False):
    """What a tool says."""

    name: str = ""
    tool_call_id: str = ""


class FullAnswer(Message, omit_defaults=True, gc=False):
    """An answer with more than its text."""

    reasoning_content: Text = ""
    tool_calls: msgspec.Raw | UnsetType = UNSET
    train: bool = True


class Sample(msgspec.Struct, gc=False):
    """One sample as it is written."""

    messages: list[Message]
    tools: msgspec.Raw | UnsetType = UNSET


def sample(conversation: Conversation) -> Sample:
    """Return the sample as it is written."""
    messages = [Message("system", conversation.system)] if conversation.system else []
    for turn in conversation.turns:
        beside = turn.beside
        if beside is None:
            messages.append(Message("user", turn.user))
            messages.append(Message("assistant", turn.output))
            continue
        if beside.observations:
            messages += [ToolMessage("tool", each.content, each.name, each.call) for each in beside.observations]
        else:
            messages.append(Message("user", turn.user))
        calls = _raw(beside.calls) if beside.calls else UNSET
        messages.append(FullAnswer("assistant", turn.output, beside.thought, calls, beside.train))
    return Sample(messages, _raw(conversation.tools) if conversation.tools else UNSET)


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
