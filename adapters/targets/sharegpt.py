"""ShareGPT with the tags of OpenAI's messages, for LLaMA-Factory.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}], "system": ""}

The system prompt is a column, so that all keys are always there. It is not registered as `openai`: for that
LLaMA-Factory puts "detailed thinking off" into the system prompt of every sample (its data/converter.py).
"""

from typing import Any

import msgspec

from ftbridge.adapters.targets.text_only import answer_with_thought, is_plain_text
from ftbridge.core.records import Conversation, Text

suffix = "sharegpt.jsonl"
# Once an entry names any column or tag, LLaMA-Factory takes those not named for absent.
entry: dict[str, Any] | None = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "system": "system"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "observation",
        "function_tag": "function",
        "system_tag": "system",
    },
}


class Message(msgspec.Struct, gc=False):
    """What one side says, as it is written."""

    role: str
    content: Text


class Sample(msgspec.Struct, gc=False):
    """One sample as it is written."""

    messages: list[Message]
    system: Text


def sample(conversation: Conversation) -> Sample | None:
    """Return the sample as it is written, None where it has tools, or an answer that is not learned."""
    if not is_plain_text(conversation):
        return None
    messages: list[Message] = []
    for turn in conversation.turns:
        messages += [Message("user", turn.user), Message("assistant", answer_with_thought(turn))]
    return Sample(messages, conversation.system)
