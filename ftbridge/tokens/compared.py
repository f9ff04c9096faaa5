"""Samples as all have them who read them, as the script reference_samples.py tells them."""

from collections.abc import Iterable, Sequence

import msgspec

from ftbridge.tokens.agreement import CHAT_TEMPLATE, MERGED, Agreement
from ftbridge.tokens.differences import Difference, Reading, Reference, compare

NOTHING = Reading([], [], [])


class ReadSample(msgspec.Struct, frozen=True):
    """A sample as the chat template writes it, as whoever renders a `merged` template has it, and as it is ready.

    None is one that is not there.
    """

    reference: Reference
    merged: dict[str, Reading | None]
    ready: Reading | None

    def readings(self, read: dict[str, Reading | None]) -> dict[str, Reading]:
        """Return what all have, by reader: those who have `read` it, and those of the merged templates."""
        return {reader: reading or NOTHING for reader, reading in {**read, **self.merged}.items()}


class ReadConversation(msgspec.Struct, frozen=True):
    """The samples of the conversation of this number, from 1."""

    number: int
    samples: list[ReadSample]


class Compared(msgspec.Struct, frozen=True):
    """What was found in ready tokens: of so many samples, those that somebody has otherwise."""

    samples: int
    conversations: list[ReadConversation]


def differences(readings: dict[str, Reading], reference: Reference) -> dict[str, list[Difference]]:
    """Return where readings differ from the reference, by reader."""
    return {reader: compare(reading, reference) for reader, reading in readings.items()}


def conversations_by_cause(
    samples: Iterable[tuple[int, dict[str, list[Difference]]]],
) -> dict[str, dict[str, list[int]]]:
    """Return the causes of differences, each with the conversations by reader.

    `samples` are the numbers of their conversations with the differences by reader.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for number, by_reader in samples:
        for reader, several in by_reader.items():
            for cause in dict.fromkeys(each.cause for each in several):
                numbers = found.setdefault(cause, {}).setdefault(reader, [])
                numbers += [number] if number not in numbers else []
    return found


def counts_of(causes: dict[str, dict[str, list[int]]]) -> dict[str, dict[str, int]]:
    """Return how many conversations have each cause, by reader."""
    return {cause: {reader: len(numbers) for reader, numbers in readers.items()} for cause, readers in causes.items()}


def agreement_of(found: Compared, frameworks: Sequence[str], total: int) -> Agreement:
    """Return what to record of ready tokens of `total` samples, which these frameworks read as they are."""
    different = [
        (each.number, differences(sample.readings(dict.fromkeys(frameworks, sample.ready)), sample.reference))
        for each in found.conversations
        for sample in each.samples
    ]
    return Agreement(
        samples=found.samples,
        total=total,
        same=found.samples - sum(any(by_reader.values()) for _, by_reader in different),
        readers=(CHAT_TEMPLATE, *frameworks, MERGED),
        causes=counts_of(conversations_by_cause(different)),
    )
