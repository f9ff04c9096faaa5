"""Alpaca, for LLaMA-Factory: `{"instruction": "", "input": "", "output": "", "system": "", "history": []}`.

Earlier turns are `history`, pairs of question and answer, which LLaMA-Factory trains on too. No value is ever
null, and all keys are always there: `datasets` and the column map in dataset_info.json want them so.
"""

from typing import Any

import msgspec

from ftbridge.core.records import Conversation

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
_encode = msgspec.json.Encoder().encode


def encode(conversation: Conversation) -> bytes:
    """Return the sample as one JSON object, without a newline."""
    *earlier, last = conversation.turns
    return _encode(
        {
            "instruction": last.instruction,
            "input": last.input,
            "output": last.output,
            "system": conversation.system,
            "history": [(turn.user, turn.output) for turn in earlier],
        }
    )
