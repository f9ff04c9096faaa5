"""The most frequent class, and TF-IDF with logistic regression."""

import random
import sys

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ftbridge.core.errors import SetupError
from ftbridge.evaluation.baselines.classifiers import CHUNK, most_frequent, tfidf
from ftbridge.evaluation.baselines.training_texts import Labelled

ENGLISH = {
    "sport": "goal team match ball coach",
    "money": "bank stock market price coin",
    "mixed": "goal bank team coin",
}
CHINESE = {"体育": "球队比赛进球教练足", "经济": "银行股票市场价格币", "混合": "球行队股赛票进市"}


def made(classes, count, separator, seed=0):
    """Return made-up texts of the classes' words, some of another class."""
    draw = random.Random(seed)  # noqa: S311 - made-up texts
    words = {label: text.split() if separator else list(text) for label, text in classes.items()}
    every = [word for own in words.values() for word in own]
    found = []
    for at in range(count):
        label = list(classes)[at % len(classes)]
        chosen = [draw.choice(words[label] if draw.random() < 0.6 else every) for _ in range(9)]
        found.append(Labelled(separator.join(chosen), label))
    return found


def test_the_most_frequent_label_answers_all():
    train = [Labelled("a", "x"), Labelled("b", "y"), Labelled("c", "y"), Labelled("d", "x"), Labelled("e", "z")]
    assert list(most_frequent(train, ["q"] * 3)) == ["x"] * 3
    assert list(most_frequent(iter(train[1:]), iter("q"))) == ["y"]


@pytest.mark.parametrize(
    ("classes", "separator", "plain"),
    [(ENGLISH, " ", {}), (CHINESE, "", {"analyzer": "char"})],
    ids=["words", "letters of Chinese"],
)
def test_tfidf_answers_as_scikit_learn_itself(classes, separator, plain):
    train, asked = made(classes, 120, separator), made(classes, 300, separator, seed=1)
    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), **plain), LogisticRegression(C=10, max_iter=1000))
    expected = pipeline.fit([text for text, _ in train], [label for _, label in train]).predict([t for t, _ in asked])
    found = list(tfidf(train, (text for text, _ in asked)))
    assert found == expected.tolist()
    assert {type(label) for label in found} == {str}
    assert 0.5 < sum(map(str.__eq__, found, (label for _, label in asked))) / len(asked) < 1


def test_words_within_chinese_are_found_whole():
    train = [Labelled("我的GPU很快", "gpu"), Labelled("我的CPU很快", "cpu")]
    assert list(tfidf(train, ["买GPU吗", "买CPU吗"])) == ["gpu", "cpu"]


def test_questions_are_read_a_chunk_at_a_time():
    read = []

    def questions():
        for at in range(3 * CHUNK):
            read.append(at)
            yield "goal team match" if at % 2 else "stock market price"

    answers = tfidf(made(ENGLISH, 30, " "), questions())
    assert next(answers) == "money"
    assert len(read) == CHUNK
    assert len(list(answers)) == 3 * CHUNK - 1


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_and_data_give_the_same_answers(seed):
    train, asked = made(ENGLISH, 30, " "), [text for text, _ in made(ENGLISH, 60, " ", seed=1)]
    assert list(tfidf(train, asked, seed=seed)) == list(tfidf(train, asked))


def test_what_scikit_learn_makes_errors_of_is_answered():
    one = [Labelled("a", "x"), Labelled("b", "x")]
    assert list(tfidf(one, ["a", ""])) == ["x", "x"]
    wordless = [Labelled("", "x"), Labelled("?!", "y"), Labelled("...", "y")]
    assert list(tfidf(wordless, ["a", "?!"])) == ["y", "y"]
    empty = [Labelled("", "x"), Labelled("a", "y")]
    assert list(tfidf(empty, ["a"])) == ["y"]
    assert list(tfidf(empty, [])) == []


def test_a_class_of_one_sample_and_labels_that_hold_each_other_are_classes_like_others():
    train = [Labelled("meow purr", "cat"), Labelled("meow purr", "cat"), Labelled("tin bowl", "cat food")]
    assert list(tfidf(train, ["meow", "tin"])) == ["cat", "cat food"]


def test_missing_scikit_learn_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SetupError, match="pip install scikit-learn"):
        next(tfidf([Labelled("a", "x"), Labelled("b", "y")], ["q"]))
