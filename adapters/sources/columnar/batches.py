"""Record batches of pyarrow as rows."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftbridge.adapters.columns import disambiguate_names
from ftbridge.adapters.sources.columnar.class_labels import Labels, put_label_names
from ftbridge.adapters.sources.compression import is_packed
from ftbridge.adapters.values import BadCell
from ftbridge.core.errors import FtbridgeError, InputError, SetupError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.core.records import Reading, Row, Where
from ftbridge.language import gettext as _

# Rows that are Python objects at the same time, and bytes of a file that make a piece.
ROWS_AT_ONCE = 1000
PIECE_SIZE = 1 << 20
# A larger batch is mapped instead of read.
LARGE_SIZE = 64 << 20


def require_columnar(path: Path, reading: Reading) -> None:
    """Raise InputError for what columnar files do not have, SetupError where pyarrow is not installed."""
    reading.refuse_sheets(path, _("columnar data"))
    try:
        import pyarrow as pa
    except ImportError as error:
        raise SetupError(
            _("parquet, arrow and saved datasets need pyarrow: `pip install '.[arrow]'` in the clone of ftbridge")
        ) from error
    del pa
    if path.is_file() and is_packed(path):
        raise InputError(_("`{path}` is compressed twice; decompress it once with gunzip or unzstd").format(path=path))


@contextmanager
def pyarrow_errors(path: Path) -> Iterator[None]:
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
        raise InputError(
            _("`{path}` cannot be read; it may be damaged or cut off: {reason}").format(path=path, reason=reason)
        ) from error


def rows_of_batches(batches: Iterable[Any], file: str, labels: Labels) -> Iterator[Row]:
    """Yield the rows of record batches, numbered from 1."""
    import pyarrow as pa

    number = 0
    for batch in batches:
        plain = pa.RecordBatch.from_arrays(
            [_readable_column(column) for column in batch.columns], disambiguate_names(batch.schema.names)
        )
        for values in _row_dicts(plain):
            number += 1
            where = Where(file, number, unit="row")
            if values is None:
                yield Row(where, {}, error=_("is larger than {longest} MiB").format(longest=LONGEST >> 20))
            else:
                yield Row(where, values, put_label_names(values, labels))


def _row_dicts(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Yield the rows as dicts, some at a time; None for a row that is too large."""
    for at in range(0, batch.num_rows, ROWS_AT_ONCE):
        part = batch.slice(at, ROWS_AT_ONCE)
        if sum(map(_value_bytes, part.columns)) <= LONGEST:
            yield from _to_dicts(part)
        elif part.num_rows > 1:
            half = part.num_rows // 2
            yield from _row_dicts(part.slice(0, half))
            yield from _row_dicts(part.slice(half))
        else:
            yield None


def _to_dicts(part: Any) -> list[dict[str, Any]]:
    """Return the rows as dicts; a time that Python does not have is wrong only where it is used."""
    try:
        return part.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        columns = dict(zip(part.schema.names, part.columns, strict=True))
        return [{name: _scalar_value(column[at]) for name, column in columns.items()} for at in range(part.num_rows)]


def _scalar_value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return BadCell(str(scalar.type), _("is a time beyond what can be read"))


def _value_bytes(column: Any) -> int:
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


def _readable_column(column: Any) -> Any:
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
