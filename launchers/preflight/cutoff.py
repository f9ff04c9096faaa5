"""An estimate of the samples that the cutoff length cuts, from the tokens of a few of them, without a framework.

`ftbridge preview --stats` counts exactly, with the frameworks' own code.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.registered.dataset import Dataset, files_read_by
from ftbridge.adapters.values import BadValueError
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.core.plugins import load_backend
from ftbridge.core.records import Conversation, Row, Where
from ftbridge.dataset_info.entries import Entry
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.templates.prompt import ChatPrompt, Segment

MOST_SAMPLES, MOST_CHARACTERS = 2000, 2_000_000  # of text, which take about a second to encode
# Of each turn of a conversation: the tokens of the question with what the prompt puts around it, and of the answer.
TurnLengths = list[tuple[int, int]]


class CutoffEstimate(msgspec.Struct, frozen=True):
    """Numbers of samples: all, those that lose a part of an answer (`cut`), every answer (`lost`), or of a question.

    `longest` is the length of the longest in tokens.
    """

    samples: int
    cut: int
    lost: int
    longest: int
    questions: int = 0


def dataset_files(plan: TrainPlan, target: str) -> tuple[Entry, list[Path]]:
    """Return the dataset's entry and its files for a target; raises InputError where one is missing."""
    return files_read_by(target, Dataset(plan.dataset, plan.dataset_dir, plan.entry))


def estimate_cutoff(plan: TrainPlan, conversations: Sequence[Conversation], tokenizer: Any) -> CutoffEstimate:
    """Return how many of these samples, as `spread_samples` gives them, the cutoff length of `plan` cuts.

    `tokenizer` is a tokenizers.Tokenizer; raises InputError where it cannot encode.
    """
    backend = load_backend(plan.spec.backend)
    cut = lost = longest = questions = 0
    for turns in _turn_lengths(plan.cell.prompt, conversations, tokenizer) if plan.cell else ():
        kept = [*backend.truncate_turns(turns, plan.spec.cutoff_length)]
        longest = max(longest, sum(map(sum, turns)))
        cut += any(left < answer for (_, left), (_, answer) in zip(kept, turns, strict=True))
        questions += any(left < question for (left, _), (question, _) in zip(kept, turns, strict=True))
        lost += not any(answer for _, answer in kept)
    return CutoffEstimate(len(conversations), cut, lost, longest, questions)


def spread_samples(entry: Entry, files: list[Path]) -> Iterator[Conversation]:
    """Yield at most 2,000 samples and 2 million characters, spread over the data where it is in JSON lines.

    What cannot be read is left out.
    """
    return _within_text_limit(_read_conversations(entry, files))


def _read_conversations(entry: Entry, files: list[Path]) -> Iterator[Conversation]:
    for file in files:
        share = MOST_SAMPLES // len(files) or 1
        rows = _spread_rows(file, share) if file.suffix == ".jsonl" else islice(entry_reader.read_rows(file), share)
        for row in rows:
            with suppress(BadValueError):  # `usable` has judged the data already
                yield entry_reader.read_conversation(entry, row, tools=True)


def _spread_rows(file: Path, most: int) -> Iterator[Row]:
    """Yield the rows of a file of JSON lines: all, or `most` of them, from places spread evenly over the file."""
    size = file.stat().st_size
    with file.open("rb") as content:
        lines = iter(partial(content.readline, LONGEST), b"")
        has_few = sum(1 for _ in islice(lines, most + 1)) <= most
        content.seek(0)
        for at in range(most):
            if at and not has_few:
                content.seek(size * at // most)
                content.readline(LONGEST)  # the rest of a line
            line = content.readline(LONGEST)
            with suppress(msgspec.DecodeError, RecursionError, UnicodeError):  # blank, or the end
                yield Row(Where(file.name, at + 1), msgspec.json.decode(line, type=dict[str, Any]))


def _within_text_limit(conversations: Iterator[Conversation]) -> Iterator[Conversation]:
    characters = 0
    for conversation in conversations:
        if characters > MOST_CHARACTERS:
            return
        yield conversation
        characters += sum(len(str(text)) for text in _texts_of_conversation(conversation))


def _turn_lengths(prompt: ChatPrompt, conversations: Sequence[Conversation], tokenizer: Any) -> list[TurnLengths]:
    """Return the turn lengths of each conversation: its texts by themselves, and what the prompt puts around them."""

    def tokens_of(texts: list[str]) -> list[int]:
        try:
            return [len(each.ids) for each in tokenizer.encode_batch(texts, add_special_tokens=False)]
        except Exception as error:  # tokenizers raises no other kind for a tokenizer.json that contradicts itself
            raise InputError(
                _("the model's tokenizer.json cannot encode texts: {error}").format(error=error)
            ) from error

    def around(segments: list[Segment]) -> int:
        texts = [part for part in segments if isinstance(part, str)]
        return len(segments) - len(texts) + sum(tokens_of(texts))

    opening = around(prompt.segments("", [("", None)]))
    closing = around(prompt.segments("", [("", "")])) - opening
    instructed = around(prompt.segments("a", [("", None)])) - opening - around(["a"])
    texts = [str(text) for conversation in conversations for text in _texts_of_conversation(conversation)]
    lengths = iter(tokens_of(texts))
    found = []
    for conversation in conversations:
        system = next(lengths) + instructed if conversation.system else next(lengths)
        turns = [(next(lengths) + opening, next(lengths) + closing) for _ in conversation.turns]
        found.append([(turns[0][0] + system, turns[0][1]), *turns[1:]])
    return found


def _texts_of_conversation(conversation: Conversation) -> Iterator[Any]:
    yield conversation.system
    for turn in conversation.turns:
        yield from (turn.user, turn.output)
