"""Runs that go on when the terminal has gone."""

import os
import pty
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from ftbridge.core.errors import FrameworkError
from ftbridge.core.files.atomic import is_locked
from ftbridge.core.project import Project, Settings
from ftbridge.core.records import Launch
from ftbridge.launchers.backends import llamafactory
from ftbridge.launchers.process.steps import PROGRESS, STOP
from ftbridge.launchers.runs import record
from ftbridge.launchers.runs.record import RESERVE, _locks, load_run, stop_run
from ftbridge.launchers.training import detached

from ...builders.runs import record_run  # noqa: TID252
from ...builders.trainings import processes, train_command, wait_for  # noqa: TID252


@pytest.fixture
def place(tmp_path):
    return Project(tmp_path, Settings())


def prepared(place, code):
    """Return a run, ready to be started, whose framework is `code`."""
    made = record_run(place, "one", "running", backend="llamafactory")
    launch = Launch((sys.executable, "-c", code), {}, str(made.path), {})
    return msgspec.structs.replace(made, launch=launch).save()


@pytest.mark.slow
def test_detached_run_goes_on_and_records_its_end(place):
    log = '{"current_steps": 1, "loss": 2.0}'
    code = f"""
import os, time
os.mkdir('output')
open('output/trainer_log.jsonl', 'w').write('{log}\\n')
while not os.path.exists('go on'):
    time.sleep(0.05)
"""
    run = detached.start_watcher(prepared(place, code).watched())
    assert is_locked(run.path / RESERVE)  # by the new process, not by this one
    assert run.folder not in _locks
    assert run.status == "running"
    assert run.pid != os.getpid()
    assert os.getsid(run.pid) == run.pid
    (run.path / "go on").touch()
    wait_for(lambda: load_run(run.path).status != "running")
    ended = load_run(run.path)
    assert (ended.status, ended.died) == ("failed", False)  # it left no checkpoint
    assert '"loss":2.0' in (run.path / "metrics.jsonl").read_text()
    end = f"ftbridge: {llamafactory.title} ended without a readable checkpoint"
    wait_for(lambda: end in (run.path / "log.txt").read_text())


@pytest.mark.slow
def test_launch_changed_in_the_record_by_somebody_else_is_not_started(place):
    run = prepared(place, "import time; open('ours', 'w'); time.sleep(300)")
    theirs = msgspec.json.decode((run.path / "run.json").read_bytes())
    theirs["launch"]["argv"] = [sys.executable, "-c", "open('theirs', 'w'); import time; time.sleep(300)"]
    (run.path / "run.json").write_bytes(msgspec.json.encode(theirs))
    started = detached.start_watcher(run)
    wait_for((run.path / "ours").exists)
    assert started.signature
    assert started.launch.argv == run.launch.argv
    stop_run(started)
    assert not (run.path / "theirs").exists()


@pytest.mark.slow
def test_a_run_that_takes_long_to_save_is_stopped_without_by_a_second_ctrl_c(place, monkeypatch):
    said = []

    def press_ctrl_c(message):
        said.append(message)
        if len(said) == 1:
            wait_for((run.path / STOP).exists)
            raise KeyboardInterrupt

    code = """
import time
open('.part', 'w').write('{"begin": 3, "step": 5.5}')
import os
os.rename('.part', '.progress.json')
time.sleep(300)
"""
    run = detached.start_watcher(prepared(place, code))
    wait_for((run.path / PROGRESS).exists)
    monkeypatch.setattr(record, "PATIENCE", 0)
    monkeypatch.setattr(record, "say", press_ctrl_c)
    stopped = stop_run(run)
    assert "saves at the end of its step" in said[0]
    assert (stopped.status, stopped.attempts[-1].reason) == ("interrupted", "stopped by SIGTERM")
    log = (run.path / "log.txt").read_text()
    assert "Interrupted at step 5 of 3. No checkpoint was saved: this run cannot be resumed." in log
    assert not {file.name for file in run.path.iterdir()} & {PROGRESS, STOP}


@pytest.mark.slow
def test_a_run_is_stopped_with_its_framework(place):
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(300)"
    run = detached.start_watcher(prepared(place, code))
    file = run.path / "pid"  # it may be there only after a while, where the machine is slow
    pid = int(wait_for(lambda: file.exists() and file.read_text()))
    assert stop_run(run).status == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# A framework that is there after half a second has started; here it gets as long as it takes to end.
PATIENT = """
import subprocess
wait = subprocess.Popen.wait
subprocess.Popen.wait = lambda self, timeout=None: wait(self, None if timeout == 0.5 else timeout)
"""


def test_a_run_that_does_not_start_says_why(place, tmp_path, monkeypatch):
    (tmp_path / "patient").mkdir()
    (tmp_path / "patient" / "sitecustomize.py").write_text(PATIENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "patient"))
    with pytest.raises(FrameworkError, match=r"did not start(?s:.*)no luck"):
        detached.start_watcher(prepared(place, "raise SystemExit('no luck')"))
    assert load_run(place.runs / "one").status == "failed"


@pytest.mark.framework
def test_a_training_survives_its_terminal(in_project, run_ftbridge):
    before = set((in_project / "runs").glob("*"))
    pid, terminal = pty.fork()
    if not pid:  # a shell that waits, as one does at the prompt
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
        command = [sys.executable, "-m", "ftbridge", *train_command("xtuner"), "--epochs=5000", "--detach"]
        subprocess.run(command, check=False)
        time.sleep(300)
        os._exit(0)
    shown = b""
    while b"runs stop" not in shown:
        shown += os.read(terminal, 4096)
    folder = (set((in_project / "runs").glob("*")) - before).pop()
    os.close(terminal)  # the kernel sends SIGHUP
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGHUP
    wait_for((folder / "metrics.jsonl").exists)
    assert load_run(folder).status == "running"
    done = run_ftbridge("runs", "stop", folder.name, cwd=in_project)
    assert (done.returncode, done.stdout) == (0, f"{folder.name} interrupted\n"), done.stderr
    assert processes(folder) == []
