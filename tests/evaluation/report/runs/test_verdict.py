"""The verdict: what somebody is told who knows nothing of it."""

import re

import msgspec
import pytest

from ftbridge.evaluation.record import Comparison, Figure, Leakage, load_evaluation
from ftbridge.evaluation.report.runs.verdict import about_questions, change_of, change_sentence, judge
from ftbridge.evaluation.report.words import Words
from tests.builders.evaluations import LABELS, draw, evaluation, generation, prediction

EN = Words("en")


def mirrored(figure):
    return msgspec.structs.replace(figure, value=-figure.value, low=-figure.high, high=-figure.low)


def comparison(value, low, high, p, first="m", second="before", items=300):
    figure = Figure(value=value, low=low, high=high, items=items, method="bootstrap")
    return Comparison(
        first=first, second=second, items=items, both=200, only_first=21, only_second=9, neither=70, p_value=p,
        differences={"accuracy": figure, "macro_f1": figure}, sentence="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        (comparison(0.04, 0.004, 0.076, 0.04), "better"),
        (comparison(0.04, -0.004, 0.084, 0.06), "unclear"),
        (comparison(-0.04, -0.076, -0.004, 0.04), "worse"),
        (comparison(0.0, 0.0, 0.0, 1.0), "unclear"),
    ],
)
def test_the_exact_test_decides_on_accuracy(pair, kind):
    assert change_of(pair, "accuracy", "m").kind == kind


def test_where_nothing_is_right_or_wrong_the_interval_decides():
    assert change_of(comparison(0.04, 0.01, 0.07, None), "macro_f1", "m").kind == "better"
    assert change_of(comparison(0.04, -0.01, 0.07, 0.001), "macro_f1", "m").kind == "unclear"


def test_an_interval_of_a_few_items_is_not_believed():
    assert change_of(comparison(0.4, 0.1, 0.7, None, items=29), "macro_f1", "m").kind == "few"
    assert change_of(comparison(0.4, 0.1, 0.7, None, items=30), "macro_f1", "m").kind == "better"
    assert change_of(comparison(0.4, -0.1, 0.7, None, items=20), "macro_f1", "m").kind == "unclear"
    assert change_of(comparison(0.4, 0.1, 0.7, 0.01, items=20), "accuracy", "m").kind == "better"  # by the exact test


@pytest.mark.parametrize(
    ("answer", "before", "said"),
    [("yes", "no", "So far it points up: +31.0"), ("no", "yes", "So far it points down: \u221231.0")],
)
def test_of_few_texts_it_says_where_they_point_and_nothing_of_chance(tmp_path, answer, before, said):
    rows = [prediction(at, f"q{at}", answer, "yes") for at in range(1, 11)]
    base = [msgspec.structs.replace(row, answer=before) for row in rows]
    found = load_evaluation(generation(tmp_path, rows, before=base))
    pair = found.comparisons[0]
    if answer == "no":
        turned = {name: mirrored(figure) for name, figure in pair.differences.items()}
        found = msgspec.structs.replace(found, comparisons=(msgspec.structs.replace(pair, differences=turned),))
    told = judge(found, EN)
    assert (told.kind, told.title) == ("few", "Too few questions to be sure")
    text = " ".join(told.sentences)
    assert f"Too few questions to be sure: 10, and at least 30 are needed. {said}" in text
    assert "chance" not in text
    assert "只有 10 道，至少需要 30 道" in " ".join(judge(found, Words("zh")).sentences)


def test_a_comparison_is_turned_to_the_model_that_is_asked_for():
    turned = change_of(comparison(0.04, 0.01, 0.07, 0.01, "other", "m"), "accuracy", "m")
    assert turned.kind == "worse"
    assert (turned.difference.value, turned.difference.low, turned.difference.high) == (-0.04, -0.07, -0.01)
    assert change_of(comparison(0.04, 0.01, 0.07, 0.01), "chrf", "m") is None


def verdict(tmp_path, right=0.9, before=0.4, words=EN, items=200, **fields):
    base = draw(items, LABELS, before, 2) if before else None
    return judge(load_evaluation(evaluation(tmp_path, draw(items, LABELS, right, 1), before=base, **fields)), words)


def test_a_gain_is_told_with_counts_and_its_chance(tmp_path):
    found = verdict(tmp_path)
    said = " ".join(found.sentences)
    assert (found.kind, found.title) == ("better", "Better, and not by chance")
    assert "of 200 test questions right" in said
    assert "far more than chance would explain" in said
    assert "Questions that were wrong before and are right now: " in said
    assert f"right before and are wrong now: {found.lost}." in said
    assert found.gained > found.lost > 0
    assert "(What p means: were the model no better and no worse" in said
    assert "clearly better than the best simple method, word counts (TF-IDF with logistic regression)" in said
    assert re.search(r"The difference is \+\d+\.\d percentage points \(95 % interval .*, p.=.0\.0\d+\)", said)
    assert "right by the model and wrong by the simple method" in said


@pytest.mark.parametrize(
    ("p", "told"), [(0.04, "about 4 of 100 "), (0.0026, "about 26 of 10,000 "), (1e-9, "fewer than 1 of 10,000 ")]
)
def test_p_is_told_in_words(tmp_path, p, told):
    rows = draw(40, LABELS, 0.9, 1)
    found = load_evaluation(evaluation(tmp_path, rows, before=rows))
    pair = comparison(0.1, 0.05, 0.15, p, first="news-lora")
    assert told in " ".join(judge(msgspec.structs.replace(found, comparisons=(pair,)), EN).sentences)


def test_no_difference_has_no_sign(tmp_path):
    rows = draw(120, LABELS, 0.9, 1)
    said = " ".join(judge(load_evaluation(evaluation(tmp_path, rows, before=rows)), EN).sentences)
    assert "The difference of 0.0 percentage points" in said
    zero = comparison(-0.0001, -0.0002, 0.0003, 1.0)
    assert "of 0.0 percentage points (95 % interval 0.0 to 0.0," in change_sentence(
        change_of(zero, "accuracy", "m"), EN
    )


def test_two_alike_may_be_chance(tmp_path):
    found = verdict(tmp_path, right=0.71, before=0.7)
    assert found.kind == "unclear"
    assert "may be chance" in " ".join(found.sentences)


def test_a_loss_is_said_as_plainly_as_a_gain(tmp_path):
    found = verdict(tmp_path, right=0.3, before=0.8)
    assert found.kind == "worse"
    assert "percentage points worse" in " ".join(found.sentences)
    assert "A simple method does better" in " ".join(found.sentences)


def test_who_was_not_asked_before_has_no_gain(tmp_path):
    found = verdict(tmp_path, before=None, baselines=False)
    assert found.kind == "unknown"
    assert found.sentences[-1].endswith("`ftbridge evaluate --before` tells.")


def test_both_languages_say_the_same_numbers(tmp_path):
    english, chinese = verdict(tmp_path), verdict(tmp_path, words=Words("zh"))
    assert chinese.title == "变好了，而且不是偶然"
    assert len(english.sentences) == len(chinese.sentences)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"leakage": Leakage(questions=200, trained=17, dataset="news-train")},
            "17 of 200 test questions were trained",
        ),
        ({"leakage": Leakage(questions=200, trained=None, dataset="", reason="gone")}, "cannot be told: gone."),
        ({"leakage": None}, "was not looked at"),
        ({"limit": 200}, "Only the first 200 questions"),
        ({"cut_answers": 12, "max_new_tokens": 64}, "Cut off at the limit of 64 tokens: 12 of 200 answers"),
        ({"items": 20}, "20 questions are few"),
        (
            {"labels": (*LABELS, "never seen")},
            "never occur among the test questions, so nothing is known of them: never",
        ),
    ],
)
def test_what_makes_figures_less_is_said(tmp_path, fields, words):
    assert words in " ".join(verdict(tmp_path, **fields).cautions)


def test_questions_that_were_kept_apart_are_said_to_be(tmp_path):
    found = load_evaluation(evaluation(tmp_path, draw(120, LABELS, 0.9, 1)))
    apart = "None of the 120 test questions was in the training data."
    assert about_questions(found, 120, EN) == about_questions(found, None, EN) == [apart]
    assert "30 of the 120 questions are different" in about_questions(found, 30, EN)[1]
    leak = Leakage(questions=120, trained=2, dataset="news-train")
    assert about_questions(msgspec.structs.replace(found, leakage=leak), 120, EN) == []


def test_answers_that_name_no_class_are_said(tmp_path):
    rows = draw(100, LABELS, 0.6, 1, unread=0.3)
    found = judge(load_evaluation(evaluation(tmp_path, rows)), EN)
    assert any("name none of the classes" in caution for caution in found.cautions)


def test_a_class_of_one_question_is_said_and_many_names_are_not_all(tmp_path):
    labels = [f"c{at}" for at in range(8)]
    rows = [prediction(at, f"q{at}", label, label) for at, label in enumerate(labels, 1)]
    found = judge(load_evaluation(evaluation(tmp_path, rows, labels=labels)), EN)
    assert any(caution.endswith("all or nothing: c0, c1, c2 and 5 more.") for caution in found.cautions)


def test_free_text_is_judged_by_chrf_and_its_interval(tmp_path):
    rows = [prediction(at, f"q{at}", "yes", "yes") for at in range(1, 121)]
    before = [msgspec.structs.replace(row, answer="no") for row in rows]
    found = judge(load_evaluation(generation(tmp_path, rows, before=before)), EN)
    assert found.kind == "better"
    assert "agrees with the right answers to 62.0\u202f% (chrF)" in found.sentences[0]
    assert not any("only after" in sentence for sentence in found.sentences)


def test_answers_before_that_were_cut_are_told(tmp_path):
    before = draw(200, LABELS, 0.5, 2)
    cut = [msgspec.structs.replace(row, finish_reason="length") for row in before[:7]] + before[7:]
    found = load_evaluation(evaluation(tmp_path, draw(200, LABELS, 0.8, 1), before=cut))
    told = " ".join(judge(found, Words("en")).cautions)
    assert "Before the training, 7 of 200 answers were cut off at that limit" in told
