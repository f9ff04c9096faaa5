"""Rows of record batches: as large as a row may be, and what is needed to read them."""

import tracemalloc

import pyarrow as pa
import pytest

from ftbridge.adapters.sources.columnar import arrow, batches, parquet
from ftbridge.core.errors import InputError
from ftbridge.core.records import Reading

from ....builders.columnar import READING, read, write_arrow, write_parquet  # noqa: TID252


def test_columns_get_names_that_differ(folder):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["a", "a", ""])
    found, rows = read(arrow.open_tables(write_arrow(folder / "data.arrow", table), READING))
    assert found.columns == ("a [A]", "a [B]", "[C]")
    assert rows[0].values == {"a [A]": 1, "a [B]": 2, "[C]": 3}


def test_arrow_row_that_is_too_large_is_an_error_of_that_row(folder, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST", 1 << 20)
    path = write_arrow(folder / "data.arrow", pa.table({"q": ["a", "x" * (2 << 20), "b"]}))
    _, rows = read(arrow.open_tables(path, READING))
    assert [row.values.get("q") for row in rows] == ["a", None, "b"]
    assert rows[1].error == "is larger than 1 MiB"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_values_that_a_dictionary_repeats_do_not_fill_the_memory(folder, kind):
    values = pa.array(["x" * 200_000, "y" * 200_000], kind).dictionary_encode()
    path = write_arrow(folder / "data.arrow", pa.table({"q": values.take(pa.array([0, 1] * 300))}))
    tracemalloc.start()
    (table,) = arrow.open_tables(path, READING)
    assert sum(len(row.values["q"]) for piece in table.pieces for row in piece.rows()) == 120_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000


def test_gzipped_arrow_file_is_refused(folder):
    import gzip

    path = write_arrow(folder / "data.arrow", pa.table({"q": ["a"]}))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="is compressed twice"):
        arrow.open_tables(path, READING)


def test_sheet_option_for_arrow_is_refused(folder):
    with pytest.raises(InputError, match="no sheets"):
        arrow.open_tables(folder, Reading(sheets=("Sheet1",)))


def test_parquet_row_that_is_too_large_is_an_error_of_that_row(folder, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST", 1 << 20)
    mixed = write_parquet(folder / "b.parquet", {"q": ["a", "x" * (2 << 20), "b", "c"]})
    _, rows = read(parquet.open_tables(mixed, READING))
    assert [row.error for row in rows] == ["", "is larger than 1 MiB", "", ""]
