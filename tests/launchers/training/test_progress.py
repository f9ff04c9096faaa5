"""Progress: plain lines where nobody watches, a bar on a terminal, or a function of the caller's."""

import errno
import io
import sys

import pytest

from ftbridge.launchers.training import progress
from ftbridge.launchers.training.progress import reporter


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is set."""
    hands = {"now": 1000.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: hands["now"])
    return hands


def record(step, loss=1.0):
    return {"step": step, "loss": loss, "learning_rate": 1e-4}


def test_callback_gets_every_progress_record(capsys):
    seen = []
    with reporter(9, seen.append) as update:
        update(record(1))
    assert seen == [record(1)]
    assert capsys.readouterr().err == ""


def test_progress_without_a_terminal_is_a_line_every_five_seconds_and_at_the_end(capsys, clock):
    with reporter(12) as update:
        for now, step in ((1000, 1), (1001, 2), (1010, 2), (1020, 3), (1030, 3), (1031, 12), (1032, 12)):
            clock["now"] = now
            update(record(step, 1 / step))
    assert capsys.readouterr().err.splitlines() == [
        "step 1/12  loss 1.0000",
        "step 2/12  loss 0.5000  1:40 left",
        "step 3/12  loss 0.3333  1:30 left",
        "step 12/12  loss 0.0833  0:00 left",
    ]


def test_a_validation_is_a_line_of_its_own(capsys, clock):
    with reporter(12) as update:
        update({"step": 3, "validation_loss": 0.5})
        update(record(3.1875))
        update({"step": 3.375, "validation_loss": 0.25})  # XTuner's last step may be a part of one
    assert capsys.readouterr().err.splitlines() == [
        "step 3/12  validation loss 0.5000",
        "step 3/12  loss 1.0000",
        "step 4/12  validation loss 0.2500",
    ]


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with reporter(4) as update:
        update(record(2.5, 0.25))
        update({"step": 2, "validation_loss": 0.75})
    assert "training" in screen.getvalue()
    assert "2/4" in screen.getvalue()
    assert "loss 0.2500" in screen.getvalue()
    assert "step 2: validation loss 0.7500" in screen.getvalue()


class _Closed(io.StringIO):
    """A terminal that has closed, or a pipe whose reader has gone, at the second letter that is written."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        if self.tell():
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_training_goes_on_where_nobody_is_left_to_see_it(monkeypatch, clock, terminal):
    monkeypatch.setattr(sys, "stderr", _Closed(terminal))
    with reporter(90) as update:
        for step in range(1, 4):
            clock["now"] += 9
            update(record(step))
    with pytest.raises(KeyboardInterrupt), reporter(90):
        raise KeyboardInterrupt
