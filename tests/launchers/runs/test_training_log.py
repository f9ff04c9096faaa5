"""Metrics: each line of a log is read once, whatever happens to the log, and attempts make one curve."""

import math
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.core.errors import SetupError
from ftbridge.core.project import Project, Settings
from ftbridge.launchers.backends import llamafactory, xtuner
from ftbridge.launchers.runs.training_log import TrainingLog, curve_points, read_curve

from ...builders.runs import loss_records, record_attempt, record_run  # noqa: TID252


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path, Settings())


def log(run, name="trainer_log.jsonl"):
    file = run.path / "output" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def line(step, loss="1.5"):
    return f'{{"current_steps": {step}, "loss": {loss}, "lr": 0.1}}\n'


def steps(records):
    return [record["step"] for record in records]


def test_update_reads_only_new_whole_lines(project, monkeypatch):
    run = record_run(project, "one", "running", backend="llamafactory")
    metrics = TrainingLog(run, llamafactory)
    assert metrics.update() == []
    with log(run).open("w", buffering=1) as file:
        file.write(line(1) + line(2) + line(3)[:9])
        assert steps(metrics.update()) == [1, 2]
        assert metrics.update() == []
        file.write(line(3)[9:] + "not json\n[1]\n")
        assert steps(metrics.update()) == [3]
    (record,) = read_curve(run)[2:]
    assert {**record, "time": 0} == {"step": 3, "loss": 1.5, "learning_rate": 0.1, "time": 0, "attempt": 1}
    assert record["time"] > 0


def test_malformed_metric_lines_are_passed_over(project):
    run = record_run(project, "one")
    good = '{"step": 1, "loss": null}\n'
    odd = ['{"step": ""}', '{"loss": 1}', '{"step": 1, "loss": []}', '{"step": NaN}', '{"step": 1e999}', "[" * 5000]
    (run.path / "metrics.jsonl").write_text("\n".join([*odd, '{"step": 1, "loss": ' + "9" * 400 + "}", good]))
    (record,) = read_curve(run)
    assert record["step"] == 1
    assert math.isnan(record["loss"])


@given(st.lists(st.integers(0, 60), max_size=6))
def test_log_cut_anywhere_gives_each_record_once(tmp_path_factory, cuts):
    run = record_run(Project(tmp_path_factory.mktemp("cut"), Settings()), "one", "running", backend="llamafactory")
    content, metrics = "".join(map(line, range(1, 6))).encode(), TrainingLog(run, llamafactory)
    for end in [*sorted(cuts), len(content)]:
        log(run).write_bytes(content[:end])
        metrics.update()
    assert steps(read_curve(run)) == [1, 2, 3, 4, 5]


def test_a_log_that_begins_anew_is_read_anew(project):
    run = record_run(project, "one", "running", backend="llamafactory")
    log(run).write_text(line(1) + line(2))
    metrics = TrainingLog(record_attempt(run), llamafactory)
    log(run).unlink()
    assert metrics.update() == []
    log(run).write_text(line(2) + line(3))
    assert steps(metrics.update()) == [2, 3]
    log(run).write_text(line(9))
    assert steps(metrics.update()) == [9]


def test_a_second_attempt_leaves_what_the_first_one_logged(project):
    run = record_run(project, "one", "running", gradient_accumulation_steps=2)
    for start in ("1", "2"):
        log(run, f"{start}/vis_data").mkdir(parents=True)
    text = '{"iter": 4, "loss": 2.0, "lr": 0.1}\n'
    log(run, "1/vis_data/scalars.json").write_text(text)
    metrics = TrainingLog(record_attempt(run), xtuner)
    log(run, "2/vis_data/scalars.json").write_text(text)
    assert [(record["step"], record["attempt"]) for record in metrics.update()] == [(2, 2)]


def test_a_resumed_run_has_one_curve(project):
    validation = {"step": 4, "validation_loss": 0.5, "attempt": 1}
    run = record_run(
        project,
        "one",
        metrics=[*loss_records(5, 4, 3, 2), validation, *loss_records(9, 8, attempt=2, begin=3)],
    )
    assert curve_points(read_curve(run), "loss") == [(1, 5), (2, 4), (3, 9), (4, 8)]
    assert curve_points(read_curve(run), "validation_loss") == []


def test_a_validation_stands_beside_its_step(project):
    run = record_run(
        project,
        "one",
        metrics=[*loss_records(5), {"step": 1, "validation_loss": 0.5}, *loss_records(4, begin=2)],
    )
    assert steps(read_curve(run)) == [1, 1, 2]


def test_a_loss_that_is_no_number_is_kept(project):
    run = record_run(project, "one", "running", backend="llamafactory")
    log(run).write_text(line(1, "NaN"))
    TrainingLog(run, llamafactory).update()
    assert b'"loss":null' in (run.path / "metrics.jsonl").read_bytes()
    assert math.isnan(read_curve(run)[0]["loss"])


def test_metrics_that_cannot_be_written_are_a_sentence(project):
    run = record_run(project, "one", "running", backend="llamafactory")
    log(run).write_text(line(1))
    (run.path / "metrics.jsonl").unlink()
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(SetupError, match=r"cannot write `.*metrics\.jsonl`"):
        TrainingLog(run, llamafactory).update()


def test_metrics_line_cut_by_a_full_disk_is_taken_back(project):
    run = record_run(project, "one", "running", backend="llamafactory")
    log(run).write_text("".join(map(line, range(1, 9))))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(SetupError, match=r"cannot write `.*metrics\.jsonl`: File too large"):
            TrainingLog(run, llamafactory).update()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (run.path / "metrics.jsonl").read_bytes() == b""


def test_a_run_without_metrics_has_no_curve(project):
    run = record_run(project, "one")
    (run.path / "metrics.jsonl").unlink()
    assert read_curve(run) == []
