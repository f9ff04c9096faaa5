"""Checks of marks in samples that mean something to a chat template: thoughts in answers, placeholders of images."""

from collections.abc import Iterable

from ftbridge.adapters.convert.samples.remarks import THOUGHT, Remark, Remarks, marks_in
from ftbridge.core.console import counted
from ftbridge.core.plugins import load_backend
from ftbridge.core.records import Conversation
from ftbridge.launchers.environment.checklist import Check
from ftbridge.templates.families import Family


def mark_checks(samples: Iterable[Conversation], family: Family | None, backend: str) -> list[Check]:
    """Return a warning for each kind of mark in `samples`, with their number, for a training with `backend`."""
    remarks, total = Remarks(), 0
    for total, sample in enumerate(samples, 1):  # noqa: B007 - their number
        for kind, (count, mark) in marks_in(sample).items():
            remarks.add_remark(kind, Remark(count, sample.source, mark))
    # Ready tokens have thoughts where the chat template writes them.
    known = {kind: remark for kind, remark in remarks.found.items() if family or kind != THOUGHT}
    return [_mark_check(kind, remark, total, family, backend) for kind, remark in known.items()]


def _mark_check(kind: str, remark: Remark, total: int, family: Family | None, backend: str) -> Check:
    among = f"of {counted(total, 'sample')} checked, {remark.count}"
    if kind != THOUGHT:
        found = f"{among} hold `{remark.mark}`: it is trained on as text, no {kind} goes with it"
        return Check(f"{kind} marks", "warning", found)
    found = f"{among} answers hold `{remark.mark}`: "
    title = family.title if family else ""
    if family and family.thinking == "none":
        found += f"{title} has no thinking, so they are trained on as text"
        return Check("thoughts", "warning", found, "take them out, unless the model is to write them into its answers")
    framework = load_backend(backend)
    found += f"{title} is trained with thinking off, and {framework.title} {framework.thoughts}"
    return Check("thoughts", "warning", found, "take the thoughts out of the answers; `ftbridge preview` shows how")
