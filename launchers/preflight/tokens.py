"""What making the tokens of a dataset has told of it: samples that were shortened, and those that are left out."""

from ftbridge.core.console import first_few
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.environment.checklist import Check
from ftbridge.tokens.ready import Counts

_SHOWN = 5  # conversations that a message names


def token_checks(spec: TrainSpec, counts: Counts) -> list[Check]:
    """Return what there is to say of the cutoff length, of conversations without an answer, and of packs."""
    cutoff = spec.cutoff_length
    longest = f"of {counts.samples + counts.left_out:,} samples, the longest has {counts.longest} tokens"
    checks = []
    shorter = [
        f"{count:,} {what}"
        for count, what in (
            (counts.cut_turns, "lose their oldest turns"),
            (counts.cut_question, "lose the end of their question"),
        )
        if count
    ]
    if counts.left_out:
        numbers = first_few([str(number) for number in counts.left_out_conversations], _SHOWN)
        shorter.append(f"{counts.left_out:,} are left out (conversations {numbers})")
    if shorter:
        found = f"{longest}; with {cutoff}, {', '.join(shorter)}; no answer is cut"
        checks.append(Check("cutoff length", "warning", found, f"`--cutoff-length {counts.longest}` keeps all whole"))
    else:
        checks.append(Check("cutoff length", "ok", f"{longest}; {cutoff} cuts nothing"))
    if counts.without_answer:
        found = f"{counts.without_answer:,} of {counts.conversations:,} conversations have no answer to train on"
        checks.append(Check("answers", "warning", found, "they are left out; convert the source again without them"))
    if spec.packing:
        share = counts.tokens / (counts.rows * cutoff)
        found = f"{counts.samples:,} samples in {counts.rows:,} packs, which are {share:.0%} full"
        checks.append(Check("packing", "ok", found))
    return checks
