"""Files of samples."""

import hashlib
import json
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters import write
from ftbridge.adapters.write import SampleFile, all_sha256, copy, with_history_early


@pytest.fixture
def sample_file(folder):
    with (folder / "a").open("w+b") as file:

        def make(*samples, as_array=False):
            made = SampleFile(file, as_array=as_array)
            for sample in samples:
                made.append(sample + made.between, array("I", [len(sample + made.between)]))
            return made

        yield make


@pytest.mark.parametrize("as_array", [False, True])
def test_samples_come_out_as_lines_and_as_an_array(sample_file, as_array):
    made = sample_file(b"1", b"[2]", b'"3"', as_array=as_array)
    made.finish()
    text = made.file.read()
    assert text.endswith(b"\n")
    assert (json.loads(text) if as_array else [json.loads(line) for line in text.splitlines()]) == [1, [2], "3"]


@given(st.data())
def test_samples_are_copied_in_any_order(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("copy")
    samples = [str(number).encode() * (number + 1) + b"\n" for number in range(30)]
    with (folder / "a").open("w+b") as file, (folder / "b").open("w+b") as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "BATCH", data.draw(st.integers(1, 9)))
        patch.setattr(write, "SPAN", data.draw(st.integers(1, 200)))
        source, target = SampleFile(file, as_array=False), SampleFile(other, as_array=False)
        source.append(b"".join(samples), array("I", map(len, samples)))
        order = data.draw(st.lists(st.sampled_from(range(30)), min_size=1, unique=True))
        copy(source, target, np.array(order))
        assert (folder / "b").read_bytes() == b"".join(samples[at] for at in order)


def test_a_disk_that_is_full_is_not_passed_over():
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        write.write_at(file.fileno(), b"{}", 0)


def test_a_history_that_comes_too_late_comes_first(sample_file, monkeypatch):
    monkeypatch.setattr(write, "TYPED", 12)
    made = sample_file(*[b"12345"] * 5)
    marks = bytearray([0, 0, 0, 1, 1])
    assert with_history_early(None, made, marks).tolist() == [3, 0, 1, 2, 4]
    assert with_history_early(np.array([1, 4, 0]), made, marks).tolist() == [1, 4, 0]
    assert with_history_early(np.array([0, 1, 2]), made, marks).tolist() == [0, 1, 2]
    assert with_history_early(None, made, bytearray([0, 0, 1, 0, 0])) is None


def test_files_are_hashed_several_at_a_time(folder):
    paths = [folder / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    done = []
    assert all_sha256(paths, lambda: done.append(1)) == [
        hashlib.sha256(path.name.encode()).hexdigest() for path in paths
    ]
    assert done
