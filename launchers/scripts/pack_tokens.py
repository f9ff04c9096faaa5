"""Samples put together into packs of a cutoff length, each keeping positions of its own."""

from bisect import bisect_left, insort
from collections.abc import Sequence


def packs(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the numbers of the samples of each pack, whose lengths add up to `capacity` at most.

    Best fit, the longest first, which wastes little (at most 11 parts in 9 of the best in theory); none may be longer
    than the capacity.
    """
    result: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # what is left in each pack that is not full, the least first, and its number
    for number in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        place = bisect_left(rooms, (lengths[number], -1))
        if place == len(rooms):
            room, pack = capacity, len(result)
            result.append([])
        else:
            room, pack = rooms.pop(place)
        result[pack].append(number)
        if room > lengths[number]:
            insort(rooms, (room - lengths[number], pack))
    return result
