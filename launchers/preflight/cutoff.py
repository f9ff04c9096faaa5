"""About how long a dataset's samples are in tokens, on a few of them and without a framework.

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
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.templates.prompt import ChatPrompt, Segment

MOST_SAMPLES, MOST_TEXT = 2000, 2_000_000  # the text in characters: about a second to encode
Turns = list[tuple[int, int]]  # the tokens of each question with what is around it, and of each answer


class Lengths(msgspec.Struct, frozen=True):
    """What was counted: samples, those that lose a part of an answer or all of them, and the longest in tokens."""

    samples: int
    cut: int
    lost: int
    longest: int


def files_of(plan: TrainPlan) -> tuple[Entry, list[Path]]:
    """Return the dataset's entry and the files of it that the backend reads; raises InputError where they are not."""
    return files_read_by(load_backend(plan.spec.backend).target, Dataset(plan.dataset, plan.dataset_dir, plan.entry))


def count(plan: TrainPlan, talks: Sequence[Conversation], tokenizer: Any) -> Lengths:
    """Return the lengths of samples, of which `looked_at` gives enough."""
    backend = load_backend(plan.spec.backend)
    cut = lost = longest = 0
    for turns in _turns(plan.family.cell(plan.spec.backend).prompt, talks, tokenizer):
        kept = [answer for _, answer in backend.truncate_turns(turns, plan.spec.cutoff_length)]
        longest = max(longest, sum(map(sum, turns)))
        cut += kept != [answer for _, answer in turns]
        lost += not any(kept)
    return Lengths(len(talks), cut, lost, longest)


def looked_at(entry: Entry, files: list[Path]) -> Iterator[Conversation]:
    """Yield at most 2,000 samples, spread over the data where it is in JSON lines; what cannot be read is passed over.

    They hold no more text than can be encoded in a second.
    """
    return _bounded(_conversations(entry, files))


def _conversations(entry: Entry, files: list[Path]) -> Iterator[Conversation]:
    for file in files:
        share = MOST_SAMPLES // len(files) or 1
        for row in _lines(file, share) if file.suffix == ".jsonl" else islice(entry_reader.read_rows(file), share):
            with suppress(BadValueError):  # `usable` has judged the data already
                yield entry_reader.read_conversation(entry, row, tools=True)


def _lines(file: Path, most: int) -> Iterator[Row]:
    """Yield the rows of JSON lines: all, or as many as `most`, from places spread evenly over the file."""
    size = file.stat().st_size
    with file.open("rb") as content:
        few = sum(1 for _ in islice(iter(partial(content.readline, LONGEST), b""), most + 1)) <= most
        content.seek(0)
        for at in range(most):
            if at and not few:
                content.seek(size * at // most)
                content.readline(LONGEST)  # the rest of a line
            line = content.readline(LONGEST)
            with suppress(msgspec.DecodeError, RecursionError, UnicodeError):  # blank, or the end
                yield Row(Where(file.name, at + 1), msgspec.json.decode(line, type=dict[str, Any]))


def _bounded(talks: Iterator[Conversation]) -> Iterator[Conversation]:
    text = 0
    for talk in talks:
        if text > MOST_TEXT:
            return
        yield talk
        text += len(str(talk.system)) + sum(len(str(turn.user)) + len(str(turn.output)) for turn in talk.turns)


def _turns(prompt: ChatPrompt, talks: Sequence[Conversation], tokenizer: Any) -> list[Turns]:
    """Return the tokens of each turn: the texts by themselves, and what the prompt puts around them."""

    def counted(texts: list[str]) -> list[int]:
        try:
            return [len(each.ids) for each in tokenizer.encode_batch(texts, add_special_tokens=False)]
        except Exception as error:  # tokenizers raises no other kind for a tokenizer.json that contradicts itself
            raise InputError(f"the model's tokenizer.json cannot encode texts: {error}") from error

    def around(segments: list[Segment]) -> int:
        texts = [part for part in segments if isinstance(part, str)]
        return len(segments) - len(texts) + sum(counted(texts))

    opening = around(prompt.segments("", [("", None)]))
    closing = around(prompt.segments("", [("", "")])) - opening
    instructed = around(prompt.segments("a", [("", None)])) - opening - around(["a"])
    texts = [str(text) for talk in talks for text in _texts(talk)]
    lengths = iter(counted(texts))
    found = []
    for talk in talks:
        system = next(lengths) + instructed if talk.system else next(lengths)
        turns = [(next(lengths) + opening, next(lengths) + closing) for _ in talk.turns]
        found.append([(turns[0][0] + system, turns[0][1]), *turns[1:]])
    return found


def _texts(talk: Conversation) -> Iterator[Any]:
    yield talk.system
    for turn in talk.turns:
        yield from (turn.user, turn.output)
