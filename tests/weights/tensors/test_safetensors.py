"""safetensors: what is written reads back, by our own reader and byte by byte."""

import json
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.core.errors import InputError
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.weights.tensors.safetensors import read, write, write_model

NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name != "__metadata__")
TENSORS = st.dictionaries(NAME, st.binary(max_size=40), max_size=5)


@settings(max_examples=60)
@given(TENSORS)
def test_written_safetensors_are_read_back(tensors):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        write(file, ((name, "U8", (len(data),), [data[:3], data[3:]]) for name, data in tensors.items()))
        header, raw = safetensors_header(file), file.read_bytes()
        assert {name: b"".join(tensor.pieces()) for name, tensor in read(file).items()} == tensors
    length = int.from_bytes(raw[:8], "little")
    body = raw[8 + length :]
    assert length % 8 == 0
    assert list(header) == list(tensors)
    assert json.loads(raw[8 : 8 + length])["__metadata__"] == {"format": "pt"}
    for name, data in tensors.items():
        start, end = header[name]["data_offsets"]
        assert (header[name]["dtype"], header[name]["shape"]) == ("U8", [len(data)])
        assert body[start:end] == data


@pytest.mark.parametrize(("pieces", "error"), [([b"12"], InputError), ([], InputError), ([5], TypeError)])
def test_failed_write_leaves_no_file(tmp_path, pieces, error):
    with pytest.raises(error):
        write(tmp_path / "model.safetensors", [("a", "U8", (1,), [b"1"]), ("b", "U8", (1,), pieces)])
    assert list(tmp_path.iterdir()) == []


def test_tensor_pieces_are_not_asked_for_before_their_turn(tmp_path):
    """So memory does not grow with the file."""
    asked = []

    def pieces(number):
        asked.append(number)
        yield bytes([number])

    def entries():
        for number in range(3):
            assert asked == []
            yield str(number), "U8", (1,), pieces(number)

    write(tmp_path / "model.safetensors", entries())
    assert asked == [0, 1, 2]


@pytest.mark.parametrize(("limit", "sizes"), [(100, None), (4, [4, 4, 8, 1]), (5, [4, 4, 8, 1]), (9, [8, 9])])
def test_a_model_is_cut_into_files_with_an_index(tmp_path, limit, sizes):
    tensors = {"a": b"aaaa", "b": b"bbbb", "c": b"c" * 8, "d": b"d"}
    write_model(tmp_path, ((name, "U8", (len(data),), [data]) for name, data in tensors.items()), limit)
    files = sorted(tmp_path.glob("*.safetensors"))
    found = {name: (file.name, b"".join(each.pieces())) for file in files for name, each in read(file).items()}
    assert {name: data for name, (_, data) in found.items()} == tensors
    if not sizes:
        assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
        return
    count = len(sizes)
    assert [file.name for file in files] == [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    assert [sum(each.size for each in read(file).values()) for file in files] == sizes
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {"metadata": {"total_size": 17}, "weight_map": {name: file for name, (file, _) in found.items()}}


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"dtype": "U8", "shape": [4], "data_offsets": [0, 3]},
        {"dtype": "U8", "shape": [-4], "data_offsets": [0, 4]},
        {"dtype": "U8", "shape": ["4"], "data_offsets": [0, 4]},
        {"dtype": "U8", "shape": [8], "data_offsets": [-4, 4]},
        {"dtype": "F8", "shape": [4], "data_offsets": [0, 4]},
    ],
)
def test_a_header_that_cannot_be_is_one_sentence(tmp_path, place):
    header = json.dumps({"a": place}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"1234")
    with pytest.raises(InputError, match=r"a.safetensors` is damaged"):
        read(tmp_path / "a.safetensors")
