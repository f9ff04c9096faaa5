"""Which samples go into which part of a dataset."""

import random
import re
from array import array
from collections.abc import Sequence
from fractions import Fraction

from ftbridge.core.errors import InputError, UsageError


def parse_split(text: str) -> Fraction:
    """Return the share of the training part in `7:3`, exactly; raises UsageError for anything else."""
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text.strip())
    if not match or not int(match[1]) or not int(match[2]):
        raise UsageError(f"`--split` takes two whole numbers, as in `7:3`; got `{text}`")
    return Fraction(int(match[1]), int(match[1]) + int(match[2]))


def parts(count: int, split: str | None, seed: int, *, shuffle: bool) -> dict[str, Sequence[int]]:
    """Return the sample numbers of each part: all of them in order, or `train` and `test` shuffled by `seed`.

    Raises InputError where there are not enough samples for both.
    """
    if split is None:
        return {"train": range(count)}
    share = parse_split(split)
    if count < 2:  # noqa: PLR2004 - one for each part
        raise InputError(f"{count} sample cannot be split `{split}`; leave `--split` out")
    order = array("Q", range(count))
    if shuffle:
        random.Random(seed).shuffle(order)  # noqa: S311 - a shuffle that can be repeated, no secret
    cut = min(max(int(count * share + Fraction(1, 2)), 1), count - 1)
    return {"train": order[:cut], "test": order[cut:]}
