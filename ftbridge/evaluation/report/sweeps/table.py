"""A sweep as rows: for a terminal, for CSV, and for a workbook."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from ftbridge.core.files.atomic import write_atomic
from ftbridge.evaluation.report.sweeps.contents import SweepContents
from ftbridge.evaluation.report.sweeps.figures import UNREADABLE, figure_names, has_unreadable, mean_of
from ftbridge.evaluation.report.words import Words, shown
from ftbridge.evaluation.report.workbook import FORMULA, Sheet, table_sheet, write_workbook
from ftbridge.evaluation.sweep.record import shown_value
from ftbridge.evaluation.sweep.results import SweepResults, SweepRow

Value: TypeAlias = str | int | float | None
Row: TypeAlias = tuple[Value, ...]


def sweep_rows(results: SweepResults) -> list[Row]:
    """Return the settings of a sweep, best first, under a header.

    Columns are the options that were varied, the metric's mean, its standard deviation over seeds as `sd`, `low` and
    `high` of its 95 % interval, the number of `seeds` that have it, the means of all other figures and of the number of
    unreadable answers, the training samples, the training loss, the working time in seconds, the status, and why it
    failed. None stands for what is not there.
    """
    metric = [results.metric] if results.metric else []
    loss = [] if results.metric == "loss" else ["loss"]
    columns = ["sd", "low", "high", "seeds"] if metric else []
    others = [name for name in figure_names(results) if name not in (results.metric, "loss")]
    others += [UNREADABLE] if has_unreadable(results) else []
    header = *results.varied, *metric, *columns, *others, "training_samples", *loss, "seconds", "status", "error"
    return [header, *(tuple(_row(results, row, others)) for row in results.rows)]


def _row(results: SweepResults, row: SweepRow, others: Sequence[str]) -> Iterator[Value]:
    for name in results.varied:
        value = row.values.get(name)
        yield value if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)
    if metric := results.metric:
        found = row.figures.get(metric)
        yield from (found.mean, found.spread, found.low, found.high, found.seeds) if found else (None,) * 4 + (0,)
    yield from (mean_of(row, name) for name in others)
    yield row.training_samples
    if metric != "loss":
        yield mean_of(row, "loss")
    yield row.seconds or None
    yield row.status
    yield row.error or None


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV that Excel reads as UTF-8; what begins as a formula gets an apostrophe before it."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    write_atomic(path, text.getvalue().encode("utf-8-sig", "backslashreplace"))


def write_xlsx(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a workbook of one sheet, in which a text is always a text."""
    header, *rest = rows
    write_workbook(path, [Sheet("sweep", tuple(map(str, header)), rest)])


def sheets(contents: SweepContents, words: Words) -> Iterator[Sheet]:
    """Yield what the report of a sweep tells, a sheet for each table."""
    told = contents.verdict
    sentences = (contents.asked, told.title, *told.sentences, *told.cautions)
    yield Sheet(words("contents_sheet"), (contents.title,), [(each,) for each in sentences if each])
    tables = contents.settings, contents.figures, contents.failures, contents.same, contents.trainings
    yield from (table_sheet(each, words) for each in tables if each)


def _text(value: object) -> str | None:
    return None if value is None else shown_value(value)


def _cell(value: Value) -> Value:
    if isinstance(value, str):
        text = shown(value)
        return f"'{text}" if FORMULA.match(text) else text
    return None if isinstance(value, float) and math.isnan(value) else value
