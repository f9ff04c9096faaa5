"""A sweep by the frameworks themselves, killed on its way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.evaluation.sweep.record import load_sweep
from ftbridge.launchers.runs.record import load_run

from ...builders.trainings import processes, wait_for  # noqa: TID252
from ...conftest import ROOT, SMALL  # noqa: TID252
from ...fake_gpu import fake  # noqa: TID252

pytestmark = pytest.mark.framework
ASKED = {"max_new_tokens": 4, "device": "cpu"}
TRAIN = {name: value for name, value in SMALL.items() if name != "model"}


def write_sweep(folder, **more):
    """Write a sweep's file into the project, with what is small about all points."""
    lines = {"train": {**TRAIN, "model": "base"}, "evaluate": {**ASKED, "limit": 3, "task": "generation"}}
    file = folder / "小.yaml"
    file.write_bytes(msgspec.yaml.encode({**lines, **more}))
    return file


def test_a_killed_sweep_goes_on_with_what_was_not_done(in_project):
    long = {**TRAIN, "model": "base", "epochs": 20, "save_steps": 500}  # it is killed long before its end
    grid = {"sample": [8], "backend": ["llamafactory", "xtuner"]}
    # Named, as other tests convert other data in this project.
    data = {"sources": str(ROOT / "dataset_info" / "samples" / "medqa.xlsx"), "split": "7:3"}
    file = write_sweep(in_project, name="killed", grid=grid, train=long, convert=data)
    command = [sys.executable, "-m", "ftbridge", "sweep", str(file)]
    with (in_project / "sweep.log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log)
        folder = in_project / "sweeps" / "killed"

        def second_run():
            runs = sorted(each.parent for each in folder.glob("runs/*/metrics.jsonl"))
            return runs[1] if len(runs) > 1 and started.poll() is None else started.poll()

        second = wait_for(second_run)
    assert isinstance(second, Path), (in_project / "sweep.log").read_text()
    started.send_signal(signal.SIGKILL)
    started.wait()
    wait_for(lambda: not processes(second))
    first = load_run(folder / "runs" / load_sweep(folder).points[0].run)

    found = ftbridge.sweep(file)
    assert {row.status for row in found.rows} == {"done"}
    again = {row.values["backend"]: load_run(folder / "runs" / row.runs[0]) for row in found.rows}
    assert again["llamafactory"].attempts == first.attempts
    assert {run.samples for run in again.values()} == {8}
    assert {evaluation.scores.items for row in found.rows for evaluation in row.evaluations} == {3}


@pytest.mark.matrix
def test_points_train_beside_each_other_on_a_machine_with_two_cards(in_project, tmp_path, monkeypatch):
    for name, value in fake.gpus(tmp_path / "driver", *(fake.H100.format(number) for number in range(2))).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    train = {**TRAIN, "model": "base", "dataset": "medqa"}
    grid = {"lora_rank": [4, 8], "backend": ["llamafactory"]}
    file = write_sweep(in_project, name="beside", grid=grid, train=train)
    found = ftbridge.sweep(file, parallel=True)
    assert {row.status for row in found.rows} == {"done"}
    first, second = (load_run(Path(found.folder) / "runs" / row.runs[0]).attempts[0] for row in found.rows)
    assert max(first.started, second.started) < min(first.ended, second.ended)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
