"""Summaries of runs, and their comparison."""

import math
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from ftbridge.launchers.runs.record import Run, utc_now
from ftbridge.launchers.runs.training_log import curve, points

_SHA256 = "sha256 of "


class RunSummary(msgspec.Struct, frozen=True):
    """A run in a line; `step` of `steps` is done, losses are None where none was logged, `seconds` is its working time.

    `status` is `died` for a run whose watching process was killed.
    """

    id: str
    status: str
    backend: str
    model: str
    dataset: str
    step: float
    steps: int
    loss: float | None
    lowest_loss: float | None
    validation_loss: float | None
    lowest_validation_loss: float | None
    started: datetime
    seconds: float


def summary(run: Run) -> RunSummary:
    """Return the line of `run`."""
    records = curve(run)
    losses, validations = ([value for _, value in points(records, name)] for name in ("loss", "validation_loss"))
    return RunSummary(
        id=run.id,
        status="died" if run.died else run.status,
        backend=run.spec.backend,
        model=run.spec.model,
        dataset=run.spec.dataset,
        step=max((record["step"] for record in records), default=0),
        steps=run.steps,
        loss=losses[-1] if losses else None,
        lowest_loss=_lowest(losses),
        validation_loss=validations[-1] if validations else None,
        lowest_validation_loss=_lowest(validations),
        started=run.attempts[0].started,
        # A clock that was set back leaves an end before its beginning.
        seconds=sum(max(0.0, ((each.ended or _end(run)) - each.started).total_seconds()) for each in run.attempts),
    )


def compare(runs: list[Run]) -> dict[str, list[Any]]:
    """Return what differs between `runs`, a value for each: options, versions, data, and how they went."""
    columns = [_facts(run) for run in runs]
    names = {name: None for column in columns for name in column}
    rows = {name: [column.get(name) for column in columns] for name in names}
    for name in [name for name in rows if name.startswith(_SHA256)]:
        if len(runs) - rows[name].count(None) < 2:  # noqa: PLR2004 - each backend reads a file of its own
            del rows[name]
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def clock(seconds: float) -> str:
    """Return a duration as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _facts(run: Run) -> dict[str, Any]:
    line: dict[str, Any] = msgspec.to_builtins(summary(run))
    spec: dict[str, Any] = msgspec.to_builtins(run.spec)
    went = ("status", "step", "loss", "lowest_loss", "validation_loss", "lowest_validation_loss", "seconds")
    return {
        **spec,
        **{f"version of {name}": version for name, version in run.versions.items()},
        **{f"{_SHA256}{name}": digest[:12] for name, digest in run.datasets.items()},
        "weights of the model": run.base.short if run.base else None,
        "samples": run.samples,
        "steps": run.steps,
        **{name: line[name] for name in went},
    }


def _lowest(values: list[float]) -> float | None:
    return min((value for value in values if not math.isnan(value)), default=None)


def _end(run: Run) -> datetime:
    """Return until when a run without a written end has worked: now, or when its log was last written."""
    log, begun = run.path / "log.txt", run.attempts[-1].started
    if run.status == "running":
        return max(utc_now(), begun)
    with suppress(OSError, ValueError):  # not there, or of a time beyond all calendars
        return max(datetime.fromtimestamp(log.stat().st_mtime, utc_now().tzinfo), begun)
    return begun
