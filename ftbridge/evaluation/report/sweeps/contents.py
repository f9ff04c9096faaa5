"""What the report of a sweep tells, in the order in which it is read."""

import itertools
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ftbridge.evaluation.record import Evaluation, Figure
from ftbridge.evaluation.report.charts import IntervalChart, Number, Table, Value, interval_chart
from ftbridge.evaluation.report.runs.contents import TERMS, asked_of, baseline_name
from ftbridge.evaluation.report.runs.verdict import Verdict
from ftbridge.evaluation.report.sweeps.charts import (
    LearningCurve,
    Measure,
    OptionMap,
    Series,
    learning_curve,
    option_map,
)
from ftbridge.evaluation.report.sweeps.figures import figures_table, plain_number
from ftbridge.evaluation.report.sweeps.verdict import first_line, judge, mean_before, setting_name
from ftbridge.evaluation.report.words import PERCENT, PLAIN, Words, signed_points
from ftbridge.evaluation.sweep.record import Sweep, shown_value, title_of
from ftbridge.evaluation.sweep.results import LOSSES, SeedSummary, SweepResults, SweepRow
from ftbridge.launchers.runs.record import utc_now

MOST_LINES = 6  # of the learning curve, besides baselines: more cannot be told from one another
MOST_BARS = 10  # settings in the chart of intervals
MOST_MAPS, MOST_VALUES = 3, 12  # heat maps, and rows or columns of one
SIZE = "sample"  # the option that is the training-set size
NAN = math.nan


class SweepContents(NamedTuple):
    """All that the report of a sweep tells; `metric` is the figure by which settings are compared.

    `left_out` counts the lines that the learning curve has no room for, `look` says what to see in it.
    `figures` has all figures (None where nothing was measured), `same` what all settings had in common, and
    `trainings` a row for each run.
    """

    title: str
    subtitle: str
    made: datetime
    name: str
    metric: str
    asked: str
    verdict: Verdict
    curve: LearningCurve | None
    left_out: int
    look: str
    intervals: IntervalChart | None
    maps: tuple[OptionMap, ...]
    settings: Table
    figures: Table | None
    failures: Table | None
    same: Table
    trainings: Table
    terms: tuple[str, ...]


def contents_of(sweep: Sweep, results: SweepResults, words: Words) -> SweepContents:
    """Return what a report tells of a sweep."""
    every = [each for row in results.rows for each in row.evaluations]
    lines, left_out = _lines(sweep, results, words)
    series = [*lines, *_beside(results, words)] if lines else []
    return SweepContents(
        title=words("sweep_page_title"),
        subtitle=words("sweep_subtitle", name=sweep.name, settings=len(results.rows), trainings=len(sweep.points)),
        made=utc_now(),
        name=sweep.name,
        metric=results.metric,
        asked=asked_of(every[0].scores, words) if every else "",
        verdict=judge(sweep, results, words),
        curve=learning_curve(
            series, lambda value: f"{value:g}" if results.metric in PLAIN else f"{100 * value:g}{PERCENT}"
        ),
        left_out=left_out,
        look=_look(lines, results.metric, words),
        intervals=None if lines else _intervals(results, words),
        maps=tuple(_maps(sweep, results, words)),
        settings=_settings(sweep, results, words),
        figures=figures_table(results, words),
        failures=_failures(results, words),
        same=Table("same", words("sweep_same"), (words("what"), words("value")), tuple(_same(sweep, every, words))),
        trainings=_trainings(results, words),
        terms=_terms(every),
    )


def _terms(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    tasks = dict.fromkeys(each.scores.task for each in evaluations)
    baseline = ["baseline"] if any(each.baselines for each in evaluations) else []
    return (
        "setting",
        "seed",
        "spread",
        "interval",
        "chance",
        *(term for task in tasks for term in TERMS[task]),
        *baseline,
    )


def size_option(sweep: Sweep) -> str:
    """Return the name under which the training-set size is varied, "" where it is not."""
    return next((name for name in sweep.varied if name.rpartition(".")[2] == SIZE), "")


def _lines(sweep: Sweep, results: SweepResults, words: Words) -> tuple[list[Series], int]:
    """Return a series for each combination of the options beside the training-set size, best first, some left out."""
    option = size_option(sweep)
    if not option:
        return [], 0
    found: dict[str, list[Measure]] = {}
    for row in results.rows:
        size = _size(row, option)
        if size and results.metric in row.figures:
            each = row.figures[results.metric]
            found.setdefault(_others(row, results, option), []).append(Measure(size, each.mean, each.low, each.high))
    lines = [Series(name or words("after"), "setting", tuple(each)) for name, each in found.items()]
    return lines[:MOST_LINES], max(0, len(lines) - MOST_LINES)


def _size(row: SweepRow, option: str) -> int | None:
    """Return how many samples a setting was trained on, as far as that is known."""
    given = row.values.get(option)
    return row.training_samples or (given if isinstance(given, int) else None)


def _beside(results: SweepResults, words: Words) -> Iterator[Series]:
    """Yield the baselines by the size of what they learned from, and the model before its training."""
    every, metric = [each for row in results.rows for each in row.evaluations], results.metric
    baselines: dict[str, dict[int, Measure]] = {}
    for each in (baseline for evaluation in every for baseline in evaluation.baselines):
        if figure := each.scores.figures.get(metric):
            baselines.setdefault(each.name, {})[each.training_samples] = Measure(each.training_samples, figure.value)
    for name, measures in baselines.items():
        yield Series(words("as_baseline", name=baseline_name(name, words)), "baseline", tuple(measures.values()))
    sizes = [row.training_samples for row in results.rows if row.training_samples]
    if (before := mean_before(every, metric)) is not None and sizes:
        yield Series(words("before"), "before", (Measure(min(sizes), before), Measure(max(sizes), before)))


def _look(lines: Sequence[Series], metric: str, words: Words) -> str:
    """Return what to see in the learning curve: whether the last step to more samples still gained."""
    measures = sorted(lines[0].measures) if lines else []
    if len(measures) < 2 or metric in PLAIN:  # noqa: PLR2004 - a step has two ends
        return ""
    smaller, larger = measures[-2:]
    sure = smaller.high is not None and larger.low is not None and larger.low > smaller.high
    return words(
        "curve_rises" if sure else "curve_unclear",
        name=lines[0].name,
        smaller=f"{smaller.size:,}",
        larger=f"{larger.size:,}",
        gain=signed_points(larger.value - smaller.value),
    )


def _intervals(results: SweepResults, words: Words) -> IntervalChart | None:
    """Return the chart of the best settings' intervals; None where there are none."""
    metric = results.metric
    rows = [
        (setting_name(row, results, words), "other" if at else "after", _figure(row.figures[metric]))
        for at, row in enumerate(results.rows)
        if metric in row.figures
    ]
    return interval_chart(metric, rows[:MOST_BARS]) if rows and metric not in PLAIN else None


def _figure(found: SeedSummary) -> Figure:
    low, high = (NAN if end is None else end for end in (found.low, found.high))
    return Figure(value=found.mean, low=low, high=high, items=0, method="bootstrap")


def _maps(sweep: Sweep, results: SweepResults, words: Words) -> Iterator[OptionMap]:
    """Yield heat maps of the options in pairs; where more than two are varied, training-set size aside."""
    names = list(sweep.varied)
    if len(names) > 2:  # noqa: PLR2004 - a map has two sides
        names = [name for name in names if name != size_option(sweep)]
    made = (_map(sweep, results, *pair, words) for pair in itertools.combinations(names, 2))
    yield from itertools.islice(filter(None, made), MOST_MAPS)


def _map(sweep: Sweep, results: SweepResults, down: str, across: str, words: Words) -> OptionMap | None:
    rows, columns = ([_shown(value, words) for value in _values(sweep, name)] for name in (down, across))
    cells: dict[tuple[str, str], dict[str, float | None]] = {key: {} for key in itertools.product(rows, columns)}
    for row in (row for row in results.rows if row.status != "waiting"):
        key = _shown(row.values.get(down), words), _shown(row.values.get(across), words)
        found = row.figures.get(results.metric)
        cells[key][_others(row, results, down, across)] = found.mean if found else None
    holes = sum(not each for each in cells.values())
    if 2 * holes > len(cells) or max(len(rows), len(columns)) > MOST_VALUES:  # as of a random choice
        return None
    return option_map(down, across, cells, less_is_better=results.metric in LOSSES)


def _others(row: SweepRow, results: SweepResults, *names: str) -> str:
    """Return the options of a setting that were varied but those of these names, in words."""
    return title_of({name: row.values[name] for name in results.varied if name in row.values and name not in names})


def _values(sweep: Sweep, name: str) -> list[Any]:
    """Return the values of an option, numbers by their size, others in the order of the sweep."""
    values = list({repr(value): value for point in sweep.points for value in [point.values.get(name)]}.values())
    numbers = [value for value in values if isinstance(value, int | float)]
    return [*sorted(numbers), *(value for value in values if value not in numbers)]


def _shown(value: Any, words: Words) -> str:
    return words("sweep_default") if value is None else shown_value(value)


def _settings(sweep: Sweep, results: SweepResults, words: Words) -> Table:
    """Return the table of settings, best first."""
    metric, rows = results.metric, results.rows
    several = any(len(row.points) > 1 for row in rows)
    whole = all(row.status == "done" for row in rows)
    header = [*sweep.varied, *([words.name(metric)] if metric else [])]
    header += [words("spread"), words("seeds")] if several and metric else []
    header += [words("training_samples"), *([] if metric == "loss" else [words("loss")]), words("time")]
    return Table(
        "settings",
        words("sweep_settings"),
        (*header, *([] if whole else [words("status")])),
        tuple(
            (
                *(_shown(row.values.get(name), words) for name in sweep.varied),
                *_measured(row, metric, several=several),
                row.training_samples,
                *([] if metric == "loss" else [row.figures["loss"].mean if "loss" in row.figures else None]),
                words.duration(row.seconds or None).replace(" ", "\u00a0"),
                *([] if whole else [words(f"setting_{row.status}")]),
            )
            for row in rows
        ),
    )


def _measured(row: SweepRow, metric: str, *, several: bool) -> Iterator[Value]:
    """Yield a setting's figure, and over several seeds its spread and their number."""
    if not metric:
        return
    found = row.figures.get(metric)
    yield Number(metric, _figure(found)) if found else None
    if several:
        yield plain_number(metric, found.spread if found else None)
        yield found.seeds if found else 0


def _failures(results: SweepResults, words: Words) -> Table | None:
    """Return why settings failed; None where none did."""
    rows = [(setting_name(row, results, words), first_line(row.error)) for row in results.rows if row.error]
    header = words("setting"), words("reason")
    return Table("failures", words("sweep_failures"), header, tuple(rows)) if rows else None


def _same(sweep: Sweep, evaluations: Sequence[Evaluation], words: Words) -> Iterator[tuple[str, str]]:
    """Yield what all settings had in common, and the test that all were put to."""
    for name, value in sweep.constant.items():
        yield name, shown_value(value)
    for model, fingerprint in sweep.bases.items():
        yield words("fingerprint"), f"{model}: {fingerprint}"
    if not evaluations:
        return
    sets = dict.fromkeys((each.dataset, each.scores.items) for each in evaluations)
    told = (words("sweep_test", dataset=dataset, items=f"{items:,}") for dataset, items in sets)
    yield words("questions"), words("list_separator").join(told)
    if len({each.data for each in evaluations}) == 1:
        yield words("sweep_questions"), words("sweep_questions_same")
    else:
        yield words("sweep_questions"), words("sweep_questions_differ")
    yield words("sweep_leakage"), _leakage(evaluations, words)
    engines = dict.fromkeys(" ".join(filter(None, (each.engine.name, each.engine.version))) for each in evaluations)
    yield words("sweep_engine"), words("list_separator").join(engines)


def _leakage(evaluations: Sequence[Evaluation], words: Words) -> str:
    trained = [each.leakage.trained if each.leakage else None for each in evaluations]
    known = [number for number in trained if number is not None]
    if len(known) < len(trained):
        return words("sweep_leakage_unknown", number=len(trained) - len(known), trainings=len(trained))
    return words("sweep_leakage_some", most=f"{max(known):,}") if any(known) else words("sweep_leakage_none")


def _trainings(results: SweepResults, words: Words) -> Table:
    """Return a row for each training: its setting, seed, run, figure and what became of it."""
    rows: list[tuple[Value, ...]] = []
    measured = [words.name(results.metric)] if results.metric else []
    for row in results.rows:
        figures = {each.model.run: each.scores.figures.get(results.metric) for each in row.evaluations}
        for point in row.points:
            figure = figures.get(point.run)
            rows.append(
                (
                    setting_name(row, results, words),
                    point.seed,
                    point.run or None,
                    *([Number(results.metric, figure) if figure else None] if measured else []),
                    first_line(point.error)
                    or words("setting_done" if figure else "setting_trained" if point.run else "setting_waiting"),
                )
            )
    header = words("setting"), words("seed"), words("run"), *measured, words("status")
    return Table("trainings", words("sweep_trainings"), header, tuple(rows))
