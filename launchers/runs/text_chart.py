"""Curves as text for a terminal."""

import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]
_MARKS = "*o+x#@%&=~"


def text_chart(curves: Mapping[str, Points], width: int = 72, height: int = 18) -> str:
    """Return the curves drawn in `width` times `height` characters, with the range of both axes and a legend.

    Values that are no numbers, or endless, are left out; where curves meet, the last one shows.
    """
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in curves.items()}
    everything = [point for points in finite.values() for point in points]
    if not everything:
        return "there is nothing to draw yet"
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*everything, strict=True))
    grid = [[" "] * width for _ in range(height)]
    legend = []
    for number, (name, points) in enumerate(finite.items()):
        mark = _MARKS[number % len(_MARKS)]
        legend.append(f"{'':<9} {mark} {name}")
        for x, y in points:
            column = round(_relative_position(x, left, right) * (width - 1))
            grid[round(_relative_position(y, high, low) * (height - 1))][column] = mark
    labels = [f"{high:9.4g}", *[" " * 9] * (height - 2), f"{low:9.4g}"]
    rows = [f"{label} |{''.join(row)}".rstrip() for label, row in zip(labels, grid, strict=True)]
    steps = f"{'':<11}{left:<{width // 2}g}{right:>{width - width // 2}g}  step"
    return "\n".join([*rows, f"{'':<10}+{'-' * width}", steps, *legend])


def _relative_position(value: float, first: float, last: float) -> float:
    """Return where `value` lies from `first` (0) to `last` (1); by halves: a difference may overflow."""
    return (value / 2 - first / 2) / ((last / 2 - first / 2) or 1)
