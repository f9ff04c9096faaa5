"""Tables of figures that several commands print."""

from msgspec.structs import replace

from ftbridge.cli.figures import best_run, failed_points, figures_table, prompts_table, sweep_table
from ftbridge.core.console import are_numbers
from ftbridge.evaluation.record import Prompted, load_evaluation
from ftbridge.evaluation.sweep.results import results_of
from tests.builders.evaluations import write_news
from tests.builders.sweeps import write_sweep


def test_models_stand_beside_those_before_and_beside_baselines(tmp_path):
    write_news(tmp_path, items=40)
    found = load_evaluation(tmp_path / "runs/news-lora/evaluations/news-test")
    other = replace(found, model=replace(found.model, title="other"))
    header, items, accuracy, *_ = figures_table("news-test", [found, other])
    assert header == ("news-test", found.model.title, "other", "before", "most-frequent", "tfidf")
    assert items == ("items", *["40"] * 5)
    assert are_numbers(accuracy)


def test_what_is_compared_with_other_answers_has_a_column_of_its_own(tmp_path):
    write_news(tmp_path, items=40)
    found = load_evaluation(tmp_path / "runs/news-lora/evaluations/news-test")
    other = replace(found, model=replace(found.model, title="other"), before=found.scores)
    assert "before (other)" in figures_table("news-test", [found, other])[0]


def test_prompts_stand_in_a_line_with_the_answers_before_and_after(tmp_path):
    write_news(tmp_path, items=40)
    found = load_evaluation(tmp_path / "runs/news-lora/evaluations/news-test")
    asked = replace(found, prompts=(Prompted(prompt="who\nare you?", answer="x" * 99, before="me"),))
    header, line = prompts_table(asked, several=False)
    assert header == ("prompt", "before", "after")
    assert line == ("who are you?", "me", f"{'x' * 60} ...")


def test_a_sweep_is_shown_best_first_with_what_failed(tmp_path):
    swept = write_sweep(tmp_path, settings=[{"sample": 100}, {"sample": 500}], items=20, seeds=(1, 2), failed={(0, 1)})
    table, failed = sweep_table(results_of(swept))
    assert [row[1] for row in table] == ["sample", "500", "100"]
    assert failed.startswith("sample=100, seed 1: ")


def test_of_a_sweep_the_best_run_and_what_failed_are_named(tmp_path):
    found = results_of(write_sweep(tmp_path, failed={(0, 1), (0, 2)}, items=20, seeds=(1, 2)))
    assert best_run(found).parent == tmp_path / "sweeps" / "sizes" / "runs"
    assert failed_points(found).startswith("2 of 16 points failed")


def test_a_sweep_in_which_nothing_was_measured_has_no_best_one(tmp_path):
    found = results_of(write_sweep(tmp_path, items=20, seeds=(1,), asked=False))
    assert best_run(found) is None
    assert failed_points(found) == ""
    assert "95 % interval" not in sweep_table(found)[0][0]
