"""The questions of a dataset: the last one of each sample, with what was said before it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.records import Conversation
from ftbridge.dataset_info.entries import Entry
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.dialogue.generation import refuse_half_characters
from ftbridge.language import gettext as _


class Question(msgspec.Struct, frozen=True):
    """A sample without its last answer, which is the `reference`."""

    id: int
    system: str
    turns: tuple[tuple[str, str | None], ...]
    reference: str

    @classmethod
    def of(cls, number: int, sample: Conversation) -> "Question":
        """Return the last question of a sample, with what was said before as it stands there."""
        *earlier, last = ((str(turn.user), str(turn.output)) for turn in sample.turns)
        return cls(number, str(sample.system), (*earlier, (last[0], None)), last[1])


def file_of(data: Dataset) -> Path:
    """Return the file that the questions of a dataset are read from."""
    return data.folder / data.entry.files[CONVERSATIONS]


def questions_of(data: Dataset) -> Iterator[Question]:
    """Yield the questions of a dataset, numbered from 1; raises InputError for a sample that is no text."""
    entry = Entry(name=data.name, file_name=data.entry.files[CONVERSATIONS], formatting=CONVERSATIONS)
    for number, row in enumerate(entry_reader.read_rows(file_of(data)), 1):
        question = Question.of(number, entry_reader.read_conversation(entry, row))
        texts = (text or "" for turn in question.turns for text in turn)
        refuse_half_characters(
            _("sample {number} of `{file}`").format(number=number, file=file_of(data)),
            question.system,
            question.reference,
            *texts,
        )
        yield question
