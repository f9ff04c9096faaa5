"""Rows to encoded samples, in this process or in several, written in the order of their source.

A worker makes the samples of one piece, waits until all pieces before it have taken their place in the files, and
writes its own at the offset that is left to it: nothing but counts comes back to the parent.
"""

import hashlib
import unicodedata
from array import array
from itertools import pairwise
from typing import Any, Literal

import msgspec

from ftbridge.adapters.convert.samples.remarks import TOGETHER, Remarks, system_beside
from ftbridge.adapters.mapping.base import Mapping
from ftbridge.adapters.problems import Problem
from ftbridge.adapters.values import BadValueError, decode_raw
from ftbridge.core.plugins import load_target
from ftbridge.core.records import Conversation, Piece, Row, as_json

FULL = 1 << 20
Dedup = Literal["exact", "normalized"]


class Batch(msgspec.Struct):
    """What became of some rows: numbers by what happened, and of each sample what a split has to know.

    `last` is the number of the last row, empty ones included; `sizes` and `lengths` are the samples' bytes by target,
    `marks` tells which have earlier turns, `questions` and `wholes` are hashes, `labels` their classes. `remarks` are
    on what is worth knowing of them.
    """

    read: int = 0
    empty: int = 0
    left_out: int = 0
    last: int = 0
    rejects: list[tuple[Row, list[Problem]]] = []
    sizes: tuple[int, ...] = ()
    lengths: tuple["array[int]", ...] = ()
    marks: bytearray = msgspec.field(default_factory=bytearray)
    questions: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    wholes: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    labels: list[str] = []
    remarks: Remarks = msgspec.field(default_factory=Remarks)


class Encoder(msgspec.Struct, frozen=True, kw_only=True):
    """Makes the samples of a piece; `mappings` has one for each table.

    `grouped` asks for the questions' hashes, `dedup` for those of whole samples, `classed` for labels.
    """

    mappings: tuple[Mapping, ...]
    targets: tuple[str, ...]
    between: bytes
    indexed: bool = True
    grouped: bool = False
    classed: bool = False
    dedup: Dedup | None = None

    def make(  # complexipy: ignore - each row goes through it, and a call more for each costs some percent
        self, table: int, piece: Piece, room: int | None = None, *, whole: bool = True
    ) -> tuple[Batch, list[bytearray]]:
        """Return what became of the rows, and the samples by target; with `room` for so many, the rest is left out.

        Unless the `whole` piece is wanted, the rows behind a rejected one, or behind `FULL` bytes, are not taken.
        """
        mapping, between = self.mappings[table], self.between
        conversation, encode_into = mapping.row_converter(), msgspec.json.Encoder().encode_into
        beside = system_beside(mapping.columns)
        noted = self.grouped or self.classed or self.dedup or beside
        batch, row = Batch(), None
        marks = batch.marks
        fresh: list[Conversation] = []
        made = [(load_target(name).sample, bytearray(), array("Q", [0])) for name in self.targets]
        for row in piece.rows():
            if not row.values and not row.error:
                batch.empty += 1
                continue
            if len(marks) == room:
                batch.left_out += 1
                continue
            try:
                sample = conversation(row)
                for shape, samples, ends in made:
                    encode_into(shape(sample), samples, -1)
                    samples += between  # noqa: PLW2901 - the same bytearray, longer
                    ends.append(len(samples))
            except (BadValueError, UnicodeEncodeError):
                _take_back([(samples, ends) for _, samples, ends in made], len(marks))
                batch.rejects.append((row, mapping.problems(row)))
            else:
                marks.append(len(sample.turns) > 1)
                fresh.append(sample)
                if noted:
                    self._note(batch, sample)
                    batch.remarks.compare(row, beside, sample)
                if len(fresh) == TOGETHER:
                    _, samples, ends = made[0]
                    batch.remarks.look(fresh, samples, ends[-1 - TOGETHER])
                    fresh.clear()
            if not whole and (batch.rejects or len(made[0][1]) > FULL):
                break
        _, samples, ends = made[0]
        batch.remarks.look(fresh, samples, ends[-1 - len(fresh)])
        self._measure(batch, row, [ends for _, _, ends in made])
        return batch, [samples for _, samples, _ in made]

    def _measure(self, batch: Batch, last: Row | None, every: list["array[int]"]) -> None:
        batch.last = last.where.row if last else 0
        batch.read = len(batch.marks) + len(batch.rejects) + batch.left_out
        batch.sizes = tuple(ends[-1] for ends in every)
        if self.indexed:
            batch.lengths = tuple(array("I", [end - start for start, end in pairwise(ends)]) for ends in every)

    def _note(self, batch: Batch, sample: Conversation) -> None:
        if self.grouped:
            batch.questions.append(_hash(sample.system, *(turn.user for turn in sample.turns)))
        if self.dedup:
            texts = (sample.system, *(text for turn in sample.turns for text in (turn.user, turn.output)))
            batch.wholes.append(_hash(*(map(normalized, texts) if self.dedup == "normalized" else texts)))
        if self.classed:
            batch.labels.append(sample.label)


def _take_back(made: list[tuple[bytearray, "array[int]"]], count: int) -> None:
    """Leave `count` samples in each of the targets' bytes."""
    for samples, ends in made:
        del ends[count + 1 :]
        del samples[ends[-1] :]


def normalized(text: Any) -> str:
    """Return `text` as it is compared with `--dedup normalized`: in NFKC form, without case, blanks as one blank."""
    return " ".join(unicodedata.normalize("NFKC", decode_raw(text)).casefold().split())


def _hash(*texts: Any) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(as_json(text))
    return int.from_bytes(digest.digest(), "little")
