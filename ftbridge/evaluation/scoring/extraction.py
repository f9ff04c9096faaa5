"""Answers that list entities: precision, recall and F1, over all and by type.

An answer is a JSON list, `[{"text": "aspirin", "type": "drug"}]`, or lines, `drug: aspirin`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from ftbridge.core.console import counted, first_few
from ftbridge.core.errors import InputError
from ftbridge.evaluation.record import ClassFigures, Scores
from ftbridge.evaluation.scoring.intervals import CHUNK, Array, Bootstrapped, Chunk, bootstrap, divide
from ftbridge.evaluation.scoring.rows import Row, Rows, batched
from ftbridge.language import gettext as _

MOST_TYPES = 1000
_NONE = ("", "none", "无", "没有")
_RULE = _(
    "an entity is right where its type and its text are one of the reference's, ignoring blanks at the ends, "
    "as often as it occurs there; the order does not matter. An answer that is not a JSON list of {text, "
    "type}, and not all of lines `type: text`, counts as no entities. Intervals are over items, as the "
    "entities of one answer go together"
)
# No type is without a letter, as in `10:30`, and none is that of an address, as in `https://`.
_LINE = re.compile(
    r"(?:[-*•]\s+|[0-9]+[.)]\s+)?(?=[^:：]*[^\W\d_])([^:：\s][^:：\n]{0,39}?)\s*(?::(?!//)|：)\s*(\S.*?)"
)
_NAMED = 5  # types in a note


class Entity(msgspec.Struct, frozen=True):
    """A `text` that is of a `type`."""

    text: str
    type: str


Entities: TypeAlias = Counter[tuple[str, str]]


def read_entities(answer: str) -> Entities | None:
    """Return the types and texts that an answer lists, with how often; None where it is no list of entities."""
    text = answer.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json").strip()
    if text.lower() in _NONE:
        return Counter()
    if text.startswith("["):
        try:
            found = msgspec.json.decode(text, type=list[Entity])
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return None
        return Counter((each.type.strip(), each.text.strip()) for each in found)
    lines = [_LINE.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
    return Counter((line[1], line[2]) for line in lines if line) if all(lines) else None


class Extraction:
    """Judges answers that list entities of `types`, which all references are of; other types are wrong."""

    names = ("precision", "recall", "f1")

    def __init__(self, types: Sequence[str]) -> None:
        """Judge entities of the `types`."""
        self.types = tuple(types)
        self._places = {name: place for place, name in enumerate(types)}

    def chunks(self, items: Iterator[tuple[Row, ...]]) -> Iterator[Chunk]:
        """Yield the statistics of items, each with the answers of one model or two."""
        for batch in batched(items, CHUNK):
            parts = [self._statistics(answers) for answers in zip(*batch, strict=True)]
            yield np.hstack(parts), np.ones(len(batch), np.int64)

    def figures(self, sums: Array) -> Array:
        """Return precision, recall and F1 of summed statistics: over all, then of each type."""
        right, answered, support = np.moveaxis(sums[..., 2:].reshape(*sums.shape[:-1], -1, 3), -1, 0)
        each = (divide(right, answered), divide(right, support), divide(2 * right, answered + support))
        return np.stack(each, -1).reshape(*sums.shape[:-1], -1)

    def scores(self, rows: Rows, items: int, draws: int, seed: int) -> Scores:
        """Return the scores of a model's answers."""
        found = bootstrap(self.chunks((row,) for row in rows()), items, self.figures, draws, seed)
        whole, *classes = (_figures_of(found, place, name) for place, name in enumerate(("", *self.types)))
        damaged = round(found.sums[1])
        return Scores(
            task="extraction",
            items=items,
            figures={name: getattr(whole, name) for name in self.names},
            classes=tuple(classes),
            parsed={"read": items - damaged, "unparseable": damaged},
            notes=tuple(_notes(classes, damaged, items)),
            rule=_RULE,
        )

    def _statistics(self, rows: Iterable[Row]) -> Array:
        """Return of each answer whether it is right and damaged; over all and by type, entities right, given, due."""
        found = []
        for row in rows:
            given, due = read_entities(row.answer), _due(row)
            places = np.zeros((1 + len(self.types), 3))
            for column, entities in enumerate(((given or Counter()) & due, given or Counter(), due)):
                places[0, column] = entities.total()
                for (kind, _unused), count in entities.items():
                    if kind in self._places:
                        places[1 + self._places[kind], column] += count
            found.append(np.concatenate([[given == due, given is None], places.ravel()]))
        return np.array(found)


def types_of(rows: Rows) -> tuple[str, ...]:
    """Return the types of entities in the references.

    Raises InputError where one lists no entities, or there are more than MOST_TYPES.
    """
    types: set[str] = set()
    for row in rows():
        types.update(kind for kind, _unused in _due(row))
        if len(types) > MOST_TYPES:
            raise InputError(
                _(
                    "the right answers hold more than {most_types:,} types of entities, too many to be "
                    "types; evaluate with `--task generation`"
                ).format(most_types=MOST_TYPES)
            )
    return tuple(sorted(types))


def _due(row: Row) -> Entities:
    found = read_entities(row.reference)
    if found is None:
        raise InputError(
            _(
                "the right answer to question {id} is not a list of entities, neither JSON of {{text, type}} "
                "nor lines `type: text`; evaluate with `--task generation`"
            ).format(id=row.id)
        )
    return found


def _figures_of(found: Bootstrapped, place: int, name: str) -> ClassFigures:
    right, answered, support = (round(each) for each in found.sums[2 + 3 * place :][:3])
    return ClassFigures(
        name=name,
        support=support,
        precision=found.figure(3 * place, answered),
        recall=found.figure(3 * place + 1, support),
        f1=found.figure(3 * place + 2, answered + support - right),
    )


def _notes(classes: Sequence[ClassFigures], damaged: int, items: int) -> Iterator[str]:
    if not classes:
        yield _("the right answers hold no entities: whatever an answer lists is wrong")
    if single := [f"`{each.name}`" for each in classes if each.support == 1]:
        yield _("{single}: only one entity has this type, so its recall is 0 or 1").format(
            single=first_few(single, _NAMED)
        )
    if damaged:
        yield _("{damaged:,} of {answers} could not be read as a list of entities, and count as none").format(
            damaged=damaged, answers=counted(items, "answer")
        )
