"""How much of one text stands in another: ROUGE-L of ours, BLEU and chrF of sacrebleu."""

import re
from collections.abc import Sequence
from importlib.util import find_spec

# Chinese, Japanese, Thai, Lao, Burmese and Khmer stand without blanks between words, so each character counts as one.
_CHARACTER = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_UNIT = re.compile(f"{_CHARACTER}|(?:(?!{_CHARACTER})[^\\W_])+")
_SINGLE = re.compile(_CHARACTER)


def units(text: str) -> list[str]:
    """Return the words of a text, without case and signs, and single characters of scripts without blanks."""
    return _UNIT.findall(text.casefold())


def characters_and_words(text: str) -> tuple[int, int]:
    """Return how many units of a text are single characters of scripts without blanks, and how many are words."""
    single = len(_SINGLE.findall(text))
    return single, len(units(text)) - single


def rouge_l(answer: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of units; without any, whether the texts are the same."""
    mine, right = units(answer), units(reference)
    if not mine and not right:
        return float(answer.strip() == reference.strip())
    return 2 * common_subsequence(mine, right) / (len(mine) + len(right))


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by Hyyrö's bit-vectors: a bit for each unit of the first.

    A bit of `open_` is 0 where the subsequence grows at that unit.
    """
    places: dict[str, int] = {}
    for at, unit in enumerate(first):
        places[unit] = places.get(unit, 0) | 1 << at
    every = (1 << len(first)) - 1
    open_ = every
    for unit in second:
        same = open_ & places.get(unit, 0)
        open_ = (open_ + same | open_ - same) & every
    return len(first) - open_.bit_count()


class Corpus:
    """chrF and BLEU of many texts as one, by sacrebleu, whose statistics of single texts are summed."""

    def __init__(self, tokenize: str) -> None:
        """Cut BLEU's words as sacrebleu's `tokenize` does: zh or 13a; raises ImportError without sacrebleu."""
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        self._chrf, self._bleu = CHRF(), BLEU(tokenize=tokenize, force=True)  # force: no warning of what is none here
        self._ends = 3 * CHRF.CHAR_ORDER

    def statistics(self, answers: Sequence[str], references: Sequence[str]) -> list[list[float]]:
        """Return the statistics of each answer, for both scores."""
        found = [
            [
                each
                for metric in (self._chrf, self._bleu)
                for each in metric._extract_corpus_statistics([answer], [[reference]])[0]  # noqa: SLF001
            ]
            for answer, reference in zip(answers, references, strict=True)
        ]
        for tokenizer in (self._bleu.tokenizer, getattr(self._bleu.tokenizer, "_post_tokenizer", None)):
            if forget := getattr(type(tokenizer).__call__, "cache_clear", None):
                forget()  # it would keep 65,536 texts of any length
        return found

    def scores(self, statistics: Sequence[float]) -> tuple[float, float]:
        """Return chrF and BLEU, from 0 to 1, of summed statistics."""
        sums = [round(each) for each in statistics]
        chrf = self._chrf._compute_score_from_stats(sums[: self._ends])  # noqa: SLF001
        bleu = self._bleu._compute_score_from_stats(sums[self._ends :])  # noqa: SLF001
        return chrf.score / 100, bleu.score / 100


def has_sacrebleu() -> bool:
    """Tell whether sacrebleu is installed."""
    return find_spec("sacrebleu") is not None
