"""Progress: plain lines where nobody watches, a bar on a terminal, or a function of the caller's."""

import errno
import io
import sys

import msgspec
import pytest

from ftbridge.core import console
from ftbridge.core.project import Project, Settings
from ftbridge.launchers.training import progress
from ftbridge.launchers.training.progress import Expectation, expected_time, reporter

from ...builders.keyboard import show_on_terminal  # noqa: TID252
from ...builders.runs import record_run  # noqa: TID252


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is set."""
    hands = {"now": 1000.0}
    monkeypatch.setattr(console.time, "monotonic", lambda: hands["now"])
    return hands


def record(step, loss=1.0):
    return {"step": step, "loss": loss, "learning_rate": 1e-4}


def test_callback_gets_every_progress_record(capsys):
    seen = []
    with reporter(9, seen.append) as shown:
        shown.update(record(1))
    assert seen == [record(1)]
    assert capsys.readouterr().err == ""


def test_progress_without_a_terminal_is_a_line_every_five_seconds_and_at_the_end(capsys, clock):
    with reporter(12) as shown:
        clock["now"] += 20
        shown.reach(0)  # the model is loaded
        for now, step in ((1040, 1), (1041, 2), (1060, 2.5), (1080, 3), (1220, 12), (1221, 12)):
            clock["now"] = now
            if step != 2.5:  # nothing is logged within a step
                shown.update(record(step, 1 / step))
            shown.reach(step)
    assert capsys.readouterr().err.splitlines() == [
        "step 1/12  loss 1.0000  0:40, 3:40 left",
        "step 2/12  loss 0.5000  1:00, 2:32 left",
        "step 3/12  loss 0.3333  1:20, 3:00 left",
        "step 12/12  loss 0.0833  3:40, 0:00 left",
    ]


def test_a_validation_is_a_line_of_its_own(capsys, clock):
    with reporter(12) as shown:
        shown.update({"step": 3, "validation_loss": 0.5})
        shown.update(record(3.1875))
        shown.update({"step": 3.375, "validation_loss": 0.25})  # XTuner's last step may be a part of one
    assert capsys.readouterr().err.splitlines() == [
        "step 3: validation loss 0.5000",
        "step 3/12  loss 1.0000  0:00",
        "step 4: validation loss 0.2500",
    ]


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    screen = show_on_terminal(monkeypatch)
    with reporter(4) as shown:
        shown.update(record(2.5, 0.25))
        shown.update({"step": 2, "validation_loss": 0.75})
    assert "training" in screen.getvalue()
    assert "2/4" in screen.getvalue()
    assert "loss 0.2500" in screen.getvalue()
    assert "step 2: validation loss 0.7500" in screen.getvalue()


def test_the_bar_begins_at_the_step_that_is_resumed_and_ends_full(monkeypatch):
    screen = show_on_terminal(monkeypatch)
    with reporter(90, begin=40):
        pass
    assert "40/90" in screen.getvalue()
    with reporter(90) as shown:
        shown.update(record(88.9375))
        shown.reach(90)
    assert "90/90" in screen.getvalue()


def test_the_bar_moves_within_a_step(monkeypatch):
    show_on_terminal(monkeypatch)
    with progress._bar_or_lines(2, console.Pace(2), 0) as bar:
        bar.show(0.75, "")
        assert bar._bar._progress.tasks[0].percentage == 37.5


def test_the_bar_has_words_until_the_first_loss_and_never_goes_back(monkeypatch):
    screen = show_on_terminal(monkeypatch)
    with reporter(9, begin=4) as shown:
        assert "loading the model" in screen.getvalue()
        bar = shown._displays[0]._bar._progress.tasks[0]
        notes = []
        for show in (lambda: shown.reach(4.5), lambda: shown.reach(5), lambda: shown.update(record(6, 0.5))):
            show()
            notes.append((bar.completed, bar.fields["note"]))
        assert notes == [(4.5, "first step"), (5, ""), (6, "loss 0.5000")]
        shown.reach(5.5)  # what is told twice a second may be behind the log
        assert bar.completed == 6


def expected(place, **spec):
    """Return how long a training with these options will take, of the runs that are on record."""
    return expected_time(record_run(place, "now", "running", steps=90, **spec))


def test_a_training_takes_as_long_as_the_last_one_that_did_the_same(tmp_path):
    place = Project(tmp_path, Settings())
    assert expected(place) is None
    for name, seconds in (("20250101-older", 9), ("20250102-newer", 2)):
        run = record_run(place, name, "succeeded", steps=30)
        lines = [{"step": step, "loss": 1.0, "time": 20 + step * seconds, "attempt": 1} for step in (10, 20, 30)]
        (run.path / "metrics.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    record_run(place, "20250103-failed", "failed", steps=30)
    found = expected(place)
    assert found == Expectation(20, 2, "20250102-newer")
    assert found.total(90) == 200
    assert expected(place, gradient_accumulation_steps=32).step == 4
    assert expected(place, micro_batch_size=7) is None
    assert expected(place, method="full") is None


def test_a_run_too_short_to_be_timed_tells_of_one_as_short_alone(tmp_path):
    """Its start-up cannot be told from its steps."""
    place = Project(tmp_path, Settings())
    for steps in (1, 45):
        run = record_run(place, f"20250101-{steps}", "succeeded", steps=steps)
        line = {"step": steps, "loss": 1.0, "time": 30, "attempt": 1}
        (run.path / "metrics.jsonl").write_bytes(msgspec.json.encode(line))
        found = expected(place)
        assert (found and found.total(90)) == (60 if steps == 45 else None)


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
    with reporter(90) as shown:
        for step in range(1, 4):
            clock["now"] += 9
            shown.update(record(step))
    with pytest.raises(KeyboardInterrupt), reporter(90):
        raise KeyboardInterrupt
