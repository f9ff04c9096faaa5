"""Statistics of the lengths of a dataset's samples in tokens, and their histogram."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from ftbridge.language import gettext as _

# What a cutoff length does to a sample. "lost": nothing of the answer is left. "answer": a part of it is missing.
# "question": only other text is. "refused": the framework finds no text to train on, at any length.
Cut = Literal["", "question", "answer", "lost", "refused"]
_MOST_BINS = 20


class TokenCounts(msgspec.Struct, frozen=True):
    """The number of samples by length, without a cutoff; `cut` has the numbers of samples, from 1."""

    lengths: dict[int, int]
    answer_tokens: int
    cut: dict[Cut, list[int]]


class TokenStatistics(TokenCounts, frozen=True, kw_only=True):
    """Counts with their sums and percentiles, in tokens; `over` counts samples longer than the cutoff length."""

    samples: int
    tokens: int
    shortest: int
    median: int
    p95: int
    longest: int
    over: int


def summarize_counts(counts: TokenCounts, cutoff_length: int) -> TokenStatistics:
    """Return `counts` with their sums and percentiles."""
    lengths = dict(sorted(counts.lengths.items()))
    samples = sum(lengths.values())

    def percentile(share: float) -> int:
        """Return the length that this share of the samples does not exceed."""
        passed = 0
        for length, number in lengths.items():
            passed += number
            if passed >= share * samples:
                return length
        return 0

    return TokenStatistics(
        lengths=lengths,
        answer_tokens=counts.answer_tokens,
        cut=counts.cut,
        samples=samples,
        tokens=sum(length * number for length, number in lengths.items()),
        shortest=percentile(0),
        median=percentile(0.5),
        p95=percentile(0.95),
        longest=percentile(1),
        over=sum(number for length, number in lengths.items() if length > cutoff_length),
    )


def length_histogram(counted: Mapping[str, TokenStatistics]) -> tuple[list[range], dict[str, list[int]]]:
    """Return the bins of a histogram, ranges of one width, and by framework the number of samples in each.

    Frameworks that count the same come once, with their names joined.
    """
    all_lengths = [length for each in counted.values() for length in each.lengths] or [0]
    shortest, longest = min(all_lengths), max(all_lengths)
    width = next(each for each in _round_widths() if longest // each - shortest // each < _MOST_BINS)
    first = shortest // width
    bins = [range(at * width, (at + 1) * width) for at in range(first, longest // width + 1)]
    result: dict[tuple[int, ...], str] = {}
    for name, each in counted.items():
        numbers = [0] * len(bins)
        for length, samples in each.lengths.items():
            numbers[length // width - first] += samples
        key = tuple(numbers)
        result[key] = _("{result} and {name}").format(result=result[key], name=name) if key in result else name
    return bins, {name: list(numbers) for numbers, name in result.items()}


def histogram_bars(counted: Mapping[str, TokenStatistics], cutoff_length: int, title: str) -> dict[str, Any]:
    """Return the histogram as `picture` takes it for a picture of the kind `lengths`."""
    bins, counts = length_histogram(counted)
    return {
        "title": title,
        "starts": [each.start for each in bins],
        "width": len(bins[0]),
        "counts": counts,
        "cutoff_length": cutoff_length,
    }


def _round_widths() -> Iterator[int]:
    """Yield 1, 2, 5, 10, 20, 50 ... without end."""
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10
