"""Bytes on their way: copied exactly, and a helper that fails or dies is told."""

import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import FrameworkError, InputError, SetupError
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.process import script
from ftbridge.weights.merging.stream import Copy, copy_ranges, stream


def test_streamed_bytes_land_at_their_tensors_offsets(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(100)) * 100_000)
    target.write_bytes(b"." * 10_000_000)
    done = []
    copy_ranges(
        [Copy(str(source), 3, str(target), 10, 9_000_000), Copy(str(source), 0, str(target), 2, 3)], done.append
    )
    assert target.read_bytes()[:10] == b"..\0\1\2....."
    assert target.read_bytes()[10:9_000_010] == source.read_bytes()[3:9_000_003]
    assert sum(done) == 9_000_003


def test_a_source_that_ends_too_early_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    with pytest.raises(InputError, match="has become shorter"):
        copy_ranges([Copy(str(tmp_path / "file"), 2, str(tmp_path / "file"), 0, 3)], lambda _: None)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ('print(\'{"done": 5}\'); print(\'{"unchanged": ["a"]}\')', ["a"]),
        ('print(\'{"error": "`a` is not finite"}\')', InputError("`a` is not finite")),
        ('print(\'{"gpu_error": "CUDA out of memory"}\')', SetupError(r"CUDA out of memory\); `--device cpu`")),
        ("import sys; sys.exit('no module named torch')", FrameworkError("no module named torch")),
        (
            'print(\'{"done": 5}\'); print("a warning")',
            FrameworkError("it wrote `a warning`, which is not a JSON object"),
        ),
    ],
)
def test_last_line_of_the_merging_helper_decides_the_outcome(tmp_path, monkeypatch, code, outcome):
    (tmp_path / "merge_adapter.py").write_text(code)
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    if isinstance(outcome, list):
        assert stream(Path(sys.executable), tmp_path / "plan.json", [], 10) == outcome
        return
    with pytest.raises(type(outcome), match=str(outcome)):
        stream(Path(sys.executable), tmp_path / "plan.json", [], 10)


@pytest.mark.parametrize(("cards", "seen"), [([], ""), ([Gpu("A100", 81920, 8.0, "570", 9000, "GPU-1")], "GPU-1")])
def test_the_helper_sees_the_gpu_that_it_computes_on(tmp_path, monkeypatch, cards, seen):
    (tmp_path / "merge_adapter.py").write_text(
        "import json, os; print(json.dumps({'unchanged': [os.environ['CUDA_VISIBLE_DEVICES']]}))"
    )
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    assert stream(Path(sys.executable), tmp_path / "plan.json", [], 10, cards) == [seen]
