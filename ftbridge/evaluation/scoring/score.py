"""How good a model's answers are, and whether two models differ by more than chance."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np

from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.evaluation.record import MAIN_FIGURES, Comparison, Scores, Task, main_figure
from ftbridge.evaluation.scoring.classification import Classification
from ftbridge.evaluation.scoring.extraction import Extraction, read_entities, types_of
from ftbridge.evaluation.scoring.generation import Generation, tokenize_for
from ftbridge.evaluation.scoring.intervals import Array, Chunk, bootstrap, mcnemar
from ftbridge.evaluation.scoring.rows import Row, Rows, paired
from ftbridge.language import gettext as _
from ftbridge.language import joined

__all__ = ["Row", "Rows", "compare", "find_task", "known_labels", "score"]

DRAWS = 1000
FEW_ITEMS, MOST_CLASSES = 30, 1000
SIGNIFICANT = 0.05
# What classes look like where nothing names them: a line each, and each the answer to two samples or more.
LONGEST_LABEL, MOST_LABELS, SAMPLES_PER_LABEL = 80, 100, 2


class Judge(Protocol):
    """What judges the answers to a task, by statistics of an item that can be summed.

    The first of an answer's statistics is 1 where it is right. Those of a second model's answer follow the first's.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the first figures."""

    def chunks(self, items: Iterator[tuple[Row, ...]]) -> Iterator[Chunk]:
        """Yield the statistics of items, each with the answers of one model or two."""

    def figures(self, sums: Array) -> Array:
        """Return the figures of summed statistics, those of `names` first."""

    def scores(self, rows: Rows, items: int, draws: int, seed: int) -> Scores:
        """Return the scores of a model's answers."""


def find_task(references: Iterable[str], labels: Sequence[str]) -> Task:
    """Return what the right answers are: labels, where some are known or they look like some; entities; or text."""
    if labels:
        return "classification"
    samples, as_json = 0, False
    different: set[str] | None = set()
    kinds: set[str] | None = set()
    for reference in map(str.strip, references):
        samples += 1
        as_json |= reference.startswith("[")
        different = _with_label(different, reference)
        kinds = _with_types(kinds, reference)
        if different is None and kinds is None:
            return "generation"
    if different and 1 < len(different) <= samples // SAMPLES_PER_LABEL and not (kinds and as_json):
        return "classification"
    # Lines that all begin with `Answer:` or the like list no entities, where nothing else tells so.
    return "extraction" if kinds and (as_json or len(kinds) > 1) else "generation"


def known_labels(rows: Rows, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the `labels`, and then those references that are none of them.

    Raises InputError where a reference is blank, or there are more than MOST_CLASSES.
    """
    known = dict.fromkeys(label for each in labels if (label := each.strip()))
    different: set[str] = set()
    for row in rows():
        different.add(reference := row.reference.strip())
        if not reference:
            raise InputError(
                _(
                    "question {id} has no right answer, and a classification needs a label for each; take "
                    "the row out, or evaluate with `--task generation`"
                ).format(id=row.id)
            )
        if len(different) > MOST_CLASSES:
            raise InputError(
                _(
                    "more than {most_classes:,} different right answers are too many for a classification; "
                    "evaluate with `--task generation`"
                ).format(most_classes=MOST_CLASSES)
            )
    return tuple(known | dict.fromkeys(sorted(different)))


def score(task: Task, rows: Rows, labels: Sequence[str] = (), *, draws: int = DRAWS, seed: int = 0) -> Scores:
    """Return how good the answers in `rows` are, each figure with its 95 % interval.

    `labels` are a classification's that are known; the references are labels as well. Raises InputError where there
    are no rows, or the references do not fit the task.
    """
    finish = Counter(row.finish for row in rows())
    if not (items := finish.total()):
        raise InputError(
            _("there are no answers to evaluate; run `ftbridge predict` first, and check that the dataset has samples")
        )
    found = _judge(task, rows, labels).scores(rows, items, draws, seed)
    notes = (*found.notes, *_notes(found, finish))
    return msgspec.structs.replace(found, finish=dict(finish), notes=notes)


def compare(
    task: Task,
    first: Rows,
    second: Rows,
    titles: tuple[str, str],
    labels: Sequence[str] = (),
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Return how two models' answers to the same questions differ: the first's figures less the second's.

    Questions that only one was asked are left out, and the sentence says so. Raises InputError where they share no
    question, or a question has two right answers.
    """
    asked = [sum(1 for _unused in rows()) for rows in (first, second)]
    items = sum(1 for _unused in paired(first, second))
    if not items:
        raise InputError(
            _(
                "these evaluations differ in their items: `{title}` and `{other}` share no question; "
                "evaluate both on the same dataset"
            ).format(title=titles[0], other=titles[1])
        )

    def shared() -> Iterator[Row]:
        return (row for row, _unused in paired(first, second))

    judge = _judge(task, shared, labels)

    def chunks() -> Iterator[Chunk]:
        for statistics, counts in judge.chunks(paired(first, second)):
            both = statistics[:, 0] * statistics[:, statistics.shape[1] // 2]
            yield np.column_stack([statistics, both]), counts

    def difference(sums: Array) -> Array:
        mine, other = np.split(sums[..., :-1], 2, -1)
        return judge.figures(mine) - judge.figures(other)

    found = bootstrap(chunks(), items, difference, draws, seed)
    right, other_right, both = (round(found.sums[at]) for at in (0, len(found.sums) // 2, -1))
    comparison = Comparison(
        first=titles[0],
        second=titles[1],
        items=items,
        both=both,
        only_first=right - both,
        only_second=other_right - both,
        neither=items - right - other_right + both,
        p_value=mcnemar(right - both, other_right - both) if task == "classification" else None,
        differences={
            name: found.figure(at, items) for at, name in enumerate(judge.names) if name != "reference_length"
        },
        sentence="",
    )
    return msgspec.structs.replace(comparison, sentence=_sentence(comparison, sum(asked) - 2 * items))


def _judge(task: Task, rows: Rows, labels: Sequence[str]) -> Judge:
    if task == "classification":
        return Classification(known_labels(rows, labels))
    return Extraction(types_of(rows)) if task == "extraction" else Generation(tokenize_for(rows))


def _with_label(labels: set[str] | None, reference: str) -> set[str] | None:
    """Return `labels` with a reference; None where it does not look like one, or they are too many."""
    if labels is None or not (0 < len(reference) <= LONGEST_LABEL and reference.isprintable()):
        return None
    labels.add(reference)
    return labels if len(labels) <= MOST_LABELS else None


def _with_types(kinds: set[str] | None, reference: str) -> set[str] | None:
    """Return `kinds` with the types of entities in a reference; None where it does not look like a list of some."""
    entities = None if kinds is None else read_entities(reference)
    if kinds is None or entities is None or any(len(text) > LONGEST_LABEL for _unused, text in entities):
        return None
    kinds.update(kind for kind, _unused in entities)
    return kinds if len(kinds) <= MOST_LABELS else None


def _notes(found: Scores, finish: Counter[str]) -> Iterator[str]:
    answers = counted(found.items, "answer")
    if cut := finish["length"]:
        yield _("{cut:,} of {answers} were cut by the limit of tokens: raise `--max-new-tokens`").format(
            cut=cut, answers=answers
        )
    if full := finish["full"]:
        yield _("{full:,} of {answers} were cut since the model takes no more tokens").format(
            full=full, answers=answers
        )
    if long := finish["too_long"]:
        yield _("{long:,} of {answers} are empty, and wrong, since the prompt is too long for the model").format(
            long=long, answers=answers
        )
    if found.items < FEW_ITEMS:
        yield _("only {items}: the true values may be anywhere in the intervals").format(
            items=counted(found.items, "item")
        )
    bootstrapped = [each for each in found.figures.items() if each[1].method == "bootstrap"]
    if fixed := [name for name, each in bootstrapped if each.low == each.high and not name.endswith("_length")]:
        names = joined(", ", (name.replace("_", " ") for name in fixed))
        yield _(
            "all answers score the same in {names}: an interval of width 0 does not make the figure certain"
        ).format(names=names)


def _sentence(found: Comparison, left_out: int) -> str:
    """Say who is better, by how much, and whether that may be chance."""
    key = main_figure(found.differences)
    figure, name = found.differences[key], MAIN_FIGURES[key]
    by, low, high = (round(100 * each, 4) + 0.0 for each in (figure.value, figure.low, figure.high))  # and no -0.0
    better = found.first
    if by < 0:
        better, by, low, high = found.second, -by, 0.0 - high, 0.0 - low
    counts = [counted(found.items, "item")]
    if found.only_first or found.only_second or found.p_value is not None:
        right = _("right") if key == "accuracy" else _("right in full")
        counts += [
            _("{only_first:,} only {first} {right}").format(
                only_first=found.only_first, first=found.first, right=right
            ),
            _("{only_second:,} only {second} {right}").format(
                only_second=found.only_second, second=found.second, right=right
            ),
        ]
    if found.p_value is not None:
        counts.append(_p_value(found.p_value))
    if left_out:
        counts.append(_("{left_out:,} more were asked of only one model and are skipped").format(left_out=left_out))
    interval = _("{points} to {high_points}").format(points=_points(low), high_points=_points(high))
    if not by:
        return _("{counts}. No difference in {name} is seen ({interval} points).").format(
            counts=joined(", ", counts), name=name, interval=interval
        )
    gain = _("by {points} points of {name} ({interval})").format(points=_points(by), name=name, interval=interval)
    if not (low > 0 if found.p_value is None else found.p_value < SIGNIFICANT):
        return _("{counts}. {better} is ahead {gain}, but the difference may be chance.").format(
            counts=joined(", ", counts), better=better, gain=gain
        )
    if found.p_value is None and found.items < FEW_ITEMS:  # of which the bootstrap alone is too sure
        few = _("Too few to be sure, as at least {few_items} items are needed").format(few_items=FEW_ITEMS)
        return _("{counts}. {few}: so far {better} is ahead {gain}.").format(
            counts=joined(", ", counts), few=few, better=better, gain=gain
        )
    return _("{counts}. {better} is better {gain}, more than chance would explain.").format(
        counts=joined(", ", counts), better=better, gain=gain
    )


def _points(value: float) -> str:
    return f"{value:.1f}" if not value or abs(value) >= 0.1 else f"{value:.1g}"  # noqa: PLR2004 - a million items


def _p_value(value: float) -> str:
    if value < 0.001:  # noqa: PLR2004 - what is less, nobody needs to know
        return "p < 0.001"
    near = value < 0.01 or round(value, 2) == SIGNIFICANT  # noqa: PLR2004 - where two places would hide the answer
    return f"p = {value:.{3 if near else 2}f}"
