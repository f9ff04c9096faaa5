"""How good answers are: exact match, and accuracy, precision, recall and F1 where the answers are labels."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import msgspec

from ftbridge.core.errors import SetupError

EXACT_RULE = "the answer is the reference, blanks at the ends aside"
LABEL_RULE = (
    "an answer is read as a label where it is that label (exact), or is so but for case, width, blanks and punctuation "
    "at the ends (normalized), or where that label, and no other, stands in it as a word (contained; one within a "
    "longer label does not count); any other answer is unparseable, and wrong. Macro averages are over the labels that "
    "occur in references or answers"
)
# What classes look like where nothing names them: a line each, and each the answer to two samples or more.
LONGEST_LABEL, MOST_LABELS, SAMPLES_PER_LABEL = 80, 100, 2
# Beside these letters, unlike beside Chinese ones, a word goes on: Latin, Greek, Cyrillic, and digits.
_LETTER = "[0-9a-z\u00df-\u024f\u0370-\u052f]"

_NONE = "\n"  # no reference is a blank line

How = Literal["exact", "normalized", "contained", "unparseable"]


class LabelMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What scikit-learn says of the labels; `parsed` counts answers by how they were read, `origin` names who knew."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    average: str = "macro"
    parsed: dict[How, int]
    labels: dict[str, int]
    origin: str
    rule: str = LABEL_RULE


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """How good answers are; shares are from 0 to 1, `finish` counts answers by how they ended.

    `labels` is None where the answers are free text.
    """

    samples: int
    exact: int
    exact_match: float
    finish: dict[str, int]
    labels: LabelMetrics | None
    rule: str = EXACT_RULE


class Parser:
    """Reads answers as labels, by LABEL_RULE."""

    def __init__(self, labels: Iterable[str]) -> None:
        """Read answers as one of `labels`, which have no blanks at their ends."""
        self._labels = set(labels)
        self._normal = _grouped(normal, self._labels)
        self._folded = _grouped(_folded, self._labels)
        # Of two labels that begin at one place the longer one is found, and what it holds is passed over.
        longest_first = sorted(self._folded, key=len, reverse=True)
        self._contained = re.compile("|".join(map(_as_word, longest_first)))

    def read(self, answer: str) -> tuple[str, How]:
        """Return the label that an answer stands for, "" for none, and how it was read."""
        if (text := answer.strip()) in self._labels:
            return text, "exact"
        ways: dict[How, set[str]] = {
            "normalized": self._normal.get(normal(text), set()),
            "contained": {label for found in self._contained.findall(_folded(text)) for label in self._folded[found]},
        }
        for how, found in ways.items():
            if len(found) == 1:
                return min(found), how
        return "", "unparseable"


def normal(text: str) -> str:
    """Return `text` without what may differ in a label: case, width, repeated blanks, punctuation at the ends."""
    folded = _folded(text)
    letters = [at for at, letter in enumerate(folded) if not (letter == " " or unicodedata.category(letter)[0] == "P")]
    return folded[letters[0] : letters[-1] + 1] if letters else folded


def measure(rows: Sequence[tuple[str, str, str]], labels: Sequence[str], origin: str) -> Metrics:
    """Return how good answers are: rows of answer, reference, and how the answer ended; at least one.

    `labels` are those that are known, from `origin`; where none are, references that look like labels count. Raises
    SetupError where there are labels and scikit-learn is missing.
    """
    references = [reference.strip() for _, reference, _ in rows]
    if not labels and _are_labels(references):
        labels, origin = sorted(set(references)), "the references, which repeat"
    exact = sum(answer.strip() == reference for (answer, _, _), reference in zip(rows, references, strict=True))
    return Metrics(
        samples=len(rows),
        exact=exact,
        exact_match=exact / len(rows),
        finish=dict(Counter(finish for _, _, finish in rows)),
        labels=_label_metrics([answer for answer, _, _ in rows], references, labels, origin) if labels else None,
    )


def require(labels: Sequence[str], references: Iterable[str]) -> None:
    """Raise SetupError where `measure` will need scikit-learn and it is missing."""
    if labels or _are_labels([reference.strip() for reference in references]):
        _scikit_learn()


def _label_metrics(
    answers: Sequence[str], references: Sequence[str], labels: Sequence[str], origin: str
) -> LabelMetrics:
    sklearn = _scikit_learn()
    known = [label for label in dict.fromkeys([*map(str.strip, labels), *references]) if label]
    parser = Parser(known)
    read = [parser.read(answer) for answer in answers]
    given = [label or _NONE for label, _ in read]
    support = Counter(references)
    # Where an answer is no label, its reference is missed, and no label is charged with it.
    occurring = [label for label in known if label in {*references, *given}]
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
        references, given, labels=occurring, average="macro", zero_division=0
    )
    how = Counter(how for _, how in read)
    ways: tuple[How, ...] = get_args(How)
    return LabelMetrics(
        accuracy=float(sklearn.accuracy_score(references, given)),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        parsed={way: how[way] for way in ways},
        labels={label: support[label] for label in known},
        origin=origin,
    )


def _are_labels(references: Sequence[str]) -> bool:
    different = set(references)
    return (
        len(different) <= min(MOST_LABELS, len(references) // SAMPLES_PER_LABEL)
        and len(different) > 1
        and all(label.isprintable() and 0 < len(label) <= LONGEST_LABEL for label in different)
    )


def _scikit_learn() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        message = "the metrics of labels need scikit-learn: pip install 'ftbridge[metrics]'"
        raise SetupError(message) from error
    return metrics


def _grouped(key: Callable[[str], str], labels: Iterable[str]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for label in labels:
        groups.setdefault(key(label), set()).add(label)
    return groups


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _as_word(label: str) -> str:
    """Return the pattern of a label that stands by itself."""
    before = f"(?<!{_LETTER})" if re.match(_LETTER, label) else ""
    after = f"(?!{_LETTER})" if re.search(f"{_LETTER}$", label) else ""
    return f"{before}{re.escape(label)}{after}"
