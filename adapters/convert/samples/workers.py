"""Batches of samples, encoded in this process or in several, in the order of their source."""

import multiprocessing as mp
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice

from ftbridge.adapters.convert.samples.encode import Batch, Encoder
from ftbridge.adapters.targets.sample_file import SampleFile, write_at
from ftbridge.core.errors import SetupError
from ftbridge.core.process.guard import end_with_parent
from ftbridge.core.records import Piece, Rows, Table, moved
from ftbridge.language import gettext as _

# Rows of a source that cannot be cut are made this many at a time, fewer once they fill so many bytes.
ROWS_AT_A_TIME = 256
# Fewer pieces than this are not worth other processes.
FEWEST_PIECES = 4
# More processes than this wait for each other's writing.
MOST_WORKERS = 8
# Once a block of this size was freed, malloc keeps freed memory up to twice as much for what comes next.
KEPT_BYTES = 8 << 20


def worker_count() -> int:
    """Return how many processes make samples: one for each core we may use, 1 where processes cannot fork."""
    if "fork" not in mp.get_all_start_methods():
        return 1
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


class _WriteOrder:
    """Gives each piece, in the order of their numbers, the place of its samples in the files."""

    def __init__(self, sizes: Iterable[int]) -> None:
        context = mp.get_context("fork")
        self._changed = context.Condition()
        # The number of the piece whose turn it is, then the sizes of the files.
        self._state = context.Array("Q", [0, *sizes], lock=False)

    def take_turn(self, number: int, sizes: Sequence[int]) -> list[int]:
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


_worker: tuple[Encoder, _WriteOrder, list[int]]


def _start_worker(encoder: Encoder, order: _WriteOrder, handles: list[int], parent: int) -> None:
    global _worker  # noqa: PLW0603 - how a pool's workers keep what all their tasks need
    _worker = encoder, order, handles
    end_with_parent(parent)


def _encode_piece(number: int, table: int, piece: Piece) -> Batch:
    """Encode a piece in a worker, and write its samples once those of all pieces before it are."""
    encoder, order, handles = _worker
    try:
        batch, samples = encoder.encode(table, piece)
    except BaseException:
        order.take_turn(number, [0] * len(handles))  # the others need not wait for this one
        raise
    offsets = order.take_turn(number, list(map(len, samples)))
    for handle, data, offset in zip(handles, samples, offsets, strict=True):
        write_at(handle, data, offset)
    return batch


def encode_tables(
    encoder: Encoder, tables: Sequence[Table], files: Sequence[SampleFile], limit: int | None
) -> Iterator[tuple[int, Batch]]:
    """Write the samples of all `tables` to `files`, one for each target, and yield what became of the rows.

    The table's place comes with each batch; a row's number is that of its table. With the `limit` reached, rows of
    streamed tables are not read any more, those of others are counted. Raises InputError where a source is
    damaged, SetupError where a worker is killed.
    """
    bytearray(KEPT_BYTES)  # else the pages of each piece's samples would come from the kernel anew
    pieces = _pieces_to_encode(tables, lambda: limit is not None and files[0].samples >= limit)
    several = limit is None and worker_count() > 1 and all(table.cut for table in tables)
    first = list(islice(pieces, FEWEST_PIECES)) if several else []
    pieces = chain(first, pieces)
    if len(first) == FEWEST_PIECES:
        encoded = _encode_in_processes(encoder, pieces, files)
    else:
        encoded = _encode_here(encoder, tables, pieces, files, limit)
    rows_before, last_table = 0, -1
    for table, batch in encoded:
        if table != last_table:
            rows_before, last_table = 0, table
        _number_rows_from(batch, rows_before)
        if tables[table].cut:
            rows_before += batch.last
        yield table, batch


def _number_rows_from(batch: Batch, base: int) -> None:
    """Count the rows that a batch names on from `base`."""
    batch.rejects = [(moved(row, base), [moved(each, base) for each in found]) for row, found in batch.rejects]
    batch.remarks.found = {kind: moved(remark, base) for kind, remark in batch.remarks.found.items()}


def _pieces_to_encode(tables: Sequence[Table], full: Callable[[], bool]) -> Iterator[tuple[int, Piece]]:
    """Yield the pieces of all tables with the tables' places; nothing more comes over a network once it is `full`."""
    for number, table in enumerate(tables):
        for piece in table.pieces:
            if table.cut:
                yield number, piece
                continue
            rows = iter(piece.rows())
            while not (table.streamed and full()) and (row := next(rows, None)):
                yield number, Rows(chain([row], islice(rows, ROWS_AT_A_TIME - 1)))


def _encode_here(
    encoder: Encoder,
    tables: Sequence[Table],
    pieces: Iterable[tuple[int, Piece]],
    files: Sequence[SampleFile],
    limit: int | None,
) -> Iterator[tuple[int, Batch]]:
    for table, piece in pieces:
        room = None if limit is None else limit - files[0].samples
        batch, samples = encoder.encode(table, piece, room, whole=tables[table].cut)
        for file, data in zip(files, samples, strict=True):
            write_at(file.file.fileno(), data, file.size)
        _count_samples(files, batch)
        yield table, batch


def _encode_in_processes(
    encoder: Encoder, pieces: Iterable[tuple[int, Piece]], files: Sequence[SampleFile]
) -> Iterator[tuple[int, Batch]]:
    workers = worker_count()
    given = encoder, _WriteOrder(file.size for file in files), [file.file.fileno() for file in files], os.getpid()
    pending: deque[tuple[int, Future[Batch]]] = deque()

    def oldest_batch() -> tuple[int, Batch]:
        table, future = pending.popleft()
        batch = future.result()
        _count_samples(files, batch)
        return table, batch

    pool = ProcessPoolExecutor(workers, mp.get_context("fork"), _start_worker, given)
    try:
        for number, (table, piece) in enumerate(pieces):
            with _interrupts_held():
                pending.append((table, pool.submit(_encode_piece, number, table, piece)))
            if len(pending) > 2 * workers:
                yield oldest_batch()
        while pending:
            yield oldest_batch()
    except BrokenProcessPool as error:
        raise SetupError(_("a process was killed while it read the source; was there too little memory?")) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _count_samples(files: Sequence[SampleFile], batch: Batch) -> None:
    """Tell the files, one for each target, of the samples that were written to them."""
    for at, file in enumerate(files):
        file.add(len(batch.multi_turn), batch.sizes[at], batch.lengths[at] if batch.lengths else (), batch.not_held[at])


@contextmanager
def _interrupts_held() -> Iterator[None]:
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
