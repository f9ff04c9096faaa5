"""Packed files: told by their content, unpacked piece by piece, and damaged ones in a sentence."""

import gzip
import os
from pathlib import Path

import pytest
import zstandard

from ftbridge.adapters.sources.compression import first_bytes, is_packed, open_unpacked, unpacked_name
from ftbridge.core.errors import InputError

PACKERS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


CONTENT = os.urandom(300_000) + bytes(5_000_000)


def unpack(path, packed):
    path.write_bytes(packed)
    with open_unpacked(path) as file:
        return file.read()


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_packed_files_are_unpacked_by_content(tmp_path, pack):
    file = tmp_path / "file"
    assert unpack(file, pack(CONTENT)) == CONTENT
    assert is_packed(file)
    assert unpack(file, pack(b"a") + pack(b"") + pack(b"b")) == b"ab"
    assert unpack(file, b"plain") == b"plain"
    assert not is_packed(file)


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_packed_files_that_are_damaged_are_one_sentence(tmp_path, pack):
    packed = pack(CONTENT)
    for damaged in (packed[:-9], packed[:1000], packed[:5], packed + packed[:100], packed + b"garbage"):
        with pytest.raises(InputError, match=r"file` is compressed and damaged: "):
            unpack(tmp_path / "file", damaged)


@pytest.mark.slow
@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_packed_bomb_is_unpacked_within_bounded_memory(tmp_path, pack):
    import tracemalloc

    (tmp_path / "bomb").write_bytes(pack(bytes(100_000_000)))
    tracemalloc.start()
    with open_unpacked(tmp_path / "bomb") as file:
        assert sum(len(piece) for piece in iter(lambda: file.read(1 << 16), b"")) == 100_000_000
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 80 << 20


def test_unpacked_name_has_the_suffix_of_the_content():
    names = ("faq.CSV.gz", "faq.jsonl", "faq.json.zst", "faq.gz", "faq")
    assert [unpacked_name(Path(name)).suffix for name in names] == [".CSV", ".jsonl", ".json", "", ""]


def test_first_bytes_of_a_packed_file_are_unpacked(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * 5000))
    assert first_bytes(tmp_path / "a.gz") == b"x" * 4096
    assert first_bytes(tmp_path) == b""
