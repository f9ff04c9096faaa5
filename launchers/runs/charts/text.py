"""Curves as text for a terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from rich.text import Text

Points = Sequence[tuple[float, float]]
_MARKS = "*o+x#@%&=~"
_COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")
_BRAILLE = 0x2800
# The bits of a Braille pattern's dots, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
MARGIN = 11  # columns before the curves
NARROWEST = 9
LABELS = 5  # values beside the vertical axis


def text_chart(
    curves: Mapping[str, Points], columns: int = 80, height: int = 17, *, title: str = "", dots: bool = False
) -> "Text":
    """Return the curves in lines of at most `columns` characters, with both axes, a title and a legend.

    Points are joined: with `dots` by coloured lines of Braille dots, else by a mark for each curve. Values that are no
    numbers, or infinite, are left out; where curves meet, the last one shows. A legend too long for its line begins
    further left, and is never cut: the names of runs are copied from there.
    """
    from rich.text import Text

    finite = [point for points in curves.values() for point in points if math.isfinite(point[1])]
    if not finite:
        return Text(_("there is nothing to draw yet"))
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*finite, strict=True))
    width = max(columns - MARGIN, NARROWEST)
    side, corner, bottom = "│└─" if dots else "|+-"
    cells = _cells(curves, ((left, right), (high, low)), (width, height), dots=dots)
    labels = dict(_labels(low, high, height))
    lines = []
    if title:
        lines.append(Text(f"{'':<{MARGIN}}{title}"))
        lines[0].truncate(MARGIN + width, overflow="ellipsis")
    for row in range(height):
        line = Text(f"{labels.get(row, ''):>9} {side}")
        line.append_tokens(cells.get((row, column), (" ", "")) for column in range(width))
        line.rstrip()
        lines.append(line)
    ends = f"{left:.15g}", f"{right:.15g}"
    lines.append(Text(f"{'':<10}{corner}{bottom * width}"))
    axis = Text(_("steps"))
    axis.align("center", max(axis.cell_len + 2, width - sum(map(len, ends))))
    lines.append(Text.assemble(" " * MARGIN, ends[0], axis, ends[1]))
    legend = []
    for number, name in enumerate(curves):
        mark, colour = (bottom * 2, _COLOURS[number % len(_COLOURS)]) if dots else (_MARKS[number % len(_MARKS)], "")
        legend.append(Text.assemble((mark, colour), f" {name}"))
    indent = max(0, min(MARGIN - 1, columns - max(each.cell_len for each in legend)))
    return Text("\n").join([*lines, *(Text(" " * indent) + each for each in legend)])


def _cells(
    curves: Mapping[str, Points],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    size: tuple[int, int],
    *,
    dots: bool,
) -> dict[tuple[int, int], tuple[str, str]]:
    """Return character and colour by row and column, for curves over what `ranges` begin and end with."""
    across, down = (2, 4) if dots else (1, 1)
    (columns, rows), drawn = size, dict[tuple[int, int], tuple[int, int]]()  # which curve, and its dots
    for number, points in enumerate(curves.values()):
        places = [
            (_position(x, *ranges[0], columns * across), _position(y, *ranges[1], rows * down))
            if math.isfinite(y)
            else None
            for x, y in points
        ]
        for column, row in _joined(places):
            place = row // down, column // across
            other, bits = drawn.get(place, (number, 0))
            drawn[place] = number, (bits if other == number else 0) | _DOTS[row % down][column % across]
    if dots:
        return {at: (chr(_BRAILLE + bits), _COLOURS[number % len(_COLOURS)]) for at, (number, bits) in drawn.items()}
    return {at: (_MARKS[number % len(_MARKS)], "") for at, (number, _bits) in drawn.items()}


def _joined(places: Sequence[tuple[int, int] | None]) -> Iterator[tuple[int, int]]:
    """Yield the places of points and those on the straight lines between them; none leads to or from a None."""
    yield from filter(None, places)
    for one, other in pairwise(places):
        if one and other:
            steps = max(abs(other[0] - one[0]), abs(other[1] - one[1]))
            for step in range(1, steps):
                share = step / steps
                yield round(one[0] + (other[0] - one[0]) * share), round(one[1] + (other[1] - one[1]) * share)


def _labels(low: float, high: float, height: int) -> Iterator[tuple[int, str]]:
    """Yield rows with the values that they stand for, each value once."""
    last = ""
    for number in range(LABELS):
        row = number * (height - 1) // (LABELS - 1)
        share = row / (height - 1)
        label = f"{high * (1 - share) + low * share:.4g}"
        if label != last:
            yield row, label
        last = label


def _position(value: float, first: float, last: float, size: int) -> int:
    """Return the place of `value` from `first` (0) to `last` (`size` - 1); by halves: a difference may overflow."""
    return round((value / 2 - first / 2) / ((last / 2 - first / 2) or 1) * (size - 1))
