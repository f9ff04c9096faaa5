"""All figures of a sweep's settings, as means over their trainings."""

import math
from statistics import fmean

from ftbridge.evaluation.record import Figure
from ftbridge.evaluation.report.charts import Number, Table
from ftbridge.evaluation.report.sweeps.verdict import setting_name
from ftbridge.evaluation.report.words import Words
from ftbridge.evaluation.sweep.results import LOSSES, SweepResults, SweepRow

UNREADABLE = "unreadable"  # what the number of unreadable answers is called


def figures_table(results: SweepResults, words: Words) -> Table | None:
    """Return a row for each setting, best first, with all that its task is measured by; None where nothing was asked.

    Answers that could not be read are counted in the last column, where answers are read at all.
    """
    names = [name for name in figure_names(results) if name not in LOSSES]
    if not names:
        return None
    names += [UNREADABLE] if has_unreadable(results) else []
    rows = (
        (setting_name(row, results, words), *(plain_number(name, mean_of(row, name)) for name in names))
        for row in results.rows
    )
    return Table("figures", words("sweep_figures"), (words("setting"), *map(words.name, names)), tuple(rows))


def figure_names(results: SweepResults) -> list[str]:
    """Return the names of all figures that any setting has, in the order in which they are shown."""
    return list(dict.fromkeys(name for row in results.rows for name in row.figures))


def has_unreadable(results: SweepResults) -> bool:
    """Tell whether answers were read as labels or as entities, so that some may be unreadable."""
    return any(mean_of(row, UNREADABLE) is not None for row in results.rows)


def mean_of(row: SweepRow, name: str) -> float | None:
    """Return a figure, or the number of unreadable answers, as the mean over a setting's trainings; None for none."""
    if name != UNREADABLE:
        return row.figures[name].mean if name in row.figures else None
    # Free text is not read, but compared as it is.
    counts = [each.scores.parsed.get("unparseable", 0) for each in row.evaluations if each.scores.task != "generation"]
    return fmean(counts) if counts else None


def plain_number(name: str, value: float | None) -> Number | None:
    """Return a figure of a table without an interval."""
    if value is None:
        return None
    return Number(name, Figure(value=value, low=math.nan, high=math.nan, items=0, method="bootstrap"))
