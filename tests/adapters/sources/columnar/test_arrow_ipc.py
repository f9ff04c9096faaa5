"""Messages of an Arrow file: dictionaries, marks that are left out, and batches that unpack to too much."""

import struct

import pyarrow as pa
import pytest

from ftbridge.adapters.sources.columnar import arrow
from ftbridge.core.errors import InputError

from ....builders.columnar import READING, read, write_arrow  # noqa: TID252


def test_arrow_file_with_dictionaries_is_read_whole(folder):
    path = write_arrow(folder / "data.arrow", pa.table({"q": pa.array(["a", "b", "a"]).dictionary_encode()}), size=1)
    table, rows = read(arrow.open_tables(path, READING))
    assert not table.cut
    assert [row.values["q"] for row in rows] == ["a", "b", "a"]
    path = write_arrow(folder / "numbers.arrow", pa.table({"q": pa.array([7, 8, 7]).dictionary_encode()}))
    _, rows = read(arrow.open_tables(path, READING))
    assert [row.values["q"] for row in rows] == [7, 8, 7]


TEXTS = (pa.array(["a", "b"]), pa.array(["a"]).dictionary_encode(), pa.array([], pa.string()))


@pytest.mark.parametrize("texts", TEXTS)
def test_a_file_may_begin_with_a_schema_without_a_mark_as_polars_writes_it(folder, texts):
    path = write_arrow(folder / "data.arrow", pa.table({"q": texts}), new=pa.ipc.new_file)
    data = path.read_bytes()
    path.write_bytes(data[:8] + data[16:24] + data[16:])
    _, rows = read(arrow.open_tables(path, READING))
    assert [row.values["q"] for row in rows] == texts.to_pylist()


def test_arrow_batch_that_unpacks_to_too_much_is_refused(folder):
    path = write_arrow(folder / "bomb.arrow", pa.table({"q": ["x" * 5000]}), compression="zstd")
    data = path.read_bytes()
    size = struct.pack("<q", 5000)
    assert size in data
    path.write_bytes(data.replace(size, struct.pack("<q", 2 << 30)))
    with pytest.raises(InputError, match="unpacks to 2048 MiB"):
        arrow.open_tables(path, READING)
