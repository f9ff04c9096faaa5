"""Which label an answer names, if any."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

from ftbridge.language import gettext as _

LABEL_RULE = _(
    "an answer is read as a label where it is that label (exact), or is so except for case, width, blanks "
    "and punctuation at the ends (normalized), or where that label, and no other, occurs in it as a word "
    "(contained; one within a longer label does not count, nor one that is denied: not positive, isn't about "
    "sports, neither A nor B, 不是体育, 并非负面); any other answer is unparseable, and wrong. Signs stay: -1, 1.5, "
    "50% and non-toxic hold no 1, 50 or toxic, and A-, C++ and .NET no A, C or NET. Macro averages are over "
    "the labels that occur in references or answers"
)
# Beside these letters, unlike beside Chinese ones, a word goes on: Latin, Greek, Cyrillic, and digits.
_LETTER = "[0-9a-z\u00df-\u024f\u0370-\u052f]"
_HYPHEN = "\\-\u2010\u2011\u2212"
# What makes another number of the one behind it: signs, comparisons, currencies; and of a word or number before it.
_SIGN = f"[{_HYPHEN}\u2012\u2013\u8d1f\u8ca0+\u00b1~\u2248\u2260<\u2264\u2265$\u00a2\u00a3\u00a5\u20ac]"
_MARK = "[+#\u266f\u266d%\u2030\u00b0\u00b2\u00b3\u00b9\u2070-\u209c]"
FARTHEST_DENIAL = 100  # characters before a label, so that long answers are read in linear time
# What denies a label behind it, and what may stand between: words that tell of nothing else. So `不满` and `not happy`
# deny no label that follows, as reasons before an answer, and `非常`, `无疑` and `不仅` are no denials.
_BETWEEN = (
    "an? the any all at really very quite exactly clearly necessarily simply truly actually so be been being is are "
    "was were it its it's that's this that these those there of in about as to for on under into i we you would could "
    "can do does did have has think believe say call called consider considered classify classified seem seems look "
    "looks like appear appears belong belongs fit fits fall falls count counts sound sounds either label category "
    "class type kind sort topic sentiment text sentence review comment article news document tweet message"
).replace(" ", "|")
_DENIAL = re.compile(
    f"(?:(?<!{_LETTER})(?:not|no|never|nor|neither|none of|non|without|cannot|hardly|(?:rather|other) than|instead of)"
    "|n['\u2019]t)"
    f"(?: (?:{_BETWEEN}))*[^\\w.,;:!?]*$"
    "|(?:不|(?<![无無除莫])非|无|無|[没沒]有?|未必?)"
    "(?:是|属于|屬於|算|为|為|归为|归类为|分类为|判断为|视为|能|会|该|应|太|够|很|怎么|特别|真正|完全|一定|认为|觉得|确定|关于|有关|什么|任何|一[个条种篇类]|的|它|"
    "这|那|[个条种篇类]|文本|句子|新闻|评论|文章|内容|情感|态度|倾向|类别|标签)*[^\\w，。、；：！？.,;:!?]*$"
)
# A label behind a denied one is denied with it: `not A or B`, `不是体育、政治`.
_OR = re.compile("[ ,]*(?:/|or|nor|and|、|和|或者?|与|及)[ ]*(?:an?|the|是)?[ ]*")

How = Literal["exact", "normalized", "contained", "unparseable"]
HOWS: tuple[How, ...] = get_args(How)


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
                for found in self._affirmed(_fold_case_and_width(text))
                for label in self._by_folded.get(found) or self._by_joined[_without_separators(found)]
            },
        }
        for how, found in ways.items():
            if len(found) == 1:
                return min(found), how
        return "", "unparseable"

    def _affirmed(self, text: str) -> Iterator[str]:
        """Yield the labels that stand in a text, as they stand there, and are not denied."""
        denied_to = None  # where a denied label ends
        for found in self._contained.finditer(text):
            start = found.start()
            denied = _DENIAL.search(text, max(0, start - FARTHEST_DENIAL), start) or (
                denied_to is not None and _OR.fullmatch(text, denied_to, start)
            )
            denied_to = found.end() if denied else None
            if not denied:
                yield found[0]


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
