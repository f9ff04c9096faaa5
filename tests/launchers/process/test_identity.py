"""A process is told by its number and its beginning, so that no other one is signalled in its place."""

import os
import signal
import subprocess
import sys

import pytest

from ftbridge.launchers.process.identity import is_hidden, process_start, signal_sender


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_process_has_one_beginning_until_it_ends(child):
    began = process_start(child.pid)
    assert began >= process_start(os.getpid()) > 0
    assert process_start(child.pid) == began
    child.kill()
    child.wait()
    assert process_start(child.pid) == 0
    assert not is_hidden(child.pid)


def test_a_signal_reaches_the_process_that_began_then(child):
    with signal_sender(child.pid, process_start(child.pid)) as send:
        send(signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM


def test_another_process_of_that_number_is_not_signalled(child):
    with signal_sender(child.pid, process_start(child.pid) - 1) as send, pytest.raises(ProcessLookupError):
        send(signal.SIGTERM)
    assert child.poll() is None
