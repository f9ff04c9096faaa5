"""Free text: BLEU and chrF are sacrebleu's, the rest is counted by hand."""

import importlib.util
import random

import pytest
from sacrebleu import BLEU, CHRF

from ftbridge.evaluation.scoring.generation import Generation, tokenize_for
from ftbridge.evaluation.scoring.intervals import bootstrap
from ftbridge.evaluation.scoring.rows import Row
from ftbridge.evaluation.scoring.score import compare, score

WORDS = [*"one two pills aspirin day with water and rest then call".split(), ",", "."]  # noqa: SIM905
CHINESE = "每天服用一两片阿司匹林并多喝水，然后休息。"


def rows(pairs, finish="stop"):
    return lambda: iter([Row(at, answer, right, finish) for at, (answer, right) in enumerate(pairs, 1)])


def texts(words, joint, count=60, seed=4):
    """Return pairs of texts of which the first is the second with a word in three changed."""
    drawn = random.Random(seed)  # noqa: S311
    pairs = []
    for _ in range(count):
        right = drawn.choices(words, k=drawn.randrange(5, 30))
        answer = [word if drawn.random() < 2 / 3 else drawn.choice(words) for word in right]
        pairs.append((joint.join(answer), joint.join(right)))
    return pairs


@pytest.mark.parametrize(("words", "joint", "tokenize"), [(WORDS, " ", "13a"), (CHINESE, "", "zh")])
def test_figures_of_all_texts_are_sacrebleus(words, joint, tokenize):
    pairs = texts(words, joint)
    assert tokenize_for(rows(pairs)) == tokenize
    found = score("generation", rows(pairs), draws=100).figures
    answers, right = map(list, zip(*pairs, strict=True))
    assert 100 * found["bleu"].value == pytest.approx(BLEU(tokenize=tokenize).corpus_score(answers, [right]).score)
    assert 100 * found["chrf"].value == pytest.approx(CHRF().corpus_score(answers, [right]).score)
    assert found["bleu"].low < found["bleu"].value < found["bleu"].high


@pytest.mark.parametrize("words", [CHINESE])
def test_intervals_equal_sacrebleus_but_for_its_random_numbers(words):
    pairs = texts(words, " " if words is WORDS else "", 200)
    answers, right = map(list, zip(*pairs, strict=True))
    found = score("generation", rows(pairs)).figures
    bleu = BLEU(tokenize=tokenize_for(rows(pairs))).corpus_score(answers, [right], n_bootstrap=1000)
    for name, expected in (("bleu", bleu), ("chrf", CHRF().corpus_score(answers, [right], n_bootstrap=1000))):
        half = 50 * (found[name].high - found[name].low)
        assert half == pytest.approx(expected._ci, rel=0.15)


def test_other_figures_equal_those_counted_by_hand():
    pairs = [("Take one.\n", " Take one."), ("Take two now", "take one"), ("", "rest"), ("休息一下", "休息")]
    found = score("generation", rows(pairs, "length")).figures
    assert list(found) == ["exact_match", "chrf", "bleu", "rouge_l", "answer_length", "reference_length", "ended"]
    assert (found["exact_match"].value, found["exact_match"].method) == (1 / 4, "wilson")
    assert found["rouge_l"].value == pytest.approx((1 + 2 * 1 / 5 + 0 + 2 * 2 / 6) / 4)
    assert found["answer_length"].value == (9 + 12 + 0 + 4) / 4
    assert found["reference_length"].value == (9 + 8 + 4 + 2) / 4
    assert (found["ended"].value, found["ended"].high < 1) == (0, True)


def test_empty_answers_are_judged():
    found = score("generation", rows([("", "one two three four five")] * 40)).figures
    assert found["bleu"].value == found["chrf"].value == found["rouge_l"].value == 0
    assert score("generation", rows([("", "")] * 3)).figures["exact_match"].value == 1


def test_without_sacrebleu_its_figures_are_left_out_and_how_to_get_them_is_said(monkeypatch):
    found_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "ftbridge.evaluation.scoring.overlap.find_spec",
        lambda name: None if name == "sacrebleu" else found_spec(name),
    )
    pairs = texts(WORDS, " ")
    found = score("generation", rows(pairs), draws=20)
    assert list(found.figures) == ["exact_match", "rouge_l", "answer_length", "reference_length", "ended"]
    assert "`pip install '.[evaluation]'`" in found.notes[0]
    compared = compare("generation", rows(pairs), rows(pairs), ("A", "B"), draws=20)
    assert "No difference in ROUGE-L" in compared.sentence


def test_a_comparison_is_paired():
    """Where one model adds a word to each answer of the other, the difference is surer than either figure."""
    pairs = texts(WORDS, " ", 100)
    longer = [(f"{answer} indeed", right) for answer, right in pairs]
    found = compare("generation", rows(pairs), rows(longer), ("new", "old"), draws=300)
    one, other = (score("generation", rows(each), draws=300).figures["chrf"] for each in (pairs, longer))
    difference = found.differences["chrf"]
    assert difference.value == pytest.approx(one.value - other.value)
    assert 0 < difference.low < difference.high
    assert difference.high - difference.low < (one.high - one.low) / 2
    assert "new is better by" in found.sentence
    assert "reference_length" not in found.differences
    assert found.p_value is None


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(4000, marks=pytest.mark.slow),
        pytest.param(1_000_000, marks=[pytest.mark.nightly, pytest.mark.timeout(7200)]),
    ],
)
def test_memory_is_flat(grown, count):
    watched, mebibytes = grown
    some = [right for _, right in texts(WORDS, " ", 50)]
    rows = (Row(at, f"{some[at % 50]} {at}", f"{some[at % 49]} {at}", "stop") for at in range(count))
    judge = Generation("13a")
    judge.figures(bootstrap(judge.chunks((row,) for row in watched(rows, count)), count, judge.figures, 1000, 0).sums)
    assert mebibytes() < 40
