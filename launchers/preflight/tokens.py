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
from ftbridge.language import joined
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
        raise InputError(_("{problem}; leave `--packing` out").format(problem=problem))
    if spec.attention == "flash_attention_2" and spec.micro_batch_size > 1:
        # transformers (modeling_flash_attention_utils.py) looks for packed samples in a batch of one row only.
        raise InputError(
            _(
                "flash_attention_2 keeps packed samples apart only at `--micro-batch-size 1`; take "
                "that, and more `--gradient-accumulation-steps`, or `--attention sdpa`"
            )
        )


def _packing_problem(spec: TrainSpec, config: dict[str, Any], transformers: str) -> str:
    """Return why packed samples of a model may see each other, "" where they do not."""
    known, kind = packing_table(), str(config.get("model_type"))
    unknown = _("packing is not known to keep samples of `{kind}` apart").format(kind=kind)
    if spec.trust_remote_code and config.get("auto_map"):
        return _("{unknown} where the model's own code computes").format(unknown=unknown)
    if kind in known.apart:
        return ""
    if kind in known.apart_with_transformers5:
        return (
            _("{unknown} with transformers 4").format(unknown=unknown) if is_before_transformers5(transformers) else ""
        )
    reason = next((_(reason) for reason, kinds in known.together.items() if kind in kinds), "")
    return (
        _("packing does not keep samples of `{kind}` apart: {reason}").format(kind=kind, reason=reason)
        if reason
        else unknown
    )


def agreement_checks(plan: TrainPlan) -> list[Check]:
    """Return whether those who read ready tokens have all the same, of the dataset and of what is validated on."""
    tokens = {plan.title: plan.tokens, **({plan.validation.title: plan.validation_tokens} if plan.validation else {})}
    return [_agreement_check(name, each.agreement) for name, each in tokens.items() if each]


def _agreement_check(dataset: str, found: Agreement) -> Check:
    found_in = _("`{dataset}`: {found}").format(
        dataset=dataset, found=found if found.samples else _("no conversation is short enough to be checked")
    )
    if found.same == found.samples:
        return Check("tokens", "ok", found_in)
    return Check(
        "tokens", "warning", found_in, _("`ftbridge preview {dataset} --verify` shows them").format(dataset=dataset)
    )


def token_checks(spec: TrainSpec, counts: Counts) -> list[Check]:
    """Return what there is to say of the cutoff length, of conversations without an answer, and of packs."""
    cutoff = spec.cutoff_length
    longest = _("of {samples}, the longest has {tokens}").format(
        samples=counted(counts.samples + counts.left_out, "sample"), tokens=counted(counts.longest, "token")
    )
    checks = []
    shorter = []
    if counts.cut_turns:
        shorter.append(counted(counts.cut_turns, "loses its oldest turns", "lose their oldest turns"))
    if counts.cut_question:
        shorter.append(counted(counts.cut_question, "loses the end of its question", "lose the end of their question"))
    if counts.left_out:
        numbers = first_few([str(number) for number in counts.left_out_conversations], _SHOWN)
        shorter.append(
            _("{are} skipped (conversations {numbers})").format(
                are=counted(counts.left_out, "is", "are"), numbers=numbers
            )
        )
    if shorter:
        found = _("{longest}; with {cutoff}, {shorter}; no answer is cut").format(
            longest=longest, cutoff=cutoff, shorter=joined(", ", shorter)
        )
        checks.append(
            Check(
                "cutoff length",
                "warning",
                found,
                _("`--cutoff-length {longest}` truncates none").format(longest=counts.longest),
            )
        )
    else:
        checks.append(
            Check("cutoff length", "ok", _("{longest}; {cutoff} cuts nothing").format(longest=longest, cutoff=cutoff))
        )
    if counts.without_answer:
        whole = counted(counts.conversations, "conversation has", "conversations have")
        found = _("{without_answer:,} of {whole} no answer to train on").format(
            without_answer=counts.without_answer, whole=whole
        )
        checks.append(Check("answers", "warning", found, _("they are skipped; convert the source again without them")))
    checks += _thought_checks(spec, counts)
    if spec.packing:
        share = counts.tokens / (counts.rows * cutoff)
        packs = counted(counts.rows, "pack, which is", "packs, which are")
        found = _("{samples} in {packs} {share:.0%} full").format(
            samples=counted(counts.samples, "sample"), packs=packs, share=share
        )
        checks.append(Check("packing", "ok", found))
    return checks


def _thought_checks(spec: TrainSpec, counts: Counts) -> list[Check]:
    """Return what there is to say of thoughts that are left out, or that only some answers have."""
    if not counts.thoughts:
        found = _("no answer has a thought, and `--thinking on` trains an empty one where the chat template writes it")
        return [Check("thoughts", "warning", found, _("remove `--thinking on`"))] if spec.thinking == "on" else []
    if spec.thinking == "off":
        have = counted(counts.thoughts, "answer has a thought", "answers have a thought")
        return [Check("thoughts", "ok", _("{have}, which `--thinking off` drops").format(have=have))]
    checks = []
    if counts.thoughts_left_out:
        found = _("the chat template drops {thoughts_left_out:,} of {thoughts}").format(
            thoughts_left_out=counts.thoughts_left_out, thoughts=counted(counts.thoughts, "thought")
        )
        checks.append(
            Check("thoughts", "warning", found, _("they are not trained on; choose another `--chat-template`"))
        )
    if counts.thoughts < counts.answers:
        answers = counted(counts.answers, "answer")
        found = _("{thoughts:,} of {answers} have a thought, so that the model may think or not").format(
            thoughts=counts.thoughts, answers=answers
        )
        checks.append(Check("thoughts", "warning", found, _("`--thinking off` trains answers alone")))
    return checks
