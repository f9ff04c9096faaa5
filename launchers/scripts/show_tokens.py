"""Show samples of ready tokens as they are trained, and count the lengths of all.

Runs inside the training environment: `python show_tokens.py SPEC` with SPEC as JSON: `model`, `trust_remote_code`,
`folder` (of ready tokens, as tokenize_dataset.py writes it), `samples` (how many to show) and `stats` (count all of
them). The last line of stdout is {"samples": [...], "stats": {...} | null}, as encode_samples.py prints it.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

from encode_samples import IGNORED, IdsAndLabels, TokenTexts

ROWS = 500  # that are in memory at a time


def samples_of(data: Any) -> Iterator[IdsAndLabels]:
    """Yield ids and labels of each sample of a dataset; one of several that are packed ends where positions start anew.

    Samples are in the order of the data, packed ones in that of their packs.
    """
    for table in data.with_format("arrow").iter(batch_size=ROWS):
        for row in table.to_pylist():
            ids, labels = row["input_ids"], row["labels"]
            starts = [at for at, position in enumerate(row.get("position_ids", [0])) if not position]
            for start, end in pairwise([*starts, len(ids)]):
                yield ids[start:end], labels[start:end]


def shown(tokenizer: Any, samples: Iterator[IdsAndLabels]) -> list[dict[str, Any]]:
    """Return samples with the texts of their tokens; nothing of them is cut any more."""
    texts = TokenTexts(tokenizer)
    result = []
    for ids, labels in samples:
        tokens, stretches = texts.decode(ids, labels)
        answer_tokens = sum(label != IGNORED for label in labels)
        more = {"length": len(ids), "answer_tokens": answer_tokens, "cut": "", "tokens": tokens, "text": stretches}
        result.append({"ids": ids, "labels": labels, **more})
    return result


def counted(samples: Iterator[IdsAndLabels]) -> dict[str, Any]:
    """Return the count of samples by length, and of tokens in answers."""
    lengths: Counter[int] = Counter()
    answer_tokens = 0
    for ids, labels in samples:
        lengths[len(ids)] += 1
        answer_tokens += sum(label != IGNORED for label in labels)
    return {"lengths": lengths, "answer_tokens": answer_tokens, "cut": {}}


def main() -> None:
    """Print what the spec asks for."""
    spec = json.loads(sys.argv[1])
    if not spec["trust_remote_code"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the tokenizer is here already
    from datasets import load_from_disk
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(spec["model"], trust_remote_code=spec["trust_remote_code"])
    data = load_from_disk(spec["folder"])
    result = {
        "samples": shown(tokenizer, islice(samples_of(data), spec["samples"])),
        "stats": counted(samples_of(data)) if spec["stats"] else None,
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
