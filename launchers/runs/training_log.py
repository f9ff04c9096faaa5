"""What a training measures: followed while it runs, and read back as one curve."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import natural_duration
from ftbridge.core.errors import SetupError
from ftbridge.core.files.atomic import json_lines, opened_record, parse_json_lines
from ftbridge.core.plugins import Backend
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, utc_now

Record = dict[str, float]
LOG_FILE = "metrics.jsonl"
MOST_STEPS = 1 << 53  # whole numbers above are not told apart


class TrainingLog:
    """Brings what a framework logs of a run into metrics.jsonl, reading each of its files once."""

    def __init__(self, run: Run, backend: Backend) -> None:
        """Follow the newest attempt of `run`; what is logged already belongs to those before it."""
        self._run, self._backend = run, backend
        self._offsets: dict[Path, int] = {}  # bytes that were read of each file
        if len(run.attempts) > 1:
            list(self._new_records())

    def update(self) -> list[Record]:
        """Return what was logged since the last call, in order, and add it to metrics.jsonl.

        A record is of a training step (`step`, `loss`, `learning_rate`) or of a validation (`step`,
        `validation_loss`), with the seconds since the run began (`time`) and the number of the `attempt`. Raises
        SetupError where the file cannot be written.
        """
        time = max(0.0, (utc_now() - self._run.attempts[0].started).total_seconds())  # the clock may be put back
        common = {"time": time, "attempt": len(self._run.attempts)}
        records = [record | common for record in self._new_records()]
        path = self._run.path / LOG_FILE
        size = path.stat().st_size if path.exists() else 0
        try:
            if records:
                with path.open("ab") as file:
                    file.write(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
        except OSError as error:
            with suppress(OSError):
                os.truncate(path, size)  # what comes later must not hang on half a line
            raise SetupError(
                _("cannot write `{path}`: {strerror}").format(path=path, strerror=error.strerror or error)
            ) from error
        return records

    def _new_records(self) -> Iterator[Record]:
        yield from self._backend.read_log(self._run.path, self._new_lines, self._run.spec.gradient_accumulation_steps)

    def _new_lines(self, file: Path) -> Iterator[dict[str, Any]]:
        """Yield the objects of the whole JSON lines that `file` has got since the last call.

        A new attempt may have emptied it.
        """
        try:
            with opened_record(file) as opened:
                offset = self._offsets.get(file, 0)
                opened.seek(offset if offset <= file.stat().st_size else 0)
                lines, _newline, unfinished = opened.read().rpartition(b"\n")
                self._offsets[file] = opened.tell() - len(unfinished)
        except OSError:
            self._offsets.pop(file, None)
            return
        yield from parse_json_lines(lines.splitlines())


def read_curve(run: Run) -> list[Record]:
    """Return the records of `run` as one curve, in order; a loss that is no number is NaN.

    A resumed run goes back to an earlier step: its records take the place of those of the same and of later steps.
    """
    records: list[Record] = []
    for line in json_lines(run.path / LOG_FILE):
        if not all(map(_is_number_or_none, line.values())):  # nothing that ftbridge wrote
            continue
        record = {key: math.nan if value is None else float(value) for key, value in line.items()}
        if not abs(record.get("step", math.nan)) < MOST_STEPS:
            continue
        attempt = record.get("attempt", 1)
        while records and records[-1].get("attempt", 1) != attempt and records[-1]["step"] >= record["step"]:
            records.pop()
        records.append(record)
    return records


def last_times(run: Run) -> dict[int, float]:
    """Return when each attempt last logged something, in seconds since the run began; the steps may be done anew."""
    lines = (line for line in json_lines(run.path / LOG_FILE) if has_numbers(line, "time"))
    return {int(line.get("attempt") or 1): float(line["time"]) for line in lines if abs(line["time"]) < MOST_STEPS}


def still_training(run: Run) -> str:
    """Return the sentence that a run is still training, how far it is, the time left, and how to watch it."""
    records = read_curve(run)
    steps = [record for record in records if "loss" in record and "time" in record]
    done = f"{int(steps[-1]['step']) if steps else 0}/{run.steps}"
    if len(steps) > 1 and (moved := steps[-1]["step"] - steps[0]["step"]) > 0:
        speed = (steps[-1]["time"] - steps[0]["time"]) / moved
        since = (utc_now() - run.attempts[0].started).total_seconds() - steps[-1]["time"]
        left = max(0.0, (run.steps - steps[-1]["step"]) * speed - since)
        done = _("{done}, {time} left").format(done=done, time=natural_duration(left))
    return _("`{id}` is still training ({done}); `ftbridge runs logs -f {id}` shows it").format(id=run.id, done=done)


def curve_points(records: list[Record], name: str) -> list[tuple[float, float]]:
    """Return step and value of the records that have a value `name`, such as `validation_loss`."""
    return [(record["step"], record[name]) for record in records if name in record]


def has_numbers(line: dict[str, Any], *names: str) -> bool:
    """Tell whether `line` has a number for each of `names`."""
    return all(name in line and line[name] is not None and _is_number_or_none(line[name]) for name in names)


def _is_number_or_none(value: Any) -> bool:
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < MOST_STEPS)
