"""ShareGPT with the tags of OpenAI's messages, for LLaMA-Factory.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}], "system": ""}

The system prompt is a column, so that all keys are always there. It is not registered as `openai`: for that
LLaMA-Factory puts "detailed thinking off" into the system prompt of every sample (its data/converter.py).
"""

from typing import Any

import msgspec

from ftbridge.core.records import Conversation

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
_encode = msgspec.json.Encoder().encode


def encode(conversation: Conversation) -> bytes:
    """Return the sample as one JSON object, without a newline."""
    messages = []
    for turn in conversation.turns:
        messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.output}]
    return _encode({"messages": messages, "system": conversation.system})
