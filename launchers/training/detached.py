"""A process of our own that watches over a run after the terminal has gone.

Run as `python -m ftbridge.launchers.training.detached FOLDER`, in a session of its own, its messages going to the run's
log. It gets the record on its stdin, for somebody else may write run.json meanwhile, and says on its stdout that the
framework is going.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import IO, cast

import msgspec

from ftbridge.core.console import result, say
from ftbridge.core.errors import FrameworkError, FtbridgeError
from ftbridge.language import english
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, load_run
from ftbridge.launchers.training.failures import failure_message


def start_watcher(run: Run) -> Run:
    """Start `run` in a new process that watches over it, and return it once the framework's process is there.

    Raises FrameworkError, with the end of the log, where it is not.
    """
    log = run.path / "log.txt"
    run.release()  # the new process takes the lock; until then this one's number tells that the run lives
    read_end, write_end = os.pipe()
    with log.open("ab") as output:
        watcher = subprocess.Popen(
            # -P: no module of the current folder is imported.
            [sys.executable, "-P", "-m", "ftbridge.launchers.training.detached", str(run.path)],
            stdin=subprocess.PIPE,
            stdout=write_end,
            stderr=output,
            start_new_session=True,
        )
    os.close(write_end)
    started = b""
    try:
        with suppress(BrokenPipeError), cast("IO[bytes]", watcher.stdin) as record:
            record.write(msgspec.json.encode(run, enc_hook=english))
        with os.fdopen(read_end, "rb") as answer:
            started = answer.readline()
    finally:
        if started:
            watcher.returncode = 0  # it is on its own now: nobody waits for it
        else:
            watcher.terminate()
            watcher.wait()
    if not started:
        raise FrameworkError(
            _("the run did not start{failure_message}").format(failure_message=failure_message(log, watcher.returncode))
        )
    return load_run(run.path)


def main() -> int:
    """Watch over the run on stdin; returns the exit status."""
    from ftbridge.launchers.training.watch import watch

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    is_reported = False

    def report_start() -> None:
        nonlocal is_reported
        if not is_reported:
            is_reported = True
            result("started")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    try:
        run = msgspec.json.decode(sys.stdin.buffer.read(), type=Run)
        watch(run, lambda _record: None, report_start)
    except FtbridgeError as error:
        say(_("ftbridge: {error}").format(error=error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
