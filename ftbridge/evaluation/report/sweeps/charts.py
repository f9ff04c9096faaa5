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


class _Axis(NamedTuple):
    """An axis from `low` to `high`."""

    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return where a value lies, in percent."""
        if self.logarithmic:
            return place(math.log(value), math.log(self.low), math.log(self.high))
        return place(value, self.low, self.high)

    def down(self, value: float | None) -> float | None:
        """Return how far below the upper end a value lies, in percent; None for no number."""
        return None if value is None or math.isnan(value) else 100 - self.at(value)


def learning_curve(series: Sequence[Series], shown: Callable[[float], str]) -> LearningCurve | None:
    """Return the chart of series over training-set sizes; None where they have fewer than two sizes.

    `shown` says how a figure is written on the axis.
    """
    measures = [each for one in series for each in one.measures]
    sizes = sorted({each.size for each in measures})
    if len(sizes) < 2 or sizes[0] <= 0:  # noqa: PLR2004 - a curve has two ends
        return None
    values = _numbers(value for each in measures for value in (each.value, each.low, each.high))
    y_values = [*round_ticks(min(values), max(values))]
    x = _Axis(sizes[0], sizes[-1], sizes[-1] > LOGARITHMIC_FROM * sizes[0])
    y = _Axis(min(*values, y_values[0]), max(*values, y_values[-1]))
    styles = Counter[str]()
    lines = []
    for one in series:
        lines.append(_line(one, styles[one.kind], x, y))
        styles[one.kind] += 1
    return LearningCurve(
        tuple(lines),
        tuple(_ticks([(x.at(size), size) for size in sizes])),
        tuple(Tick(100 - y.at(value), shown(value)) for value in y_values),
        x.logarithmic,
    )


def _line(series: Series, style: int, x: _Axis, y: _Axis) -> Line:
    dots = tuple(
        Dot(each, x.at(each.size), at, y.down(each.low), y.down(each.high))
        for each in sorted(series.measures)
        if (at := y.down(each.value)) is not None
    )
    points = " ".join(f"{10 * dot.x:.1f},{10 * dot.y:.1f}" for dot in dots)
    return Line(series.name, series.kind, style, dots, points)


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
    means = _means(cells)
    if not means:
        return None
    worst, best = min(means.values()), max(means.values())
    if less_is_better:
        worst, best = best, worst

    def cell(key: tuple[str, str]) -> MapCell:
        value, failed = means.get(key), len(cells[key]) - len(_numbers(cells[key].values()))
        level = 0 if value is None else 1 + round((LEVELS - 1) * (value - worst) / ((best - worst) or 1))
        return MapCell(value, level, failed)

    rows, columns = (tuple(dict.fromkeys(key[at] for key in cells)) for at in (0, 1))
    made = tuple((row, tuple(cell((row, column)) for column in columns)) for row in rows)
    return OptionMap(down, across, columns, made, worst, best)


def _means(cells: Mapping[tuple[str, str], Mapping[str, float | None]]) -> dict[tuple[str, str], float]:
    """Return the mean of each cell that has a figure, over the settings that all of these have where there are some."""
    measured = {key: {name for name in each if _numbers([each[name]])} for key, each in cells.items()}
    measured = {key: names for key, names in measured.items() if names}
    shared = set[str]().union(*measured.values()).intersection(*measured.values())
    return {key: fmean(_numbers(cells[key][name] for name in shared or names)) for key, names in measured.items()}


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and not math.isnan(value)]
