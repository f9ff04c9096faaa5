"""Files of samples."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.targets import sample_file as write
from ftbridge.adapters.targets.sample_file import SampleFile, find_late_history


@pytest.fixture
def sample_file(folder):
    with (folder / "a").open("w+b") as file:

        def make(*samples, as_array=False):
            made = SampleFile(file, as_array=as_array)
            written = [sample + made.between for sample in samples]
            write.write_at(file.fileno(), b"".join(written), made.size)
            made.add(len(written), sum(map(len, written)), map(len, written))
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
def test_sample_file_copies_runs_of_another_file_with_its_sha256(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("copy")
    samples = [str(number).encode() * (number + 1) + b"\n" for number in range(30)]
    (folder / "a").write_bytes(b"".join(samples))
    with (folder / "a").open("r+b") as file, (folder / "b").open("w+b") as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "BATCH", data.draw(st.integers(1, 9)))
        patch.setattr(write, "SPAN", data.draw(st.integers(1, 200)))
        source, target = SampleFile(file, as_array=False), SampleFile(other, as_array=False)
        source.add(len(samples), sum(map(len, samples)), map(len, samples))
        runs = data.draw(
            st.lists(st.lists(st.sampled_from(range(30)), min_size=1, unique=True).map(sorted), min_size=1)
        )
        target.copies = [(source, np.array(run, np.uint32)) for run in runs]
        target.finish()
        expected = b"".join(samples[at] for run in runs for at in run)
        assert (folder / "b").read_bytes() == expected
        assert target.sha256 == hashlib.sha256(expected).hexdigest()
        assert target.samples == sum(map(len, runs))


def test_write_to_a_full_disk_raises():
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        write.write_at(file.fileno(), b"{}", 0)


def test_late_history_is_found_beyond_the_typed_window(sample_file, monkeypatch):
    monkeypatch.setattr(write, "TYPED_BYTES", 12)
    made = sample_file(*[b"12345"] * 5)
    marks = bytearray([0, 0, 0, 1, 1])
    assert find_late_history(None, made, marks) == 3
    assert find_late_history(np.array([1, 4, 0]), made, marks) is None
    assert find_late_history(np.array([0, 1, 2, 4]), made, marks) == 3
    assert find_late_history(np.array([0, 1, 2]), made, marks) is None
    assert find_late_history(None, made, bytearray([0, 0, 1, 0, 0])) is None


@pytest.mark.parametrize("as_array", [False, True])
def test_rewritten_samples_stand_in_the_places_of_the_old_ones(sample_file, monkeypatch, as_array):
    monkeypatch.setattr(write, "BATCH", 2)
    made = sample_file(b"1", b"22", b"3", as_array=as_array)
    made.lengths.insert(1, 0)  # one that the format cannot hold
    made.rewrite(lambda sample: b"[" + sample + b"]")
    between = len(made.between)
    assert [*made.lengths] == [3 + between, 0, 4 + between, 3 + between]
    made.finish()
    text = Path(made.file.name).read_bytes()
    assert (json.loads(text) if as_array else [json.loads(line) for line in text.splitlines()]) == [[1], [22], [3]]


@pytest.mark.parametrize("as_array", [False, True])
def test_file_without_a_sample_is_whole(sample_file, as_array):
    made = sample_file(as_array=as_array)
    made.add(1, 0, [0], 1)
    made.finish()
    text = Path(made.file.name).read_bytes()
    assert (json.loads(text) if as_array else text.split()) == []


def test_late_history_that_the_format_cannot_hold_is_none(sample_file, monkeypatch):
    monkeypatch.setattr(write, "TYPED_BYTES", 5)
    made = sample_file(*[b"12345"] * 3)
    made.lengths.extend([0])
    assert find_late_history(None, made, bytearray([0, 0, 0, 1])) is None
