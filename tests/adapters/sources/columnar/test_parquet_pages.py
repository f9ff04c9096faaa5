"""What the pages of a parquet file say before they are unpacked."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftbridge.adapters.sources.columnar import parquet_pages
from ftbridge.adapters.sources.columnar.parquet_pages import longest_repeated
from ftbridge.core.errors import InputError


@pytest.fixture
def longest(folder):
    """Return a function that writes a column and returns the size of its longest repeated value."""

    def find(values, kind=None, **options):
        path = folder / "a.parquet"
        pq.write_table(pa.table({"q": pa.array(values, kind)}), path, **options)
        with path.open("rb") as file:
            return longest_repeated(file, pq.read_metadata(path).row_group(0).column(0))

    return find


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli"])
def test_longest_value_of_a_dictionary_page_is_found(longest, version, compression):
    texts = ["", "a" * 70, "药" * 100, "b"] * 5000
    assert longest(texts, compression=compression, data_page_version=version, data_page_size=1000) == 300
    assert longest([None, *range(9)], compression=compression, data_page_version=version) == 8
    assert longest(texts, compression=compression, data_page_version=version, use_dictionary=False) == 0


def test_longest_value_of_an_unknown_compression_is_the_whole_dictionary(longest):
    assert longest(["a" * 70, "b" * 30], compression="lz4") == 70 + 30 + 2 * 4


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_longest_value_of_delta_encoding_is_the_whole_page(longest, version):
    options = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY", "data_page_version": version}
    assert 10_000 < longest(["x" * 10_000] * 500, compression="none", **options) < 20_000


def test_longest_value_of_a_fixed_length_type_is_that_length(longest):
    assert longest([b"1234", b"5678"], pa.binary(4)) == 4


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_large_page_is_refused_before_it_is_read(longest, monkeypatch, dictionary):
    monkeypatch.setattr(parquet_pages, "LARGEST_PAGE", 2 << 20)
    with pytest.raises(InputError, match=r"has a page of 3 MiB in its column `q`; the limit is 2 MiB: write it in"):
        longest(["a", "x" * (3 << 20), "b"], use_dictionary=dictionary)


def test_damaged_page_headers_are_refused(folder):
    path = folder / "a.parquet"
    pq.write_table(pa.table({"q": ["a", "b"]}), path)
    chunk = pq.read_metadata(path).row_group(0).column(0)
    good = path.read_bytes()
    start = chunk.dictionary_page_offset
    # Cut off twice, an unknown kind of field, structs without end, a size below zero, a number without end.
    for damage in (
        b"",
        good[start : start + 3],
        b"\x1f" * 40,
        b"\x1c" * 40,
        b"\x15\0\x15\0\x15\x0d\0" * 9,
        b"\x15" + b"\xff" * 40,
    ):
        path.write_bytes(good[:start] + damage)
        with path.open("rb") as file, pytest.raises((ValueError, LookupError)):
            longest_repeated(file, chunk)
