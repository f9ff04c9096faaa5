"""Rows to encoded samples, in this process or in several, written in the order of their source.

A worker makes the samples of one piece, waits until all pieces before it have taken their place in the files, and
writes its own at the offset that is left to it: nothing but counts comes back to the parent.
"""

import hashlib
import unicodedata
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from ftbridge.adapters.convert.options import Dedup
from ftbridge.adapters.convert.samples.remarks import TOGETHER, Remarks, system_beside
from ftbridge.adapters.mapping.base import Mapping
from ftbridge.adapters.problems import Problem
from ftbridge.adapters.values import BadValueError, decode_raw
from ftbridge.core.plugins import load_target
from ftbridge.core.records import Conversation, Piece, Row, Text, as_json
from ftbridge.dataset_info.names import MESSAGES

# Of a source that cannot be cut, so many bytes are encoded at a time.
FULL_BYTES = 1 << 20


class Batch(msgspec.Struct):
    """What became of some rows: numbers by what happened, and of each sample what a split has to know.

    `last` is the number of the last row, empty ones included; `sizes` and `lengths` are the samples' bytes by target,
    `multi_turn` is 1 for a sample with earlier turns, `questions` and `wholes` are hashes, `labels` their classes.
    `not_held` counts by target the samples that it cannot hold, and `flagged` says that some answer is not learned.
    `remarks` are on what is worth knowing of them.
    """

    read: int = 0
    empty: int = 0
    left_out: int = 0
    last: int = 0
    rejects: list[tuple[Row, list[Problem]]] = []
    sizes: tuple[int, ...] = ()
    lengths: tuple["array[int]", ...] = ()
    multi_turn: bytearray = msgspec.field(default_factory=bytearray)
    questions: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    wholes: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    labels: list[str] = []
    not_held: list[int] = []
    flagged: bool = False
    remarks: Remarks = msgspec.field(default_factory=Remarks)


class Encoder(msgspec.Struct, frozen=True, kw_only=True):
    """Encodes the rows of a piece as samples of all targets; `mappings` has one for each table.

    `betweens` are what stands between samples, by target. `grouped` asks for the questions' hashes, `dedup` for those
    of whole samples, `classed` for labels.
    """

    mappings: tuple[Mapping, ...]
    targets: tuple[str, ...]
    betweens: tuple[bytes, ...]
    indexed: bool = True
    grouped: bool = False
    classed: bool = False
    dedup: Dedup | None = None

    @property
    def searched(self) -> int:
        """Return the place of the target whose samples are searched for marks: messages have thoughts without any."""
        return next((at for at, name in enumerate(self.targets) if name != MESSAGES), 0)

    def encode(  # noqa: C901, PLR0912  # complexipy: ignore - each row goes through it, and a call more for each costs some percent
        self, table: int, piece: Piece, room: int | None = None, *, whole: bool = True
    ) -> tuple[Batch, list[bytearray]]:
        """Return what became of a piece's rows, and the bytes of the samples by target; `table` is the table's place.

        With `room` for so many samples, the rest is left out.
        Unless the `whole` piece is wanted, the rows behind a rejected one, or behind `FULL` bytes, are not taken.
        """
        mapping = self.mappings[table]
        conversation, encode_into = mapping.row_converter(), msgspec.json.Encoder().encode_into
        beside = system_beside(mapping.columns)
        marked = mapping.may_mark
        noted = self.grouped or self.classed or self.dedup or beside
        batch, row = Batch(not_held=[0] * len(self.targets)), None
        not_held: list[int] = []
        multi_turn = batch.multi_turn
        fresh: list[Conversation] = []
        encoded = [
            (at, load_target(name).sample, self.betweens[at], bytearray(), array("Q", [0]))
            for at, name in enumerate(self.targets)
        ]
        *_, searched, searched_ends = encoded[self.searched]
        for row in piece.rows():
            if not row.values and not row.error:
                batch.empty += 1
                continue
            if len(multi_turn) == room:
                batch.left_out += 1
                continue
            try:
                sample = conversation(row)
                for at, as_target, between, samples, ends in encoded:
                    written = as_target(sample)
                    if written is None:
                        not_held.append(at)
                    else:
                        encode_into(written, samples, -1)
                        samples += between  # noqa: PLW2901 - the same bytearray, longer
                    ends.append(len(samples))
            except (BadValueError, UnicodeEncodeError):
                _keep_samples([(samples, ends) for *_, samples, ends in encoded], len(multi_turn))
                not_held.clear()
                batch.rejects.append((row, mapping.problems(row)))
            else:
                multi_turn.append(len(sample.turns) > 1)
                fresh.append(sample)
                if noted:
                    self._add_hashes(batch, sample)
                    batch.remarks.compare_systems(row, beside, sample)
                if marked:
                    for turn in sample.turns:
                        if turn.beside is not None and not turn.beside.train:
                            batch.flagged = True
                if not_held:
                    self._count_not_held(batch, sample, not_held)
                if len(fresh) == TOGETHER:
                    batch.remarks.add_samples(fresh, searched, searched_ends[-1 - TOGETHER])
                    fresh.clear()
            if not whole and (batch.rejects or max(len(samples) for *_, samples, _ in encoded) > FULL_BYTES):
                break
        batch.remarks.add_samples(fresh, searched, searched_ends[-1 - len(fresh)])
        self._count_rows(batch, row, [ends for *_, ends in encoded])
        return batch, [samples for *_, samples, _ in encoded]

    def _count_not_held(self, batch: Batch, sample: Conversation, not_held: list[int]) -> None:
        """Count in a sample that the targets at these places cannot hold, and empty the list."""
        for at in not_held:
            batch.not_held[at] += 1
            batch.remarks.add_not_held(sample, self.targets[at], written=at != self.searched)
        not_held.clear()

    def _count_rows(self, batch: Batch, last: Row | None, every: list["array[int]"]) -> None:
        """Put the numbers of rows and of bytes into a batch; `every` has the places where samples end, by target."""
        batch.last = last.where.row if last else 0
        batch.read = len(batch.multi_turn) + len(batch.rejects) + batch.left_out
        batch.sizes = tuple(ends[-1] for ends in every)
        if self.indexed:
            batch.lengths = tuple(array("I", [end - start for start, end in pairwise(ends)]) for ends in every)

    def _add_hashes(self, batch: Batch, sample: Conversation) -> None:
        """Put into a batch what deduplication and the split have to know of a sample."""
        if self.grouped:
            batch.questions.append(_hash_texts(sample.system, *(turn.user for turn in sample.turns)))
        if self.dedup:
            texts = (sample.system, *(text for turn in sample.turns for text in (turn.user, turn.output)))
            texts = (*texts, *_further_texts(sample))
            batch.wholes.append(_hash_texts(*(map(normalize_text, texts) if self.dedup == "normalized" else texts)))
        if self.classed:
            batch.labels.append(sample.label)


def _further_texts(sample: Conversation) -> Iterator[Text]:
    """Yield what else makes a sample another one than that of the same questions and answers."""
    if sample.tools:
        yield sample.tools
    for number, turn in enumerate(sample.turns):
        if turn.beside is not None:
            heard = [each.content for each in turn.observations]
            yield from (f"{number} {turn.train} {len(heard)}", turn.thought, turn.calls, *heard)


def _keep_samples(encoded: list[tuple[bytearray, "array[int]"]], count: int) -> None:
    """Leave `count` samples in each of the targets' bytes."""
    for samples, ends in encoded:
        del ends[count + 1 :]
        del samples[ends[-1] :]


def normalize_text(text: Any) -> str:
    """Return `text` as it is compared with `--dedup normalized`: in NFKC form, without case, blanks as one blank."""
    return " ".join(unicodedata.normalize("NFKC", decode_raw(text)).casefold().split())


def _hash_texts(*texts: Any) -> int:
    """Return 64 bits of the texts' BLAKE2b."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(as_json(text))
    return int.from_bytes(digest.digest(), "little")
