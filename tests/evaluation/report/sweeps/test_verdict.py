"""What is said of a sweep: who is best, whether that is more than chance, and what failed."""

import shutil

import msgspec
import pytest

from ftbridge.evaluation.record import load_evaluation
from ftbridge.evaluation.report.sweeps.verdict import judge, lead
from ftbridge.evaluation.report.words import Words
from ftbridge.evaluation.sweep.results import results_of
from tests.builders.sweeps import grid, write_sweep

RANKS = grid(lora_rank=[8, 16])


def verdict(sweep, metric="", language="en"):
    return judge(sweep, results_of(sweep, metric), Words(language))


def told(sweep, metric=""):
    found = verdict(sweep, metric)
    return " ".join((found.title, *found.sentences, "|", *found.cautions))


def by_rank(*shares):
    """Return a function by which the ranks 8 and 16 have these shares of questions right."""
    return lambda values, _: shares[values["lora_rank"] == 16]


def test_the_best_setting_is_named_with_its_lead_its_seeds_and_its_baseline(sizes):
    found = verdict(sizes, "macro_f1")
    assert found.title.endswith(": sample=2000, backend=xtuner")
    text = " ".join(found.sentences)
    assert "8 settings of `sample`, `backend` were tried, in 24 trainings." in text
    assert "the mean of 3 trainings that differ in their seed alone" in text
    assert "The second best, `sample=" in text
    assert "On the same 120 questions the best is ahead by" in text
    assert "Of 3 pairs of trainings with the same seed, it was better in" in text
    assert "better than the best simple method, word counts" in text
    assert "Of 8 settings, 1 failed, in part or in all; the others went on." in text
    assert "`sample=100, backend=xtuner`: the disk is full: `runs` needs 1.2 GB more." in text
    assert "The best of 7 settings is among the luckier ones" in found.cautions[0]


def test_the_same_is_said_in_chinese(sizes):
    found = verdict(sizes, language="zh")
    assert "sample=2000, backend=xtuner" in found.title
    assert len(found.sentences) == len(verdict(sizes).sentences)
    assert any("在同样的 120 道题上" in sentence for sentence in found.sentences)


@pytest.mark.parametrize(("shares", "seeds", "kind"), [
    ((0.6, 0.9), (1, 2), "better"), ((0.6, 0.9), (None,), "better"), ((0.8, 0.81), (1, 2), "unclear"),
])  # fmt: skip
def test_a_lead_is_more_than_chance_where_it_is_large(tmp_path, shares, seeds, kind):
    sweep = write_sweep(tmp_path, settings=RANKS, seeds=seeds, items=200, right=by_rank(*shares))
    rows = results_of(sweep).rows
    found = lead(*rows, "accuracy")
    assert (found.kind, found.pairs, found.items) == (kind, len(seeds), 200)
    gap = rows[0].figures["accuracy"].mean - rows[1].figures["accuracy"].mean
    assert found.difference.value == pytest.approx(gap)
    assert (found.p_value is None) == (len(seeds) > 1)
    assert verdict(sweep).kind == kind


def test_trainings_of_the_same_seed_are_compared(tmp_path):
    sweep = write_sweep(tmp_path, settings=RANKS, seeds=(1, 2), failed={(0, 1), (1, 1)}, right=by_rank(0.6, 0.9))
    assert lead(*results_of(sweep).rows, "accuracy").pairs == 1


def test_without_answers_the_lead_is_not_told_from_chance(tmp_path):
    sweep = write_sweep(tmp_path, settings=RANKS, seeds=(1,), items=60)
    for place in (sweep.path / "runs").glob("*/evaluations/*/answers"):
        shutil.rmtree(place)
    found = verdict(sweep)
    assert found.kind == "unknown"
    assert "the answers to compare are not there any more" in " ".join(found.sentences)


def test_different_questions_are_not_compared(tmp_path):
    sweep = write_sweep(tmp_path, settings=RANKS, seeds=(1,), items=60)
    file = sweep.path / sweep.points[0].evaluation
    msgspec.structs.replace(load_evaluation(file), data="other").save(file.parent)
    assert "the settings were asked different questions" in told(sweep)


def test_by_the_loss_less_is_better_and_no_question_is_compared(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(sample=[100, 2000]), seeds=(1,), asked=False)
    text = told(sweep, "loss")
    assert "The best is `sample=2000`: training loss 0.2300." in text
    assert "reaches 0.6100. Whether that lead is more than chance cannot be told: losses are not compared" in text
    assert "%" not in text


def test_of_settings_that_are_equally_good_none_is_called_ahead(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(lora_rank=[1, 2, 3, 4, 5]), seeds=(1,), items=40, right=lambda *_: 1.0)
    found = verdict(sweep)
    assert (found.kind, found.title) == ("unclear", "No single best: 5 settings are equally good")
    assert "Exactly as good are `lora_rank=1`, `lora_rank=2`, `lora_rank=3` and 2 more" in " ".join(found.sentences)
    assert "worst" not in " ".join(found.sentences)


def test_one_setting_is_compared_with_nothing(tmp_path):
    found = verdict(write_sweep(tmp_path, settings=[{}], seeds=(1,), items=60))
    assert (found.kind, found.title) == ("unknown", Words("en")("sweep_title_single"))
    assert "`as by default`" in found.sentences[1]


def test_where_all_failed_or_wait_nothing_is_best(tmp_path):
    every = {(0, 1), (1, 1)}
    failed = verdict(write_sweep(tmp_path, "failed", RANKS, seeds=(1,), failed=every))
    assert failed.title == "Nothing was measured: trainings failed"
    assert "1.2 GB more" in failed.sentences[-1]
    waiting = verdict(write_sweep(tmp_path, "waiting", RANKS, seeds=(1,), waiting=every))
    assert waiting.title == "Nothing was measured yet"
    assert "Trainings that still wait: 2" in waiting.sentences[0]


def test_where_nothing_was_asked_none_is_best(tmp_path):
    sweep = write_sweep(tmp_path, settings=RANKS, seeds=(1, 2), asked=False)
    unmeasured = msgspec.structs.replace(results_of(sweep), metric="")
    found = judge(sweep, unmeasured, Words("en"))
    assert (found.kind, found.title) == ("unknown", "Nothing was measured yet")
    assert found.sentences[1].startswith("Trained, and asked no test question yet: 4;")


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_of_few_questions_the_lead_is_told_and_not_believed(tmp_path, seeds):
    sweep = write_sweep(tmp_path, settings=RANKS, seeds=seeds, items=20, right=by_rank(0.1, 1.0))
    found = verdict(sweep, "macro_f1")
    assert (found.kind, found.title) == ("few", "Ahead so far, with too few questions to be sure: lora_rank=16")
    assert "Too few questions to be sure: 20, and at least 30 are needed. So far the best is ahead by" in told(
        sweep, "macro_f1"
    )


def test_of_many_failures_the_first_are_told(tmp_path):
    settings = grid(lora_rank=[1, 2, 3, 4, 5, 6])
    found = told(write_sweep(tmp_path, settings=settings, seeds=(1,), items=60, failed={(at, 1) for at in range(5)}))
    assert found.count("the disk is full") == 3
    assert "The other 2 stand in the table." in found


def test_one_seed_is_said_to_tell_little(tmp_path):
    assert "`--seeds 1,2,3` tells" in told(write_sweep(tmp_path, settings=RANKS, seeds=(None,), items=60))
