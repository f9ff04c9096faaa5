"""Files of samples."""

import hashlib
import io
import json
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters import write
from ftbridge.adapters.write import SampleFile, with_history_early


def written(samples, *, as_array):
    file = io.BytesIO()
    out = SampleFile(file, as_array=as_array)
    for sample in samples:
        out.add(sample)
    assert out.finish() == hashlib.sha256(file.getvalue()).hexdigest()
    return file.getvalue()


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "BLOCK", 20)
        yield


@given(st.lists(st.integers(), min_size=1))
def test_samples_come_out_as_lines_and_as_an_array(values):
    samples = [json.dumps(value).encode() for value in values]
    assert [json.loads(line) for line in written(samples, as_array=False).splitlines()] == values
    assert json.loads(written(samples, as_array=True)) == values


def test_samples_are_read_back_in_any_order():
    samples = [str(number).encode() * (number + 1) for number in range(20)]
    with tempfile.TemporaryFile() as file:
        out = SampleFile(file)
        for sample in samples:
            out.add(sample)
        out.finish()
        assert len(out) == 20
        assert list(out.read([19, 0, 7])) == [samples[19], samples[0], samples[7]]
        assert out.length(3) == 4


def test_a_write_that_fails_is_not_passed_over():
    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError(28, "No space left on device")

    out = SampleFile(Full())
    out.add(b"{}")
    with pytest.raises(OSError, match="No space left"):
        out.finish()


def test_a_history_that_comes_too_late_comes_first(monkeypatch):
    monkeypatch.setattr(write, "TYPED", 10)
    out = SampleFile(io.BytesIO())
    for number in range(5):
        out.add(b"12345", marked=number in {3, 4})
    out.finish()
    assert with_history_early(range(5), out) == [3, 0, 1, 2, 4]
    assert with_history_early([1, 4, 0], out) == [1, 4, 0]
    assert with_history_early([0, 1, 2], out) == [0, 1, 2]
