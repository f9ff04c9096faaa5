"""Child processes: their output, their exit status, and that none is ever left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ftbridge.core.records import Launch
from ftbridge.launchers.process.child import execute

# A child with a child of its own; both may refuse to be asked, and both tell their pid.
FAMILY = """
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
# torchrun's workers are in sessions of their own.
alone = "stubborn" in sys.argv
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=alone)
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: open("asked", "w").close())
with open("pids.part", "w") as file:
    file.write(f"{os.getpid()} {inner.pid}")
os.rename("pids.part", "pids")
if "stay" in sys.argv:
    time.sleep(300)
sys.exit(3)
"""
# What `ftbridge train` does around a framework.
WATCHER = """
import sys
from pathlib import Path
from ftbridge.core.records import Launch
from ftbridge.launchers.process import child
child.GRACE = float(sys.argv[1])
launch = Launch((sys.executable, "-c", *sys.argv[2:]), {}, ".", {})
try:
    child.execute(launch, Path("log.txt"), lambda: None)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def watcher():
    """Return a function that starts a process that runs `execute`; whatever happens, it ends with the test."""
    started = []

    def start(*arguments):
        started.append(subprocess.Popen([sys.executable, "-c", WATCHER, *arguments]))
        return started[0]

    yield start
    for child in started:
        child.kill()
        child.wait()


def run(code, *arguments, env=None, watch=lambda: None):
    launch = Launch((sys.executable, "-c", code, *arguments), env or {}, str(Path.cwd()), {})
    return execute(launch, Path("log.txt"), watch)


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def pids():
    return [int(pid) for pid in Path("pids").read_text().split()]


def gone(pid):
    """A zombie whose parent has not asked for it yet is gone as well."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone():
    return all(map(gone, pids()))


@pytest.mark.parametrize(
    ("code", "status"),
    [("pass", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9), ("1 / 0", 1)],
)
def test_child_gives_its_exit_status(code, status):
    assert run(code) == status


def test_child_output_is_appended_to_the_log_and_stdin_is_empty(folder):
    (folder / "log.txt").write_text("before\n")
    code = "import os, sys; print(os.environ['A'], os.getcwd(), repr(sys.stdin.read()), file=sys.stderr)"
    assert run(code, env={"A": "药"}) == 0
    assert (folder / "log.txt").read_text(encoding="utf-8") == f"before\n药 {folder} ''\n"


def test_a_program_that_is_not_there_is_named_in_the_log(folder):
    assert execute(Launch(("./absent",), {}, ".", {}), Path("log.txt"), lambda: None) == 127
    assert "./absent" in (folder / "log.txt").read_text()


def test_descendants_are_gone_after_a_normal_end():
    assert run(FAMILY) == 3
    until(all_gone)


@pytest.mark.slow
def test_descendants_are_gone_when_the_watching_fails():
    def watch():
        if Path("pids").exists():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(FAMILY, "stay", watch=watch)
    until(all_gone)


def test_child_runs_from_a_thread_and_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(run("raise SystemExit(4)")))
    thread.start()
    thread.join()
    assert codes == [4]
    assert run("pass") == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
# A grace of an hour is never waited for, however slow the machine: who is polite ends at once, a second Ctrl-C kills.
@pytest.mark.parametrize(
    ("grace", "manner", "signals"),
    [
        ("3600", "polite", [signal.SIGINT]),
        ("3600", "polite", [signal.SIGTERM]),
        ("0.3", "stubborn", [signal.SIGINT]),
        ("3600", "stubborn", [signal.SIGINT, signal.SIGINT]),
    ],
)
def test_descendants_are_gone_after_an_interrupt(watcher, grace, manner, signals):
    child = watcher(grace, FAMILY, "stay", manner)
    until(Path("pids").exists)
    assert not any(map(gone, pids()))
    os.kill(child.pid, signals[0])
    for number in signals[1:]:
        until(Path("asked").exists)
        os.kill(child.pid, number)
    assert child.wait(timeout=120) == 130
    until(all_gone)


# Ends of itself once it is asked to, unless it takes its time.
ASKED = """
import os, sys, time
open("started", "w").close()
while not os.path.exists("stop") or "slow" in sys.argv:
    time.sleep(0.02)
sys.exit(7)
"""
# As WATCHER, of such a program; it prints which signal had it asked.
ASKING = """
import sys
from pathlib import Path
from ftbridge.core.records import Launch
from ftbridge.launchers.process import child

def ask(number):
    print(number, flush=True)
    Path("stop").touch()
    return True

child.SAVE_SECONDS = float(sys.argv[1])
launch = Launch((sys.executable, "-c", *sys.argv[2:]), {}, ".", {})
try:
    sys.exit(child.execute(launch, Path("log.txt"), lambda: None, ask))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("manner", "seconds", "signals", "status"),
    [
        ("quick", "3600", [signal.SIGINT], 7),
        ("quick", "3600", [signal.SIGTERM], 7),
        ("quick", "3600", [signal.SIGHUP, signal.SIGHUP], 7),  # a shell sends its own after the terminal's
        ("slow", "3600", [signal.SIGINT, signal.SIGINT], 130),
        ("slow", "3600", [signal.SIGHUP, signal.SIGHUP, signal.SIGTERM], 130),
        ("slow", "0.2", [signal.SIGINT], 130),
    ],
)
def test_a_program_that_ends_of_itself_when_it_is_asked_gets_its_time(manner, seconds, signals, status):
    words = [sys.executable, "-c", ASKING, seconds, ASKED, manner]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        until(Path("started").exists)
        os.kill(child.pid, signals[0])
        until(Path("stop").exists)
        for number in signals[1:]:
            os.kill(child.pid, number)
            time.sleep(0.2)  # two signals at once may come in any order
        output, _ = child.communicate(timeout=120)
    assert (child.returncode, output.strip()) == (status, str(signals[0].value))
