import os
from itertools import count

import pytest

import ftbridge
from ftbridge.core.errors import InterruptedRun
from ftbridge.experiments.sweep import train_points
from ftbridge.launchers.runs.record import load_run

from ...builders.gpus import FIRST, SECOND  # noqa: TID252
from ...builders.runs import record_run  # noqa: TID252


class Cards:
    """Stands for two GPUs: a run begins on the card that it sees, and with each look the one that began first ends."""

    def __init__(self):
        self.running, self.begun, self.most, self.fails, self.stopped = [], [], 0, set(), []
        self.stop_after = None
        self.looks = count()

    def start_detached(self, ready, *, preflight):
        assert preflight or self.begun
        card = os.environ["CUDA_VISIBLE_DEVICES"]
        self.begun.append((card, ready.plan.spec.lora_rank))
        run = record_run(ready.project, ready.plan.run.name, "running", lora_rank=ready.plan.spec.lora_rank)
        (run.path / "log.txt").write_text("what it said\n")
        self.running.append(run)
        self.most = max(self.most, len(self.running))
        return run

    def sleep(self, _seconds):
        if next(self.looks) == self.stop_after:
            raise KeyboardInterrupt
        for run in self.running[:1]:
            self.running.remove(run)
            run.end("failed" if run.spec.lora_rank in self.fails else "succeeded", 0)

    def stop(self, run):
        self.stopped.append(run.id)
        return run.end("interrupted", 130)


@pytest.fixture
def cards(trainings, monkeypatch):
    """Return the stand-in for two cards, on which no process is started."""
    stand_in = Cards()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(train_points.devices, "usable_gpus", lambda _wanted: [FIRST, SECOND])
    monkeypatch.setattr(train_points, "start_detached", stand_in.start_detached)
    monkeypatch.setattr(train_points, "stop_run", stand_in.stop)
    monkeypatch.setattr(train_points.time, "sleep", stand_in.sleep)
    return stand_in


def sweep(*ranks):
    return ftbridge.sweep(name="ranks", grid={"lora_rank": ranks}, parallel=True)


def test_each_card_trains_one_point_at_a_time(cards):
    found = sweep(8, 16, 32, 64, 128)
    assert {row.status for row in found.rows} == {"done"}
    assert cards.most == 2
    assert [rank for _, rank in cards.begun] == [8, 16, 32, 64, 128]
    assert {card for card, _ in cards.begun} == {FIRST.uuid, SECOND.uuid}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_point_that_fails_leaves_its_card_to_the_next(cards, capfd):
    cards.fails = {16}
    found = sweep(8, 16, 32)
    assert {row.values["lora_rank"]: row.status for row in found.rows} == {8: "done", 16: "failed", 32: "done"}
    assert "point 2 failed (lora_rank=16)" in capfd.readouterr().err


def test_ctrl_c_ends_what_runs_and_the_same_command_goes_on(cards):
    cards.stop_after = 1
    with pytest.raises(InterruptedRun, match="1 of 4 points"):
        sweep(8, 16, 32, 64)
    assert len(cards.stopped) == 2
    cards.running.clear()
    cards.stop_after = None
    assert {row.status for row in sweep(8, 16, 32, 64).rows} == {"done"}


def test_a_run_that_a_killed_sweep_left_behind_is_waited_for(cards, monkeypatch, capfd):
    cards.stop_after = 0
    monkeypatch.setattr(train_points, "stop_run", lambda run: run)  # as after SIGKILL: it runs on
    with pytest.raises(InterruptedRun):
        sweep(8)
    (left,) = cards.running
    assert load_run(left.path).status == "running"
    cards.stop_after = None
    assert {row.status for row in sweep(8).rows} == {"done"}
    assert len(cards.begun) == 1
    assert "is still running; waiting for it to end" in capfd.readouterr().err


def test_without_several_cards_points_are_trained_one_after_another(trainings, capfd):
    ftbridge.sweep(name="ranks", grid={"lora_rank": [8, 16]}, parallel=True)
    assert "0 GPUs are visible here: the points are trained one after another" in capfd.readouterr().err
    assert len(trainings.trained) == 2
