"""The answers that are judged: read as often as needed, a million as well, and of two models side by side."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _

T = TypeVar("T")


class Row(NamedTuple):
    """An answer to the question `id`, without the model's thoughts; `finish` tells how it ended."""

    id: int
    answer: str
    reference: str
    finish: str


# Reads the rows anew each time that it is called, in the order of their ids.
Rows = Callable[[], Iterator[Row]]


def paired(first: Rows, second: Rows) -> Iterator[tuple[Row, Row]]:
    """Yield the two answers to each question that both models were asked.

    Raises InputError where a question has two references, or rows are not in the order of their ids.
    """
    firsts, seconds = _in_order(first()), _in_order(second())
    mine, other = next(firsts, None), next(seconds, None)
    while mine and other:
        if mine.id == other.id:
            if mine.reference.strip() != other.reference.strip():
                raise InputError(
                    _(
                        "these evaluations differ in their items: question {id} has two right answers; "
                        "evaluate both on the same dataset"
                    ).format(id=mine.id)
                )
            yield mine, other
        before = mine.id
        mine = next(firsts, None) if mine.id <= other.id else mine
        other = next(seconds, None) if other.id <= before else other


def batched(values: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield the values in lists of `size`, the last one shorter."""
    batch: list[T] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _in_order(rows: Iterator[Row]) -> Iterator[Row]:
    last = None
    for row in rows:
        if last is not None and row.id <= last:
            raise InputError(
                _("the answer to question {id} comes after that to {last}; answer the dataset again").format(
                    id=row.id, last=last
                )
            )
        last = row.id
        yield row
