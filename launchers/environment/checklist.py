"""The record of one check of doctor or the pre-flight, and the text of several."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from ftbridge.language import gettext as _

STATUSES = {"ok": _("ok"), "warning": _("warning"), "failure": _("failure")}
WIDTH = 8  # columns of the status


class Check(msgspec.Struct, frozen=True):
    """A line of doctor or of the pre-flight: its status, what was found, and the remedy where it is not ok.

    The name is in English, by which JSON is read, and in the user's language where it is shown.
    """

    name: str
    status: Literal["ok", "warning", "failure"]
    found: str
    remedy: str = ""


def checks_as_text(checks: Iterable[Check]) -> str:
    """Return the checks as lines of text, each remedy below its check."""
    from rich.cells import cell_len

    lines = []
    for check in checks:
        status = STATUSES[check.status]
        line = _("{status} {name}: {found}").format(
            status=status + " " * (WIDTH - cell_len(status)), name=_(check.name), found=check.found
        )
        lines.append(line)
        if check.remedy:
            lines.append(f"{'':<{WIDTH}} -> {check.remedy}")
    return "\n".join(lines)
