"""Batches of packed samples, in which none sees another.

transformers looks for the places where samples begin, by position ids that start anew, only where a batch has neither
an attention mask nor a cache (masking_utils.py). Padding is one more sample, whose labels count for nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100  # the label of a token that is not trained


def collate_packed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a batch for transformers; a row without position ids is one sample."""
    width = max(len(row["input_ids"]) for row in rows)
    positions = [
        torch.tensor([*row.get("position_ids", range(len(row["input_ids"]))), *range(width - len(row["input_ids"]))])
        for row in rows
    ]
    ids, labels = ([torch.tensor(row[name]) for row in rows] for name in ("input_ids", "labels"))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=0),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        "position_ids": torch.stack(positions),
        "use_cache": False,
    }


def collate_packed_for_xtuner(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a batch as XTuner's model takes it."""
    return {"data": collate_packed(rows), "data_samples": None}
