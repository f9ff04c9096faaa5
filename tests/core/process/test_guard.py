"""The guard: whoever dies, nothing of what was started remains."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftbridge.core.process import guard

# A command, as torchrun, with a worker in a session of its own and that one's child; none can be asked to end.
COMMAND = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
depth = int(sys.argv[2])
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[1], str(depth - 1)], start_new_session=depth == 2)
open(f"pid-{depth}-{os.getpid()}", "w").close()
time.sleep(300)
"""
WATCHER = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, sys.argv[1], str(os.getpid()), *sys.argv[2:]], start_new_session=True)
open(f"guard-{child.pid}", "w").close()
child.wait()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def pids(kind="pid-"):
    return [int(file.name.rpartition("-")[2]) for file in Path().glob(f"{kind}*")]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "XZ"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "number"), [("watcher", signal.SIGKILL), ("guard", signal.SIGTERM), ("pid-2", signal.SIGKILL)]
)
def test_descendants_end_whichever_process_is_killed(who, number):
    command = [sys.executable, "-c", COMMAND, COMMAND, "2"]
    watcher = subprocess.Popen([sys.executable, "-c", WATCHER, guard.__file__, "0.3", *command])
    try:
        until(lambda: len(pids()) == 3 and pids("guard"))
        os.kill(watcher.pid if who == "watcher" else pids(who)[0], number)
        until(lambda: all(map(gone, pids() + pids("guard"))))
    finally:
        watcher.kill()
        watcher.wait()
    assert len(pids()) == 3


def test_guard_of_a_dead_watcher_starts_nothing(folder):
    done = subprocess.run([sys.executable, guard.__file__, "1", "1", "touch", "started"], check=False)
    assert done.returncode == 1
    assert not (folder / "started").exists()
