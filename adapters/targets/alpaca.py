"""Alpaca, for LLaMA-Factory: `{"instruction": "", "input": "", "output": "", "system": "", "history": []}`.

Earlier turns are `history`, pairs of question and answer, which LLaMA-Factory trains on too. No value is ever
null, and all keys are always there: `datasets` and the column map in dataset_info.json want them so.
"""

from typing import Any

import msgspec

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


def sample(conversation: Conversation) -> Sample:
    """Return the sample as it is written."""
    turns = conversation.turns
    last = turns[-1]
    history = [(turn.user, turn.output) for turn in turns[:-1]] if len(turns) > 1 else []
    return Sample(last.instruction, last.input, last.output, conversation.system, history)
