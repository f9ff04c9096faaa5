"""Which conversations are looked at of a dataset whose tokens are made: the first, and some spread over the data.

Both are bounded by the letters that are rendered of them, which are a conversation's once for each answer.
"""

from collections import deque
from typing import Any

FIRST, SPREAD = 20, 20  # conversations
MOST = 1_000_000  # letters of the first ones together, and of those that are spread
FILE = "probes.json"  # beside the tokens


class Probes:
    """Chooses conversations of one stretch of the messages as they go by.

    `found` has the chosen ones by their number within the stretch, from 1: `conversation`, the `place` of its line in
    the file, and `samples`, for the numbers of its samples, None for one that is left out.
    """

    def __init__(self, size: int, start: int, end: int) -> None:
        """Prepare for the stretch from `start` to `end` of a file of this `size` in bytes."""
        places = (size * number // SPREAD for number in range(1, SPREAD))
        self.places = deque(place for place in places if start <= place < end)
        self.first = FIRST if start == 0 else 0
        self.room = MOST
        self.due = False
        self.found: dict[int, dict[str, Any]] = {}

    def look_at(self, number: int, place: int, length: int, line: dict[str, Any]) -> None:
        """Choose the conversation of this number, whose line has this `length`, or let it pass."""
        while self.places and self.places[0] <= place:
            self.places.popleft()
            self.due = True
        if not (self.due or number <= self.first):
            return
        letters = length * max(1, sum(message["role"] == "assistant" for message in line["messages"]))
        if number <= self.first:
            self.due = False
            fits = letters <= self.room
            self.room -= letters * fits
        else:
            fits = letters <= MOST // SPREAD  # if not, the next one is asked
            self.due = not fits
        if fits:
            self.found[number] = {"conversation": number, "place": place, "samples": []}

    def note_sample(self, number: int, sample: int | None) -> None:
        """Note the number of a sample of a conversation, if that was chosen; None is one that is left out."""
        if number in self.found:
            self.found[number]["samples"].append(sample)

    def records(self, places: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return what was found, with the row and the first token in it of each sample, by the samples' numbers."""
        for each in self.found.values():
            each["samples"] = [None if number is None else places[number] for number in each["samples"]]
        return [*self.found.values()]
