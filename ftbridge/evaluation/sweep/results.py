"""A row for each setting of a sweep: what its seeds have in common, and how far they lie apart."""

import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.evaluation.record import Evaluation, load_evaluation, main_figure
from ftbridge.evaluation.sweep.record import Point, Sweep
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, load_run
from ftbridge.launchers.runs.summary import RunSummary, summarise_run

LOSSES = ("loss", "validation_loss")  # of these less is better
# All that a task can be judged by, as `Scores.figures` names it.
METRICS = (
    "accuracy", "macro_f1", "macro_precision", "macro_recall", "kappa", "exact_match", "chrf", "bleu", "rouge_l",
    "precision", "recall", "f1", *LOSSES,
)  # fmt: skip
Status = Literal["done", "trained", "failed", "waiting"]


class SeedSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over `seeds` trainings: their mean, and their standard deviation as `spread` (None for one training).

    `low` and `high` are the means of the seeds' 95 % intervals over the questions, None where there are none.
    """

    mean: float
    spread: float | None
    low: float | None
    high: float | None
    seeds: int


class SweepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of a sweep: the `values` of its options, and what its `points`, one for each seed, have come to.

    `figures` are over the points that were evaluated, and loss and validation_loss over those that were trained;
    `seconds` is their working time in all, `error` why a point failed.
    """

    values: dict[str, object]
    status: Status
    points: tuple[Point, ...]
    runs: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    figures: dict[str, SeedSummary]
    training_samples: int | None
    seconds: float
    error: str


class SweepResults(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a sweep, best first by `metric` ("" where nothing was measured yet), those without it last."""

    name: str
    folder: str
    varied: tuple[str, ...]
    metric: str
    rows: tuple[SweepRow, ...]


def results_of(sweep: Sweep, metric: str = "") -> SweepResults:
    """Return what a sweep has found, best first by `metric` (default: the sweep's, else what the task is judged by).

    Raises UsageError for a metric that nothing was measured by.
    """
    settings: dict[str, list[Point]] = {}
    for point in sweep.points:
        settings.setdefault(repr(point.values), []).append(point)
    rows = [_result(sweep.path, points) for points in settings.values()]
    chosen = _metric(rows, metric, sweep.metric)
    sign = 1 if chosen in LOSSES else -1
    rows.sort(
        key=lambda row: (chosen not in row.figures, sign * row.figures[chosen].mean if chosen in row.figures else 0)
    )
    return SweepResults(name=sweep.name, folder=sweep.folder, varied=sweep.varied, metric=chosen, rows=tuple(rows))


def _metric(rows: Sequence[SweepRow], wanted: str, usual: str) -> str:
    """Return the figure by which settings are compared: the one `wanted`, else the `usual` one where there is such."""
    known = list(dict.fromkeys(name for row in rows for name in row.figures))
    if wanted and known and wanted not in known:
        raise UsageError(
            _("nothing was measured by `{wanted}`{hint}").format(wanted=wanted, hint=closest(wanted, known))
        )
    if wanted or usual in known:
        return wanted or usual
    measured = [name for name in known if name not in LOSSES]
    return main_figure(measured) if measured else ""  # losses of other data or options do not say which is better


def _result(folder: Path, points: Sequence[Point]) -> SweepRow:
    evaluations, runs = [], []
    for point in points:
        with suppress(InputError):  # it was deleted by hand
            if point.run:
                runs.append(load_run(folder / "runs" / point.run))
            if point.evaluation:
                evaluations.append(load_evaluation(folder / point.evaluation))
    trained = [run for run in runs if run.status == "succeeded"]
    lines = [summarise_run(run) for run in trained]
    error = next((f"{point.error}" for point in points if point.error), "")
    return SweepRow(
        values=points[0].values,
        status=_status(points, evaluations, trained, error),
        points=tuple(points),
        runs=tuple(run.id for run in runs),
        evaluations=tuple(evaluations),
        figures={**_figures(evaluations), **_losses(lines)},
        training_samples=max((run.samples for run in trained), default=None),
        seconds=sum(line.seconds for line in lines),
        error=error,
    )


def _status(points: Sequence[Point], evaluations: Sequence[Evaluation], trained: Sequence[Run], error: str) -> Status:
    if len(evaluations) == len(points):
        return "done"
    if error:
        return "failed"
    return "trained" if len(trained) == len(points) else "waiting"


def _figures(evaluations: Sequence[Evaluation]) -> dict[str, SeedSummary]:
    names = dict.fromkeys(name for each in evaluations for name in each.scores.figures)
    found = {}
    for name in names:
        figures = [each.scores.figures[name] for each in evaluations if name in each.scores.figures]
        low, high = (
            statistics.fmean(values) for values in zip(*((each.low, each.high) for each in figures), strict=True)
        )
        found[name] = _summary([each.value for each in figures], low, high)
    return found


def _losses(lines: Iterable[RunSummary]) -> dict[str, SeedSummary]:
    values = {name: [value for line in lines if (value := getattr(line, name)) is not None] for name in LOSSES}
    return {name: _summary(each) for name, each in values.items() if each}


def _summary(values: Sequence[float], low: float | None = None, high: float | None = None) -> SeedSummary:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return SeedSummary(mean=statistics.fmean(values), spread=spread, low=low, high=high, seeds=len(values))
