"""Which samples go where."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftbridge.adapters.convert.options import parse_split
from ftbridge.adapters.convert.split import LEFT_OUT, assign_parts, count_shared, first_occurrences, nested_order
from ftbridge.core.errors import InputError

SEVEN_TO_THREE = parse_split("7:3")


def keys_of(values):
    return np.array(values, np.uint64)


def counts(split, values, labels=None, seed=42):
    codes = assign_parts(parse_split(split), keys_of(values), np.array(labels or [0] * len(values)), seed)
    return np.bincount(codes[codes != LEFT_OUT]).tolist()


@given(st.integers(3, 300), st.integers(1, 20), st.integers(1, 20), st.integers(1, 5), st.booleans())
@example(4, 2, 1, 2, False)  # where rounding would leave the middle part nothing
def test_split_gives_every_part_samples_in_the_asked_shares(size, left, middle, right, shuffled):
    found = counts(f"{left}:{middle}:{right}", range(size), seed=7 if shuffled else None)
    assert sum(found) == size
    assert min(found) >= 1
    for number, share in zip(found, (left, middle, right), strict=True):
        assert abs(number - size * share / (left + middle + right)) <= 2


def test_690_rows_split_7_to_3_as_in_the_tutorial():
    assert counts("7:3", range(690)) == [483, 207]
    assert counts("test=200", range(690)) == [490, 200]
    assert counts("train=100,test=50", range(690)) == [100, 50]


@given(st.lists(st.integers(0, 8), min_size=20, max_size=60), st.integers(0, 99))
def test_equal_questions_are_never_in_two_parts(values, seed):
    values += range(9)
    codes = assign_parts(SEVEN_TO_THREE, keys_of(values), np.array([each % 2 for each in values]), seed)
    assert not {*keys_of(values)[codes == 0]} & {*keys_of(values)[codes == 1]}
    assert count_shared(keys_of(values), codes) == 0


def test_stratified_split_spreads_every_class_in_proportion():
    labels = [0] * 700 + [1] * 200 + [2] * 90 + [3] * 10
    codes = assign_parts(parse_split("8:1:1"), keys_of(range(1000)), np.array(labels), 1)
    table = [np.bincount(codes[np.array(labels) == label], minlength=3).tolist() for label in range(4)]
    assert table == [[560, 70, 70], [160, 20, 20], [72, 9, 9], [8, 1, 1]]


def test_split_with_a_seed_is_reproducible():
    first, again, other = (
        assign_parts(SEVEN_TO_THREE, keys_of(range(10)), np.zeros(10, int), seed).tolist() for seed in (42, 42, 43)
    )
    assert first == again == [0, 0, 0, 1, 0, 1, 1, 0, 0, 0]
    assert first != other


def test_unshuffled_split_keeps_the_order_and_counts_shared_questions():
    values = keys_of([1, 2, 3, 4, 5, 6, 7, 1, 2, 9])
    codes = assign_parts(SEVEN_TO_THREE, values, np.zeros(10, int), None)
    assert codes.tolist() == [0] * 7 + [1] * 3
    assert count_shared(values, codes) == 2


@pytest.mark.parametrize(
    ("split", "values", "message"),
    [
        ("7:3", [1], "1 sample cannot be split `7:3`"),
        ("8:1:1", [1, 2], "cannot be split"),
        ("test=2", [1, 2], "cannot be split"),
        ("train=2,test=2", [1, 2, 3], "cannot be split"),
        ("7:3", [1, 1, 1, 1], "4 samples with 1 different question, each kept in one part, leave the"),
    ],
)
def test_too_few_samples_for_a_split_are_refused(split, values, message):
    with pytest.raises(InputError, match=message):
        counts(split, values)


@given(st.integers(1, 200), st.integers(0, 9))
def test_nested_subset_of_any_size_holds_the_classes_in_proportion(size, seed):
    labels = np.array([0] * size + [1] * size + [2] * 2 * size)
    order = nested_order(labels, seed, 4 * size)
    assert nested_order(labels, seed, size).tolist() == order[:size].tolist()
    assert sorted(order) == list(range(4 * size))
    for end in range(4, 4 * size, 4):
        assert np.abs(np.bincount(labels[order[:end]], minlength=3) - [end / 4, end / 4, end / 2]).max() <= 2
    assert nested_order(np.zeros(5, int), None, 5).tolist() == [0, 1, 2, 3, 4]


def test_the_first_of_equal_samples_is_kept():
    assert first_occurrences(keys_of([5, 3, 5, 9, 3])).tolist() == [True, True, False, True, False]
