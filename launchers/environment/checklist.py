"""What doctor and the pre-flight find: one record, and how it is shown."""

from collections.abc import Iterable
from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One thing looked at: what was found, and the remedy where it is not ok."""

    name: str
    status: Literal["ok", "warning", "failure"]
    found: str
    remedy: str = ""


def shown(checks: Iterable[Check]) -> str:
    """Return the checks as lines, each remedy below what it mends."""
    lines = []
    for check in checks:
        lines.append(f"{check.status:<8} {check.name}: {check.found}")
        if check.remedy:
            lines.append(f"{'':<8} -> {check.remedy}")
    return "\n".join(lines)
