"""What the tests of columnar sources share."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from ftbridge.adapters.values import BadCell
from ftbridge.core.records import Reading

READING = Reading()
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001


def beyond(kind):
    return BadCell(kind, "is a time beyond what can be read")


# Every kind of value that a column may hold, as it goes in and, where that is not the same, as it comes out.
COLUMNS = {
    "text": (pa.array(["问题", "", None]), None),
    "large": (pa.array(["a", "b\n", None], pa.large_string()), None),
    "view": (pa.array(["a", "b" * 40, None], pa.string_view()), None),
    "whole": (pa.array([1, -(2**63), None]), None),
    "float": (pa.array([0.1, 1e300, None]), None),
    "short": (pa.array([0.1, 2.5, None], pa.float32()), [0.1, 2.5, None]),
    "half": (pa.array([0.5, 2.5, None], pa.float16()), [0.5, 2.5, None]),
    "yes": (pa.array([True, False, None]), None),
    "list": (pa.array([["a", None], [], None]), None),
    "object": (pa.array([{"a": [1]}, {"a": []}, None]), None),
    "day": (pa.array([dt.date(2019, 1, 2), None, None]), None),
    "moment": (pa.array([dt.datetime(2019, 1, 2, 3, 4, 5), None, None], pa.timestamp("ns")), None),  # noqa: DTZ001
    "nanoseconds": (pa.array([1, None, None], pa.timestamp("ns")), ["1970-01-01 00:00:00.000000001", None, None]),
    "elapsed": (pa.array([90_061 * 10**9, None, None], pa.duration("ns")), [dt.timedelta(1, 3661), None, None]),
    "too far": (pa.array([2**60, 0, None], pa.timestamp("ms")), [beyond("timestamp[ms]"), EPOCH, None]),
    "nested": (
        pa.array([{"at": 2**60}, {"at": 0}, None], pa.struct({"at": pa.timestamp("ms")})),
        [beyond("struct<at: timestamp[ms]>"), {"at": EPOCH}, None],
    ),
    "price": (pa.array([Decimal("1.50"), None, None]), None),
    "bytes": (pa.array([b"\0", b"", None]), None),
}
# Shards, each a list of the values of one column.
SHARDS = st.lists(st.lists(st.one_of(st.none(), st.text()), max_size=5), min_size=1, max_size=3)


def read(tables):
    """Return the only one of `tables` and its rows, each piece numbered from 1."""
    (table,) = tables
    rows = []
    for piece in table.pieces:
        found = list(piece.rows())
        assert [row.where.row for row in found] == [*range(1, len(found) + 1)]
        rows += found
    assert [row.values for row in table.first] == [row.values for row in rows[:100]]
    return table, rows


def assert_values(rows):
    """Compare rows with `COLUMNS`."""
    for name, (array, expected) in COLUMNS.items():
        assert [row.values[name] for row in rows] == (expected or array.to_pylist()), name


def write_arrow(path, table, *, new=pa.ipc.new_stream, size=None, compression=None):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema, options=options) as writer:
        writer.write_table(table, size)
    return path


def write_parquet(path, *groups, **options):
    """Write a row group for each of `groups`."""
    tables = [pa.table(group) for group in groups]
    with pq.ParquetWriter(path, tables[0].schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
    return path
