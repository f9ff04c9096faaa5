"""Tables, and the geometry of charts: places in percent of the width and height, which the templates draw."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ftbridge.evaluation.record import Confusion, Figure

MOST_POINTS = 400  # of a curve
MOST_CLASSES = 20  # of a heat map; a phone and a page of paper hold no more
LEVELS = 8  # shades of a heat map
_TICKS = 5
_GREATEST = 1e12  # no loss is as large


class Number(NamedTuple):
    """A figure in a table, by its name, which decides how it is written."""

    name: str
    figure: Figure

    @property
    def has_interval(self) -> bool:
        """Tell whether the ends of its interval are known."""
        return not math.isnan(self.figure.low + self.figure.high)


Value = str | int | float | Number | None


class Table(NamedTuple):
    """A table with a title; `key` names it in files."""

    key: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


class Tick(NamedTuple):
    """A mark of an axis: where, in percent, and what it says."""

    at: float
    text: str


class Bar(NamedTuple):
    """A figure with its interval, in percent of the axis; `kind` is after, before, other or baseline."""

    name: str
    kind: str
    figure: Figure
    at: float
    low: float
    high: float


class IntervalChart(NamedTuple):
    """The same figure of several models, each a point with its interval, on one axis."""

    figure: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


class Curve(NamedTuple):
    """A curve: its points in thousandths of the chart's width and height, as SVG has them, and its last value."""

    name: str
    points: str
    last: float
    lowest: float


class LossChart(NamedTuple):
    """Losses over steps, with both axes."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


class Cell(NamedTuple):
    """A cell of a heat map: how many, its shade from 0 to LEVELS, and whether these are right."""

    number: int
    level: int
    right: bool


class HeatMap(NamedTuple):
    """A confusion table: `labels` with a row of cells each; `others` counts the classes joined in the last label.

    The columns are the labels, and answers that are no label.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    others: int


def interval_chart(figure: str, rows: Sequence[tuple[str, str, Figure]]) -> IntervalChart:
    """Return the chart of a share, given by name and kind of who has it."""
    bars = (
        Bar(name, kind, each, *(_within(100 * value) for value in (each.value, each.low, each.high)))
        for name, kind, each in rows
    )
    ticks = tuple(Tick(at, f"{at:.0f}\u2009%") for at in (0.0, 25.0, 50.0, 75.0, 100.0))
    return IntervalChart(figure, tuple(bars), ticks)


def loss_chart(curves: Mapping[str, Sequence[tuple[float, float]]]) -> LossChart | None:
    """Return the chart of curves of step and value, None where no value is a number."""
    finite = {
        name: kept
        for name, points in curves.items()
        if (kept := [point for point in points if all(abs(value) < _GREATEST for value in point)])
    }
    if not finite:
        return None
    every = [point for points in finite.values() for point in points]
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*every, strict=True))
    y_values = [*round_ticks(low, high)]
    low, high = min(low, y_values[0]), max(high, y_values[-1])
    return LossChart(
        tuple(
            Curve(
                name,
                " ".join(
                    f"{10 * place(x, left, right):.1f},{1000 - 10 * place(y, low, high):.1f}"
                    for x, y in _thinned(points)
                ),
                points[-1][1],
                min(y for _, y in points),
            )
            for name, points in finite.items()
        ),
        tuple(Tick(place(x, left, right), f"{x:g}") for x in round_ticks(left, right) if left <= x <= right),
        tuple(Tick(100 - place(y, low, high), f"{y:g}") for y in y_values),
    )


def heat_map(confusion: Confusion, other: str) -> HeatMap:
    """Return the heat map of a confusion table; of many classes, those with the most mistakes, the rest joined."""
    labels = confusion.labels
    kept = sorted(sorted(range(len(labels)), key=lambda at: -_mistakes(confusion, at))[:MOST_CLASSES])
    rest = [at for at in range(len(labels)) if at not in set(kept)]
    groups = [[at] for at in kept] + ([rest] if rest else [])
    rows = (_joined(confusion, group, [*groups, [len(labels)]]) for group in groups)
    names = [labels[at] for at in kept] + ([other] if rest else [])
    return HeatMap(tuple(names), tuple(_shaded(row, at) for at, row in enumerate(rows)), len(rest))


def _mistakes(confusion: Confusion, at: int) -> int:
    """Return how often a class was missed, or named wrongly."""
    counts = confusion.counts
    return sum(counts[at]) + sum(row[at] for row in counts) - 2 * counts[at][at]


def _joined(confusion: Confusion, rows: Sequence[int], columns: Sequence[Sequence[int]]) -> list[int]:
    """Return the counts of several rows in one, its columns joined as well."""
    return [sum(confusion.counts[row][at] for row in rows for at in group) for group in columns]


def _shaded(counts: Sequence[int], right: int) -> tuple[Cell, ...]:
    """Return the cells of a row, of whose counts the one at `right` is right."""
    total = sum(counts) or 1
    return tuple(Cell(count, math.ceil(LEVELS * count / total), at == right) for at, count in enumerate(counts))


def most_confused(confusion: Confusion, most: int = 12) -> list[tuple[str, str | None, int]]:
    """Return the commonest mistakes: reference, answer (None for no label), and how many."""
    columns = (*confusion.labels, None)
    found = [
        (label, column, count)
        for at, (label, row) in enumerate(zip(confusion.labels, confusion.counts, strict=True))
        for to, (column, count) in enumerate(zip(columns, row, strict=True))
        if count and at != to
    ]
    return sorted(found, key=lambda mistake: -mistake[2])[:most]


def _thinned(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the points of a curve; of many, the lowest and the highest of each stretch, so that no peak goes."""
    size = math.ceil(2 * len(points) / MOST_POINTS)
    if size <= 2:  # noqa: PLR2004
        yield from points
        return
    for begin in range(0, len(points), size):
        stretch = points[begin : begin + size]
        ends = min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])
        yield from sorted(ends)


def _within(value: float) -> float:
    return round(min(100.0, max(0.0, value)), 2)


def place(value: float, low: float, high: float) -> float:
    """Return where a value lies between two, in percent."""
    return 100 * (value - low) / ((high - low) or 1)


def round_ticks(low: float, high: float) -> Iterator[float]:
    """Yield round numbers, some five of them, around what lies from `low` to `high`."""
    span = max(high - low, 1e-9 * abs(high), 1e-12)
    power = 10 ** math.floor(math.log10(span / _TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= _TICKS)
    first = math.floor(low / step + 1e-9)
    count = max(1, math.ceil(high / step - 1e-9) - first)
    yield from (round((first + at) * step, 12) for at in range(count + 1))
