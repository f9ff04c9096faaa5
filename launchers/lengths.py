"""How long a dataset's samples are in tokens, and the picture of it."""

import base64
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.files import write_atomic
from ftbridge.launchers.environment import ask

# What a cutoff length does to a sample: nothing of the answer is left, a part of it is missing, only other text
# is. "refused": the framework finds no text to train on, at any length.
Cut = Literal["", "question", "answer", "lost", "refused"]
_MOST_BINS = 20
_OURS = "ftbridge preview"  # stands in every picture of ours


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


def picture_file(png: str | os.PathLike[str] | None, dataset: str) -> Path:
    """Return where the picture goes (default: NAME-lengths.png); raises UsageError where something else stands."""
    path = Path(png or f"{dataset.replace('/', '-')}-lengths.png").expanduser()
    if path.suffix.lower() != ".png":
        raise UsageError(f"`--png {path}` must end with .png")
    if path.is_dir() or (path.exists() and _OURS.encode() not in path.read_bytes()[:1000]):
        raise UsageError(f"`{path}` is there already and no picture of preview's; name another file with `--png FILE`")
    return path


def draw(path: Path, python: Path, counted: Mapping[str, Stats], cutoff_length: int) -> None:
    """Write the histogram as a picture, by the matplotlib of the training environment."""
    bins, counts = histogram(counted)
    spec = {
        "starts": [each.start for each in bins],
        "width": len(bins[0]),
        "counts": counts,
        "cutoff_length": cutoff_length,
        "software": _OURS,
    }
    write_atomic(path, base64.b64decode(ask(python, "draw_lengths", spec, stderr=subprocess.PIPE)))


def _widths() -> Iterator[int]:
    """Yield 1, 2, 5, 10, 20, 50 ... without end."""
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10
