"""Baselines of classical text classification: the most frequent class, and TF-IDF with logistic regression."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from ftbridge.core.errors import SetupError
from ftbridge.evaluation.baselines.training_texts import Labelled
from ftbridge.language import gettext as _

CHUNK = 1000  # questions that are answered at once
# Letters of scripts that put no blanks between words: Thai and Lao, Burmese, Khmer, Japanese, Chinese.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
TOKEN = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"
# The solver keeps some 20 vectors as long as all weights: 100,000 features of 20 classes are 0.3 GB.
MOST_FEATURES, MOST_WEIGHTS = 100_000, 2_000_000
# Rows of TF-IDF have length 1, so that scikit-learn's own 1.0 keeps the weights too small for rare words.
INVERSE_REGULARISATION = 10.0


def most_frequent(train: Iterable[Labelled], questions: Iterable[str]) -> Iterator[str]:
    """Yield, for each question, the label that most samples of `train`, which has one at least, have.

    Of several it is the one that comes first.
    """
    ((label, _number),) = Counter(sample.label for sample in train).most_common(1)
    for _unused in questions:
        yield label


def tfidf(train: Iterable[Labelled], questions: Iterable[str], *, seed: int = 0) -> Iterator[str]:
    """Yield, for each question, the label by logistic regression over the TF-IDF of words and pairs of them.

    Letters of Chinese, and of other scripts without blanks, are words of their own. Memory does not depend on the
    number of questions. Raises SetupError where scikit-learn is missing.
    """
    require_scikit_learn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, labels = zip(*train, strict=True)
    names = sorted(set(labels))
    if len(names) == 1 or not any(re.search(TOKEN, text) for text in texts):  # of which scikit-learn makes errors
        yield from most_frequent(map(Labelled, texts, labels), questions)
        return
    features = min(MOST_FEATURES, MOST_WEIGHTS // len(names))
    pipeline = make_pipeline(
        TfidfVectorizer(token_pattern=TOKEN, ngram_range=(1, 2), max_features=features),
        LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1000, random_state=seed),
    )
    numbers = {name: number for number, name in enumerate(names)}  # an array of texts is as wide as the longest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(texts, [numbers[label] for label in labels])
    del texts, labels
    for chunk in chunks(questions):
        yield from (names[number] for number in pipeline.predict(chunk))


def require_scikit_learn() -> None:
    """Raise SetupError where scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401 - its presence is what is asked
    except ImportError as error:
        raise SetupError(
            _("the baseline `tfidf` needs scikit-learn: `pip install scikit-learn`; or take `--baseline most-frequent`")
        ) from error


def chunks(questions: Iterable[str]) -> Iterator[list[str]]:
    """Yield the questions in lists of CHUNK."""
    left = iter(questions)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
