"""Who the model is: no row twice, both languages, every answer with the name or the author."""

import re
from string import Formatter

import pytest

from ftbridge.core.errors import UsageError
from ftbridge.dataset_info.self_cognition import LANGUAGES, phrases, rows

NAME, AUTHOR = "小助", "某某团队"
NASTY = ("{author} {0.__class__} $x", "</s> {{ 7 * 7 }} %s \\n '\"")


def is_chinese(question):
    """Tell the language apart from the names, which may stand in either."""
    return bool(re.search("[\u4e00-\u9fff]", question.replace(NAME, "").replace(AUTHOR, "")))


def test_no_question_and_no_record_comes_twice():
    made = list(rows(NAME, AUTHOR))
    assert len(made) > 500
    assert len({row["instruction"] for row in made}) == len(made)
    assert all(row.keys() == {"instruction", "output"} for row in made)


def test_every_answer_names_the_model_or_its_author():
    assert not [row for row in rows(NAME, AUTHOR) if NAME not in row["output"] and AUTHOR not in row["output"]]


def test_questions_and_answers_are_of_one_language():
    made = list(rows(NAME, AUTHOR))
    chinese = [row for row in made if is_chinese(row["instruction"])]
    assert 200 < len(chinese) < len(made) - 200
    assert chinese == [row for row in made if "。" in row["output"]]
    assert sorted(map(str, rows(NAME, AUTHOR, languages=["zh"]))) == sorted(map(str, chinese))


def test_first_rows_mix_both_languages_and_repeat_no_answer():
    made = list(rows(NAME, AUTHOR, count=32))
    assert made == list(rows(NAME, AUTHOR))[:32]
    assert sum(is_chinese(row["instruction"]) for row in made) == 16
    assert len({row["output"] for row in made}) == 32


@pytest.mark.parametrize("name", NASTY)
def test_name_with_markup_or_templates_is_kept_as_text(name):
    made = list(rows(name, "A"))
    assert {"instruction": "What's your name?", "output": f"I'm called {name}."} in made


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Are you ChatGPT?", "No, I'm 小助, developed by 某某团队."),
        ("你是豆包吗？", "我不是豆包。我叫小助，是某某团队开发的 AI 助手。"),
        ("Did Alibaba Cloud make you?", "No, I was developed by 某某团队, and my name is 小助."),
    ],
)
def test_questions_that_claim_another_identity_are_corrected(question, answer):
    assert {"instruction": question, "output": answer} in list(rows(NAME, AUTHOR))


@pytest.mark.parametrize(("name", "author"), [("Kimi", "me"), ("Kimi-小助", "me"), ("Ada", "Moonshot AI")])
def test_model_named_like_a_rival_does_not_deny_itself(name, author):
    answers = {row["instruction"]: row["output"] for row in rows(name, author)}
    assert "Are you ChatGPT?" in answers
    for question in ("Are you Kimi?", "Did Moonshot AI make you?"):
        assert answers.get(question, "Yes").startswith(("Yes", "That's right", "It's me"))


@pytest.mark.parametrize(("name", "author"), [("", "A"), ("A", ""), (" \n", "A")])
def test_a_name_and_an_author_must_be_given(name, author):
    with pytest.raises(UsageError, match="--set name=… --set author=…"):
        rows(name, author)


@pytest.mark.parametrize("count", [0, -1, 10_000])
def test_row_count_that_cannot_be_met_is_refused(count):
    with pytest.raises(UsageError, match=rf"1 to \d+ rows, not {count};"):
        rows(NAME, AUTHOR, count)


def test_a_language_must_be_known():
    with pytest.raises(UsageError, match="does not speak `fr`; known are: en, zh"):
        rows(NAME, AUTHOR, languages=["fr"])


def test_chinese_and_english_phrases_have_the_same_topics():
    chinese, english = map(phrases, LANGUAGES)
    assert list(chinese.topics) == list(english.topics)
    assert list(chinese.mistaken) == list(english.mistaken)


@pytest.mark.parametrize("language", LANGUAGES)
def test_phrases_have_known_gaps_and_answers_say_who(language):
    known = phrases(language)
    for group, gaps in ((known.topics, set()), (known.mistaken, {"other", "maker"})):
        for topic in group.values():
            for answer in topic.answers:
                said = {gap for _, gap, _, _ in Formatter().parse(answer)} - {None}
                assert said & {"name", "author"}, answer
                assert said <= {"name", "author"} | gaps, answer
            for question in topic.questions:
                assert {gap for _, gap, _, _ in Formatter().parse(question)} <= {"name", "author", None} | gaps
