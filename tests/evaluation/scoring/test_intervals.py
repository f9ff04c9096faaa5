"""Intervals and the McNemar test: as scipy has them, and as often right as they say."""

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ftbridge.evaluation.scoring.classification import Classification
from ftbridge.evaluation.scoring.intervals import bootstrap, divide, mcnemar, share


@given(st.integers(1, 5000), st.data())
def test_a_share_has_wilsons_interval(whole, data):
    part = data.draw(st.integers(0, whole))
    found = share(part, whole)
    expected = stats.binomtest(part, whole).proportion_ci(method="wilson")
    assert found.value == part / whole
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low <= found.value <= found.high


def test_a_share_of_nothing_may_be_anything():
    found = share(0, 0)
    assert (found.value, found.low, found.high, found.items) == (0, 0, 1, 0)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test(only_first, only_second):
    total = only_first + only_second
    expected = stats.binomtest(only_first, total).pvalue if total else 1
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_equals_what_is_counted_by_hand():
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(21, 9) == pytest.approx(2 * sum(comb(30, each) for each in range(10)) / 2**30)
    assert round(mcnemar(21, 9), 2) == 0.04
    assert mcnemar(7, 7) == 1
    assert mcnemar(300_000, 303_000) == pytest.approx(stats.binomtest(300_000, 603_000).pvalue, rel=1e-6)


def test_nothing_by_nothing_is_nothing():
    assert divide(np.array([0.0, 1.0]), np.array([0.0, 4.0])).tolist() == [0, 0.25]


def means(sums):
    return sums[..., :1] / sums[..., 1:]


def in_chunks(values, size):
    for at in range(0, len(values), size):
        part = np.array(values[at : at + size])
        yield np.stack([part, np.ones(len(part))], -1), np.ones(len(part), int)


def test_the_bootstrap_equals_scipys_but_for_its_random_numbers():
    values = np.random.default_rng(5).gamma(1, size=400)
    found = bootstrap(in_chunks(values, 64), 400, means, 4000, 0)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert found.values[0] == pytest.approx(values.mean())
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(expected), abs=0.02 * values.std())


def test_chunks_and_repeated_rows_make_no_difference():
    """However items are put together: the sums of all are the same, and those that are drawn are distributed alike."""
    values = [0.0] * 300 + [1.0] * 500 + [5.0] * 200
    cells = [(np.array([[value, 1.0]]), np.array([values.count(value)])) for value in (0.0, 1.0, 5.0)]
    together = [(np.vstack([each for each, _ in cells]), np.concatenate([count for _, count in cells]))]
    ways = [list(in_chunks(values, 7)), list(in_chunks(values, 1000)), cells, together]
    found = [bootstrap(way, 1000, means, 4000, 3) for way in ways]
    for one, other in itertools.pairwise(found):
        assert one.values == pytest.approx(other.values)
        assert (one.low[0], one.high[0]) == pytest.approx((other.low[0], other.high[0]), abs=0.02)


def test_a_draw_has_as_many_items_as_there_are():
    drawn = []

    def figures(sums):
        drawn.append(sums)
        return means(sums)

    bootstrap(in_chunks(list(range(100)), 9), 100, figures, 50, 0)
    assert drawn[0].shape == (50, 2)
    assert (drawn[0][:, 1] == 100).all()
    assert len({*drawn[0][:, 0]}) > 30


def test_the_seed_decides():
    one, same, other = (bootstrap(in_chunks(list(range(50)), 8), 50, means, 200, seed) for seed in (1, 1, 2))
    assert (one.low[0], one.high[0]) == (same.low[0], same.high[0]) != (other.low[0], other.high[0])


def test_the_bootstrap_of_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="needs an item"):
        bootstrap([], 0, means, 10, 0)


@pytest.mark.parametrize("true", [0.5, 0.8])
def test_wilsons_interval_holds_the_true_share_in_95_of_100_cases(true):
    drawn = np.random.default_rng(20261129).binomial(200, true, size=1000)
    held = sum((found := share(int(each), 200)).low <= true <= found.high for each in drawn)
    assert 935 <= held <= 965


@pytest.mark.slow
def test_the_bootstraps_interval_holds_the_true_macro_f1_in_95_of_100_cases():
    """Three classes of the same size, and a model that is right in 7, 8 and 6 of 10 cases."""
    answers = np.array([[0.7, 0.2, 0.05, 0.05], [0.1, 0.8, 0.1, 0], [0.1, 0.2, 0.6, 0.1]])
    cells = answers / 3
    judge = Classification("abc")
    places = np.array(list(itertools.product(range(3), range(4))))
    one = np.eye(4)[:, :3]
    right = one[places[:, 0]] * one[places[:, 1]]
    statistics = np.hstack([right.sum(1, keepdims=True), np.ones((12, 1)), right, one[places[:, 1]], one[places[:, 0]]])
    f1 = judge.names.index("macro_f1")
    true = judge.figures(cells.ravel() @ statistics)[f1]
    assert true == pytest.approx(np.mean([2 * 0.7 / (1 + 0.9), 2 * 0.8 / (1 + 1.2), 2 * 0.6 / (1 + 0.75)]))
    held = 0
    for seed, counts in enumerate(np.random.default_rng(11).multinomial(500, cells.ravel(), size=1000)):
        found = bootstrap([(statistics[counts > 0], counts[counts > 0])], 500, judge.figures, 1000, seed)
        held += found.low[f1] <= true <= found.high[f1]
    assert 925 <= held <= 975
