"""Checks of marks in samples that mean something to a chat template: thoughts in answers, placeholders of images."""

from collections.abc import Iterable

from ftbridge.adapters.convert.samples.remarks import THOUGHT, Remark, Remarks, marks_in
from ftbridge.core.console import counted
from ftbridge.core.plugins import load_backend
from ftbridge.core.records import Conversation
from ftbridge.language import gettext as _
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
    among = _("of {samples} checked, {count}").format(samples=counted(total, "sample"), count=remark.count)
    if kind != THOUGHT:
        found = _("{among} hold `{mark}`: it is trained on as text, no {kind} goes with it").format(
            among=among, mark=remark.mark, kind=kind
        )
        return Check(f"{kind} marks", "warning", found)
    found = _("{among} answers hold `{mark}`: ").format(among=among, mark=remark.mark)
    title = family.title if family else ""
    if family and family.thinking == "none":
        found += _("{title} has no thinking, so they are trained on as text").format(title=title)
        return Check(
            "thoughts", "warning", found, _("take them out, unless the model is to write them into its answers")
        )
    framework = load_backend(backend)
    found += _("{title} is trained with thinking off, and {framework_title} {thoughts}").format(
        title=title, framework_title=framework.title, thoughts=framework.thoughts
    )
    return Check("thoughts", "warning", found, _("take the thoughts out of the answers; `ftbridge preview` shows how"))
