"""How far a figure may be off: 95 % intervals by Wilson and by the bootstrap, and the exact McNemar test."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ftbridge.evaluation.record import Figure
from ftbridge.language import gettext as _

Array: TypeAlias = npt.NDArray[np.float64]
# Statistics of some items, a row each, and how many items have each row.
Chunk: TypeAlias = tuple[Array, npt.NDArray[np.int64]]
CHUNK = 512  # rows; their weights in 1,000 draws take 4 MB
_Z = 1.959963984540054  # 95 % of a normal distribution lie within as many standard deviations
_PERCENTS = (2.5, 97.5)
_MANY = 4  # items a row, from where it is quicker to draw their number than each


class Bootstrapped(NamedTuple):
    """The `sums` of all items' statistics, the figures' `values` of these, and their intervals from `low` to `high`."""

    sums: Array
    values: Array
    low: Array
    high: Array

    def figure(self, at: int, items: int) -> Figure:
        """Return the figure at a place, of so many items; of none, it may be anything from 0 to 1."""
        value, low, high = (float(each[at]) for each in (self.values, self.low, self.high)) if items else (0, 0, 1)
        return Figure(value=value, low=low, high=high, items=items, method="bootstrap")


def share(part: float, whole: float) -> Figure:
    """Return `part` of `whole` items with Wilson's interval; of no items, 0, and anything from 0 to 1."""
    part, whole = round(part), round(whole)
    if not whole:
        return Figure(value=0, low=0, high=1, items=0, method="wilson")
    value, spread = part / whole, _Z**2 / whole
    middle = value + spread / 2
    half = math.sqrt(value * (1 - value) * spread + spread**2 / 4)
    low = (middle - half) / (1 + spread) if part else 0.0
    high = (middle + half) / (1 + spread) if part < whole else 1.0
    return Figure(value=value, low=low, high=high, items=whole, method="wilson")


def bootstrap(
    chunks: Iterable[Chunk], items: int, figures: Callable[[Array], Array], draws: int, seed: int
) -> Bootstrapped:
    """Return the figures of `items` items, which come in chunks, with their percentile bootstrap's intervals.

    `figures` makes figures of summed statistics, in the last axis of both. Items are drawn with replacement, exactly
    as from a list of all: how many of a draw fall into a chunk is binomial, and within it they are multinomial.
    """
    random = np.random.default_rng(seed)
    all_sums, drawn_sums, left, undrawn = None, None, items, np.full(draws, items)
    for statistics, counts in chunks:
        size = int(counts.sum())
        inside = random.binomial(undrawn, min(1.0, size / left))
        drawn = _weights(random, inside, counts) @ statistics
        drawn_sums = drawn if drawn_sums is None else drawn_sums + drawn
        sums = counts.astype(np.float64) @ statistics
        all_sums = sums if all_sums is None else all_sums + sums
        left, undrawn = left - size, undrawn - inside
    if all_sums is None or drawn_sums is None:
        raise ValueError(_("the bootstrap needs an item"))
    low, high = np.percentile(figures(drawn_sums), _PERCENTS, axis=0)
    return Bootstrapped(all_sums, figures(all_sums), low, high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test.

    It is how likely a split as uneven as this one, or more so, is among the items that one model alone has right, were
    each as likely to be either's.
    """
    total = only_first + only_second
    most = math.lgamma(total + 1) - total * math.log(2)
    tail = (
        math.exp(most - math.lgamma(fewer + 1) - math.lgamma(total - fewer + 1))
        for fewer in range(min(only_first, only_second) + 1)
    )
    return min(1.0, 2 * math.fsum(tail))


def divide(part: Array, whole: Array) -> Array:
    """Return `part` by `whole`, and 0 where that is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


def _weights(random: np.random.Generator, inside: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Array:
    """Return how often each row is drawn (columns) where `inside` items are (rows)."""
    rows, draws = len(counts), len(inside)
    if counts.sum() > _MANY * rows:
        return random.multinomial(inside, counts / counts.sum()).astype(np.float64)
    # The same distribution, item by item: several times as fast where most items differ.
    items = np.repeat(np.arange(rows), counts)
    drawn = items[random.integers(len(items), size=int(inside.sum()))] + np.repeat(np.arange(draws) * rows, inside)
    return np.bincount(drawn, minlength=draws * rows).reshape(draws, rows).astype(np.float64)
