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
    "longer label does not count); any other answer is unparseable, and wrong. Signs stay: -1, 1.5, 50% and non-toxic "
    "hold no 1, 50 or toxic, and A-, C++ and .NET no A, C or NET. Macro averages are over the labels that occur in "
    "references or answers"
)
# What classes look like where nothing names them: a line each, and each the answer to two samples or more.
LONGEST_LABEL, MOST_LABELS, SAMPLES_PER_LABEL = 80, 100, 2
# Beside these letters, unlike beside Chinese ones, a word goes on: Latin, Greek, Cyrillic, and digits.
_LETTER = "[0-9a-z\u00df-\u024f\u0370-\u052f]"
_HYPHEN = "\\-\u2010\u2011\u2212"
# What makes another number of the one behind it: signs, comparisons, currencies; and of a word or number before it.
_SIGN = f"[{_HYPHEN}\u2012\u2013\u8d1f\u8ca0+\u00b1~\u2248\u2260<\u2264\u2265$\u00a2\u00a3\u00a5\u20ac]"
_MARK = "[+#\u266f\u266d%\u2030\u00b0\u00b2\u00b3\u00b9\u2070-\u209c]"

_NONE = "\n"  # no reference is a blank line

How = Literal["exact", "normalized", "contained", "unparseable"]


class LabelMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy, precision, recall and F1 by scikit-learn, from 0 to 1.

    `parsed` counts answers by how they were read, `labels` the references of each label; `origin` names what the
    labels are known from.
    """

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
        self._by_normal = _group_labels(normalize, self._labels)
        self._by_folded = _group_labels(_fold_case_and_width, self._labels)
        self._by_joined = _group_labels(lambda label: _without_separators(_fold_case_and_width(label)), self._labels)
        # Of two labels that begin at one place the longer one is found, and what it holds is passed over.
        longest_first = sorted(self._by_folded, key=len, reverse=True)
        self._contained = re.compile("|".join(map(_word_pattern, longest_first)))

    def read(self, answer: str) -> tuple[str, How]:
        """Return the label that an answer stands for, "" for none, and how it was read."""
        if (text := answer.strip()) in self._labels:
            return text, "exact"
        ways: dict[How, set[str]] = {
            "normalized": self._by_normal.get(normalize(text), set()),
            "contained": {
                label
                for found in self._contained.findall(_fold_case_and_width(text))
                for label in self._by_folded.get(found) or self._by_joined[_without_separators(found)]
            },
        }
        for how, found in ways.items():
            if len(found) == 1:
                return min(found), how
        return "", "unparseable"


def normalize(text: str) -> str:
    """Return `text` without what may differ in a label: case, width, repeated blanks, punctuation at the ends.

    What makes another word or number stays: `-1`, `.net`, `a-`, `c#`, `50%`.
    """
    folded = _fold_case_and_width(text)
    letters = [at for at, letter in enumerate(folded) if not (letter == " " or unicodedata.category(letter)[0] == "P")]
    if not letters:
        return folded
    first, end = letters[0], letters[-1] + 1
    number = re.match(f"{_SIGN}*[0-9]", folded[first:])
    before = re.search(f"(?:{_SIGN}|(?<![.])[.])*$" if number else "(?<![.])[.]$", folded[:first])
    after = re.match(f" ?[%\u2030]|(?:{_MARK}|[{_HYPHEN}])*", folded[end:])
    return f"{before[0] if before else ''}{folded[first:end]}{after[0] if after else ''}"


def measure(rows: Sequence[tuple[str, str, str]], labels: Sequence[str], origin: str) -> Metrics:
    """Return the Metrics of rows of answer, reference, and how the answer ended; one row at least.

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


def require_scikit_learn(labels: Sequence[str], references: Iterable[str]) -> None:
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
        message = "the metrics of labels need scikit-learn: `pip install '.[evaluation]'` in the clone of ftbridge"
        raise SetupError(message) from error
    return metrics


def _group_labels(key: Callable[[str], str], labels: Iterable[str]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for label in labels:
        groups.setdefault(key(label), set()).add(label)
    return groups


def _fold_case_and_width(text: str) -> str:
    narrow = unicodedata.normalize("NFC", "".join(map(_narrow_letter, unicodedata.normalize("NFC", text))))
    return " ".join(narrow.casefold().split())


def _without_separators(label: str) -> str:
    """Return a label without what stands between two letters of its words: `non-toxic` is `non toxic`."""
    return re.sub(f"(?<={_LETTER})[ {_HYPHEN}](?={_LETTER})", "", label)


def _narrow_letter(letter: str) -> str:
    """Return a letter in its usual width; a raised or lowered digit, or a fraction, is none of the digits."""
    other = unicodedata.decomposition(letter).startswith(("<super>", "<sub>", "<fraction>"))
    if letter == "\u2212":  # the minus of mathematics
        return "-"
    return letter if other else unicodedata.normalize("NFKC", letter)


def _word_pattern(label: str) -> str:
    """Return the pattern of a label that stands by itself, with nothing beside it that makes it another one."""
    before = after = ""
    if re.match(f"{_LETTER}|{_SIGN}", label):
        before = f"(?<!{_LETTER})"
    if re.match(_LETTER, label):  # in `non-toxic`, `don't`, `n/a`, `.net`
        before += f"(?<!{_LETTER}[{_HYPHEN}'\u2019&_/+])(?<!^[.])(?<![^\\w.][.])"
    if re.match(f"{_SIGN}*[0-9]", label):  # in `-1`, `0.1`, `2,1`, `>1`, but not in `<b>1`
        before += f"(?<!{_SIGN})(?<![0-9][.,:])(?<!^>)(?<!\\s>)"
    if re.search(f"(?:{_LETTER}|{_MARK}|[{_HYPHEN}])$", label):  # in `a+`, `c++`, `50%`, `a-`, `n/a`
        after = f"(?!{_LETTER})(?!{_MARK})(?![{_HYPHEN}](?!{_LETTER}))(?![&_/]{_LETTER})"
    if re.search("[0-9]$", label):  # in `1.5`, `1,000`, `1-2`, `50 %`
        after += f"(?![.,:][0-9])(?![{_HYPHEN}])(?! ?[%\u2030])"
    parts = re.split(f"(?<=[a-z])[ {_HYPHEN}](?=[a-z])", label)
    return f"{before}{f'[ {_HYPHEN}]?'.join(map(re.escape, parts))}{after}"
