"""Tell of each class whether packed samples stay apart; runs in the training environment.

`prove_packing.py SCRIPTS` reads classes as make_model.py takes them, `{name: {"class": ..., "tokenizer": ...}}`, from
stdin. Each is a small model with random weights in float32, as published and as AutoModelForCausalLM makes it, with
eager and SDPA attention. A line on stdout for each: `name`, `changed` (the most that a logit of a sample moves when
its neighbours change), `apart` (from what the sample gives alone), `loss` (the summed loss of the packs less that of
the samples alone), `masked` (what `changed` is with a mask of ones, which lets samples see each other) and `error`.
"""

import json
import sys
from typing import Any

import torch
import transformers
from make_model import make_config, make_tokenizer
from transformers import AutoModelForCausalLM

sys.path.insert(0, sys.argv[1])
from mends import allow_llama4_without_images
from packed_collator import IGNORED, collate_packed

# Longer than the windows and the budgets of the small models, none of a length that chunks divide.
LENGTHS = ((75, 41, 90), (50, 101))
Samples = list[list[list[int]]]


def drawn(vocabulary: int, seed: int) -> Samples:
    """Return the samples of each pack."""
    draw = torch.Generator().manual_seed(seed)
    return [[torch.randint(vocabulary, (length,), generator=draw).tolist() for length in row] for row in LENGTHS]


def batch_of(packs: Samples) -> dict[str, Any]:
    """Return packs as both frameworks get them, in each sample all but the first three tokens trained."""
    return collate_packed(
        [
            {
                "input_ids": [token for ids in pack for token in ids],
                "labels": [token for ids in pack for token in [*[IGNORED] * 3, *ids[3:]]],
                "position_ids": [place for ids in pack for place in range(len(ids))],
            }
            for pack in packs
        ]
    )


def logits_of(model: Any, packs: Samples, **more: Any) -> list[torch.Tensor]:
    """Return the logits of each sample."""
    batch = {**batch_of(packs), "labels": None, **more}
    whole = model(**batch).logits.double()
    return [
        part
        for row, pack in zip(whole, packs, strict=True)
        for part in row[: sum(map(len, pack))].split([len(ids) for ids in pack])
    ]


def summed_loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the loss of all tokens that are trained, each told from those before it."""
    wanted = labels[..., 1:].flatten()
    given = logits[..., :-1, :].flatten(0, -2).double()
    return float(torch.nn.functional.cross_entropy(given, wanted, ignore_index=IGNORED, reduction="sum"))


def farthest(one: list[torch.Tensor], other: list[torch.Tensor], numbers: Any) -> float:
    """Return the largest difference of a logit of these samples."""
    return max(float((one[number] - other[number]).abs().max()) for number in numbers)


@torch.no_grad()
def measured(model: Any, vocabulary: int) -> dict[str, float]:
    """Return what keeps samples apart, or does not."""
    packs, others = drawn(vocabulary, 1), drawn(vocabulary, 2)
    numbers = range(sum(map(len, packs)))
    given = logits_of(model, packs)
    found = dict.fromkeys(("changed", "masked"), 0.0)
    for kept in range(len(LENGTHS[0])):  # of the first pack, and the second's of that place
        changed = [
            [ids if place == kept else other for place, (ids, other) in enumerate(zip(pack, row, strict=True))]
            for pack, row in zip(packs, others, strict=True)
        ]
        same = [kept, len(LENGTHS[0]) + kept] if kept < len(LENGTHS[1]) else [kept]
        found["changed"] = max(found["changed"], farthest(given, logits_of(model, changed), same))
        if kept:
            ones = {"attention_mask": torch.ones_like(batch_of(packs)["input_ids"])}
            seen = farthest(logits_of(model, packs, **ones), logits_of(model, changed, **ones), [kept])
            found["masked"] = max(found["masked"], seen)
    samples = [ids for pack in packs for ids in pack]
    alone = [model(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in samples]
    batch = batch_of(packs)
    together = summed_loss(model(**{**batch, "labels": None}).logits, batch["labels"])
    labels = [torch.tensor([*[IGNORED] * 3, *ids[3:]]) for ids in samples]
    found["apart"] = farthest(given, [each.double() for each in alone], numbers)
    found["loss"] = abs(together - sum(map(summed_loss, alone, labels)))
    return found


def proved(kind: dict[str, Any], tokenizer: dict[str, Any]) -> dict[str, float]:
    """Return the worst of a class: as published or as a causal language model, with eager or SDPA attention."""
    found: list[dict[str, float]] = []
    for make in (getattr(transformers, kind["architecture"])._from_config, AutoModelForCausalLM.from_config):
        for attention in ("eager", "sdpa"):
            config = make_config(kind["config"], make_tokenizer(["a question: an answer"], tokenizer))
            torch.manual_seed(0)
            try:
                model = make(config, dtype=torch.float32, attn_implementation=attention).eval()
            except ValueError as error:
                # A class that has no such attention, or that only its own class makes.
                if "scaled_dot_product_attention" in str(error) or "Unrecognized configuration" in str(error):
                    continue
                raise
            found.append(measured(model, config.get_text_config().vocab_size))
    return {key: (min if key == "masked" else max)(each[key] for each in found) for key in found[0]}


def main() -> None:
    """Prove the classes that stdin names."""
    allow_llama4_without_images()
    for name, spec in json.load(sys.stdin).items():
        try:
            told: dict[str, Any] = proved(spec["class"], spec["tokenizer"])
        except Exception as error:  # noqa: BLE001 - a class that cannot take packs at all
            told = {"error": " ".join(str(error).split())[:300]}
        sys.stdout.write(json.dumps({"name": name, **told}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
