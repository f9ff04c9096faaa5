"""Which samples go into which part of a dataset: a split, nested subsets, duplicates.

Samples are numbers here; of their content only 64-bit hashes and class numbers are looked at, in arrays.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ftbridge.core.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.signedinteger[Any]]
    Keys = NDArray[np.uint64]
    Codes = NDArray[np.uint8]

PARTS = ("train", "validation", "test")
LEFT_OUT = 255


def parse_split(text: str) -> dict[str, Fraction | int | None]:
    """Return each part's share (`7:3`, `8:1:1`) or number of samples (`train=1000,test=200`), None for the rest.

    Raises UsageError for anything else.
    """
    numbers = [int(number) for number in re.findall("[0-9]+", text)]
    if re.fullmatch(r"[0-9]{1,9}(:[0-9]{1,9}){1,2}", text.strip()) and all(numbers):
        names = PARTS if len(numbers) == len(PARTS) else (PARTS[0], PARTS[-1])
        return {name: Fraction(number, sum(numbers)) for name, number in zip(names, numbers, strict=True)}
    named = re.findall("train|validation|test", text)
    each = "(train|validation|test)=[0-9]{1,9}"
    counts = dict(zip(named, numbers, strict=False))
    whole = re.fullmatch(f"{each}(,{each})*", text.strip()) and all(numbers) and len(named) == len(counts)
    if whole and counts.keys() != {"train"}:
        return {name: counts.get(name) for name in PARTS if name in counts or name == "train"}
    raise UsageError(
        "`--split` takes shares, as in `7:3` (training and test) or `8:1:1` (training, validation, test), or numbers "
        f"of samples, as in `test=200` or `train=1000,test=200`; got `{text}`"
    )


def parse_sample(sizes: str | Sequence[int]) -> tuple[int, ...]:
    """Return the sizes in `100,500,1000`, ascending, () for none; raises UsageError for anything else."""
    text = sizes if isinstance(sizes, str) else ",".join(map(str, sizes))
    if not text:
        return ()
    if not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", text.strip()):
        raise UsageError(f"`--sample` takes numbers of samples, as in `100,500,1000`; got `{text}`")
    return tuple(sorted({int(number) for number in text.split(",")}))


def unique(keys: "Keys") -> "Numbers":
    """Return the numbers of the samples that are the first with their key, in order."""
    import numpy as np

    return np.sort(np.unique(keys, return_index=True)[1])


def assign(split: str, keys: "Keys", labels: "Numbers", seed: int | None) -> "Codes":
    """Return for each sample the place of its part in `parse_split(split)`, or LEFT_OUT.

    Samples with the same key stay together, and each label is spread over the parts in proportion. With a `seed`
    of None the samples stay in order, each on its own. Raises InputError where a part would be empty.
    """
    import numpy as np

    names, cuts = _cuts(split, len(keys))
    order, starts = _groups(keys, seed)
    sizes = np.diff(starts, append=len(keys))
    classes = labels[order[starts]]
    line = np.argsort(classes, kind="stable")  # the groups, class after class
    ends = np.cumsum(sizes[line])
    edges = np.flatnonzero(np.diff(classes[line], prepend=-1))
    before = np.append(0, ends)[edges]  # the samples of the classes before
    after = np.append(before[1:], len(keys))
    place = np.zeros(len(line), np.uint8)
    bound = before * 2
    for cut in cuts:  # what the classes up to this one should have, less what those before it have
        share = _rounded(after, cut, len(keys)) - _rounded(before, cut, len(keys))
        bound = np.maximum(bound, 2 * (before + share))
        place += 2 * ends - sizes[line] > np.repeat(bound, np.diff(edges, append=len(line)))
    codes = np.empty(len(keys), np.uint8)
    codes[order] = np.repeat(place[np.argsort(line)], sizes)
    counts = np.bincount(codes, minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=False) if not count]:
        raise InputError(
            f"{len(keys)} samples with {len(starts)} different questions leave no {empty[0]} part for `{split}`"
        )
    codes[codes == len(names)] = LEFT_OUT
    return codes


def nested(labels: "Numbers", seed: int | None) -> "Numbers":
    """Return the numbers of samples in an order of which every beginning holds the labels in proportion."""
    import numpy as np

    rank = np.arange(len(labels)) if seed is None else np.random.PCG64(seed).random_raw(len(labels))
    line = np.lexsort((rank, labels))
    _, starts, sizes = np.unique(labels[line], return_index=True, return_counts=True)
    place = np.empty(len(labels), np.float32)
    place[line] = (np.arange(len(labels)) - np.repeat(starts, sizes) + 0.5) / np.repeat(sizes, sizes)
    return np.lexsort((rank, place))


def shared(keys: "Keys", codes: "Codes") -> int:
    """Return how many samples of the other parts have the key of a sample in the first."""
    import numpy as np

    return int(np.isin(keys[(codes != 0) & (codes != LEFT_OUT)], keys[codes == 0]).sum())


def _groups(keys: "Keys", seed: int | None) -> tuple["Numbers", "Numbers"]:
    """Return the samples group after group, the groups in random order, and where in this order each begins."""
    import numpy as np

    if seed is None:
        return np.arange(len(keys)), np.arange(len(keys))
    # The finish of SplitMix64 (Steele, Lea, Flood 2014): one to one, so that only equal keys stay equal.
    mixed = keys + np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    order = np.argsort(mixed, kind="stable")
    mixed = mixed[order]
    return order, np.append(0, np.flatnonzero(mixed[1:] != mixed[:-1]) + 1)


def _cuts(split: str, total: int) -> tuple[tuple[str, ...], list[int]]:
    """Return the parts, and where each ends that has something behind it, counted in samples."""
    wanted = parse_split(split)
    names = tuple(wanted)
    counts: list[int] = []
    if None in wanted.values() or all(isinstance(each, int) for each in wanted.values()):
        given = {name: int(number) for name, number in wanted.items() if number is not None}
        counts = [given.get(name, total - sum(given.values())) for name in names]
    else:
        shares = [Fraction(share or 0) for share in wanted.values()]
        ends = [int(total * sum(shares[:at], Fraction(1, 2 * total))) for at in range(1, len(names) + 1)]
        for at, end in enumerate(ends):  # each part gets at least one
            least = ends[at - 1] + 1 if at else 1
            ends[at] = min(max(end, least), total - len(names) + at + 1)
        counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    if min(counts) < 1 or sum(counts) > total:
        raise InputError(f"{total} samples cannot be split `{split}`; choose other numbers, or leave `--split` out")
    ends = [sum(counts[:at]) for at in range(1, len(names) + 1)]
    return names, ends if ends[-1] < total else ends[:-1]


def _rounded(numbers: "Numbers", cut: int, total: int) -> "Numbers":
    return (numbers * cut + total // 2) // total
