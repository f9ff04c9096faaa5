"""Resumed trainings: the same losses as unbroken ones, and only from checkpoints that are whole and ours."""

import os
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, UsageError
from ftbridge.core.plugins import backend as load_backend
from ftbridge.core.project import Project, Settings
from ftbridge.core.records import Launch
from ftbridge.core.spec import TrainSpec
from ftbridge.launchers import resume, runs
from ftbridge.launchers.resume import Ledger

from ..conftest import SMALL  # noqa: TID252

BACKENDS = ["xtuner", "llamafactory"]


def losses(run):
    """Return the loss of each step; the last one counts where a step was taken twice."""
    records = map(msgspec.json.decode, (run.path / "metrics.jsonl").read_bytes().splitlines())
    return {record["step"]: record["loss"] for record in records}


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gpus", [1, pytest.param(2, marks=pytest.mark.matrix)])
def test_a_resumed_run_goes_on_with_the_losses_of_an_unbroken_one(in_project, tmp_path, monkeypatch, backend, gpus):
    options = {**SMALL, "dataset": "medqa", "backend": backend, "gpus": gpus, "lora_dropout": 0.0}
    options |= {"micro_batch_size": 2, "gradient_accumulation_steps": 2, "epochs": 2 * gpus}
    unbroken = ftbridge.train(**options)
    shutil.copy(Path(__file__).with_name("recorder.py"), tmp_path / "sitecustomize.py")
    with monkeypatch.context() as patch, pytest.raises(FrameworkError):
        patch.setenv("PYTHONPATH", str(tmp_path))
        patch.setenv("CRASH_AT", "8")  # step 6 is saved, one micro batch into the second epoch
        patch.setenv("KILL", "1")
        ftbridge.train(**options)
    killed = runs.all_runs(Project.find())[-1]
    before = losses(killed)
    assert max(before) == 7
    assert killed.status == "failed"

    run = ftbridge.train(resume="auto")
    assert (run.id, run.status, len(run.attempts)) == (killed.id, "succeeded", 2)
    whole = losses(unbroken)
    assert losses(run) == pytest.approx(whole, abs=1e-3)
    assert before == pytest.approx({step: whole[step] for step in before}, abs=1e-3)
    assert len({round(loss, 3) for loss in whole.values()}) > 6  # the losses do tell the steps apart
