"""Parquet files."""

import json
import pickle
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given

from ftbridge.adapters.sources.columnar import parquet
from ftbridge.adapters.sources.detection import source_of
from ftbridge.core.errors import InputError

from ....builders.columnar import COLUMNS, READING, SHARDS, assert_values, read, write_parquet  # noqa: TID252


@given(SHARDS)
@example([["x" * 300] * 9000, ["y"] * 10])
def test_parquet_row_groups_are_read_back_in_order(groups):
    with tempfile.TemporaryDirectory() as scratch:
        path = write_parquet(Path(scratch) / "faq", *({"q": pa.array(values, pa.string())} for values in groups))
        assert source_of(path) is parquet
        table, rows = read(parquet.open_tables(path, READING))
    assert table.columns == ("q",)
    assert [row.values["q"] for row in rows] == [value for values in groups for value in values]


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4"])
def test_parquet_values_of_all_types_are_read_with_each_compression(folder, compression):
    group = {name: array for name, (array, _) in COLUMNS.items()}
    assert_values(
        read(parquet.open_tables(write_parquet(folder / "a.parquet", group, compression=compression), READING))[1]
    )


def test_parquet_pieces_can_be_pickled_and_read_in_any_order(folder):
    texts = [f"{number} {'文' * 100}" for number in range(20_000)]
    path = write_parquet(folder / "faq.parquet", {"q": texts[:15_000]}, {"q": texts[15_000:]})
    (table,) = parquet.open_tables(path, READING)
    pieces = pickle.loads(pickle.dumps(list(table.pieces)))
    assert table.cut
    assert len(pieces) > 3
    found = {at: [row.values["q"] for row in pieces[at].rows()] for at in [0, *reversed(range(len(pieces)))]}
    assert [text for at in range(len(pieces)) for text in found[at]] == texts


def test_parquet_class_labels_become_their_names(folder):
    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"label": [1, -1]}).replace_schema_metadata(metadata), folder / "a.parquet")
    _, rows = read(parquet.open_tables(folder / "a.parquet", READING))
    assert [row.values["label"] for row in rows] == ["pos", None]


@pytest.mark.slow
def test_damaged_parquet_file_is_read_or_refused_without_a_traceback(folder):
    good = write_parquet(folder / "good.parquet", {"q": ["text"] * 20, "n": [1] * 20}).read_bytes()
    path, refused = folder / "bad.parquet", 0
    for at in range(0, len(good), 3):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            read(parquet.open_tables(path, READING))
        except InputError:
            refused += 1
    assert refused > len(good) / 10


@pytest.mark.parametrize("length", [4, 100, -1])
def test_a_file_that_is_cut_off_is_one_sentence(folder, length):
    path = write_parquet(folder / "a.parquet", {"q": ["x"] * 100})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=f"`{path}` cannot be read; it may be damaged or cut off"):
        parquet.open_tables(path, READING)


def test_an_encrypted_file_is_one_sentence(folder):
    path = folder / "a.parquet"
    path.write_bytes(b"PARE" + bytes(100) + b"PARE")
    assert parquet.detect(path, b"PARE")
    with pytest.raises(InputError, match="is encrypted"):
        parquet.open_tables(path, READING)


@pytest.mark.slow
def test_a_value_that_a_dictionary_repeats_makes_the_pieces_short(folder, monkeypatch):
    monkeypatch.setattr(parquet, "LARGE_SIZE", 1 << 20)
    path = write_parquet(folder / "a.parquet", {"q": ["x" * 100_000] * 1000})
    assert path.stat().st_size < 10_000
    (table,) = parquet.open_tables(path, READING)
    assert [len(list(piece.rows())) for piece in table.pieces] == [10] * 100


@pytest.mark.slow
def test_a_file_that_is_made_to_fill_the_memory_is_refused_before_it_is_read(folder):
    texts = ["x" * (96 << 20), *"ab" * 50]
    path = write_parquet(folder / "a.parquet", {"q": texts}, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"unpacks .* bytes to 96 MiB"):
        parquet.open_tables(path, READING)


def test_statistics_that_would_end_the_process_are_a_sentence(tmp_path):
    """Columns are called required, whose statistics count empty values: pyarrow 26 lets C++'s exception through."""
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"q": ["a", "b"], "a": ["c", "d"]}), file)
    optional, required = b"\x25\x02\x18", b"\x25\x00\x18"  # in the footer, before the name of a column
    content = file.read_bytes()
    assert content.count(optional) == 2
    file.write_bytes(content.replace(optional, required))
    with pytest.raises(InputError, match="metadata is inconsistent"):
        parquet.open_tables(file, READING)
