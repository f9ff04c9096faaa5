"""Losses as curves that compare: one value a step, whichever framework logged them, and smoothed."""

import math
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]


def by_whole_steps(points: Points) -> list[tuple[float, float]]:
    """Return one point for each whole step: the mean of what was logged within it, as XTuner does for parts of it."""
    values: dict[int, list[float]] = {}
    for step, value in points:
        values.setdefault(math.ceil(step), []).append(value)
    return [(step, sum(value / len(each) for value in each)) for step, each in values.items()]


def smoothed(points: Points) -> list[tuple[float, float]]:
    """Return the mean of the numbers around each point, a twentieth of all on either side: it does not lag behind."""
    around = len(points) // 20
    found = []
    for place, (step, _value) in enumerate(points):
        near = [y for _x, y in points[max(0, place - around) : place + around + 1] if not math.isnan(y)]
        found.append((step, sum(y / len(near) for y in near) if near else math.nan))
    return found
