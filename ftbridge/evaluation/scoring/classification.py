"""Answers that are labels: accuracy, precision, recall and F1, the confusion table, and Cohen's kappa."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from ftbridge.core.console import counted, first_few
from ftbridge.evaluation.record import ClassFigures, Confusion, Scores
from ftbridge.evaluation.scoring.intervals import CHUNK, Array, Chunk, bootstrap, divide, share
from ftbridge.evaluation.scoring.labels import HOWS, LABEL_RULE, How, Parser
from ftbridge.evaluation.scoring.rows import Row, Rows
from ftbridge.language import gettext as _
from ftbridge.language import ngettext

_REMEMBERED = 4096  # answers, most of which come again and again
_NAMED = 5  # labels in a note


class Classification:
    """Judges answers as `labels`, which all references are."""

    names = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "kappa")

    def __init__(self, labels: Sequence[str]) -> None:
        """Judge answers as one of the `labels`."""
        self.labels = tuple(labels)
        # The place behind the last label is that of answers that are none.
        self._places = {label: place for place, label in enumerate((*labels, ""))}
        self._read = lru_cache(_REMEMBERED)(Parser(labels).read)

    def chunks(self, items: Iterable[tuple[Row, ...]]) -> Iterator[Chunk]:
        """Yield the statistics of items, each with the answers of one model or two."""
        return self._chunks(Counter(self._cell(rows) for rows in items))

    def figures(self, sums: Array) -> Array:
        """Return the figures by `names`, and then each label's F1, of summed statistics."""
        right, items, each_right, answered, support = self._parts(sums)
        each = (divide(each_right, answered), divide(each_right, support), divide(2 * each_right, answered + support))
        occurring = answered + support > 0
        macro = [(figures * occurring).sum(-1) / occurring.sum(-1) for figures in each]
        accuracy, by_chance = right / items, (answered * support).sum(-1) / items**2
        kappa = divide(accuracy - by_chance, 1 - by_chance)
        return np.concatenate([np.stack([accuracy, *macro, kappa], -1), each[2]], -1)

    def scores(self, rows: Rows, items: int, draws: int, seed: int) -> Scores:
        """Return the scores of a model's answers."""
        cells: Counter[tuple[int, ...]] = Counter()
        parsed: Counter[How] = Counter()
        for row in rows():
            cells[self._cell((row,))] += 1
            parsed[self._read(row.answer)[1]] += 1
        found = bootstrap(self._chunks(cells), items, self.figures, draws, seed)
        right, _unused, *parts = self._parts(found.sums)
        figures = {name: found.figure(at, items) for at, name in enumerate(self.names)}
        classes = tuple(
            ClassFigures(
                name=label,
                support=round(support),
                precision=share(each_right, answered),
                recall=share(each_right, support),
                f1=found.figure(len(self.names) + place, round(answered + support - each_right)),
            )
            for place, (label, each_right, answered, support) in enumerate(zip(self.labels, *parts, strict=True))
        )
        places = range(len(self.labels))
        counts = tuple(tuple(cells[row, column] for column in (*places, len(self.labels))) for row in places)
        return Scores(
            task="classification",
            items=items,
            figures={**figures, "accuracy": share(float(right), items)},
            classes=classes,
            confusion=Confusion(labels=self.labels, counts=counts),
            parsed={how: parsed[how] for how in HOWS},
            notes=tuple(_notes(classes, parsed["unparseable"], items)),
            rule=LABEL_RULE,
        )

    def _cell(self, rows: Sequence[Row]) -> tuple[int, ...]:
        """Return the places of an item's reference, and of its answers."""
        answers = (self._places[self._read(row.answer)[0]] for row in rows)
        return (self._places[rows[0].reference.strip()], *answers)

    def _chunks(self, cells: Counter[tuple[int, ...]]) -> Iterator[Chunk]:
        every = np.array(sorted(cells))
        counts = np.array([cells[cell] for cell in sorted(cells)])
        one_of = np.eye(len(self._places))[:, :-1]
        for at in range(0, len(every), CHUNK):
            reference, *answers = every[at : at + CHUNK].T
            parts = [part for answer in answers for part in _statistics(one_of[reference], one_of[answer])]
            yield np.hstack(parts), counts[at : at + CHUNK]

    def _parts(self, sums: Array) -> tuple[Array, ...]:
        """Return the right answers, all items, and by label the right answers, all such answers, and references."""
        by_label = np.split(sums[..., 2:], 3, -1)
        return (sums[..., 0], sums[..., 1], *by_label)


def _statistics(reference: Array, answer: Array) -> tuple[Array, ...]:
    right = reference * answer
    return right.sum(-1, keepdims=True), np.ones((len(right), 1)), right, answer, reference


def _notes(classes: Sequence[ClassFigures], unparseable: int, items: int) -> Iterator[str]:
    if absent := [each.name for each in classes if not each.support]:
        yield ngettext(
            "{named} never occurs among the right answers", "{named} never occur among the right answers", len(absent)
        ).format(named=_named(absent))
    if single := [each.name for each in classes if each.support == 1]:
        yield _("{named}: only one item has this label, so its recall is 0 or 1").format(named=_named(single))
    if sum(each.support > 0 for each in classes) == 1:
        yield _("all right answers are one label: accuracy is its recall, and kappa means nothing")
    if unparseable == items:
        yield _(
            "no answer could be read as a label: the model does not answer in labels, or the limit of tokens is low"
        )
    elif unparseable:
        yield _("{unparseable:,} of {answers} could not be read as a label, and are wrong").format(
            unparseable=unparseable, answers=counted(items, "answer")
        )


def _named(labels: Sequence[str]) -> str:
    return first_few([f"`{label}`" for label in labels], _NAMED)
