"""Lengths of samples: what follows from counts, ranges that a person can read, and a picture that replaces no other."""

import statistics

import pytest

from ftbridge.launchers.preview.token_statistics import TokenCounts, histogram_bars, length_histogram, summarize_counts


def counted(lengths, cutoff_length=10):
    return summarize_counts(TokenCounts(lengths, 0, {}), cutoff_length)


def test_stats_are_those_of_the_single_lengths():
    lengths = {7 * number**2 % 997: number % 9 + 1 for number in range(100)}
    found = counted(lengths, 500)
    single = sorted(length for length, number in lengths.items() for _ in range(number))
    assert (found.samples, found.tokens) == (len(single), sum(single))
    assert (found.shortest, found.longest) == (single[0], single[-1])
    assert found.median == statistics.median_low(single)
    assert sum(length <= found.p95 for length in single) >= 0.95 * len(single)
    assert sum(length < found.p95 for length in single) < 0.95 * len(single)
    assert found.over == sum(length > 500 for length in single)


def test_no_samples_are_no_tokens():
    found = counted({})
    assert (found.samples, found.tokens, found.shortest, found.median, found.longest) == (0, 0, 0, 0, 0)


def test_a_histogram_has_ranges_of_one_round_width():
    bins, counts = length_histogram({"A": counted({95: 1, 99: 2, 100: 3, 250: 4}), "B": counted({99: 10})})
    assert (bins[0], bins[-1], len(bins)) == (range(90, 100), range(250, 260), 17)
    assert {name: each[:2] + each[-1:] for name, each in counts.items()} == {"A": [3, 3, 4], "B": [10, 0, 0]}


@pytest.mark.parametrize("lengths", [{}, {1: 1}, {0: 1, 10**6: 1}, dict.fromkeys(range(90, 130), 2)])
def test_a_histogram_has_twenty_ranges_at_most_and_each_sample_once(lengths):
    bins, counts = length_histogram({"A": counted(lengths), "B": counted(lengths)})
    assert len(bins) <= 20
    assert list(counts) == ["A and B"]
    assert sum(counts["A and B"]) == sum(lengths.values())


def test_bars_are_what_the_picture_is_drawn_from():
    wanted = {
        "title": "faq, base",
        "starts": [3, 4, 5],
        "width": 1,
        "counts": {"XTuner": [2, 0, 1]},
        "cutoff_length": 10,
    }
    assert histogram_bars({"XTuner": counted({3: 2, 5: 1})}, 10, "faq, base") == wanted
