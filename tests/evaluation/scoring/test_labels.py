"""Exact match and labels, against figures counted by hand."""

import builtins

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.core.errors import SetupError
from ftbridge.evaluation.scoring.labels import Parser, measure, require_scikit_learn

PATENTS = ["Chemistry; Metallurgy", "Textiles; Paper", "Physics", "Electricity"]


@pytest.mark.parametrize(
    ("labels", "answer", "expected"),
    [
        (PATENTS, "Physics", ("Physics", "exact")),
        (PATENTS, "\n Physics ", ("Physics", "exact")),
        (PATENTS, "“chemistry;  metallurgy”.", ("Chemistry; Metallurgy", "normalized")),
        (PATENTS, "\N{FULLWIDTH LATIN CAPITAL LETTER P}hysics。", ("Physics", "normalized")),
        (PATENTS, "The category is **Electricity**, since a battery is charged.", ("Electricity", "contained")),
        (PATENTS, "Physics or Electricity", ("", "unparseable")),
        (PATENTS, "Geophysics", ("", "unparseable")),
        (PATENTS, "", ("", "unparseable")),
        (["正面", "负面"], "这条评论的情感倾向是正面的。", ("正面", "contained")),
        (["Sports", "Politics"], "类别是Sports类", ("Sports", "contained")),
        (["complaint", "no complaint"], "It is no complaint!", ("no complaint", "contained")),
        (["complaint", "no complaint"], "A complaint, not no complaint", ("", "unparseable")),
        (["1", "10"], "10.", ("10", "normalized")),
        (["A", "a"], "a", ("a", "exact")),
        (["A", "a"], "a.", ("", "unparseable")),
        (["+", "-"], " + ", ("+", "exact")),
        (["C++", "C"], "c++", ("C++", "normalized")),
        (["C#", "C"], "c#.", ("C#", "normalized")),
        (["C++", "C"], "I take C++, of course", ("C++", "contained")),
        (["-1", "0", "1"], "-1.", ("-1", "normalized")),
        (["-1", "0", "1"], "It is -1, so", ("-1", "contained")),
        (["-1", "0"], "1", ("", "unparseable")),
        (["A", "A-", "A+"], "a-", ("A-", "normalized")),
        (["A", "A-", "A+"], "Grade: A-, well done", ("A-", "contained")),
        (["A", "B"], "N/A", ("", "unparseable")),
        (["A", "B"], "I'd say B", ("B", "contained")),
        (["toxic", "fine"], "non-toxic", ("", "unparseable")),
        (["toxic", "non-toxic"], "It is non toxic.", ("non-toxic", "contained")),
        (["toxic", "non-toxic"], "nontoxic", ("non-toxic", "contained")),
        (["nontoxic", "non-toxic"], "it is non-toxic", ("non-toxic", "contained")),
        (["1", "-1"], "\N{MINUS SIGN}1", ("-1", "normalized")),
        (["C", "D"], "C\N{MUSIC SHARP SIGN}", ("", "unparseable")),
        (["toxic", "fine"], "a toxic-sounding word", ("toxic", "contained")),
        (["NET", ".NET"], ".net", (".NET", "normalized")),
        (["NET", ".NET"], "...net", ("NET", "normalized")),
        (["12", "2"], "1\N{SUPERSCRIPT TWO}", ("", "unparseable")),
        (["1", "5"], "\N{FULLWIDTH DIGIT ONE}\u3002", ("1", "normalized")),
        (["1", "5"], "<answer>1</answer>", ("1", "contained")),
        (["1", "5"], "- 1", ("1", "normalized")),
        (["1", "5"], "5\u5206", ("5", "contained")),
        (["1", "5"], "\u7b54\u6848\u2014\u20141", ("1", "contained")),
        (
            ["\u30ac"],
            "\N{HALFWIDTH KATAKANA LETTER KA}\N{HALFWIDTH KATAKANA VOICED SOUND MARK}",
            ("\u30ac", "normalized"),
        ),
    ],
)
def test_answer_is_read_as_the_label_that_it_names(labels, answer, expected):
    assert Parser(labels).read(answer) == expected


MINUS, DASH, SQUARED, DEGREE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{SUPERSCRIPT TWO}", "\N{DEGREE SIGN}"
OTHERS = {
    "1": [
        "-1",
        f"{MINUS}1",
        f"{DASH}1",
        "\u8d1f1",
        "+1",
        "$1",
        "<1",
        "~1",
        "1%",
        "1 %",
        "1+",
        f"1{DEGREE}",
        f"1{SQUARED}",
    ],
    "5": [".5", "0.5", "5.1", "5,000", "5:1", "1/5", "1-5", "-5.5"],
    "35": ["3.5", "35%", "-35", "35.0"],
    "-1": ["1", "10-1", "--1", "-1.5", "-1%", "-10"],
    "50%": ["50", "5", "-50%", "0.50%"],
    "A": ["A-", "A+", f"A{MINUS}", "A#", "A+B", "A/B", "A_B", "Q&A", "B-A", ".A"],
    "A-": ["A", "A+", "A--", "A-b"],
    "C": ["C++", "C#", "c++"],
    "C++": ["C", "C#", "c+"],
    "NET": [".NET", "non-net"],
    ".NET": ["NET"],
}


@pytest.mark.parametrize("around", ["{}", "{}.", "({})", "So: {}, yes", "**{}**", "\N{LEFT DOUBLE QUOTATION MARK}{}!"])
@pytest.mark.parametrize(("label", "other"), [(label, other) for label, others in OTHERS.items() for other in others])
def test_labels_that_differ_by_signs_are_told_apart(label, other, around):
    assert Parser([label]).read(around.format(other)) == ("", "unparseable")
    parser = Parser([label, other])
    assert parser.read(around.format(other))[0] == other
    assert parser.read(around.format(label))[0] == label


@given(st.lists(st.text().map(str.strip).filter(bool), min_size=1, unique=True), st.text(), st.data())
def test_a_label_is_read_as_itself_and_no_other_is_made_up(labels, answer, data):
    parser = Parser(labels)
    label, how = parser.read(answer)
    assert (label in labels) is (how != "unparseable")
    own = data.draw(st.sampled_from(labels))
    assert parser.read(f" {own}\n") == (own, "exact")
    assert Parser([own]).read(f"So: {own}!")[0] == own


def test_exact_match_leaves_blanks_at_the_ends_alone():
    found = measure([(" Take one.\n", "Take one.", "stop"), ("take one.", "Take one.", "length")], (), "")
    assert (found.samples, found.exact, found.exact_match, found.labels) == (2, 1, 0.5, None)
    assert found.finish == {"stop": 1, "length": 1}


def test_metrics_equal_figures_counted_by_hand():
    given = ["a", "a", "b", "I do not know", "b", "a"]
    references = ["a", "a", "a", "b", "b", "c"]
    found = measure([(a, r, "stop") for a, r in zip(given, references, strict=True)], ("a", "b", "c", "d"), "me").labels
    # a: 2 of 3 given are right, 2 of 3 are found; b: 1 of 2 and 1 of 2; c: none and none; d does not occur.
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.precision == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.recall == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.f1 == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.parsed == {"exact": 5, "normalized": 0, "contained": 0, "unparseable": 1}
    assert found.labels == {"a": 3, "b": 2, "c": 1, "d": 0}
    assert found.origin == "me"


def test_label_that_is_answered_but_never_right_lowers_the_average():
    rows = [("a", "a", "stop"), ("b", "a", "stop")]
    found = measure(rows, ("a", "b"), "me").labels
    assert (found.precision, found.recall) == (pytest.approx(0.5), pytest.approx(0.25))


def test_right_labels_in_other_words_give_full_scores_but_no_exact_match():
    found = measure([("A.", "a", "stop"), ("b", "b", "stop")], ("a", "b"), "me")
    assert (found.exact_match, found.labels.accuracy, found.labels.f1) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("references", "labels"),
    [
        (["Sports", "Politics"] * 2, ["Politics", "Sports"]),
        (["Sports", "Politics", "Economy"], None),
        (["the same"] * 9, None),
        (["two\nlines", "one"] * 9, None),
        (["x" * 81, "y"] * 9, None),
        (["", "y"] * 9, None),
    ],
)
def test_repeated_references_are_taken_for_labels(references, labels):
    found = measure([("", reference, "stop") for reference in references], (), "").labels
    assert (found and list(found.labels)) == labels


def test_missing_scikit_learn_is_refused_with_the_install_command(monkeypatch):
    found = builtins.__import__

    def missing(name, *rest):
        if name == "sklearn":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    require_scikit_learn((), ["free text", "of all kinds"])
    with pytest.raises(SetupError, match=r"`pip install '\.\[metrics\]'`"):
        require_scikit_learn(("a",), ["a"])
