"""Which task it is, what is said beside the figures, and the sentence of a comparison."""

import random
import re

import pytest

from ftbridge.core.errors import InputError
from ftbridge.evaluation.scoring.score import Row, compare, find_task, known_labels, score

ENTITIES = '[{"text": "aspirin", "type": "drug"}]'


def rows(pairs, finish="stop", first=1):
    return lambda: iter([Row(at, answer, right, finish) for at, (answer, right) in enumerate(pairs, first)])


@pytest.mark.parametrize(
    ("references", "labels", "task"),
    [
        (["anything"], ["known"], "classification"),
        (["Sports", "Politics"] * 2, (), "classification"),
        (["tone: good", "tone: bad"] * 5, (), "classification"),
        (["Sports", "Politics", "Economy"], (), "generation"),
        (["the same"] * 9, (), "generation"),
        (["two\nlines", "one"] * 9, (), "generation"),
        (["x" * 81, "y"] * 9, (), "generation"),
        (["", "y"] * 9, (), "generation"),
        ([f"a text {number}" for number in range(101)] * 2, (), "generation"),
        ([ENTITIES, "[]", ENTITIES] * 9, (), "extraction"),
        ([f"drug: {number}\ndisease: {number}" for number in range(9)], (), "extraction"),
        ([f"Answer: {number}" for number in range(9)], (), "generation"),
        ([f"Why: {'long ' * 20}\nAnswer: {number}" for number in range(9)], (), "generation"),
        ([f"{number}: text" for number in range(300)], (), "generation"),
        ([], (), "generation"),
    ],
)
def test_the_references_tell_the_task(references, labels, task):
    assert find_task(iter(references), labels) == task


def test_free_text_is_told_by_its_beginning():
    def references():
        yield "x" * 81
        pytest.fail("one reference was enough")

    assert find_task(references(), ()) == "generation"


def test_references_are_labels_as_well():
    assert known_labels(rows([("", "c "), ("", "a"), ("", "b")]), [" b", "d", ""]) == ("b", "d", "a", "c")


@pytest.mark.parametrize(
    ("task", "references", "refusal"),
    [
        ("classification", [], "no answers to evaluate"),
        ("generation", [], "no answers to evaluate"),
        ("extraction", [], "no answers to evaluate"),
        ("classification", ["a", " "], "question 2 has no right answer"),
        ("classification", [str(number) for number in range(1001)], "more than 1,000 different right answers"),
    ],
)
def test_what_cannot_be_judged_is_refused(task, references, refusal):
    with pytest.raises(InputError, match=refusal):
        score(task, rows([("a", each) for each in references]))


@pytest.mark.parametrize("task", ["classification", "generation", "extraction"])
def test_answers_that_did_not_end_are_told_of(task):
    answers = [
        *([Row(1, "a: b", "a: b", "length")] * 17),
        *([Row(1, "", "b: c", "too_long")] * 2),
        Row(1, "", "b: d", "full"),
    ]
    answers += [Row(1, "b: c", "b: c", "stop")] * 20
    found = score(task, lambda: iter(answers), draws=20)
    assert found.finish == {"length": 17, "too_long": 2, "full": 1, "stop": 20}
    said = "; ".join(found.notes)
    assert "17 of 40 answers were cut by the limit of tokens: raise `--max-new-tokens`" in said
    assert "1 of 40 answers were cut since the model takes no more tokens" in said
    assert "2 of 40 answers are empty, and wrong, since the prompt is too long" in said
    assert found.rule
    assert found.main_figure in found.figures
    assert "only 40 items" not in said
    few = score(task, lambda: iter(answers[15:17]), draws=20)
    assert "only 2 items: the true values may be anywhere" in "; ".join(few.notes)


def answers(only_first, only_second, both=0, neither=0):
    outcomes = [(1, 0)] * only_first + [(0, 1)] * only_second + [(1, 1)] * both + [(0, 0)] * neither
    return [rows([("xy"[not each[side]], "x") for each in outcomes]) for side in (0, 1)]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            (21, 9, 200, 70),
            "300 items, 21 only A right, 9 only B right, p = 0.04. A is better by 4.0 points of accuracy",
        ),
        (
            (12, 9, 200, 79),
            "300 items, 12 only A right, 9 only B right, p = 0.66. A is ahead by 1.0 points of accuracy",
        ),
        (
            (9, 21, 200, 70),
            "300 items, 9 only A right, 21 only B right, p = 0.04. B is better by 4.0 points of accuracy",
        ),
        ((5, 5, 40, 0), "50 items, 5 only A right, 5 only B right, p = 1.00. No difference in accuracy is seen ("),
        ((30, 0, 70, 0), "100 items, 30 only A right, 0 only B right, p < 0.001. A is better by 30.0 points"),
        ((5, 0, 5, 0), "10 items, 5 only A right, 0 only B right, p = 0.06. A is ahead by 50.0 points"),
        ((39, 23, 0, 0), "62 items, 39 only A right, 23 only B right, p = 0.06."),
        ((39, 22, 0, 0), "61 items, 39 only A right, 22 only B right, p = 0.04."),
        ((8, 1, 0, 0), "9 items, 8 only A right, 1 only B right, p = 0.04."),
        ((12, 1, 0, 0), "13 items, 12 only A right, 1 only B right, p = 0.003."),
    ],
)
def test_a_comparison_says_whether_the_difference_may_be_chance(counts, said):
    found = compare("classification", *answers(*counts), ("A", "B"), ("x", "y"))
    assert found.sentence.startswith(said)
    assert re.search(
        r"is better by [0-9.]+ points of accuracy \([0-9.-]+ to [0-9.]+\), more than chance would explain\.$"
        if found.p_value < 0.05
        else r"(is ahead by [0-9.]+ points of accuracy \([0-9.-]+ to [0-9.]+\), but the difference may be chance"
        r"|No difference in accuracy is seen \(-[0-9.]+ to [0-9.]+ points\))\.$",
        found.sentence,
    )


def test_a_comparison_of_few_texts_is_never_sure():
    few = compare("generation", *answers(5, 0), ("A", "B"))
    assert few.sentence == (
        "5 items, 5 only A right in full, 0 only B right in full. Too few to be sure, as at least 30 items are needed: "
        "so far A is ahead by 100.0 points of chrF (100.0 to 100.0)."
    )


def test_only_shared_questions_are_compared():
    found = compare("classification", rows([("a", "a")] * 4), rows([("a", "a")] * 3, first=3), ("A", "B"))
    assert found.items == 2
    assert "3 more were asked of only one model and are skipped" in found.sentence
    with pytest.raises(InputError, match=r"these evaluations differ in their items: `A` and `B` share no question"):
        compare("classification", rows([("a", "a")]), rows([("a", "a")], first=9), ("A", "B"))


def test_the_seed_decides_the_intervals():
    drawn = random.Random(1)  # noqa: S311
    pairs = [(drawn.choice("ab"), drawn.choice("ab")) for _ in range(100)]
    one, same, other = (score("classification", rows(pairs), seed=seed) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.nightly)])
def test_memory_is_flat(grown, count):
    watched, mebibytes = grown

    def many(step):
        return lambda: watched(
            (Row(at, "ab?"[at % step % 3], "ab"[at % 2], "stop") for at in range(count)),
            count,
        )

    score("classification", many(7))
    compare("classification", many(7), many(11), ("A", "B"))
    assert mebibytes() < 10


def test_a_small_but_sure_difference_is_told():
    found = compare("classification", *answers(20, 2, both=20_000), ("A", "B"), ("x", "y"), draws=100)
    assert "p < 0.001. A is better by 0.09 points of accuracy (0.0" in found.sentence
