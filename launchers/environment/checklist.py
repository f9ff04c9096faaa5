"""The record of one check of doctor or the pre-flight, and the text of several."""

from collections.abc import Iterable
from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True):
    """A line of doctor or of the pre-flight: its status, what was found, and the remedy where it is not ok."""

    name: str
    status: Literal["ok", "warning", "failure"]
    found: str
    remedy: str = ""


def checks_as_text(checks: Iterable[Check]) -> str:
    """Return the checks as lines of text, each remedy below its check."""
    lines = []
    for check in checks:
        lines.append(f"{check.status:<8} {check.name}: {check.found}")
        if check.remedy:
            lines.append(f"{'':<8} -> {check.remedy}")
    return "\n".join(lines)
