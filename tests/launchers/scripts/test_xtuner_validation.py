"""XTuner's validation loss is what transformers computes for the checkpoint that it belongs to."""

import json
import subprocess
from pathlib import Path

import pytest

import ftbridge
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.launchers.runs import checkpoints

from ...conftest import ROOT, SMALL  # noqa: TID252


@pytest.mark.framework
@pytest.mark.parametrize("gpus", [1, pytest.param(2, marks=pytest.mark.matrix)])
def test_validation_loss_equals_that_of_transformers(in_project, tmp_path, training_python, monkeypatch, gpus):
    sample = ROOT / "dataset_info" / "samples" / "medqa.xlsx"
    ftbridge.convert(sample, split="test=12,validation=5", name="odd")  # no multiple of processes or batches
    options = {"dataset": "odd", "backend": "xtuner", "method": "lora", "gpus": gpus}
    run = ftbridge.train(**{**SMALL, **options, "learning_rate": 0.05, "max_steps": 6})  # validated after 3 and 6
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    first, last = (record["validation_loss"] for record in map(json.loads, lines) if "validation_loss" in record)
    assert abs(last - first) > 5e-3  # so the last is not the mean of both, either
    checkpoint = checkpoints.last_checkpoint(run)
    config = (run.path / "xtuner_config.py").read_text(encoding="utf-8")
    (tmp_path / "config.py").write_text(config.replace(*run.tokens), encoding="utf-8")
    adapter = ftbridge.export(checkpoint, model="base", out=tmp_path / "adapter")
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    rows = tmp_path / "rows.json"
    for command in (
        [here.parents[1] / "builders" / "training_rows.py", "xtuner", tmp_path / "config.py", rows],
        [here / "training_loss.py", in_project / "base", adapter, rows],
    ):
        done = subprocess.run([training_python, *command], check=True, capture_output=True, text=True)
    assert len(json.loads(rows.read_text())) == 5
    assert last == pytest.approx(float(done.stdout.splitlines()[-1]), abs=1e-3)
