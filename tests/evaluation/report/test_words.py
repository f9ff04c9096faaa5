"""The words: all in both languages, with the same values in them."""

import re
from string import Formatter

import pytest

from ftbridge.core.errors import UsageError
from ftbridge.evaluation.record import Figure
from ftbridge.evaluation.report.words import LANGUAGES, Words, all_words, language_of, p_value, shown, signed_points


def fields(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_all_is_said_in_both_languages_with_the_same_values():
    for key, said in all_words().items():
        assert said.keys() == set(LANGUAGES), key
        assert all(text.strip() for text in said.values()), key
        assert fields(said["en"]) == fields(said["zh"]), key
        assert not re.search(r"[\u4e00-\u9fff]", said["en"]), key


@pytest.mark.parametrize(
    ("figure", "value", "text"),
    [
        ("accuracy", 0.8771, "87.7\u202f%"),
        ("kappa", -0.05, "\u22120.050"),
        ("answer_length", 41.26, "41.3"),
        ("macro_f1", float("nan"), "\u2013"),
    ],
)
def test_a_figure_is_written_as_its_kind_is(figure, value, text):
    assert Words("en").number(figure, value) == text


def test_an_interval_has_its_unit_once():
    figure = Figure(value=0.5, low=0.401, high=0.6, items=9, method="wilson")
    assert Words("en").interval("accuracy", figure) == "40.1 and 60.0\u202f%"
    assert Words("zh").interval("kappa", figure) == "0.401 和 0.600"


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (None, "\u2013", "\u2013"),
        (0.2, "0 s", "0 秒"),
        (90, "1 min 30 s", "1 分 30 秒"),
        (7200, "2 h", "2 小时"),
        (9000.4, "2 h 30 min", "2 小时 30 分"),
    ],
)
def test_a_time_has_its_units(seconds, english, chinese):
    assert (Words("en").duration(seconds), Words("zh").duration(seconds)) == (english, chinese)


@pytest.mark.parametrize(("value", "text"), [(-0.0004, "0.0"), (0.0, "0.0"), (-0.031, "\u22123.1"), (0.0312, "+3.1")])
def test_a_difference_has_a_sign_where_there_is_one(value, text):
    assert signed_points(value) == text
    assert Words("en").number("f1", -0.0) == "0.0\u202f%"


def test_a_small_p_value_is_not_written_as_nothing():
    assert p_value(0.0000001) == "p < 0.0001"
    assert p_value(0.0412) == "p = 0.041"


@pytest.mark.parametrize(
    ("locale", "language"), [("zh_CN.UTF-8", "zh"), ("en_GB.UTF-8", "en"), ("C", "en"), ("de_DE.UTF-8", "en")]
)
def test_auto_is_the_language_of_the_locale(monkeypatch, locale, language):
    monkeypatch.setenv("LC_ALL", locale)
    assert language_of("auto") == language


def test_another_language_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match="no report in the language `fr`; take en, zh or auto"):
        language_of("fr")


def test_a_text_of_somebody_elses_shows_what_would_be_obeyed():
    assert shown("a\x00\x1b[31m\u202eb\ud800") == "a\\x00\\x1b[31m\\u202eb\\ud800"
