"""Arrow: what `datasets.save_to_disk` writes, one dataset or a dict of splits, and files of both IPC formats.

An IPC file is an IPC stream between two marks, and its end tells where the batches are: polars leaves the mark of the
schema out. The header of each message
(https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format) tells where the next begins: a file is
cut between its record batches without reading them, and never more than one of them is in memory.
Class labels become their names: `1` of `ClassLabel(names=["neg", "pos"])` is `pos`.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from ftbridge.adapters.columns import disambiguate_names
from ftbridge.adapters.sources.columnar.arrow_ipc import FILE_MARK, MESSAGE_MARK, batch_ranges
from ftbridge.adapters.sources.columnar.batches import (
    LARGE_SIZE,
    PIECE_SIZE,
    pyarrow_errors,
    require_columnar,
    rows_of_batches,
)
from ftbridge.adapters.sources.columnar.class_labels import Labels, labels_in_features, labels_in_metadata
from ftbridge.adapters.sources.split_names import parts_of_splits
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.core.records import Reading, Row, Table, first_rows
from ftbridge.language import gettext as _

T = TypeVar("T")


def detect(path: Path, head: bytes) -> bool:
    """Tell whether `path` is a saved dataset, a saved dict of splits, or an IPC file or stream."""
    saved = (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()
    return saved or head.startswith((FILE_MARK, MESSAGE_MARK))


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open a file, a saved dataset, or each split of a dict.

    Raises InputError where it is damaged or a split is none of train, validation and test, SetupError where pyarrow
    is not installed.
    """
    require_columnar(path, reading)
    if path.is_file():
        return [_open_shards([path], path.name, {})]
    if (path / "state.json").is_file():
        return [_open_saved(path, path.name)]
    names = _read_json(path / "dataset_dict.json", _DatasetDict).splits
    if strange := [name for name in names if name in {"", ".."} or Path(name).name != name]:
        raise InputError(
            _("the saved dataset `{path}` is damaged: `{strange}` is not a folder in it").format(
                path=path, strange=strange[0]
            )
        )
    split_parts = parts_of_splits({split: split for split in names}, lambda split: str(path / split))
    return [
        msgspec.structs.replace(_open_saved(path / split, f"{path.name}/{split}"), part=part)
        for part, split in split_parts
    ]


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
        with pyarrow_errors(self.path):
            yield from rows_of_batches(map(_validated, self._batches()), self.file, self.labels)

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        with _open_file(self.path, self.end - self.start) as stream:
            reader = _ipc_reader(stream)
            if not self.start:
                yield from _all_batches(reader)
                return
            stream.seek(self.start)
            while stream.tell() < self.end:
                message = pa.ipc.read_message(stream)
                yield pa.ipc.read_record_batch(message, reader.schema).slice(self.skip, self.count)


class _DatasetDict(msgspec.Struct):
    """The content of dataset_dict.json; the splits are names of folders beside it."""

    splits: Annotated[list[str], msgspec.Meta(min_length=1)]


class _DataFile(msgspec.Struct):
    """An entry of `_data_files` in state.json."""

    filename: str


class _State(msgspec.Struct, rename=lambda name: f"_{name}"):
    """The content of state.json; the indices are of rows that were selected, as only old versions wrote them."""

    data_files: Annotated[list[_DataFile], msgspec.Meta(min_length=1)]
    indices_files: list[_DataFile] | None = None
    indices_data_files: list[_DataFile] | None = None


class _DatasetInfo(msgspec.Struct):
    """The content of dataset_info.json."""

    features: dict[str, Any] | None = None


def _open_saved(path: Path, file: str) -> Table:
    state = _read_json(path / "state.json", _State)
    if state.indices_files or state.indices_data_files:
        raise InputError(
            _("`{path}` was saved with a selection of its rows by an old `datasets`; save it with a new one").format(
                path=path
            )
        )
    shards = [path / Path(shard.filename).name for shard in state.data_files]
    return _open_shards(shards, file, labels_in_features(_read_json(path / "dataset_info.json", _DatasetInfo).features))


def _open_shards(paths: list[Path], file: str, labels: Labels) -> Table:
    with pyarrow_errors(paths[0]), _open_file(paths[0]) as stream:
        schema = _ipc_reader(stream).schema
        columns = disambiguate_names(schema.names)
    labels = labels_in_metadata(schema.metadata) | labels
    # Batches that share their dictionaries cannot be read alone.
    cut = "dictionary<" not in str(schema.types)
    first = chain.from_iterable(piece.rows() for piece in _pieces(paths, file, labels, cut=cut))
    pieces = _pieces(paths, file, labels, cut=cut)
    return Table(file=file, columns=columns, pieces=pieces, first=first_rows(first), cut=cut)


def _open_file(path: Path, size: int = 0) -> Any:
    """Return a file of pyarrow's; mapped where `size` bytes of it are too many to read."""
    import pyarrow as pa

    return pa.memory_map(str(path)) if size > LARGE_SIZE else pa.OSFile(str(path))


def _ipc_reader(stream: Any) -> Any:
    """Return pyarrow's reader of an IPC file or stream."""
    import pyarrow as pa

    is_file = stream.read(len(FILE_MARK)) == FILE_MARK
    stream.seek(0)
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _all_batches(reader: Any) -> Iterator[Any]:
    """Yield the batches of a file or a stream."""
    if hasattr(reader, "get_batch"):
        return map(reader.get_batch, range(reader.num_record_batches))
    return iter(reader)


def _pieces(paths: list[Path], file: str, labels: Labels, *, cut: bool) -> Iterator[Batches]:
    """Yield stretches of about a MiB, or without `cut` whole files."""
    for path in paths:
        if cut:
            yield from _stretches(path, file, labels)
        elif end := max((batch.end for batch in batch_ranges(path)), default=0):
            yield Batches(path, file, labels, 0, end)


def _stretches(path: Path, file: str, labels: Labels) -> Iterator[Batches]:
    """Yield stretches of about a MiB: several batches, or as many rows of a larger one as take that."""
    start = end = 0
    for batch in batch_ranges(path):
        if start < end and batch.end - start > PIECE_SIZE:
            yield Batches(path, file, labels, start, end)
            start = end
        start, end = start or batch.start, batch.end
        size = batch.end - batch.start
        if size > 2 * PIECE_SIZE and batch.rows and not batch.packed:
            step = max(1, batch.rows * PIECE_SIZE // size)
            for skip in range(0, batch.rows, step):
                yield Batches(path, file, labels, batch.start, batch.end, skip, step)
            start = end
    if start < end:
        yield Batches(path, file, labels, start, end)


def _validated(batch: Any) -> Any:
    """Return a batch once pyarrow has validated it: offsets that point beyond it would end the process."""
    batch.validate(full=True)
    return batch


def _read_json(file: Path, kind: type[T]) -> T:
    refusal = _("the saved dataset `{parent}` is damaged: `{name}`").format(parent=file.parent, name=file.name)
    return load_json(read_text(file, _("file of a saved dataset")), kind, refusal)
