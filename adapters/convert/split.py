"""Which samples go into which part of a dataset: a split, nested subsets, duplicates.

A sample is its place in numpy arrays here: of its `keys`, 64-bit hashes of its question or of its whole content, and of
its `labels`, the numbers of its class.
"""

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from ftbridge.adapters.convert.options import Split
from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.integer[Any]]
    Keys = NDArray[np.uint64]
    Codes = NDArray[np.uint8]
    Flags = NDArray[np.bool_]

LEFT_OUT = 255
# So many samples are looked up at a time, and so many groups are sorted by themselves: docs/data.md promises how much
# memory ten million samples take.
BATCH = 1 << 16
BUCKETS = 16


def first_occurrences(keys: "Keys") -> "Flags":
    """Return a mask of the samples that are the first with their key: the others are duplicates."""
    import numpy as np

    first = np.zeros(len(keys), np.bool_)
    for inside in _groups_by_key(keys):
        first[inside[np.unique(keys[inside], return_index=True)[1]]] = True
    return first


def assign_parts(split: Split, consumed_keys: "Keys", labels: "Numbers", seed: int | None) -> "Codes":
    """Return for each sample the place of its part in `split`, or LEFT_OUT, in an array of uint8.

    Samples with the same key stay together, and each label is spread over the parts in proportion. With a `seed`
    of None the samples stay in order, each on its own; else the keys are overwritten, which saves a copy of them: 80
    of 363 MB for ten million samples. Raises InputError where a part would be empty.
    """
    import numpy as np

    keys = consumed_keys
    names, cuts = [*split.parts], _part_ends(split, len(keys))
    if seed is None:
        keys = _random_ranks(len(keys), None)
    else:
        labels = _group_labels(keys, labels)
        _mix_keys(keys, seed)
    after = np.cumsum(np.bincount(labels))
    bound = before = np.append(0, after[:-1])
    line = _keys_by_label(keys, labels)
    ordered = np.sort(line)
    starts = np.arange(len(after) + 1) << _label_shift(labels)
    edges = [starts[:-1]]
    for cut in cuts:  # what the classes up to this one should have, less what those before it have
        share = _rounded_share(after, cut, len(keys)) - _rounded_share(before, cut, len(keys))
        bound = np.maximum(bound, before + share)
        group = ordered[np.minimum(bound, len(keys) - 1)]
        left, right = np.searchsorted(ordered, group), np.searchsorted(ordered, group, "right")
        end = np.where(left + right <= 2 * bound, right, left)  # the group goes where more of it is
        edges.append(np.where(end < after, ordered[np.minimum(end, len(keys) - 1)], starts[1:]))
    every = np.stack(edges, axis=1).ravel()
    codes = np.empty(len(keys), np.uint8)
    for at in range(0, len(keys), BATCH):
        codes[at : at + BATCH] = (np.searchsorted(every, line[at : at + BATCH], "right") - 1) % len(edges)
    if empty := [name for at, name in enumerate(names) if not np.any(codes == at)]:
        groups = 1 + int(np.count_nonzero(np.diff(ordered)))
        raise InputError(
            _(
                "{samples} with {different_question}, each kept in one part, leave the {empty} part "
                "empty with `{split}`; try another `--seed` or other numbers"
            ).format(
                samples=counted(len(keys), "sample"),
                different_question=counted(groups, "different question"),
                empty=empty[0],
                split=split,
            )
        )
    codes[codes == len(names)] = LEFT_OUT
    return codes


def nested_order(labels: "Numbers", seed: int | None, most: int) -> "Numbers":
    """Return the numbers of `most` samples, in an order of which every beginning holds the labels in proportion.

    With a `seed` of None the samples of a label stay in their order, else it is random.
    """
    import numpy as np

    order = np.argsort(_keys_by_label(_random_ranks(len(labels), seed), labels))
    sizes = np.bincount(labels)
    after = np.cumsum(sizes)
    place = np.empty(len(labels), np.float32)  # by order: how far inside its class a sample stands, from 0 to 1
    for at in range(0, len(labels), BATCH):
        line = np.arange(at, min(at + BATCH, len(labels)))
        label = np.searchsorted(after, line, "right")
        place[line] = 1 - (after[label] - line - 0.5) / sizes[label]
    first = np.flatnonzero(place <= np.partition(place, most - 1)[most - 1])
    order = order[first]
    ranks = _random_ranks(len(labels), seed)[order]
    return order[np.lexsort((ranks, place[first]))][:most]


def count_shared(keys: "Keys", codes: "Codes") -> int:
    """Return how many samples of the other parts have the key of a sample in the first."""
    import numpy as np

    count = 0
    for inside in _groups_by_key(keys):
        part, mine = codes[inside], keys[inside]
        count += int(np.isin(mine[(part != 0) & (part != LEFT_OUT)], mine[part == 0]).sum())
    return count


def _groups_by_key(keys: "Keys") -> Iterator["Numbers"]:
    """Yield the numbers of samples in groups of which each has all samples of its keys, so that little is sorted."""
    import numpy as np

    bucket = keys.view(np.uint8)[:: keys.itemsize] % BUCKETS
    for each in range(BUCKETS):
        yield np.flatnonzero(bucket == each)


def _group_labels(keys: "Keys", labels: "Numbers") -> "Numbers":
    """Return for each sample the label of the first sample that has its key."""
    import numpy as np

    if not labels.any():
        return labels
    labels_of_groups = np.empty_like(labels)
    for inside in _groups_by_key(keys):
        _unused, first, group = np.unique(keys[inside], return_index=True, return_inverse=True)
        labels_of_groups[inside] = labels[inside[first]][group]
    return labels_of_groups


def _random_ranks(size: int, seed: int | None) -> "Keys":
    """Return numbers that sort the samples at random, or, with a `seed` of None, leave them in their order."""
    import numpy as np

    if seed is None:
        return np.arange(size, dtype=np.uint64) << np.uint64(64 - size.bit_length())
    return np.random.PCG64(seed).random_raw(size)


def _mix_keys(keys: "Keys", seed: int) -> None:
    """Replace the keys, in place, by others that sort at random, of which the same are equal."""
    import numpy as np

    # The finish of SplitMix64 (Steele, Lea, Flood 2014): one to one, so that only equal keys stay equal.
    for at in range(0, len(keys), BATCH):
        some = keys[at : at + BATCH]
        some += np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            some ^= some >> np.uint64(shift)
            some *= np.uint64(factor)
        some ^= some >> np.uint64(31)


def _label_shift(labels: "Numbers") -> int:
    """Return by how many bits `_keys_by_label` shifts a label: by so many that the next one has room below the sign."""
    return 63 - (int(labels.max()) + 1).bit_length()


def _keys_by_label(keys: "Keys", labels: "Numbers") -> "Numbers":
    """Return, in the place of `keys`, numbers that sort by label, then by as much of the key as there is room for."""
    import numpy as np

    shift = _label_shift(labels)
    keys >>= np.uint64(64 - shift)
    for at in range(0, len(keys), BATCH):
        keys[at : at + BATCH] |= labels[at : at + BATCH].astype(np.uint64) << np.uint64(shift)
    return keys.view(np.int64)


def _part_ends(split: Split, total: int) -> list[int]:
    """Return where each part ends that has something behind it, counted in samples.

    Raises InputError where so many samples are too few.
    """
    numbers = split.parts.values()
    if split.shares:
        ends = _ends_of_shares([number or 0 for number in numbers], total)
    else:
        rest = total - sum(number or 0 for number in numbers)
        ends = [*accumulate(rest if number is None else number for number in numbers)]
    if ends[-1] > total or any(end <= start for start, end in pairwise([0, *ends])):
        raise InputError(
            _("{samples} cannot be split `{split}`; choose other numbers, or leave `--split` out").format(
                samples=counted(total, "sample"), split=split
            )
        )
    return ends if ends[-1] < total else ends[:-1]


def _ends_of_shares(shares: list[int], total: int) -> list[int]:
    """Return where the parts of `total` samples end: each gets its share, to the nearest sample, and one at least."""
    ends: list[int] = []
    for at, share in enumerate(accumulate(shares), 1):
        nearest = (2 * total * share + sum(shares)) // (2 * sum(shares))
        least = ends[-1] + 1 if ends else 1
        ends.append(min(max(nearest, least), total - len(shares) + at))
    return ends


def _rounded_share(numbers: "Numbers", cut: int, total: int) -> "Numbers":
    """Return how many of `numbers` samples are a share of `cut` in `total`, to the nearest sample."""
    return (numbers * cut + total // 2) // total
