"""Curves as text for a terminal."""

import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]
_MARKS = "*o+x#@%&=~"
MARGIN = 11  # columns before the curves
NARROWEST = 9


def text_chart(curves: Mapping[str, Points], columns: int = 80, height: int = 18) -> str:
    """Return the curves in lines of at most `columns` characters, with the range of both axes and a legend.

    Values that are no numbers, or endless, are left out; where curves meet, the last one shows. A legend too long for
    its line stands further left, and is never cut: the names of runs are copied from there.
    """
    from rich.cells import cell_len

    width = max(columns - MARGIN, NARROWEST)
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in curves.items()}
    everything = [point for points in finite.values() for point in points]
    if not everything:
        return "there is nothing to draw yet"
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*everything, strict=True))
    grid = [[" "] * width for _ in range(height)]
    legend = []
    for number, (name, points) in enumerate(finite.items()):
        mark = _MARKS[number % len(_MARKS)]
        legend.append(f"{'':<{max(0, min(MARGIN - 1, columns - cell_len(name) - 2))}}{mark} {name}")
        for x, y in points:
            column = round(_relative_position(x, left, right) * (width - 1))
            grid[round(_relative_position(y, high, low) * (height - 1))][column] = mark
    labels = [f"{high:9.4g}", *[" " * 9] * (height - 2), f"{low:9.4g}"]
    rows = [f"{label} |{''.join(row)}".rstrip() for label, row in zip(labels, grid, strict=True)]
    ends = f"{left:g}", f"{right:g}"
    steps = f"{ends[0]}{'step':^{max(6, width - sum(map(len, ends)))}}{ends[1]}"
    return "\n".join([*rows, f"{'':<10}+{'-' * width}", f"{'':<{MARGIN}}{steps}", *legend])


def _relative_position(value: float, first: float, last: float) -> float:
    """Return where `value` lies from `first` (0) to `last` (1); by halves: a difference may overflow."""
    return (value / 2 - first / 2) / ((last / 2 - first / 2) or 1)
