"""How far a training has come, between its own processes and the one that watches over it."""

import pytest

from ftbridge.launchers.process import steps
from ftbridge.launchers.process.script import SCRIPTS


@pytest.fixture
def control(monkeypatch):
    """Return the other end, which runs in the training environment."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import step_control

    assert (steps.PROGRESS, steps.STOP) == (step_control.PROGRESS, step_control.STOP)
    return step_control.StepControl


def test_a_training_tells_where_it_begins_and_how_far_it_is(tmp_path, control):
    assert steps.read_progress(tmp_path) is None
    training = control(tmp_path)
    training.begin(40)
    assert steps.read_progress(tmp_path) == steps.Progress(40, 40)
    training.report(40.25)  # within half a second nothing is written, unless it must be
    assert steps.read_progress(tmp_path).step == 40
    training.stopped = True
    training.report(41, surely=True)
    assert steps.read_progress(tmp_path) == steps.Progress(40, 41, stopped=True)


def test_only_the_first_process_tells(tmp_path, control, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    control(tmp_path).begin(0)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_tells_nothing(tmp_path):
    (tmp_path / steps.PROGRESS).write_text('{"step": ')
    assert steps.read_progress(tmp_path) is None


def test_what_an_attempt_has_left_is_not_the_next_ones(tmp_path, control):
    control(tmp_path).begin(3)
    steps.ask_to_stop(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {steps.PROGRESS, steps.STOP}
    steps.forget(tmp_path)
    assert not list(tmp_path.iterdir())
