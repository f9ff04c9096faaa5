"""Alpaca, for LLaMA-Factory: `{"instruction": "", "input": "", "output": "", "system": "", "history": []}`.

Earlier turns are `history`, pairs of question and answer, which LLaMA-Factory trains on too: answers that are not to be
learned have no place in it. No value is ever
null, and all keys are always there: `datasets` and the column map in dataset_info.json want them so.
"""

from typing import Any

import msgspec

from ftbridge.adapters.targets.text_only import answer_with_thought, is_plain_text
from ftbridge.core.records import Conversation, Text

suffix = "alpaca.jsonl"
# Once an entry names any column, LLaMA-Factory takes those not named for absent.
entry: dict[str, Any] | None = {
    "formatting": "alpaca",
    "columns": {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    },
}


class Sample(msgspec.Struct, gc=False):
    """One sample as it is written."""

    instruction: Text
    input: Text
    output: Text
    system: Text
    history: list[tuple[Text, Text]]


def sample(conversation: Conversation) -> Sample | None:
    """Return the sample as it is written, None where it has tools, or an answer that is not learned."""
    turns = conversation.turns
    last = turns[-1]
    if conversation.tools or len(turns) > 1 or last.beside is not None:
        if not is_plain_text(conversation):
            return None
        history = [(turn.user, answer_with_thought(turn)) for turn in turns[:-1]]
        return Sample(last.instruction, last.input, answer_with_thought(last), conversation.system, history)
    return Sample(last.instruction, last.input, last.output, conversation.system, [])
