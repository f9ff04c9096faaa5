"""The geometry of a sweep's charts: the learning curve over training-set sizes, and heat maps of two options."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from ftbridge.evaluation.report.charts import LEVELS, Tick, place, round_ticks

LOGARITHMIC_FROM = 8  # times the smallest size: from here on the axis is logarithmic
_TICK_WIDTH = 9  # percent of the axis that the number below it takes


class Measure(NamedTuple):
    """A figure at a training-set size, with the ends of its interval, None where there is none."""

    size: int
    value: float
    low: float | None = None
    high: float | None = None


class Series(NamedTuple):
    """Measures of one setting, of a baseline or of the model before its training, by size."""

    name: str
    kind: Literal["setting", "baseline", "before"]
    measures: tuple[Measure, ...]


class Dot(NamedTuple):
    """A point of a line in percent of the chart's width and height, with its interval where it has one."""

    measure: Measure
    x: float
    y: float
    low: float | None
    high: float | None


class Line(NamedTuple):
    """A series as it is drawn: dots, and the same as SVG's points in thousandths; `style` counts those of its kind."""

    name: str
    kind: str
    style: int
    dots: tuple[Dot, ...]
    points: str


class LearningCurve(NamedTuple):
    """A figure over training-set sizes, a line for each series."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    logarithmic: bool


class MapCell(NamedTuple):
    """A cell of a heat map: its figure, None for none, its shade from 1 to LEVELS, and how many settings failed."""

    value: float | None
    level: int
    failed: int


class OptionMap(NamedTuple):
    """A figure by the values of two options: of `down` a row each, of `across` a column each.

    `worst` and `best` are the figures of the cells with the faintest and with the strongest colour.
    """

    down: str
    across: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MapCell, ...]], ...]
    worst: float
    best: float


def learning_curve(series: Sequence[Series], shown: Callable[[float], str]) -> LearningCurve | None:
    """Return the chart of series over training-set sizes; None where they have fewer than two sizes.

    `shown` says how a figure is written on the axis.
    """
    sizes = sorted({each.size for one in series for each in one.measures})
    if len(sizes) < 2 or sizes[0] <= 0:  # noqa: PLR2004 - a curve has two ends
        return None
    logarithmic = sizes[-1] > LOGARITHMIC_FROM * sizes[0]
    values = _numbers(value for one in series for each in one.measures for value in (each.value, each.low, each.high))
    y_values = [*round_ticks(min(values), max(values))]
    low, high = min(*values, y_values[0]), max(*values, y_values[-1])

    def across(size: float) -> float:
        if logarithmic:
            return place(math.log(size), math.log(sizes[0]), math.log(sizes[-1]))
        return place(size, sizes[0], sizes[-1])

    def up(value: float | None) -> float | None:
        return None if value is None or math.isnan(value) else 100 - place(value, low, high)

    lines, styles = [], Counter[str]()
    for one in series:
        dots = tuple(
            Dot(each, across(each.size), at, up(each.low), up(each.high))
            for each in sorted(one.measures)
            if (at := up(each.value)) is not None
        )
        points = " ".join(f"{10 * dot.x:.1f},{10 * dot.y:.1f}" for dot in dots)
        lines.append(Line(one.name, one.kind, styles[one.kind], dots, points))
        styles[one.kind] += 1
    y_ticks = tuple(Tick(100 - place(value, low, high), shown(value)) for value in y_values)
    return LearningCurve(tuple(lines), tuple(_ticks([(across(size), size) for size in sizes])), y_ticks, logarithmic)


def _ticks(sizes: Sequence[tuple[float, int]]) -> list[Tick]:
    """Return the marks of sizes, from the largest down, without those that would stand on another."""
    kept: list[Tick] = []
    for at, size in reversed(sizes):
        if not kept or kept[-1].at - at >= _TICK_WIDTH:
            kept.append(Tick(at, f"{size:,}"))
    return kept[::-1]


def option_map(
    down: str, across: str, cells: Mapping[tuple[str, str], Mapping[str, float | None]], *, less_is_better: bool = False
) -> OptionMap | None:
    """Return the heat map of figures by the values of two options, in the order of `cells`; None where all failed.

    A cell has the figures of settings by what else was varied, None for one that failed. It shows the mean of those
    that all cells have: a cell is no better for having failed where it is hard.
    """
    measured = {
        key: found for key, each in cells.items() if (found := {name for name in each if _numbers([each[name]])})
    }
    shared = set.intersection(*measured.values()) if measured else set()
    means = {key: fmean(_numbers(cells[key][name] for name in shared or found)) for key, found in measured.items()}
    if not means:
        return None
    rows, columns = (list(dict.fromkeys(key[at] for key in cells)) for at in (0, 1))
    worst, best = min(means.values()), max(means.values())
    if less_is_better:
        worst, best = best, worst

    def cell(key: tuple[str, str]) -> MapCell:
        value = means.get(key)
        level = 0 if value is None else 1 + round((LEVELS - 1) * (value - worst) / ((best - worst) or 1))
        return MapCell(value, level, len(cells[key]) - len(measured.get(key, ())))

    return OptionMap(
        down,
        across,
        tuple(columns),
        tuple((row, tuple(cell((row, column)) for column in columns)) for row in rows),
        worst,
        best,
    )


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and not math.isnan(value)]
