"""Whatever we start ends with us, also where we are killed; what it says and how it ends comes through."""

import os
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from ftbridge.core.process.children import guarded, last_lines, run

# A program that cannot be asked to end, nor notices that nobody reads: it computes for ever inside of C code, which
# holds Python's lock, and so does its own child, in a session of its own.
BUSY = f"""#!{sys.executable}
import os, re, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if not os.fork():
    os.setsid()
re.match("(a|a)+$", "a" * 64 + "b")
"""
HEAD = "import sys\nfrom pathlib import Path\nfrom types import SimpleNamespace as Any\nbusy = sys.argv[1]\n"
# Each kind of child that there is, and what starts it.
PARENTS = {
    "a helper that is asked": """
from ftbridge.launchers.process.script import run_script
run_script(Path(busy), "preview", {})
""",
    "side by side in threads": """
from concurrent.futures import ThreadPoolExecutor
from ftbridge.launchers.process.script import run_script
list(ThreadPoolExecutor(2).map(lambda name: run_script(Path(busy), name, {}), ["preview", "preview"]))
""",
    "from a thread that has ended": """
import subprocess, threading, time
from ftbridge.core.process.children import guarded
thread = threading.Thread(target=lambda: subprocess.Popen(guarded([busy])))
thread.start()
thread.join()
time.sleep(300)
""",
    "uv": """
import uv
from ftbridge.launchers.environment import setup
uv.find_uv_bin = lambda: busy
setup._run_uv("venv")
""",
    "an environment's Python": """
from ftbridge.launchers.environment import setup
setup._can_start(Path(busy))
""",
    "nvidia-smi": """
import os
from ftbridge.launchers.hardware import nvidia
Path("nvidia-smi").symlink_to(busy)
os.environ["PATH"] = str(Path.cwd())
nvidia.gpu_query()
""",
    "nvcc": """
import os
from ftbridge.launchers.environment import doctor
Path("bin").mkdir()
Path("bin/nvcc").symlink_to(busy)
os.environ["CUDA_HOME"] = str(Path.cwd())
doctor.toolkit_check("12.8")
""",
    "merge": """
from ftbridge.weights.merging.stream import stream
stream(Path(busy), Path("plan.json").absolute(), [], 10)
""",
    "chat": """
from ftbridge.dialogue import generation
Path("config.json").write_text("{}")
with generation.Generator(Path(busy), Any(trust_remote_code=False), Path.cwd(), None, []):
    pass
""",
    "the page": """
import socket
from ftbridge.dialogue import web
from ftbridge.dialogue.generation import Sampling
talk = Any(title="one", run="", model="", system="", sampling=Sampling())
with web._start_page(Path(busy), socket.create_server(("127.0.0.1", 0)), {}, [talk]):
    pass
""",
    "a training": """
from ftbridge.core.records import Launch
from ftbridge.launchers.process.child import execute
execute(Launch((busy,), {}, ".", {}), Path("log.txt"), lambda: None)
""",
    "a workbook's reader": """
from ftbridge.adapters.sources.workbook.reader import Order, messages
list(messages(Order("rows.xlsx", True, "openpyxl")))
""",
    "workers of convert": """
from ftbridge.adapters.convert.samples import workers
workers.cores = lambda: 2
import ftbridge
ftbridge.convert("rows.jsonl", to=["xtuner"])
""",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def busy(folder):
    """Return the program that is busy for ever."""
    program = folder / "busy"
    program.write_text(BUSY)
    program.chmod(0o755)
    return str(program)


def marked(mark):
    """Return pid and seconds of computing of the processes that live and have `mark` in their environment."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in file.read_bytes():
                fields = (file.parent / "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "XZ":
                    found[int(file.parent.name)] = int(fields[11]) / os.sysconf("SC_CLK_TCK")
    return found


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def big_workbook():
    """Write a workbook with a hundred million empty rows, which is read for minutes before anything is sent."""
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml'
        '.sheet.main+xml"/></Types>',
        "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
        '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        'relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
        'worksheet" Target="worksheets/a.xml"/></Relationships>',
        "xl/worksheets/a.xml": '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        "<sheetData>",
    }
    with zipfile.ZipFile("rows.xlsx", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, text in parts.items():
            with file.open(name, "w") as part:
                part.write(text.encode())
                for _ in range(100 if text.endswith("<sheetData>") else 0):
                    part.write(b"<row/>" * 1_000_000)


def big_lines():
    """Write so many rows that several processes read them for some time."""
    line = '{"question": "How much is taken of it?", "answer": "' + "A tablet a day. " * 60 + '"}\n'
    with Path("rows.jsonl").open("w") as file:
        file.writelines(line * 1000 for _ in range(300))


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARENTS)
def test_children_of_a_killed_parent_end_with_it(busy, kind):
    prepare = {"a workbook's reader": big_workbook, "workers of convert": big_lines}.get(kind)
    if prepare:
        prepare()
    mark = f"ftbridge-test-{uuid.uuid4()}"
    argv = [sys.executable, "-c", HEAD + PARENTS[kind], busy]
    with Path("messages.txt").open("wb") as output:
        parent = subprocess.Popen(argv, env={**os.environ, "MARK": mark}, stdout=output, stderr=output)

    def computing():
        assert parent.poll() is None, Path("messages.txt").read_text()
        # Of the made-up program both processes.
        return sum(spent > 0.3 for pid, spent in marked(mark).items() if pid != parent.pid) >= (1 if prepare else 2)

    try:
        until(computing, 120)
        parent.kill()
        parent.wait()
        until(lambda: not marked(mark), 20)
    finally:
        parent.kill()
        parent.wait()
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("raise SystemExit(7)", 7), ("import os; os.abort()", -6)])
def test_child_ends_with_its_own_exit_status(code, status):
    assert run([sys.executable, "-c", code]).returncode == status


def test_child_reads_its_stdin_and_its_output_is_returned():
    code = "import sys; print(sys.stdin.read().upper()); print('药', file=sys.stderr)"
    done = run([sys.executable, "-c", code], given=b"abc", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.stdout, done.stderr, done.returncode) == (b"ABC\n", "药\n".encode(), 0)
    assert run(["cat"], stdout=subprocess.PIPE).stdout == b""


def test_command_that_cannot_be_started_is_status_127_with_the_reason():
    done = run(["./absent"], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (127, "No such file or directory: ./absent\n")


def test_child_has_the_signals_of_an_unguarded_one():
    code = "import signal; print([*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))], signal.getsignal(2))"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert run([sys.executable, "-c", code], stdout=subprocess.PIPE).stdout == plain


def test_child_over_its_timeout_is_ended_with_its_descendants(busy):
    mark = f"ftbridge-test-{uuid.uuid4()}"
    with pytest.raises(subprocess.TimeoutExpired):
        run([busy], timeout=1, env={**os.environ, "MARK": mark})
    assert not marked(mark)


def test_killed_guard_ends_the_process_it_guards(busy):
    mark = f"ftbridge-test-{uuid.uuid4()}"
    code = "import time; time.sleep(300)"
    with subprocess.Popen(guarded([sys.executable, "-c", code]), env={**os.environ, "MARK": mark}) as guard:
        until(lambda: len(marked(mark)) == 2, 60)
        guard.kill()
    until(lambda: not marked(mark), 20)


def test_exit_status_of_a_child_is_known_where_sigchld_was_ignored():
    code = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as programs are started by some inits and wrappers
from ftbridge.core.process.children import run
sys.exit(run([sys.executable, "-c", "raise SystemExit(7)"]).returncode)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 7


def test_the_last_lines_of_what_was_written_are_shown():
    written = [f"line {number} \n" for number in range(20)]
    assert last_lines(written).splitlines() == [f"line {number}" for number in range(5, 20)]
    assert last_lines(["one", "", "two\n"], indent="  ") == "  one\n  \n  two"
    assert last_lines([]) == ""
