"""How much of one text stands in another."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.evaluation.scoring.overlap import (
    Corpus,
    characters_and_words,
    common_subsequence,
    rouge_l,
    units,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Take ONE, daily!", ["take", "one", "daily"]),
        ("每天吃一片。", ["每", "天", "吃", "一", "片"]),
        ("吃aspirin 2片", ["吃", "aspirin", "2", "片"]),
        ("薬をのむ", ["薬", "を", "の", "む"]),
        ("약을 먹다", ["약을", "먹다"]),
        ("Straße naïve", ["strasse", "naïve"]),
        ("?!", []),
    ],
)
def test_words_are_compared_and_characters_of_scripts_without_blanks(text, expected):
    assert units(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("take one", (0, 2)), ("吃一片", (3, 0)), ("吃 aspirin", (1, 1)), ("", (0, 0))]
)
def test_characters_and_words_are_counted(text, expected):
    assert characters_and_words(text) == expected


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("take one pill", "take one pill", 1),
        ("the cat sat", "the cat ran away", 2 * 2 / (3 + 4)),
        ("a b c d", "b d a c", 2 * 2 / 8),
        ("每天吃两片药", "每天吃一片", 2 * 4 / (6 + 5)),
        ("", "take one", 0),
        ("...", "...", 1),
        ("...", "!!!", 0),
    ],
)
def test_rouge_l_equals_what_is_counted_by_hand(answer, reference, expected):
    assert rouge_l(answer, reference) == pytest.approx(expected)


def slow_common_subsequence(first, second):
    row = [0] * (len(second) + 1)
    for one in first:
        before = row
        row = [0]
        for at, other in enumerate(second):
            row.append(before[at] + 1 if one == other else max(before[at + 1], row[at]))
    return row[-1]


@given(st.lists(st.sampled_from("abcd"), max_size=90), st.lists(st.sampled_from("abcde"), max_size=90))
def test_the_common_subsequence_is_that_of_the_table(first, second):
    assert common_subsequence(first, second) == slow_common_subsequence(first, second)


def test_long_texts_are_compared_in_a_moment():
    words = [str(number % 97) for number in range(10_000)]
    begun = time.process_time()
    assert common_subsequence(words, words[1:]) == len(words) - 1
    assert time.process_time() - begun < 1


def test_no_text_stays_in_sacrebleus_caches():
    from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    Corpus("zh").statistics(["吃一片"], ["吃两片"])
    assert TokenizerZh.__call__.cache_info().currsize == TokenizerRegexp.__call__.cache_info().currsize == 0
