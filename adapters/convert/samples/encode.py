"""Rows to encoded samples, in this process or in several, written in the order of their source.

A worker makes the samples of one piece, waits until all pieces before it have taken their place in the files, and
writes its own at the offset that is left to it: nothing but counts comes back to the parent.
"""

import hashlib
import multiprocessing as mp
import os
import signal
import threading
import unicodedata
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice, pairwise
from typing import Any, Literal

import msgspec

from ftbridge.adapters.convert.samples.remarks import TOGETHER, Remarks, system_beside
from ftbridge.adapters.mapping.base import Mapping, Problem
from ftbridge.adapters.targets.sample_file import SampleFile, write_at
from ftbridge.adapters.values import BadValueError, plain
from ftbridge.core import plugins
from ftbridge.core.errors import SetupError
from ftbridge.core.plugins import Piece, Rows, Table
from ftbridge.core.process.guard import end_with_parent
from ftbridge.core.records import Conversation, Row, as_json, moved

# Rows of a source that cannot be cut are made this many at a time, fewer once they fill so many bytes.
CHUNK = 256
FULL = 1 << 20
# Fewer pieces than this are not worth other processes.
FEW = 4
# More processes than this wait for each other's writing.
MOST = 8
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


class Maker(msgspec.Struct, frozen=True, kw_only=True):
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

    def make(
        self, table: int, piece: Piece, room: int | None = None, *, whole: bool = True
    ) -> tuple[Batch, list[bytearray]]:
        """Return what became of the rows, and the samples by target; with `room` for so many, the rest is left out.

        Unless the `whole` piece is wanted, the rows behind a rejected one, or behind `FULL` bytes, are not taken.
        """
        mapping, between = self.mappings[table], self.between
        conversation, encode_into = mapping.reader(), msgspec.json.Encoder().encode_into
        beside = system_beside(mapping.columns)
        noted = self.grouped or self.classed or self.dedup or beside
        batch, row = Batch(), None
        marks = batch.marks
        fresh: list[Conversation] = []
        made = [(plugins.target(name).sample, bytearray(), array("Q", [0])) for name in self.targets]
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


def cores() -> int:
    """Return how many processes make samples: one for each core we may use, 1 where processes cannot fork."""
    if "fork" not in mp.get_all_start_methods():
        return 1
    return min(len(os.sched_getaffinity(0)), MOST)


def normalized(text: Any) -> str:
    """Return `text` as it is compared with `--dedup normalized`: in NFKC form, without case, blanks as one blank."""
    return " ".join(unicodedata.normalize("NFKC", plain(text)).casefold().split())


def _hash(*texts: Any) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(as_json(text))
    return int.from_bytes(digest.digest(), "little")


class _Turns:
    """Gives each piece, in the order of their numbers, the place of its samples in the files."""

    def __init__(self, sizes: Iterable[int]) -> None:
        context = mp.get_context("fork")
        self._changed = context.Condition()
        self._state = context.Array("Q", [0, *sizes], lock=False)

    def take(self, number: int, sizes: Sequence[int]) -> list[int]:
        """Wait until it is the turn of piece `number`, and return where its `sizes` bytes go."""
        state = self._state
        with self._changed:
            self._changed.wait_for(lambda: state[0] == number)
            offsets: list[int] = state[1:]
            state[0] += 1
            for at, size in enumerate(sizes, 1):
                state[at] += size
            self._changed.notify_all()
        return offsets


_worker: tuple[Maker, _Turns, list[int]]


def _start_worker(maker: Maker, turns: _Turns, handles: list[int], parent: int) -> None:
    global _worker  # noqa: PLW0603 - how a pool's workers keep what all their tasks need
    _worker = maker, turns, handles
    end_with_parent(parent)


def _work(number: int, table: int, piece: Piece) -> Batch:
    maker, turns, handles = _worker
    try:
        batch, samples = maker.make(table, piece)
    except BaseException:
        turns.take(number, [0] * len(handles))  # the others need not wait for this one
        raise
    offsets = turns.take(number, list(map(len, samples)))
    for handle, data, offset in zip(handles, samples, offsets, strict=True):
        write_at(handle, data, offset)
    return batch


def batches(
    maker: Maker, tables: Sequence[Table], files: Sequence[SampleFile], limit: int | None
) -> Iterator[tuple[int, Batch]]:
    """Write the samples of all `tables` to `files`, one for each target, and yield what became of the rows.

    The table's place comes with each batch; a row's number is that of its table. With the `limit` reached, rows of
    streamed tables are not read any more, those of others are counted. Raises InputError where a source is
    damaged, SetupError where a worker is killed.
    """
    tasks = _tasks(tables, lambda: limit is not None and files[0].samples >= limit)
    several = limit is None and cores() > 1 and all(table.cut for table in tables)
    first = list(islice(tasks, FEW)) if several else []
    tasks = chain(first, tasks)
    made = _in_processes(maker, tasks, files) if len(first) == FEW else _here(maker, tables, tasks, files, limit)
    base, before = 0, -1
    for table, batch in made:
        base = base if table == before else 0
        before = table
        batch.rejects = [(moved(row, base), [moved(each, base) for each in found]) for row, found in batch.rejects]
        batch.remarks.found = {kind: moved(remark, base) for kind, remark in batch.remarks.found.items()}
        base += batch.last if tables[table].cut else 0
        yield table, batch


def _tasks(tables: Sequence[Table], full: Callable[[], bool]) -> Iterator[tuple[int, Piece]]:
    """Yield the pieces of all tables with the tables' places; nothing more comes over a network once it is `full`."""
    for number, table in enumerate(tables):
        for piece in table.pieces:
            if table.cut:
                yield number, piece
                continue
            rows = iter(piece.rows())
            while not (table.streamed and full()) and (row := next(rows, None)):
                yield number, Rows(chain([row], islice(rows, CHUNK - 1)))


def _here(
    maker: Maker,
    tables: Sequence[Table],
    tasks: Iterable[tuple[int, Piece]],
    files: Sequence[SampleFile],
    limit: int | None,
) -> Iterator[tuple[int, Batch]]:
    for table, piece in tasks:
        room = None if limit is None else limit - files[0].samples
        batch, samples = maker.make(table, piece, room, whole=tables[table].cut)
        for file, data in zip(files, samples, strict=True):
            write_at(file.file.fileno(), data, file.size)
        _count_in(files, batch)
        yield table, batch


def _in_processes(
    maker: Maker, tasks: Iterable[tuple[int, Piece]], files: Sequence[SampleFile]
) -> Iterator[tuple[int, Batch]]:
    workers = cores()
    given = maker, _Turns(file.size for file in files), [file.file.fileno() for file in files], os.getpid()
    pending: deque[tuple[int, Future[Batch]]] = deque()

    def oldest() -> tuple[int, Batch]:
        table, future = pending.popleft()
        batch = future.result()
        _count_in(files, batch)
        return table, batch

    pool = ProcessPoolExecutor(workers, mp.get_context("fork"), _start_worker, given)
    try:
        for number, (table, piece) in enumerate(tasks):
            with _undisturbed():
                pending.append((table, pool.submit(_work, number, table, piece)))
            if len(pending) > 2 * workers:
                yield oldest()
        while pending:
            yield oldest()
    except BrokenProcessPool as error:
        raise SetupError("a process was killed while it read the source; was there too little memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _count_in(files: Sequence[SampleFile], batch: Batch) -> None:
    for at, file in enumerate(files):
        file.add(len(batch.marks), batch.sizes[at], batch.lengths[at] if batch.lengths else ())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Ctrl-C waiting: processes and threads that are started meanwhile never get it, and none is half started.

    It reaches this thread through any other that does not block it: the progress bar's, or those of pyarrow.
    """
    came: list[int] = []
    main, usual = threading.current_thread() is threading.main_thread(), signal.getsignal(signal.SIGINT)
    if main:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, usual)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if came:
        signal.raise_signal(signal.SIGINT)
