"""Runs in a line each, and what differs between them."""

import math
import os
from datetime import timedelta

import msgspec
import pytest

from ftbridge.core.project import Project, Settings
from ftbridge.launchers.runs.record import load_run
from ftbridge.launchers.runs.summary import compare_runs, summarise_run

from ...builders.runs import loss_records, record_run  # noqa: TID252


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path, Settings())


def test_summary_of_a_run_has_its_steps_and_losses(project):
    metrics = [*loss_records(3, 1, math.nan), {"step": 3, "validation_loss": 2.0}]
    line = summarise_run(record_run(project, "one", metrics=metrics))
    assert (line.status, line.step, line.steps, line.seconds) == ("succeeded", 3, 3, 90)
    assert math.isnan(line.loss)
    assert (line.lowest_loss, line.validation_loss, line.lowest_validation_loss) == (1, 2, 2)


def test_a_run_that_logged_nothing_has_no_loss(project):
    line = summarise_run(record_run(project, "one", "failed"))
    assert (line.step, line.loss, line.lowest_loss, line.validation_loss) == (0, None, None, None)


@pytest.mark.parametrize(
    ("status", "options", "step"),
    [("succeeded", {}, 4), ("failed", {}, 2), ("running", {}, 2), ("succeeded", {"early_stopping": 1}, 3)],
)
def test_steps_are_whole_and_all_of_them_once_a_run_has_succeeded(project, status, options, step):
    run = record_run(project, "one", status, steps=4, metrics=[{"step": 2.375, "loss": 1.0}], **options)
    assert repr(summarise_run(run).step) == repr(step)


def test_steps_of_a_stopped_run_are_those_that_were_done_though_not_logged(project):
    run = record_run(project, "one", "running", metrics=loss_records(3)).end("interrupted", 130, step=2)
    assert summarise_run(load_run(run.path)).step == 2


def test_duration_of_a_died_run_ends_with_its_log(project):
    run = record_run(project, "one", "running")
    run = msgspec.structs.replace(run, pid_started=1).save()  # its number is another process's now
    log = run.path / "log.txt"
    log.touch()
    end = (run.attempts[0].started + timedelta(seconds=7)).timestamp()
    os.utime(log, (end, end))
    line = summarise_run(load_run(run.path))
    assert (line.status, line.seconds) == ("died", 7)


def test_a_killed_attempt_that_went_on_later_ends_with_what_it_logged(project):
    run = record_run(project, "one", metrics=[{"step": 3, "loss": 1.0, "time": 7, "attempt": 1}])
    (last,) = run.attempts
    after = last.started + timedelta(hours=1)
    killed = msgspec.structs.replace(last, ended=None, exit_code=None)
    later = msgspec.structs.replace(last, started=after, ended=after + timedelta(seconds=4))
    (run.path / "log.txt").touch()  # by the later one
    run = msgspec.structs.replace(run, attempts=(killed, later)).save()
    assert summarise_run(run).seconds == 7 + 4
    (run.path / "metrics.jsonl").unlink()
    assert summarise_run(run).seconds == 3600 + 4


def test_a_comparison_shows_what_differs_alone(project):
    one = record_run(project, "one", metrics=loss_records(2, 1))
    two = record_run(project, "two", backend="llamafactory", lora_rank=8, metrics=loss_records(2, 1.5))
    assert compare_runs([one, two]) == {
        "backend": ["xtuner", "llamafactory"],
        "lora_rank": [64, 8],
        "loss": [1, 1.5],
        "lowest_loss": [1, 1.5],
    }
