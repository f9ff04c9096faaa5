"""evaluation.json: kept where its run goes, and told where it is damaged or not there."""

from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.evaluation.record import FILE, evaluation_files, load_evaluation, main_figure
from ftbridge.launchers.runs.record import load_run

from ..builders.evaluations import write_news  # noqa: TID252


def test_evaluation_of_a_run_that_was_moved_finds_its_answers(tmp_path):
    file = write_news(tmp_path)
    found = load_evaluation(file)
    assert Path(found.predictions).is_file()
    run = file.parents[2]
    run.rename(tmp_path / "moved")
    (moved,) = evaluation_files(load_run(tmp_path / "moved"))
    again = load_evaluation(moved)
    assert Path(again.predictions) == tmp_path / "moved" / Path(found.predictions).relative_to(run)
    assert Path(again.before_predictions).is_file()
    assert load_evaluation(moved.parent) == again
    assert str(tmp_path) not in moved.read_text()


def test_main_figure_is_that_of_the_task(tmp_path):
    scores = load_evaluation(write_news(tmp_path)).scores
    assert scores.main_figure == "accuracy"
    assert main_figure(["exact_match", "rouge_l", "chrf"]) == "chrf"


def test_damaged_or_missing_evaluation_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=rf"no `{FILE}` in .*`ftbridge evaluate` writes one"):
        load_evaluation(tmp_path)
    for content in ("{", '{"model": 1}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(InputError, match=r"is damaged; evaluate again"):
            load_evaluation(tmp_path)
