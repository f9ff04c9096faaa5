"""Arrow: what `datasets.save_to_disk` writes, one dataset or a dict of splits, and files of both IPC formats.

An IPC file is an IPC stream between two marks, and its end tells where the batches are: polars leaves the mark of the
schema out. The header of each message
(https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format) tells where the next begins: a file is
cut between its record batches without reading them, and never more than one of them is in memory.
Class labels become their names: `1` of `ClassLabel(names=["neg", "pos"])` is `pos`.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from ftbridge.adapters.columns import marked
from ftbridge.adapters.sources.columnar.class_labels import Labels, of_features, of_metadata, put_names
from ftbridge.adapters.sources.repository.layout import parts
from ftbridge.adapters.values import BadCell
from ftbridge.core.errors import FtbridgeError, InputError, SetupError
from ftbridge.core.files.atomic import LONGEST, is_packed, read_text
from ftbridge.core.parsing import load_json
from ftbridge.core.plugins import Reading, Table, first_rows
from ftbridge.core.records import Row, Where

# Rows that are Python objects at the same time, and bytes of a file that make a piece.
STEP = 1000
PIECE = 1 << 20
# A larger batch is mapped instead of read.
LARGE = 64 << 20
# What a packed batch may say that it unpacks to.
UNPACKED = 1 << 30
T = TypeVar("T")
FILE = b"ARROW1"
MESSAGE = b"\xff\xff\xff\xff"
# Kinds of messages.
DICTIONARY = 2
RECORD_BATCH = 3


def detect(path: Path, head: bytes) -> bool:
    """Tell whether `path` is a saved dataset, a saved dict of splits, or an IPC file or stream."""
    saved = (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()
    return saved or head.startswith((FILE, MESSAGE))


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open a file, a saved dataset, or each split of a dict.

    Raises InputError where it is damaged or a split is none of train, validation and test, SetupError where pyarrow
    is not installed.
    """
    check(path, reading)
    if path.is_file():
        return [_open([path], path.name, {})]
    if (path / "state.json").is_file():
        return [_saved(path, path.name)]
    names = _json(path / "dataset_dict.json", _Splits).splits
    split_parts = parts({split: split for split in names}, lambda split: str(path / split))
    return [
        msgspec.structs.replace(_saved(path / split, f"{path.name}/{split}"), part=part) for part, split in split_parts
    ]


def check(path: Path, reading: Reading) -> None:
    """Raise InputError for what columnar files do not have, SetupError where pyarrow is not installed."""
    reading.refuse_sheets(path, "columnar data")
    try:
        import pyarrow as pa
    except ImportError as error:
        raise SetupError("parquet, arrow and saved datasets need pyarrow: pip install 'ftbridge[arrow]'") from error
    del pa
    if path.is_file() and is_packed(path):
        raise InputError(f"`{path}` is packed a second time, around its own packing; unpack it with gunzip or unzstd")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises for damaged files into InputError."""
    import pyarrow as pa

    try:
        yield
    except FtbridgeError:
        raise
    except (
        *(ArithmeticError, AttributeError, LookupError, MemoryError, NotImplementedError, OSError, TypeError),
        *(ValueError, pa.ArrowException, struct.error),
    ) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"`{path}` cannot be read; it may be damaged or cut off: {reason}") from error


def rows_of(batches: Iterable[Any], file: str, labels: Labels) -> Iterator[Row]:
    """Yield the rows of record batches, numbered from 1."""
    import pyarrow as pa

    number = 0
    for batch in batches:
        plain = pa.RecordBatch.from_arrays([_plain(column) for column in batch.columns], marked(batch.schema.names))
        for values in _values(plain):
            number += 1
            where = Where(file, number, unit="row")
            if values is None:
                yield Row(where, {}, error=f"is larger than {LONGEST >> 20} MiB")
            else:
                yield Row(where, values, put_names(values, labels))


class Batches(msgspec.Struct, frozen=True):
    """Whole record batches, the bytes `start` to `end` of a file, or `count` rows from row `skip` of a single one.

    From 0, it is the whole stream.
    """

    path: Path
    file: str
    labels: Labels
    start: int
    end: int
    skip: int = 0
    count: int | None = None

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""
        with told(self.path):
            yield from rows_of(map(_checked, self._batches()), self.file, self.labels)

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        with _opened(self.path, self.end - self.start) as stream:
            reader = _reader(stream)
            if not self.start:
                yield from _all(reader)
                return
            stream.seek(self.start)
            while stream.tell() < self.end:
                message = pa.ipc.read_message(stream)
                yield pa.ipc.read_record_batch(message, reader.schema).slice(self.skip, self.count)


class _Splits(msgspec.Struct):
    """What dataset_dict.json holds."""

    splits: Annotated[list[str], msgspec.Meta(min_length=1)]


class _File(msgspec.Struct):
    filename: str


class _State(msgspec.Struct, rename=lambda name: f"_{name}"):
    """What state.json holds; the indices are of rows that were selected, and only old versions wrote them."""

    data_files: Annotated[list[_File], msgspec.Meta(min_length=1)]
    indices_files: list[_File] | None = None
    indices_data_files: list[_File] | None = None


class _Info(msgspec.Struct):
    """What dataset_info.json holds."""

    features: dict[str, Any] | None = None


def _saved(path: Path, file: str) -> Table:
    state = _json(path / "state.json", _State)
    if state.indices_files or state.indices_data_files:
        raise InputError(
            f"`{path}` was saved with a selection of its rows by an old `datasets`; save it with a new one"
        )
    shards = [path / Path(shard.filename).name for shard in state.data_files]
    return _open(shards, file, of_features(_json(path / "dataset_info.json", _Info).features))


def _open(paths: list[Path], file: str, labels: Labels) -> Table:
    with told(paths[0]), _opened(paths[0]) as stream:
        schema = _reader(stream).schema
        columns = marked(schema.names)
    labels = of_metadata(schema.metadata) | labels
    # Batches that share their dictionaries cannot be read alone.
    cut = "dictionary<" not in str(schema.types)
    first = chain.from_iterable(piece.rows() for piece in _pieces(paths, file, labels, cut=cut))
    pieces = _pieces(paths, file, labels, cut=cut)
    return Table(file=file, columns=columns, pieces=pieces, first=first_rows(first), cut=cut)


def _opened(path: Path, size: int = 0) -> Any:
    """Return a file of pyarrow's; mapped where `size` bytes of it are too many to read."""
    import pyarrow as pa

    return pa.memory_map(str(path)) if size > LARGE else pa.OSFile(str(path))


def _reader(stream: Any) -> Any:
    """Return pyarrow's reader of an IPC file or stream."""
    import pyarrow as pa

    is_file = stream.read(len(FILE)) == FILE
    stream.seek(0)
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _all(reader: Any) -> Iterator[Any]:
    """Yield the batches of a file or a stream."""
    if hasattr(reader, "get_batch"):
        return map(reader.get_batch, range(reader.num_record_batches))
    return iter(reader)


def _pieces(paths: list[Path], file: str, labels: Labels, *, cut: bool) -> Iterator[Batches]:
    """Yield stretches of about a MiB, of a larger batch as many rows as take that; without `cut`, whole files."""
    for path in paths:
        start = end = 0
        for at, after, rows, packed in _messages(path):
            if not cut:
                end = after
                continue
            if start < end and after - start > PIECE:
                yield Batches(path, file, labels, start, end)
                start = end
            start, end = start or at, after
            if after - at > 2 * PIECE and rows and not packed:
                step = max(1, rows * PIECE // (after - at))
                yield from (Batches(path, file, labels, at, after, skip, step) for skip in range(0, rows, step))
                start = end
        if start < end:
            yield Batches(path, file, labels, start, end)


def _messages(path: Path) -> Iterator[tuple[int, int, int, bool]]:
    """Yield start, end and rows of each record batch, and whether it is packed.

    Raises InputError where the stream has no end mark, or a batch would unpack to more than a GiB.
    """
    with told(path), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(_first_message(file, size))
        while (at := file.tell()) < size:
            mark, length = struct.unpack("<4si", file.read(8))
            if mark != MESSAGE or not 0 <= length <= size - at:
                raise ValueError(f"no message at byte {at}")
            if not length:
                return
            message = _Flat.root(file.read(length))
            body, after = file.tell(), file.tell() + message.number("q", 3)
            if not body <= after <= size:
                raise ValueError(f"the message at byte {at} is cut off")
            kind = message.number("B", 1)
            if kind in {RECORD_BATCH, DICTIONARY}:
                batch = message.table(2) if kind == RECORD_BATCH else message.table(2).table(1)
                if packed := bool(batch.place(3)):
                    _check_size(path, file, body, batch)
                if kind == RECORD_BATCH:
                    yield at, after, batch.number("q", 0), packed
            file.seek(after)
        raise ValueError("its end mark is missing")


def _first_message(file: Any, size: int) -> int:
    """Return where the messages begin: in a stream with the schema, in a file behind it, at the end mark at last."""
    if file.read(len(FILE)) != FILE:
        return 0
    file.seek(size - len(FILE) - 4)
    (length,) = struct.unpack("<I", file.read(4))
    end = size - len(FILE) - 4 - length
    file.seek(end)
    footer = _Flat.root(file.read(length))
    blocks = [footer.table(field) for field in (2, 3) if footer.place(field)]
    return min((each.at_number("q", 4) for each in blocks if each.at_number("I", 0)), default=end - 8)


def _check_size(path: Path, file: Any, body: int, batch: "_Flat") -> None:
    """Raise InputError where the buffers of a packed batch, each of which begins with its length, are too large."""
    total = 0
    vector = batch.table(2)
    for index in range(vector.at_number("I", 0)):
        offset, length = (vector.at_number("q", 4 + 16 * index + part) for part in (0, 8))
        if length > 0:
            file.seek(body + offset)
            total += max(struct.unpack("<q", file.read(8))[0], length)
    if total > UNPACKED:
        raise InputError(
            f"`{path}` holds a batch that unpacks to {total >> 20} MiB; write it in batches of some 1000 rows"
        )


class _Flat(msgspec.Struct, frozen=True):
    """A table of the flatbuffers in which Arrow writes its headers (https://flatbuffers.dev/internals)."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> "_Flat":
        """Return the outermost table."""
        return cls(data, *struct.unpack_from("<I", data))

    def at_number(self, kind: str, offset: int) -> int:
        """Return the number `offset` bytes on."""
        value: int = struct.unpack_from(f"<{kind}", self.data, self.at + offset)[0]
        return value

    def place(self, field: int) -> int:
        """Return how many bytes on a field is, 0 for one that is not there."""
        vtable = _Flat(self.data, self.at - self.at_number("i", 0))
        entry = 4 + 2 * field
        return vtable.at_number("H", entry) if entry < vtable.at_number("H", 0) else 0

    def number(self, kind: str, field: int) -> int:
        """Return a field that is a number."""
        place = self.place(field)
        return self.at_number(kind, place) if place else 0

    def table(self, field: int) -> "_Flat":
        """Return a field that is a table or a vector."""
        place = self.place(field)
        return _Flat(self.data, self.at + place + self.at_number("I", place))


def _values(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Yield the rows as dicts, some at a time; None for a row that is too large."""
    for at in range(0, batch.num_rows, STEP):
        part = batch.slice(at, STEP)
        if sum(map(_size, part.columns)) <= LONGEST:
            yield from _python(part)
        elif part.num_rows > 1:
            half = part.num_rows // 2
            yield from _values(part.slice(0, half))
            yield from _values(part.slice(half))
        else:
            yield None


def _python(part: Any) -> list[dict[str, Any]]:
    """Return the rows as dicts; a time that Python does not have is wrong only where it is used."""
    try:
        return part.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        columns = dict(zip(part.schema.names, part.columns, strict=True))
        return [{name: _value(column[at]) for name, column in columns.items()} for at in range(part.num_rows)]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return BadCell(str(scalar.type), "is a time beyond what can be read")


def _size(column: Any) -> int:
    """Return the bytes of a column's values, where it holds them in a dictionary as often as they occur."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    try:
        lengths = pc.binary_length(column.dictionary)
    except pa.ArrowNotImplementedError:  # numbers and the like
        return int(column.dictionary.nbytes) // max(len(column.dictionary), 1) * len(column)
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _checked(batch: Any) -> Any:
    """Return a batch whose offsets, which stand in the file as they are, point into it."""
    batch.validate(full=True)
    return batch


def _plain(column: Any) -> Any:
    """Return a column with numbers as they were written, and times that Python has."""
    import pyarrow as pa

    if pa.types.is_floating(column.type) and column.type.bit_width < 64:  # noqa: PLR2004 - a float of Python
        return column.cast(pa.float32()).cast(pa.string()).cast(pa.float64())  # 0.1, not 0.10000000149011612
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        try:
            return column.cast(pa.timestamp("us", column.type.tz))
        except pa.ArrowInvalid:
            return column.cast(pa.string())
    return column


def _json(file: Path, kind: type[T]) -> T:
    refusal = f"the saved dataset `{file.parent}` is damaged: `{file.name}`"
    return load_json(read_text(file, "file of a saved dataset"), kind, refusal)
