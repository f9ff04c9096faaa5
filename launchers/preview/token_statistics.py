"""How long a dataset's samples are in tokens."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

# What a cutoff length does to a sample: nothing of the answer is left, a part of it is missing, only other text
# is. "refused": the framework finds no text to train on, at any length.
Cut = Literal["", "question", "answer", "lost", "refused"]
_MOST_BINS = 20


class Counts(msgspec.Struct, frozen=True):
    """The number of samples by length, without a cutoff; `cut` has the numbers of samples, from 1."""

    lengths: dict[int, int]
    answer_tokens: int
    cut: dict[Cut, list[int]]


class Stats(Counts, frozen=True, kw_only=True):
    """Counts with what follows from them; `over` counts samples longer than the cutoff length."""

    samples: int
    tokens: int
    shortest: int
    median: int
    p95: int
    longest: int
    over: int


def stats(counts: Counts, cutoff_length: int) -> Stats:
    """Return what follows from `counts`."""
    lengths = dict(sorted(counts.lengths.items()))
    samples = sum(lengths.values())

    def at(share: float) -> int:
        """Return the length that this share of the samples does not exceed."""
        passed = 0
        for length, number in lengths.items():
            passed += number
            if passed >= share * samples:
                return length
        return 0

    return Stats(
        lengths=lengths,
        answer_tokens=counts.answer_tokens,
        cut=counts.cut,
        samples=samples,
        tokens=sum(length * number for length, number in lengths.items()),
        shortest=at(0),
        median=at(0.5),
        p95=at(0.95),
        longest=at(1),
        over=sum(number for length, number in lengths.items() if length > cutoff_length),
    )


def histogram(counted: Mapping[str, Stats]) -> tuple[list[range], dict[str, list[int]]]:
    """Return ranges of lengths, of one width, and by framework how many samples are in each.

    Frameworks that count the same come once, with their names joined.
    """
    found = [length for each in counted.values() for length in each.lengths] or [0]
    shortest, longest = min(found), max(found)
    width = next(each for each in _widths() if longest // each - shortest // each < _MOST_BINS)
    first = shortest // width
    bins = [range(at * width, (at + 1) * width) for at in range(first, longest // width + 1)]
    result: dict[tuple[int, ...], str] = {}
    for name, each in counted.items():
        numbers = [0] * len(bins)
        for length, samples in each.lengths.items():
            numbers[length // width - first] += samples
        key = tuple(numbers)
        result[key] = f"{result[key]}, {name}" if key in result else name
    return bins, {name: list(numbers) for numbers, name in result.items()}


def bars(counted: Mapping[str, Stats], cutoff_length: int) -> dict[str, Any]:
    """Return the histogram as `pictures.draw` takes it."""
    bins, counts = histogram(counted)
    return {
        "starts": [each.start for each in bins],
        "width": len(bins[0]),
        "counts": counts,
        "cutoff_length": cutoff_length,
    }


def _widths() -> Iterator[int]:
    """Yield 1, 2, 5, 10, 20, 50 ... without end."""
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10
