"""Rows to conversations, and what is wrong with a row that makes none."""

from typing import Any

import msgspec

from ftbridge.adapters.columns import recognise
from ftbridge.adapters.values import BadValueError, shown, text, plain
from ftbridge.core.records import Conversation, Row, Turn, Where


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one value of one row."""

    where: Where
    column: str
    letter: str
    field: str
    reason: str
    value: str = ""

    @property
    def address(self) -> str:
        return self.where.cell(self.letter)


class Mapping(msgspec.Struct, frozen=True):
    """Makes conversations of rows.

    `columns` maps a field to its column, `letters` to the sheet's letter of it; `system` is for rows that
    bring none. `known` are the table's columns: another that would have been taken is an error of its row.
    """

    columns: dict[str, str]
    known: frozenset[str]
    letters: dict[str, str]
    system: str = ""

    def conversation(self, row: Row) -> Conversation:
        """Return the sample in `row`; raises BadValueError where there is none, and `problems` says why."""
        columns, values = self.columns, row.values
        if row.error or ((len(values) > len(self.known) or not self.known.issuperset(values)) and self._late(values)):
            raise BadValueError(row.error)
        instruction = text(values.get(columns["instruction"]))
        extra = text(values.get(columns["input"])) if "input" in columns else ""
        output = text(values.get(columns["output"]))
        if not output.strip() or not (instruction.strip() or extra.strip()):
            raise BadValueError("empty")
        system = (text(values.get(columns["system"])) if "system" in columns else "") or self.system
        turn = Turn(instruction, extra, output)
        history = values.get(columns["history"]) if "history" in columns else None
        return Conversation(system, (*_turns(plain(history)), turn) if history else (turn,), row.where)

    def problems(self, row: Row) -> list[Problem]:
        """Return all that is wrong with `row`, one entry a field; empty for a good row."""
        if row.error:
            return [Problem(row.where, "", "", "", row.error)]
        found = [
            Problem(row.where, column, "", field, "comes after the columns were chosen from the first rows", column)
            for column, field in self._late(row.values).items()
        ]
        empty = set()
        for field, column in self.columns.items():
            value = row.values.get(column)
            try:
                _turns(plain(value) or []) if field == "history" else text(value).encode() if not isinstance(
                    text(value), msgspec.Raw
                ) else None
            except UnicodeEncodeError:
                found.append(self._problem(row, field, "holds half of a surrogate pair"))
            except BadValueError as error:
                found.append(self._problem(row, field, str(error)))
            else:
                empty |= set() if field == "history" or text(value).strip() else {field}
        asked = [field for field in ("instruction", "input") if field in self.columns]
        missing = [*(asked[:1] if empty.issuperset(asked) else ()), *({"output"} & empty)]
        return found + [self._problem(row, field, "is empty") for field in missing]

    def _problem(self, row: Row, field: str, reason: str) -> Problem:
        value = row.values.get(self.columns[field])
        return Problem(
            row.where,
            self.columns[field],
            self.letters.get(field, ""),
            field,
            reason,
            "" if value is None else shown(value),
        )

    def _late(self, values: dict[str, Any]) -> dict[str, str]:
        """Return the columns of this row that would have been taken, had the first rows had them."""
        new = [column for column in values if column not in self.known]
        return {columns[0]: field for field, columns in recognise(new).items() if field not in self.columns}


def _turns(history: Any) -> tuple[Turn, ...]:
    """Return the earlier turns of an Alpaca history: a list of pairs of question and answer."""
    if not isinstance(history, list):
        raise BadValueError("is no list of [question, answer] pairs")
    turns = []
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2:  # noqa: PLR2004 - question and answer
            raise BadValueError("is no list of [question, answer] pairs")
        question, answer = text(pair[0]), text(pair[1])
        if not question.strip() or not answer.strip():
            raise BadValueError("has an empty question or answer")
        (question + answer).encode()
        turns.append(Turn(question, "", answer))
    return tuple(turns)
