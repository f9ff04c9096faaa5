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
from ftbridge.language import english
from ftbridge.language import gettext as _

READ_BYTES = 2 * 1024 * 1024  # of the log's end
SEARCHED_CHARACTERS = 2000  # of a line
SHOWN_CHARACTERS = 300  # of a line
TRACEBACK_LINES = 40  # that are shown

# Colours and other control characters; the ends of lines stay, \r too, which progress bars write.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# Torch begins the lines of several processes with their rank.
_LINE = re.compile(r"(?:(\[rank\d+\]:) ?)?(.*)")
# What a log on a full disk has no room for.
_DISK_FULL_LINE = "Error: No space left on device"
_LEAST_BYTES, _LEAST_FILES = 1 << 20, 9  # that can still be written to a disk which is not full


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


class _SignatureTable(msgspec.Struct, frozen=True):
    signatures: tuple[Signature, ...]


class Failure(msgspec.Struct, frozen=True):
    """Why a training failed: the signature's `name`, the `cause`, the `line` of the log, and the `remedy`."""

    name: str
    cause: str
    line: str
    remedy: str


@cache
def signatures() -> tuple[Signature, ...]:
    """Return the signatures of failures.yaml, causes before what follows from them."""
    text = resources.files("ftbridge.launchers.training").joinpath("failures.yaml").read_text(encoding="utf-8")
    return parse(_SignatureTable, load_yaml(text, "failures.yaml"), "failures.yaml").signatures


def explain_failure(log: Path, exit_code: int, start: int = 0) -> Failure | None:
    """Return why the training that wrote `log` from the byte `start` on failed; None where no signature matches.

    Of several signatures in the log, the first of failures.yaml counts, and of its lines the first. A negative
    `exit_code` is the signal that ended the process.
    """
    # Lines of code in a traceback hold messages too, not yet filled in.
    lines = [line for _rank, line in _log_lines(log, start) if not line.startswith("    ")]
    lines.append(f"exit status {exit_code}")
    if _is_disk_full(log.parent):
        lines.append(_DISK_FULL_LINE)
    for signature in signatures():
        pattern = re.compile("|".join(signature.patterns))
        for line in lines:
            if pattern.search(line):
                found = line[:SHOWN_CHARACTERS].strip()
                return Failure(signature.name, _(signature.cause), found, _(signature.remedy))
    return None


def last_traceback(log: Path, start: int = 0) -> str:
    """Return the last whole traceback in `log` from the byte `start` on, 40 lines at most; "" where there is none.

    That of torchrun, which only says that a process failed, counts where there is no other.
    """
    last: list[str] = []
    begun: dict[str, list[str]] = {}  # the processes' tracebacks stand between each other
    for rank, line in _log_lines(log, start):
        if line == "Traceback (most recent call last):":
            begun[rank] = [line]
        elif rank in begun:
            begun[rank].append(line)
            if not line.startswith(" "):
                traceback = begun.pop(rank)
                last = last if last and "ChildFailedError" in line else traceback
    return "\n".join(line[:SHOWN_CHARACTERS] for line in last[-TRACEBACK_LINES:])


def failure_reason(log: Path, exit_code: int, start: int = 0) -> str:
    """Return in English, for a record, why a training failed: the failure's cause, else the last line of its error."""
    if failure := explain_failure(log, exit_code, start):
        return str(english(failure.cause))
    lines = (last_traceback(log, start) or last_lines(log, start)).splitlines()
    return lines[-1].strip() if lines else ""


def failure_message(log: Path, exit_code: int, start: int = 0) -> str:
    """Return the end of an error message: the failure's cause, line and remedy, else the last traceback or lines."""
    if failure := explain_failure(log, exit_code, start):
        return _(": {cause}\n\n  {line}\n\n{remedy}.\nThe whole log is {log}").format(
            cause=failure.cause, line=failure.line, remedy=failure.remedy, log=log
        )
    end = last_traceback(log, start) or last_lines(log, start)
    return _(
        "; the end of its log:\n\n{indent}\n\nThe whole log is {log}. Fix what it names and run "
        "the command again; `ftbridge doctor` checks the environment, `--dry-run` shows what "
        "runs."
    ).format(indent=indent(end, "  "), log=log)


def last_lines(log: Path, start: int = 0) -> str:
    """Return the last 20 lines of `log` from the byte `start` on."""
    return "\n".join(line[:SHOWN_CHARACTERS] for _rank, line in _log_lines(log, start)[-20:])


def _is_disk_full(folder: Path) -> bool:
    """Tell whether a folder's disk has less than 1 MiB left, or hardly a file."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _LEAST_BYTES or disk.f_favail < _LEAST_FILES < disk.f_files


def _log_lines(log: Path, start: int) -> list[tuple[str, str]]:
    """Return the rank ("" for none) and the text of each line at the end of `log`."""
    with opened_record(log) as file:
        file.seek(max(start, log.stat().st_size - READ_BYTES))
        text = file.read(READ_BYTES).decode(errors="replace")
    matches = map(_LINE.match, _CONTROL.sub("", text).splitlines())
    return [(match[1] or "", match[2][:SEARCHED_CHARACTERS]) for match in matches if match]
