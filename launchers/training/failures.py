"""Why a training failed, read from the end of its log by the signatures in failures.yaml."""

import os
import re
from functools import cache
from importlib import resources
from pathlib import Path
from textwrap import indent

import msgspec

from ftbridge.core.files.atomic import opened_record
from ftbridge.core.parsing.json_yaml import load_yaml, parse

END = 2 * 1024 * 1024  # bytes of the log that are read
LONGEST = 2000  # characters of a line that are searched
SHOWN = 300  # characters of a line that are shown
TRACEBACK = 40  # lines of a traceback that are shown

# Colours and other control characters; the ends of lines stay, \r too, which progress bars write.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# Torch begins the lines of several processes with their rank.
_LINE = re.compile(r"(?:(\[rank\d+\]:) ?)?(.*)")
# What a log on a full disk has no room for.
_FULL = "Error: No space left on device"
_LITTLE, _FEW = 1 << 20, 9  # bytes, files


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A known failure; the head of failures.yaml explains the fields."""

    name: str
    patterns: tuple[str, ...]
    cause: str
    remedy: str
    sample: str
    source: str
    environment: str = ""
    text: str = ""


class _Table(msgspec.Struct, frozen=True):
    signatures: tuple[Signature, ...]


class Failure(msgspec.Struct, frozen=True):
    """Why a training failed: the signature's `name`, the `cause`, the `line` of the log, and the `remedy`."""

    name: str
    cause: str
    line: str
    remedy: str


@cache
def signatures() -> tuple[Signature, ...]:
    """Return the known failures, causes before what follows from them."""
    text = resources.files("ftbridge.launchers.training").joinpath("failures.yaml").read_text(encoding="utf-8")
    return parse(_Table, load_yaml(text, "failures.yaml"), "failures.yaml").signatures


def explain(log: Path, exit_code: int, start: int = 0) -> Failure | None:
    """Return why the training that wrote `log` from the byte `start` on failed; None where that is not known.

    Of several signatures in the log, the first of failures.yaml counts, and of its lines the first. A negative
    `exit_code` is the signal that ended the process.
    """
    # Lines of code in a traceback hold messages too, not yet filled in.
    lines = [line for _rank, line in _lines(log, start) if not line.startswith("    ")]
    lines.append(f"exit status {exit_code}")
    lines += [_FULL] if _full(log.parent) else []
    for signature in signatures():
        fits = re.compile("|".join(signature.patterns)).search
        for line in lines:
            if fits(line):
                return Failure(signature.name, signature.cause, line[:SHOWN].strip(), signature.remedy)
    return None


def last_traceback(log: Path, start: int = 0) -> str:
    """Return the last whole traceback in `log` from the byte `start` on, 40 lines at most; "" where there is none.

    That of torchrun, which only says that a process failed, counts where there is no other.
    """
    last: list[str] = []
    begun: dict[str, list[str]] = {}  # the processes' tracebacks stand between each other
    for rank, line in _lines(log, start):
        if line == "Traceback (most recent call last):":
            begun[rank] = [line]
        elif rank in begun:
            begun[rank].append(line)
            if not line.startswith(" "):
                whole = begun.pop(rank)
                last = last if last and "ChildFailedError" in line else whole
    return "\n".join(line[:SHOWN] for line in last[-TRACEBACK:])


def failure_message(log: Path, exit_code: int, start: int = 0) -> str:
    """Return what a message says of a failure: its cause, line and remedy, else the last traceback or lines."""
    if failure := explain(log, exit_code, start):
        return f": {failure.cause}\n\n  {failure.line}\n\n{failure.remedy}.\nThe whole log is {log}"
    end = last_traceback(log, start) or last_lines(log, start)
    return (
        f"; the end of its log:\n\n{indent(end, '  ')}\n\nThe whole log is {log}. Mend what it names and run the "
        "command again; `ftbridge doctor` checks the environment, `--dry-run` shows what runs."
    )


def last_lines(log: Path, start: int = 0) -> str:
    """Return the last 20 lines of `log` from the byte `start` on."""
    return "\n".join(line[:SHOWN] for _rank, line in _lines(log, start)[-20:])


def _full(folder: Path) -> bool:
    """Tell whether the disk has room for hardly anything, or for hardly a file more."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _LITTLE or disk.f_favail < _FEW < disk.f_files


def _lines(log: Path, start: int) -> list[tuple[str, str]]:
    """Return the rank ("" for none) and the text of each line at the end of `log`."""
    with opened_record(log) as file:
        file.seek(max(start, log.stat().st_size - END))
        text = file.read(END).decode(errors="replace")
    found = map(_LINE.match, _CONTROL.sub("", text).splitlines())
    return [(line[1] or "", line[2][:LONGEST]) for line in found if line]
