"""What the report of a sweep holds, whatever was varied and whatever is left of it."""

import shutil

import msgspec
import pytest

from ftbridge.core.project import Project
from ftbridge.evaluation.record import Leakage, load_evaluation
from ftbridge.evaluation.report.charts import Number
from ftbridge.evaluation.report.sweeps.contents import MOST_LINES, contents_of
from ftbridge.evaluation.report.words import Words
from ftbridge.evaluation.sweep.record import find_sweep
from ftbridge.evaluation.sweep.results import results_of
from tests.builders.sweeps import grid, write_sweep


def contents(sweep, metric="", language="en"):
    return contents_of(sweep, results_of(sweep, metric), Words(language))


def change_evaluations(sweep, **fields):
    """Change all evaluations of a sweep."""
    for point in sweep.points:
        file = sweep.path / point.evaluation
        msgspec.structs.replace(load_evaluation(file), **fields).save(file.parent)


def test_settings_stand_best_first_and_those_that_failed_last_with_their_reason(sizes):
    found = contents(sizes)
    table = found.settings
    assert table.header[:5] == ("sample", "backend", "Accuracy", "±", "Seeds")
    figures = [row[2].figure.value for row in table.rows[:-1]]
    assert figures == sorted(figures, reverse=True)
    assert all(row[2].has_interval and not row[3].has_interval and row[4] == 3 for row in table.rows[:-1])
    assert (table.rows[-1][:5], table.rows[-1][-1]) == (("100", "xtuner", None, None, 0), "✗ failed")
    assert found.failures.rows == (("sample=100, backend=xtuner", "the disk is full: `runs` needs 1.2 GB more"),)


def test_the_curve_has_a_line_for_each_backend_baselines_by_size_and_the_model_before(sizes):
    curve = contents(sizes).curve
    lines = {line.name: [dot.measure.size for dot in line.dots] for line in curve.lines}
    assert lines["backend=llamafactory"] == [100, 500, 1000, 2000]
    assert lines["backend=xtuner"] == [500, 1000, 2000]
    assert lines["Baseline: word counts (TF-IDF with logistic regression)"] == [100, 500, 1000, 2000]
    assert lines["Before training"] == [100, 2000]
    before = curve.lines[-1].dots
    assert before[0].y == before[1].y
    assert curve.logarithmic
    assert "the last step from 1,000 to 2,000 samples" in contents(sizes).look


def test_two_options_have_a_map_with_the_failed_cell_marked(sizes):
    (found,) = contents(sizes).maps
    assert (found.down, found.across, found.columns) == ("sample", "backend", ("xtuner", "llamafactory"))
    assert [row for row, _ in found.rows] == ["100", "500", "1000", "2000"]
    failed = found.rows[0][1][0]
    assert (failed.value, failed.failed, failed.level) == (None, 1, 0)


def test_what_was_the_same_and_each_training_are_told(sizes):
    found = contents(sizes)
    same = dict(found.same.rows)
    assert (same["model"], same["epochs"]) == ("models/Qwen2.5-0.5B-Instruct", "3")
    assert same["Test questions"] == "news-test, 120 questions"
    assert same["Are they the same questions?"].startswith("yes")
    assert same["Were test questions trained on?"] == "none, in any training"
    assert len(found.trainings.rows) == 24
    assert {row[2] for row in found.trainings.rows if row[2]} == {point.run for point in sizes.points if point.run}


def test_of_three_options_the_maps_leave_out_the_size(tmp_path):
    sweep = write_sweep(
        tmp_path, settings=grid(sample=[100, 500], lora_rank=[16, 8], backend=["a", "b"]), seeds=(1,), items=40
    )
    (found,) = contents(sweep).maps
    assert (found.down, [row for row, _ in found.rows], found.across) == ("lora_rank", ["8", "16"], "backend")


def test_a_random_choice_has_no_map_and_no_more_than_ten_bars(tmp_path):
    settings = [{"learning_rate": at / 1e5, "lora_dropout": at / 50} for at in range(1, 13)]
    found = contents(write_sweep(tmp_path, settings=settings, seeds=(None,), items=40))
    assert (found.maps, found.curve) == ((), None)
    assert len(found.intervals.bars) == 10
    assert "±" not in found.settings.header


def test_of_many_lines_the_best_are_drawn(tmp_path):
    settings = grid(sample=[100, 500], lora_rank=[1, 2, 3, 4, 5, 6, 7, 8])
    found = contents(write_sweep(tmp_path, settings=settings, seeds=(1,), items=40))
    assert [line.kind for line in found.curve.lines].count("setting") == MOST_LINES
    assert found.left_out == 2


def test_chinese_values_and_options_that_a_point_lacks(tmp_path):
    settings = [
        {"system": "你是助手", "lora_rank": 8},
        {"system": "用中文回答"},
        {"sample": "all", "lora_rank": [1, 2]},
    ]
    found = contents(
        write_sweep(tmp_path, settings=settings, seeds=(1,), items=40, right=lambda *_: 0.8), language="zh"
    )
    cells = {cell for row in found.settings.rows for cell in row[:3]}
    assert cells == {"你是助手", "用中文回答", "默认", "8", "1,2", "all"}


def test_after_all_evaluations_are_gone_the_losses_are_told(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(sample=[100, 500, 1000]), seeds=(1, 2), items=40)
    for place in (sweep.path / "runs").glob("*/evaluations"):
        shutil.rmtree(place)
    found = contents(sweep, "loss")
    assert (found.metric, found.asked, found.settings.header[1]) == ("loss", "", "training loss")
    assert found.settings.rows[0][0] == "1000"
    assert found.curve.lines[0].dots[0].low is None
    assert {row[4] for row in found.trainings.rows} == {"trained, not measured"}


def test_after_all_runs_are_gone_nothing_is_told_but_the_settings(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(sample=[100, 500]), seeds=(1,), items=40)
    shutil.rmtree(sweep.path / "runs")
    found = contents(sweep)
    assert (found.metric, found.curve, found.maps, len(found.settings.rows)) == ("", None, (), 2)


def test_where_nothing_was_asked_there_is_no_chart(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(sample=[100, 500], lora_rank=[8, 16]), seeds=(1,), asked=False)
    found = contents_of(sweep, msgspec.structs.replace(results_of(sweep), metric=""), Words("en"))
    assert (found.curve, found.intervals, found.maps, found.figures) == (None, None, (), None)
    assert found.trainings.header == ("Setting", "Seed", "Run", "Status")
    assert {len(row) for row in found.trainings.rows} == {4}


@pytest.mark.parametrize(("leakage", "said"), [
    (None, "not known of 2 of 2 trainings"),
    (Leakage(questions=40, trained=3, dataset="x"), "yes, up to 3 of them: the figures are better than the models are"),
])  # fmt: skip
def test_questions_that_were_trained_on_are_told(tmp_path, leakage, said):
    sweep = write_sweep(tmp_path, settings=grid(lora_rank=[8, 16]), seeds=(1,), items=40)
    change_evaluations(sweep, leakage=leakage)
    assert dict(contents(sweep).same.rows)["Were test questions trained on?"] == said


def test_a_setting_with_a_seed_that_failed_has_its_figures_and_its_reason(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(lora_rank=[8, 16]), seeds=(1, 2, 3), items=40, failed={(1, 2)})
    found = contents(sweep)
    row = next(row for row in found.settings.rows if row[0] == "16")
    assert (isinstance(row[1], Number), row[3], row[-1]) == (True, 2, "✗ failed")
    assert len(found.failures.rows) == 1


def test_a_sweep_is_found_by_what_it_varies(sizes):
    assert contents(find_sweep(Project.find())).subtitle == "The sweep sizes: 8 settings, 24 trainings"
