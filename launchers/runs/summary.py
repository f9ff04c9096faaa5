"""Summaries of runs, and their comparison."""

import hashlib
import math
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ftbridge.core.console import first_few
from ftbridge.core.console.notebook import ShownAsTable
from ftbridge.core.plugins import load_backend
from ftbridge.language import english
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, utc_now
from ftbridge.launchers.runs.training_log import curve_points, last_times, read_curve


class RunSummary(ShownAsTable, msgspec.Struct, frozen=True):
    """A run in a line: `step` of `steps` whole ones are done, `seconds` is its working time.

    Losses are None where none was logged. `evaluations` are figures by their names and datasets.
    `status` is `died` for a run whose watching process was killed, and `reason` says why one was stopped.
    """

    id: str
    name: str
    status: str
    backend: str
    model: str
    dataset: str
    method: str
    learning_rate: float
    step: int
    steps: int
    loss: float | None
    lowest_loss: float | None
    validation_loss: float | None
    lowest_validation_loss: float | None
    started: datetime
    seconds: float
    evaluations: dict[str, float] = {}
    reason: str = ""


def summarise_run(run: Run) -> RunSummary:
    """Return the summary of a run that `runs list`, `show` and `compare` and `train --json` use."""
    records = read_curve(run)
    losses, validations = ([point[1] for point in curve_points(records, name)] for name in ("loss", "validation_loss"))
    periods = _periods(run)
    logged = max((record["step"] for record in records), default=0)
    return RunSummary(
        id=run.id,
        name=run.name,
        status="died" if run.died else run.status,
        backend=run.spec.backend,
        model=run.spec.model,
        dataset=run.spec.dataset_text,
        method=run.spec.method,
        learning_rate=run.spec.learning_rate,
        step=_whole_steps(run, max(logged, _saved_step(run), run.attempts[-1].step)),
        steps=run.steps,
        loss=losses[-1] if losses else None,
        lowest_loss=_lowest_value(losses),
        validation_loss=validations[-1] if validations else None,
        lowest_validation_loss=_lowest_value(validations),
        started=run.attempts[0].started,
        reason=run.attempts[-1].reason,
        # A clock that was set back leaves an end before its beginning.
        seconds=sum(max(0.0, (end - begin).total_seconds()) for begin, end in periods),
    )


def compare_runs(runs: list[Run]) -> dict[str, list[Any]]:
    """Return the options, versions, hashes and results that differ between `runs`, with a value for each run."""
    columns = [_compared_values(run) for run in runs]
    names = {name: None for column in columns for name in column}
    rows = {name: [column.get(name) for column in columns] for name in names}
    differing = {name: values for name, values in rows.items() if any(value != values[0] for value in values)}
    return differing | _data_that_differs(runs)


def _data_that_differs(runs: list[Run]) -> dict[str, list[Any]]:
    """Return one row for the data: of each run a hash of the files that others have, too, with another content."""
    names = {name: None for run in runs for name in run.datasets}
    digests = {name: [run.datasets.get(name, "") for run in runs] for name in names}
    # Each backend reads a file of its own, which no run of the other has.
    files = [name for name, found in digests.items() if len({*found} - {""}) > 1]
    if not files:
        return {}
    together = ("".join(found) for found in zip(*(digests[name] for name in files), strict=True))
    values = [hashlib.sha256(each.encode()).hexdigest()[:12] if each else None for each in together]
    return {english(_("sha256 of {files}").format(files=first_few(files, 1))): values}


def _compared_values(run: Run) -> dict[str, Any]:
    """Return what `compare_runs` compares of a run, by the names that it is shown with."""
    values: dict[str, Any] = msgspec.to_builtins(summarise_run(run), enc_hook=english)
    spec: dict[str, Any] = msgspec.to_builtins(run.spec)
    results = ("status", "step", "loss", "lowest_loss", "validation_loss", "lowest_validation_loss", "seconds")
    return {
        **spec,
        "dataset": run.spec.dataset_text,
        **{f"version of {name}": version for name, version in run.versions.items()},
        "weights of the model": run.base.short if run.base else None,
        "samples": run.samples,
        "steps": run.steps,
        "trained parameters": run.trained_parameters or None,
        **{name: values[name] for name in results},
    }


def _whole_steps(run: Run, last: float) -> int:
    """Return how many optimiser steps are done, by the last that was logged; XTuner counts in parts of a step."""
    if run.status != "succeeded":
        return int(last)
    return math.ceil(last) if run.spec.early_stopping else max(math.ceil(last), run.steps)


def _saved_step(run: Run) -> float:
    """Return the last step that was saved: a training that is stopped saves more than it has logged."""
    backend, accumulation = load_backend(run.spec.backend), run.spec.gradient_accumulation_steps
    return max((backend.checkpoint_step(run.path / name, accumulation) or 0 for name in run.checkpoints), default=0)


def _lowest_value(values: list[float]) -> float | None:
    return min((value for value in values if not math.isnan(value)), default=None)


def _periods(run: Run) -> list[tuple[datetime, datetime]]:
    """Return when each attempt began and ended; of one that was killed, and went on later, what it logged tells."""
    logged = last_times(run)
    begun = [attempt.started for attempt in run.attempts]
    periods = []
    for number, attempt in enumerate(run.attempts, 1):
        end = attempt.ended or _end_of_work(run)
        if not attempt.ended and number < len(begun):
            end = min(end, begun[number])  # the log is that of the next attempt by now
            if number in logged:
                end = min(end, begun[0] + timedelta(seconds=logged[number]))
        periods.append((attempt.started, end))
    return periods


def _end_of_work(run: Run) -> datetime:
    """Return until when a run without a written end has worked: now, or when its log was last written."""
    log, begun = run.path / "log.txt", run.attempts[-1].started
    if run.status == "running":
        return max(utc_now(), begun)
    with suppress(OSError, ValueError):  # not there, or of a time beyond all calendars
        return max(datetime.fromtimestamp(log.stat().st_mtime, utc_now().tzinfo), begun)
    return begun
