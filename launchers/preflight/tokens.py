"""Ready tokens: samples that were shortened or are left out, and whether the model keeps packed samples apart."""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import counted, first_few
from ftbridge.core.errors import InputError
from ftbridge.core.parsing.json_yaml import load_yaml, parse, read_json
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.preflight.model import is_before_transformers5
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.ready import Counts

_SHOWN = 5  # conversations that a message names


class Packing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which classes keep packed samples apart; the head of packing.yaml explains the fields."""

    apart: tuple[str, ...]
    apart_with_transformers5: tuple[str, ...]
    together: dict[str, tuple[str, ...]]


@cache
def packing_table() -> Packing:
    """Return what is known of classes of models and packed samples."""
    text = resources.files("ftbridge.launchers.preflight").joinpath("packing.yaml").read_text(encoding="utf-8")
    return parse(Packing, load_yaml(text, "packing.yaml"), "packing.yaml")


def refuse_packing(spec: TrainSpec, model: Path, transformers: str) -> None:
    """Raise InputError where packed samples of the model in a folder would see each other, before any are packed.

    `transformers` is the version that trains it. What a framework packs by itself is not judged.
    """
    file = model / "config.json"
    if not (spec.packing and spec.tokens == "once" and file.is_file()):
        return
    if problem := _packing_problem(spec, read_json(file), transformers):
        raise InputError(f"{problem}; leave `--packing` out")
    if spec.attention == "flash_attention_2" and spec.micro_batch_size > 1:
        # transformers (modeling_flash_attention_utils.py) looks for packed samples in a batch of one row only.
        raise InputError(
            "flash_attention_2 keeps packed samples apart only at `--micro-batch-size 1`; take that, and more "
            "`--gradient-accumulation-steps`, or `--attention sdpa`"
        )


def _packing_problem(spec: TrainSpec, config: dict[str, Any], transformers: str) -> str:
    """Return why packed samples of a model may see each other, "" where they do not."""
    known, kind = packing_table(), str(config.get("model_type"))
    unknown = f"packing is not known to keep samples of `{kind}` apart"
    if spec.trust_remote_code and config.get("auto_map"):
        return f"{unknown} where the model's own code computes"
    if kind in known.apart:
        return ""
    if kind in known.apart_with_transformers5:
        return f"{unknown} with transformers 4" if is_before_transformers5(transformers) else ""
    reason = next((_(reason) for reason, kinds in known.together.items() if kind in kinds), "")
    return f"packing does not keep samples of `{kind}` apart: {reason}" if reason else unknown


def agreement_checks(plan: TrainPlan) -> list[Check]:
    """Return whether those who read ready tokens have all the same, of the dataset and of what is validated on."""
    tokens = {plan.title: plan.tokens, **({plan.validation.title: plan.validation_tokens} if plan.validation else {})}
    return [_agreement_check(name, each.agreement) for name, each in tokens.items() if each]


def _agreement_check(dataset: str, found: Agreement) -> Check:
    found_in = f"`{dataset}`: {found if found.samples else 'no conversation is short enough to be checked'}"
    if found.same == found.samples:
        return Check("tokens", "ok", found_in)
    return Check("tokens", "warning", found_in, f"`ftbridge preview {dataset} --verify` shows them")


def token_checks(spec: TrainSpec, counts: Counts) -> list[Check]:
    """Return what there is to say of the cutoff length, of conversations without an answer, and of packs."""
    cutoff = spec.cutoff_length
    longest = (
        f"of {counted(counts.samples + counts.left_out, 'sample')}, the longest has {counted(counts.longest, 'token')}"
    )
    checks = []
    shorter = [
        counted(count, *what)
        for count, *what in (
            (counts.cut_turns, "loses its oldest turns", "lose their oldest turns"),
            (counts.cut_question, "loses the end of its question", "lose the end of their question"),
        )
        if count
    ]
    if counts.left_out:
        numbers = first_few([str(number) for number in counts.left_out_conversations], _SHOWN)
        shorter.append(f"{counted(counts.left_out, 'is', 'are')} skipped (conversations {numbers})")
    if shorter:
        found = f"{longest}; with {cutoff}, {', '.join(shorter)}; no answer is cut"
        checks.append(Check("cutoff length", "warning", found, f"`--cutoff-length {counts.longest}` keeps all whole"))
    else:
        checks.append(Check("cutoff length", "ok", f"{longest}; {cutoff} cuts nothing"))
    if counts.without_answer:
        whole = counted(counts.conversations, "conversation has", "conversations have")
        found = f"{counts.without_answer:,} of {whole} no answer to train on"
        checks.append(Check("answers", "warning", found, "they are skipped; convert the source again without them"))
    checks += _thought_checks(spec, counts)
    if spec.packing:
        share = counts.tokens / (counts.rows * cutoff)
        packs = counted(counts.rows, "pack, which is", "packs, which are")
        found = f"{counted(counts.samples, 'sample')} in {packs} {share:.0%} full"
        checks.append(Check("packing", "ok", found))
    return checks


def _thought_checks(spec: TrainSpec, counts: Counts) -> list[Check]:
    """Return what there is to say of thoughts that are left out, or that only some answers have."""
    if not counts.thoughts:
        found = "no answer has a thought, and `--thinking on` trains an empty one where the chat template writes it"
        return [Check("thoughts", "warning", found, "remove `--thinking on`")] if spec.thinking == "on" else []
    if spec.thinking == "off":
        have = counted(counts.thoughts, "answer has a thought", "answers have a thought")
        return [Check("thoughts", "ok", f"{have}, which `--thinking off` drops")]
    checks = []
    if counts.thoughts_left_out:
        found = f"the chat template drops {counts.thoughts_left_out:,} of {counted(counts.thoughts, 'thought')}"
        checks.append(Check("thoughts", "warning", found, "they are not trained on; choose another `--chat-template`"))
    if counts.thoughts < counts.answers:
        answers = counted(counts.answers, "answer")
        found = f"{counts.thoughts:,} of {answers} have a thought, so that the model may think or not"
        checks.append(Check("thoughts", "warning", found, "`--thinking off` trains answers alone"))
    return checks
