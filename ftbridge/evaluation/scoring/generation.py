"""Answers in free text: exact match, chrF, BLEU, ROUGE-L, lengths, and how many ended by themselves."""

from collections.abc import Iterable, Iterator

import numpy as np

from ftbridge.evaluation.record import Scores
from ftbridge.evaluation.scoring.intervals import CHUNK, Array, Chunk, bootstrap, share
from ftbridge.evaluation.scoring.overlap import Corpus, characters_and_words, has_sacrebleu, rouge_l
from ftbridge.evaluation.scoring.rows import Row, Rows, batched
from ftbridge.language import gettext as _

MISSING = _(
    "chrF and BLEU need sacrebleu, and are left out: `pip install '.[evaluation]'` in the "
    "clone of ftbridge, then evaluate again"
)
_RULE = _(
    "exact match: the answer is the reference, ignoring blanks at the ends. ROUGE-L: the mean F1 of the "
    "longest common subsequence of words, ignoring case and punctuation, where each character of Chinese and "
    "other scripts without blanks is a word. chrF, BLEU (`tokenize={}`): of all answers as one text, by "
    "sacrebleu, here from 0 to 1. Lengths are the mean of characters"
)
_OWN = 6  # statistics that are not sacrebleu's


class Generation:
    """Judges answers by their words, which BLEU cuts as `tokenize` says."""

    def __init__(self, tokenize: str) -> None:
        """Cut words as sacrebleu's `tokenize` does; without sacrebleu its figures are left out."""
        self._tokenize = tokenize
        self._corpus = Corpus(tokenize) if has_sacrebleu() else None
        by_sacrebleu = ("chrf", "bleu") if self._corpus else ()
        self.names = ("exact_match", *by_sacrebleu, "rouge_l", "answer_length", "reference_length", "ended")

    def chunks(self, items: Iterator[tuple[Row, ...]]) -> Iterator[Chunk]:
        """Yield the statistics of items, each with the answers of one model or two."""
        for batch in batched(items, CHUNK):
            parts = [self._statistics(answers) for answers in zip(*batch, strict=True)]
            yield np.hstack(parts), np.ones(len(batch), np.int64)

    def figures(self, sums: Array) -> Array:
        """Return the figures by `names` of summed statistics."""
        exact, rouge, answer, reference, ended = np.moveaxis(sums[..., :5] / sums[..., 5:_OWN], -1, 0)
        by_sacrebleu = []
        if self._corpus:
            rows = sums[..., _OWN:].reshape(-1, sums.shape[-1] - _OWN).tolist()
            by_sacrebleu = [*np.array([self._corpus.scores(row) for row in rows]).T.reshape(2, *sums.shape[:-1])]
        return np.stack([exact, *by_sacrebleu, rouge, answer, reference, ended], -1)

    def scores(self, rows: Rows, items: int, draws: int, seed: int) -> Scores:
        """Return the scores of a model's answers."""
        found = bootstrap(self.chunks((row,) for row in rows()), items, self.figures, draws, seed)
        figures = {name: found.figure(at, items) for at, name in enumerate(self.names)}
        shares = {"exact_match": share(found.sums[0], items), "ended": share(found.sums[4], items)}
        return Scores(
            task="generation",
            items=items,
            figures=figures | shares,
            notes=() if self._corpus else (MISSING,),
            rule=_RULE.format(self._tokenize),
        )

    def _statistics(self, rows: Iterable[Row]) -> Array:
        pairs = [(row.answer.strip(), row.reference.strip(), row.finish == "stop") for row in rows]
        own = [
            [answer == reference, rouge_l(answer, reference), len(answer), len(reference), ended, 1]
            for answer, reference, ended in pairs
        ]
        if not self._corpus:
            return np.array(own, float)
        by_sacrebleu = self._corpus.statistics([answer for answer, _, _ in pairs], [right for _, right, _ in pairs])
        return np.hstack([np.array(own, float), np.array(by_sacrebleu, float)])


def tokenize_for(rows: Rows) -> str:
    """Return how sacrebleu cuts the references: zh where most of their words are single characters, else 13a."""
    characters = words = 0
    for row in rows():
        single, several = characters_and_words(row.reference)
        characters, words = characters + single, words + several
    return "zh" if characters > words else "13a"
