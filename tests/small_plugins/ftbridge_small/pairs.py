"""Questions with their answers, one JSON object a line: `convert --to pairs` writes them."""

from typing import Any

from ftbridge.core.records import Conversation

suffix = "pairs.jsonl"
# How LLaMA-Factory reads such a file; None where it cannot.
entry: dict[str, Any] | None = {"formatting": "alpaca", "columns": {"prompt": "question", "response": "answer"}}


def sample(conversation: Conversation) -> dict[str, Any]:
    """Return the last question and its answer."""
    last = conversation.turns[-1]
    return {"question": last.user, "answer": last.output}
