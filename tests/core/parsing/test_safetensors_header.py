"""The header of a safetensors file, which a damaged or cut-off file does not have."""

import json

import pytest

from ftbridge.core.parsing.safetensors_header import safetensors_header


def safetensors(path, header, data, *, cut=0):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = len(text).to_bytes(8, "little") + text + data
    path.write_bytes(whole[: len(whole) - cut])
    return path


HEADER = {"__metadata__": {"format": "pt"}, "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}


def test_a_whole_safetensors_file_gives_its_header(tmp_path):
    assert safetensors_header(safetensors(tmp_path / "m", HEADER, b"123")) == {"a": HEADER["a"]}
    assert safetensors_header(safetensors(tmp_path / "m", {}, b"")) == {}


@pytest.mark.parametrize("cut", [1, 3, 4, 60, 10_000])
def test_a_truncated_safetensors_file_gives_none(tmp_path, cut):
    assert safetensors_header(safetensors(tmp_path / "m", HEADER, b"123", cut=cut)) is None


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": 1}',
        b'{"a": {"dtype": "U8"}}',
        b'{"a": {"dtype": "U8", "shape": null, "data_offsets": [0, 0]}}',
        b'{"a\xff": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0], "\xff": 1}}',
        b'{"a": {"dtype": ["U8"], "shape": [0], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0]}}',
        b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0.0]}}',
        b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, true]}}',
        b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": {"0": 0, "1": 0}}}',
        b'{"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "U8", "shape": [0, 99999999999999999999], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "U8", "shape": [0' + b", 0" * 64 + b'], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "U8", "shape": ' + b"[" * 5000 + b"]" * 5000 + b', "data_offsets": [0, 0]}}',
        b'{"a": 9' + b"9" * 5000 + b"}",
    ],
)
def test_safetensors_file_with_a_wrong_header_gives_none(tmp_path, header):
    assert safetensors_header(safetensors(tmp_path / "m", header, b"")) is None


def test_missing_safetensors_file_gives_none(tmp_path):
    assert safetensors_header(tmp_path / "absent") is None
    assert safetensors_header(safetensors(tmp_path / "m", HEADER, b"1234")) is None
