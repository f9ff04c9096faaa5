"""Entities: which are read, and figures over all and by type, as counted by hand."""

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.core.errors import InputError
from ftbridge.evaluation.scoring.extraction import read_entities
from ftbridge.evaluation.scoring.rows import Row
from ftbridge.evaluation.scoring.score import compare, score

ASPIRIN, COUGH = ("drug", "aspirin"), ("disease", "cough")


def rows(pairs):
    return lambda: iter([Row(at, answer, right, "stop") for at, (answer, right) in enumerate(pairs, 1)])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('[{"text": "aspirin", "type": "drug"}, {"type": "disease", "text": " cough ", "start": 3}]', [ASPIRIN, COUGH]),
        ('```json\n[{"text": "aspirin", "type": "drug"}]\n```', [ASPIRIN]),
        ("drug: aspirin\ndisease: cough", [ASPIRIN, COUGH]),
        ("- drug：aspirin\n\n2. disease : cough ", [ASPIRIN, COUGH]),
        ("药品：阿司匹林", [("药品", "阿司匹林")]),
        ("drug: aspirin\ndrug: aspirin", [ASPIRIN, ASPIRIN]),
        ("drug: at 10:30", [("drug", "at 10:30")]),
        ("[]", []),
        ("", []),
        ("None", []),
        ("无", []),
        ('[{"text": "aspirin", "type": "drug"}', None),
        ('[{"text": "aspirin"}]', None),
        ('[{"text": 1, "type": "drug"}]', None),
        ('["aspirin"]', None),
        ("[" * 100_000, None),
        ("Here they are:\ndrug: aspirin", None),
        ("aspirin", None),
        ("10:30", None),
        ("https://example.org", None),
        (f"{'x' * 41}: y", None),
    ],
)
def test_entities_are_read_from_json_and_from_lines(answer, expected):
    assert read_entities(answer) == (None if expected is None else Counter(expected))


@given(st.text(alphabet='ab:：- []{}",\n1.', max_size=60))
def test_any_answer_is_read_or_is_none(answer):
    found = read_entities(answer)
    assert found is None or all(kind.strip() == kind and text.strip() == text for kind, text in found)


@pytest.mark.parametrize("answer", ["```\n{}x", "a{}", "{}:", "- {}", "drug: {}x", "[{}"])
@pytest.mark.parametrize("piece", ["\n", " ", "a", ":", "1. "])
def test_long_answers_are_read_in_linear_time(answer, piece):
    begun = time.process_time()
    read_entities(answer.format(piece * 20_000))
    assert time.process_time() - begun < 0.5


BY_HAND = [
    ("drug: aspirin\ndisease: cough", "disease: cough\ndrug: aspirin"),  # all right, in another order
    ("drug: aspirin\ndrug: aspirin", "drug: aspirin"),  # one too many
    ("disease: aspirin", "drug: aspirin"),  # another type
    ("person: Ann", "drug: aspirin"),  # a type that no reference has
    ("I cannot tell", "disease: cold"),  # damaged
]


def test_figures_equal_those_counted_by_hand():
    found = score("extraction", rows(BY_HAND))
    right, given_, due = 2 + 1, 2 + 2 + 1 + 1, 2 + 1 + 1 + 1 + 1
    figures = found.figures
    assert [each.value for each in figures.values()] == pytest.approx(
        [right / given_, right / due, 2 * right / (given_ + due)]
    )
    assert [each.items for each in figures.values()] == [given_, due, given_ + due - right]
    disease, drug = found.classes
    assert (disease.name, disease.support, drug.name, drug.support) == ("disease", 2, "drug", 4)
    assert (disease.precision.value, disease.recall.value, disease.f1.value) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert (drug.precision.value, drug.recall.value, drug.f1.value) == pytest.approx((2 / 3, 2 / 4, 4 / 7))
    assert found.parsed == {"read": 4, "unparseable": 1}
    assert found.notes[0] == "1 of 5 answers could not be read as a list of entities, and count as none"
    assert all(each.low <= each.value <= each.high for each in figures.values())


def test_types_of_one_entity_and_answers_without_any_are_told_of():
    found = score("extraction", rows([("none", "drug: x\ndisease: y")] * 1))
    assert found.notes[0].startswith("`disease`, `drug`: only one entity has this type")
    assert [each.value for each in found.figures.values()] == [0, 0, 0]
    empty = score("extraction", rows([("none", "[]"), ("drug: x", "[]")]))
    assert empty.notes[0].startswith("the right answers hold no entities")


def test_a_reference_that_is_no_list_is_refused():
    with pytest.raises(InputError, match=r"right answer to question 2 is not a list of entities.*`--task generation`"):
        score("extraction", rows([("", "drug: x"), ("", "some text")]))
    with pytest.raises(InputError, match="more than 1,000 types of entities"):
        score("extraction", rows([("", "\n".join(f"t{number}: x" for number in range(1001)))]))


def test_a_comparison_counts_answers_that_are_right_in_full():
    first = [(right, right) for _, right in BY_HAND]
    found = compare("extraction", rows(first * 10), rows(BY_HAND * 10), ("new", "old"))
    assert (found.both, found.only_first, found.only_second, found.neither, found.p_value) == (10, 40, 0, 0, None)
    assert found.differences["f1"].value == pytest.approx(1 - 6 / 12)
    assert found.sentence.startswith(
        "50 items, 40 only new right in full, 0 only old right in full. new is better by 50.0 points of F1"
    )
