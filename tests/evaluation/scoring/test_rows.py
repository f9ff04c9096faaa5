"""Two models' answers side by side."""

import pytest

from ftbridge.core.errors import InputError
from ftbridge.evaluation.scoring.rows import Row, batched, paired


def rows(*ids, reference="x"):
    return lambda: iter([Row(each, f"answer {each}", reference, "stop") for each in ids])


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ([1, 2, 3], [1, 2, 3], [1, 2, 3]),
        ([1, 2, 5, 9], [2, 3, 4, 5], [2, 5]),
        ([7], [1, 2, 7], [7]),
        ([1, 2], [3], []),
        ([], [1], []),
    ],
)
def test_questions_that_both_were_asked_are_paired(first, second, shared):
    found = list(paired(rows(*first), rows(*second)))
    assert [(mine.id, other.id) for mine, other in found] == [(each, each) for each in shared]


def test_other_right_answers_are_other_items():
    with pytest.raises(InputError, match="these evaluations differ in their items: question 1 "):
        list(paired(rows(1), rows(1, reference="y")))
    assert len(list(paired(rows(1), rows(1, reference=" x\n")))) == 1


@pytest.mark.parametrize("ids", [(2, 1), (1, 1)])
def test_answers_out_of_order_are_refused(ids):
    with pytest.raises(InputError, match="comes after"):
        list(paired(rows(*ids), rows(1, 2)))


def test_batches_hold_all():
    assert list(batched(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched(iter(()), 3)) == []
