"""Runs commands of ftbridge one after another, each in a fork of this process, which has imported all that they need.

It gets a line of JSON for each, {"arguments", "folder", "output"}, and answers with one: how the command ended, after
how many seconds, and with how much memory. A process that uses more than its limit is killed with all that it started.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

MEMORY = 1 << 30
PROCESSOR = 20  # seconds; a machine that is busy gives them late, so that the clock may show more
CLOCK = 90
STEP, LOOK = 0.005, 0.1  # seconds, until the command is asked for its end, and its processes for their memory
# What commands import when they need it.
MODULES = [
    *(f"ftbridge.cli.{name}" for name in ("chat", "convert", "datasets", "export", "failure", "inspect", "merge")),
    *(f"ftbridge.cli.{name}" for name in ("preview", "runs", "train")),
    *(
        f"ftbridge.adapters.{name}"
        for name in ("convert.pipeline", "registered.validate", "inspect", "registered.check")
    ),
    *(f"ftbridge.launchers.{name}" for name in ("preflight.preflight", "preview.preview", "training.train")),
    *("ftbridge.dataset_info.listing", "ftbridge.dialogue.chat", "ftbridge.weights.export", "ftbridge.weights.merge"),
    *("charset_normalizer", "jinja2", "numpy", "openpyxl", "rich.progress", "tokenizers", "yaml"),
]


def run(arguments, folder, output):
    """Return how a command ended: its exit code or signal, seconds, bytes of memory, and which limit it broke."""
    child = os.fork()
    if not child:
        work(arguments, folder, output)
    began, broken, most = time.monotonic(), "", 0
    look = began + LOOK
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        if not broken and time.monotonic() > look:
            look = time.monotonic() + LOOK
            used = max(map(memory, processes(child)), default=0)
            most = max(most, used)
            if used > MEMORY:
                broken = f"more than {MEMORY >> 20} MiB of memory"
            elif time.monotonic() - began > CLOCK:
                broken = f"more than {CLOCK} s by the clock"
        if broken:
            kill(child)
        time.sleep(STEP)
    kill(child)  # what it may have left behind
    seconds = usage.ru_utime + usage.ru_stime
    most = max(most, usage.ru_maxrss << 10)
    if not broken and most > MEMORY:
        broken = f"more than {MEMORY >> 20} MiB of memory"
    if not broken and seconds > PROCESSOR:
        broken = f"more than {PROCESSOR} s of the processor"
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "seconds": seconds, "memory": most, "broken": broken}


def work(arguments, folder, output):
    """Be the command."""
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, to in enumerate((null, file, file)):
            os.dup2(to, number)
        from ftbridge.cli import _run_command

        code = _run_command(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 0)


def processes(session):
    """Return the processes of a session: the command, and what it has started."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                if int(Path(entry, "stat").read_text().rpartition(")")[2].split()[3]) == session:
                    found.append(int(entry.name))
    return found


def memory(pid):
    """Return the bytes that a process holds in memory."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def kill(session):
    """End what is left of a session; only processes that the command started are in it."""
    for pid in processes(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main():
    """Serve until the input ends."""
    for name in MODULES:
        importlib.import_module(name)
    from ftbridge.core.plugins import load_plugin, plugin_names
    from ftbridge.dataset_info.presets import presets
    from ftbridge.templates.families import load_families

    for kind in ("backends", "sources", "targets"):
        for name in plugin_names(kind):
            load_plugin(kind, name)
    load_families(), presets()
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
