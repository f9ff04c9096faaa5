"""Answers that are labels: the figures are scikit-learn's, and those that are counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ftbridge.evaluation.scoring.rows import Row
from ftbridge.evaluation.scoring.score import compare, score

BY_HAND = [("a", "a"), ("a", "a"), ("b", "a"), ("I do not know", "b"), ("b", "b"), ("a", "c")]


def rows(pairs):
    return lambda: iter([Row(at, answer, right, "stop") for at, (answer, right) in enumerate(pairs, 1)])


def test_figures_equal_those_counted_by_hand():
    found = score("classification", rows(BY_HAND), ("a", "b", "c", "d"))
    # a: 2 of 3 given are right, 2 of 3 are found; b: 1 of 2 and 1 of 2; c: none and none; d does not occur.
    values = {name: each.value for name, each in found.figures.items()}
    macro = pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert list(values) == ["accuracy", "macro_precision", "macro_recall", "macro_f1", "kappa"]
    assert values["accuracy"] == pytest.approx(3 / 6)
    assert values["macro_precision"] == values["macro_recall"] == values["macro_f1"] == macro
    by_chance = (3 * 3 + 2 * 2) / 36
    assert values["kappa"] == pytest.approx((3 / 6 - by_chance) / (1 - by_chance))
    assert found.parsed == {"exact": 5, "normalized": 0, "contained": 0, "unparseable": 1}
    assert found.confusion.labels == ("a", "b", "c", "d")
    assert found.confusion.counts == ((2, 1, 0, 0, 0), (0, 1, 0, 0, 1), (1, 0, 0, 0, 0), (0, 0, 0, 0, 0))
    assert [(each.name, each.support) for each in found.classes] == [("a", 3), ("b", 2), ("c", 1), ("d", 0)]
    (a, _, _, d) = found.classes
    assert (a.precision.items, a.recall.items, a.f1.items) == (3, 3, 4)
    assert (a.precision.method, a.f1.method) == ("wilson", "bootstrap")
    assert (d.f1.value, d.f1.low, d.f1.high, d.f1.items) == (0, 0, 1, 0)


LABELS = ["a", "b", "cat", "cat food"]


@given(st.lists(st.tuples(st.sampled_from([*LABELS, "?"]), st.sampled_from(LABELS)), min_size=1, max_size=40))
def test_figures_equal_scikit_learns(pairs):
    found = score("classification", rows(pairs), LABELS, draws=20)
    given_answers, right = zip(*pairs, strict=True)
    occurring = [label for label in LABELS if label in {*given_answers, *right}]
    one = {"y_true": right, "y_pred": given_answers, "zero_division": 0}
    macro = metrics.precision_recall_fscore_support(**one, labels=occurring, average="macro")
    values = {name: each.value for name, each in found.figures.items()}
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(right, given_answers))
    assert [values[f"macro_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(macro[:3])
    if len({*given_answers, *right}) > 1:
        assert values["kappa"] == pytest.approx(metrics.cohen_kappa_score(right, given_answers))
    each = metrics.precision_recall_fscore_support(**one, labels=LABELS)
    for name, expected in zip(("precision", "recall", "f1"), each, strict=False):
        assert [getattr(label, name).value for label in found.classes] == pytest.approx(expected.tolist())
    assert [label.support for label in found.classes] == each[3].tolist()
    table = metrics.confusion_matrix(right, given_answers, labels=[*LABELS, "?"])[:-1]
    assert found.confusion.counts == tuple(map(tuple, table.tolist()))


def test_a_label_that_is_answered_but_never_right_lowers_the_average():
    found = score("classification", rows([("a", "a"), ("b", "a")]), ("a", "b")).figures
    assert (found["macro_precision"].value, found["macro_recall"].value) == (0.5, 0.25)


def test_right_labels_in_other_words_are_right():
    found = score("classification", rows([("A.", "a"), ("It is b!", "b")]), ("a", "b"))
    assert found.figures["accuracy"].value == found.figures["macro_f1"].value == found.figures["kappa"].value == 1
    assert found.parsed == {"exact": 0, "normalized": 1, "contained": 1, "unparseable": 0}


def test_what_a_reader_has_to_know_is_said():
    found = score("classification", rows(BY_HAND), ("a", "b", "c", "d"))
    assert found.notes[:3] == (
        "`d` never occurs among the right answers",
        "`c`: only one item has this label, so its recall is 0 or 1",
        "1 of 6 answers could not be read as a label, and are wrong",
    )
    unread = score("classification", rows([("?", "a"), ("?", "b")] * 20))
    assert unread.notes[0].startswith("no answer could be read as a label")
    assert unread.figures["macro_f1"].value == unread.figures["kappa"].value == 0
    alone = score("classification", rows([("a", "a")] * 40))
    assert alone.notes[0].startswith("all right answers are one label")
    assert alone.figures["kappa"].value == 0
    assert alone.notes[1].startswith("all answers score the same in macro precision, macro recall, macro f1")


def test_a_hundred_labels_that_hold_each_other():
    labels = [f"cat {number}" for number in range(99)] + ["cat"]
    found = score("classification", rows([(f"It is {label}.", label) for label in labels * 2]), labels, draws=50)
    assert found.figures["accuracy"].value == 1
    assert len(found.confusion.counts) == 100
    assert len(found.confusion.counts[0]) == 101


def test_a_comparison_counts_who_was_right():
    right = ["a", "b"] * 150
    first = [label if at % 10 else "?" for at, label in enumerate(right)]
    second = [label if at % 6 else "?" for at, label in enumerate(right)]
    titles = ("new", "old")
    found = compare(
        "classification",
        rows(list(zip(first, right, strict=True))),
        rows(list(zip(second, right, strict=True))),
        titles,
    )
    assert (found.items, found.both, found.only_first, found.only_second, found.neither) == (300, 230, 40, 20, 10)
    assert found.p_value == pytest.approx(0.0135, abs=1e-4)
    expected = [
        score("classification", rows(list(zip(each, right, strict=True)))).figures["macro_f1"].value
        for each in (first, second)
    ]
    assert found.differences["macro_f1"].value == pytest.approx(expected[0] - expected[1])
    assert found.differences["accuracy"].low < 20 / 300 < found.differences["accuracy"].high
