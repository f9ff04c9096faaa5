"""Samples as all have them who read them, as the script reference_samples.py tells them."""

from collections import Counter
from collections.abc import Sequence

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


def agreement_of(found: Compared, frameworks: Sequence[str]) -> Agreement:
    """Return what to record of ready tokens, which these frameworks read as they are."""
    causes: dict[str, Counter[str]] = {}
    same = found.samples
    numbers: dict[tuple[str, str], set[int]] = {}
    for conversation in found.conversations:
        for sample in conversation.samples:
            read = sample.readings(dict.fromkeys(frameworks, sample.ready))
            those = differences(read, sample.reference)
            same -= any(those.values())
            for reader, each in ((reader, each) for reader, several in those.items() for each in several):
                numbers.setdefault((each.cause, reader), set()).add(conversation.number)
    for (cause, reader), conversations in numbers.items():
        causes.setdefault(cause, Counter())[reader] = len(conversations)
    readers = (CHAT_TEMPLATE, *frameworks, MERGED)
    return Agreement(samples=found.samples, same=same, readers=readers, causes={**causes})
