"""Parts: bytes out of files, and float32 rounded as torch rounds it."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.core.errors import InputError
from ftbridge.weights.tensors import tensor as parts
from ftbridge.weights.tensors.tensor import FileRange, Tensor, round_float32


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(range(100)))
    return path


def test_tensor_in_several_ranges_is_read_in_order_by_pieces(file, monkeypatch):
    monkeypatch.setattr(parts, "PIECE", 4)
    tensor = Tensor("U8", (2, 5), (FileRange(file, 90, 6), FileRange(file, 0, 0), FileRange(file, 10, 4)))
    assert tensor.size == 10
    assert [*map(list, tensor.pieces())] == [[90, 91, 92, 93], [94, 95], [10, 11, 12, 13]]


def test_a_file_that_became_shorter_or_vanished_is_one_sentence(file):
    with pytest.raises(InputError, match="numbers` is damaged: it ends 5 bytes too early"):
        list(Tensor("U8", (10,), (FileRange(file, 95, 10),)).pieces())
    file.unlink()
    with pytest.raises(InputError, match=r"cannot read `.*numbers`: No such file"):
        list(Tensor("U8", (1,), (FileRange(file, 0, 1),)).pieces())


def rounding(path, dtype, values):
    path.write_bytes(np.array(values, "<f4").tobytes())
    data = b"".join(round_float32(Tensor("F32", (len(values),), (FileRange(path, 0, 4 * len(values)),)), dtype))
    return np.frombuffer(data, "<u2")


@pytest.mark.parametrize(
    ("bits", "to"),
    [
        (0x3F800000, 0x3F80),  # 1
        (0x3F808000, 0x3F80),  # half way: to the even one
        (0x3F818000, 0x3F82),
        (0x3F808001, 0x3F81),
        (0xBF80FFFF, 0xBF81),
        (0x7F7FFFFF, 0x7F80),  # the largest becomes infinite
        (0xFF800000, 0xFF80),
        (0x7FC00000, 0x7FC0),  # not a number stays that
        (0xFFFFFFFF, 0x7FC0),
        (0x80000000, 0x8000),  # -0
        (0x00000001, 0x0000),
    ],
)
def test_bfloat16_is_rounded_once_to_the_nearest(tmp_path, bits, to):
    value = np.array([bits], "<u4").view("<f4")
    assert rounding(tmp_path / "one", "BF16", value) == [to]


FLOATS = st.lists(
    st.floats(width=32, allow_nan=False, max_value=2.0**127, min_value=-(2.0**127)), min_size=1, max_size=20
)


@given(values=FLOATS)
def test_bfloat16_rounding_gives_the_nearest_value(tmp_path_factory, values):
    got = rounding(tmp_path_factory.getbasetemp() / "some", "BF16", values)
    for value, bits in zip(values, got.astype(int), strict=True):
        near = [_number(bits + step) for step in (-1, 0, 1) if 0 <= (bits + step) & 0x7FFF <= 0x7F7F]
        assert abs(_number(bits) - value) <= min(abs(each - value) for each in near)


def test_float16_overflows_to_infinity_without_a_word(tmp_path):
    got = rounding(tmp_path / "some", "F16", [1, 1e30, -1e30, 1e-30]).view("<f2")
    assert got.tolist() == [1, float("inf"), float("-inf"), 0]


def _number(bits):
    return struct.unpack("<f", struct.pack("<I", (int(bits) & 0xFFFF) << 16))[0]
