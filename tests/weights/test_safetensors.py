"""safetensors: what is written reads back, by our own reader and byte by byte."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.core.files import safetensors_header
from ftbridge.weights.safetensors import write

NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name != "__metadata__")
TENSORS = st.dictionaries(NAME, st.binary(max_size=40), max_size=5)


@settings(deadline=None, max_examples=60)
@given(TENSORS)
def test_what_is_written_reads_back(tensors):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        write(file, ((name, "U8", (len(data),), data) for name, data in tensors.items()))
        header, raw = safetensors_header(file), file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    body = raw[8 + length :]
    assert length % 8 == 0
    assert list(header) == list(tensors)
    assert json.loads(raw[8 : 8 + length])["__metadata__"] == {"format": "pt"}
    for name, data in tensors.items():
        start, end = header[name]["data_offsets"]
        assert (header[name]["dtype"], header[name]["shape"]) == ("U8", [len(data)])
        assert body[start:end] == data


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path / "model.safetensors", [("a", "U8", (1,), b"1"), ("b", "U8", (1,), 5)])
    assert list(tmp_path.iterdir()) == []
