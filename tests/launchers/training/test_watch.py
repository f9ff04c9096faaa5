"""Trainings watched to their end, and how they end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import InterruptedRun
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project, Settings
from ftbridge.launchers.process.steps import PROGRESS, read_progress
from ftbridge.launchers.runs.record import all_runs, load_run
from ftbridge.launchers.runs.summary import summarise_run
from ftbridge.launchers.training import watch
from ftbridge.launchers.training.watch import _Stopping

from ...builders.keyboard import show_on_terminal  # noqa: TID252
from ...builders.runs import loss_records, record_run  # noqa: TID252
from ...builders.trainings import BACKENDS, processes, rank_process, train_command, wait_for  # noqa: TID252
from ...conftest import ROOT  # noqa: TID252


@pytest.fixture
def own_mounts():
    """Return the words before a command that may mount what it wants; skips where the kernel does not allow that."""
    words = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    return words


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "files"])
def test_a_training_that_fills_the_disk_is_on_record_and_goes_on_once_there_is_room(tmp_path, own_mounts, kind):
    program = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        [*own_mounts, sys.executable, program, tmp_path, kind],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, *rest = json.loads(done.stdout)
    assert said.startswith("XTuner ended with exit status 1: the disk is full")
    assert rest == [5, "failed", False, ["output/iter_3.pth"], [], "iter_3.pth"]


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", pytest.param("llamafactory", marks=pytest.mark.matrix)])
def test_crash_of_a_training_is_a_failed_run(in_project, recorder, monkeypatch, run_ftbridge, backend):
    done = run_ftbridge(*train_command(backend), cwd=in_project, CRASH_AT="4")
    assert done.returncode == 5, done.stderr
    assert "made to crash" in done.stderr
    run = all_runs(Project.find())[-1]
    assert (run.status, run.attempts[-1].exit_code) == ("failed", 1)
    assert "made to crash" in run.attempts[-1].reason


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["llamafactory", pytest.param("xtuner", marks=pytest.mark.matrix)])
def test_killed_rank_is_a_failure(in_project, backend):
    before = set((in_project / "runs").glob("*"))
    options = [*train_command(backend), "--gpus", "2", "--save-steps", "1", "--epochs", "5000"]
    child = subprocess.Popen([sys.executable, "-m", "ftbridge", *options], stderr=subprocess.PIPE, text=True)
    folder = wait_for(lambda: set((in_project / "runs").glob("*")) - before).pop()
    wait_for(lambda: list(folder.glob("output/iter_*.pth")) or list(folder.glob("output/checkpoint-*")))
    os.kill(rank_process(folder, "1"), signal.SIGKILL)
    _, messages = child.communicate(timeout=600)
    assert child.returncode == 5, messages
    assert "a process of the training was killed" in messages
    assert load_run(folder).status == "failed"
    assert processes(folder) == []


def test_a_stopped_run_says_the_step_that_is_on_record(tmp_path):
    run = record_run(Project(tmp_path, Settings()), "one", "running", steps=100, metrics=loss_records(3))
    (run.path / PROGRESS).write_text('{"begin": 0, "step": 2.5}')
    stopping = _Stopping(run, 0)
    assert stopping.ask(signal.SIGINT)
    said = str(stopping.end(run, load_backend("xtuner")))
    assert said == "Interrupted at step 2 of 100. No checkpoint was saved: this run cannot be resumed."
    assert summarise_run(load_run(run.path)).step == 2


def test_the_bar_of_a_stopped_run_ends_at_the_step_that_is_told(tmp_path, monkeypatch):
    run = record_run(Project(tmp_path, Settings()), "one", "running", steps=100)

    def execute(*_arguments):
        (run.path / PROGRESS).write_text('{"begin": 0, "step": 25}')
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "execute", execute)
    screen = show_on_terminal(monkeypatch)
    with pytest.raises(InterruptedRun, match="Interrupted at step 25 of 100"):
        watch.watch(run)
    assert " 25/100" in screen.getvalue()


@pytest.mark.framework
def test_interrupt_stops_the_children_and_marks_the_run(in_project):
    before = set((in_project / "runs").glob("*"))
    options = train_command("xtuner")
    child = subprocess.Popen([sys.executable, "-m", "ftbridge", *options], stderr=subprocess.PIPE, text=True)
    folder = wait_for(lambda: set((in_project / "runs").glob("*")) - before).pop()
    wait_for(lambda: processes(folder))
    child.send_signal(signal.SIGINT)
    _, messages = child.communicate(timeout=600)
    assert child.returncode == 130, messages
    assert "Interrupted at step 0 of 6. No checkpoint was saved: this run cannot be resumed." in messages
    assert load_run(folder).status == "interrupted"
    assert processes(folder) == []


def interrupted(command, numbers, *, step):
    """Start a training, send it signals once it is past a step, and return its folder, messages and the step saved."""
    child = subprocess.Popen([sys.executable, "-m", "ftbridge", *command], stderr=subprocess.PIPE, text=True)
    folder = wait_for(lambda: [run.path for run in all_runs(Project.find()) if run.pid == child.pid]).pop()
    wait_for(lambda: child.poll() is not None or ((told := read_progress(folder)) and told.step > step))
    for number in numbers:
        child.send_signal(number)
    _, messages = child.communicate(timeout=600)
    assert child.returncode == 130, messages
    assert processes(folder) == []
    found = re.search(r"Interrupted at step (\d+) of 5000; saved at step (\d+): resume with", messages)
    assert found, messages
    assert found[1] == found[2]
    return folder, int(found[2])


def two_processes(backend, deepspeed):
    """Return the words of a training on two processes that has thousands of steps to go."""
    return [*train_command(backend), "--gpus=2", f"--deepspeed={deepspeed}", "--max-steps=5000", "--save-steps=auto"]


@pytest.mark.framework
def test_two_processes_save_the_same_step_when_they_are_interrupted(in_project):
    folder, step = interrupted(two_processes("llamafactory", "zero2"), [signal.SIGINT], step=1)
    ended = load_run(folder)
    assert (ended.status, ended.attempts[-1].reason) == ("interrupted", "stopped by Ctrl-C")
    assert list(ended.checkpoints) == [f"output/checkpoint-{step}"]
    assert (folder / "metrics.jsonl").read_text().count(f'"step":{step},') == 1  # the loss of the last one is kept


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("deepspeed", "number", "reason"),
    [
        ("zero2", signal.SIGTERM, "stopped by SIGTERM"),
        ("zero3", signal.SIGHUP, "ended with its terminal; with --detach it goes on"),
    ],
)
def test_interrupted_processes_go_on_from_where_they_saved(in_project, backend, deepspeed, number, reason):
    folder, first = interrupted(two_processes(backend, deepspeed), [number], step=1)
    assert load_run(folder).attempts[-1].reason == reason
    _, second = interrupted(["train", "--resume", folder.name], [number], step=first + 1)
    assert second > first


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["llamafactory", pytest.param("xtuner", marks=pytest.mark.matrix)])
def test_training_processes_end_with_a_killed_ftbridge(in_project, run_ftbridge, backend):
    before = set((in_project / "runs").glob("*"))
    options = [*train_command(backend), "--gpus=2", "--epochs=5000"]
    with subprocess.Popen([sys.executable, "-m", "ftbridge", *options], stderr=subprocess.PIPE) as child:
        folder = wait_for(lambda: set((in_project / "runs").glob("*")) - before).pop()
        wait_for((folder / "metrics.jsonl").exists)
        assert len(processes(folder)) >= 4  # the guard, torchrun, and two workers in sessions of their own
        child.kill()
    wait_for(lambda: not processes(folder))
    listed = json.loads(run_ftbridge("runs", "list", "--json", cwd=in_project).stdout)
    assert [each["status"] for each in listed if each["id"] == folder.name] == ["died"]
