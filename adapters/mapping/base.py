"""Rows to conversations, and what is wrong with a row that makes none.

Most rows are good and need no more than a quick look. Whatever is out of the ordinary is read again with care, which
makes the sample or says what is wrong: there is one truth, and `conversation` and `problems` never disagree.
"""

from collections.abc import Callable

import msgspec

from ftbridge.adapters.mapping.conversations.flags import off
from ftbridge.adapters.mapping.headers import recognise, refused
from ftbridge.adapters.problems import Problem
from ftbridge.adapters.values import LONGEST, BadValueError, blank, checked, nothing, shown
from ftbridge.core.records import Conversation, Row, Text, Turn

Quick = Callable[[Row], Conversation | None]


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """Makes conversations of rows; a subclass says how.

    `columns` maps a field to its column, `known` are the table's columns, `letters` the sheet's letters by column.
    Another column that turns up later is an error of its row where it would have been taken for one of the fields in
    `watched`, unless the user has `decided` which columns count. The columns in `refused` must be empty, and no flag of
    the loss in `flags` may be off. `system` is for rows that bring none. `strip` takes blanks off the ends of every
    text. The label is the text of `label_column`, or of the field `label_field`. `roles` are names of user, assistant
    or system that the user has explained, `tags` the keys of messages, as in LLaMA-Factory's dataset_info.json.
    """

    columns: dict[str, str]
    known: frozenset[str]
    letters: dict[str, str] = {}
    decided: bool = False
    watched: frozenset[str] = frozenset()
    refused: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    system: str = ""
    strip: bool = False
    max_characters: int = LONGEST
    label_column: str | None = None
    label_field: str = ""
    roles: dict[str, str] = {}
    tags: dict[str, str] = {}

    def conversation(self, row: Row) -> Conversation:
        """Return the sample in `row`; raises BadValueError where there is none, and `problems` says why.

        Half a surrogate pair may be found only when the sample is written.
        """
        return self.reader()(row)

    def reader(self) -> Callable[[Row], Conversation]:
        """Return `conversation` with all that is the same for every row looked up once: most rows take 1 µs."""
        quick, known, refused, flags = self.quick(), self.known, self.refused, self.flags
        if quick is None or self.strip:
            return self._made

        def read(row: Row) -> Conversation:
            values = row.values
            ordinary = not row.error and known.issuperset(values)
            if refused or flags:
                ordinary = ordinary and all(nothing(values.get(column)) for column in refused)
                ordinary = ordinary and not any(off(values.get(column)) for column in flags)
            if ordinary:
                sample = quick(row)
                if sample is not None:
                    return sample
            return self._made(row)

        return read

    def problems(self, row: Row) -> list[Problem]:
        """Return all that is wrong with `row`; empty for a good row."""
        return self._careful(row)[1]

    def quick(self) -> Quick | None:
        """Return a fast path from row to sample, which returns None for a row that needs `read`."""
        raise NotImplementedError

    def read(self, row: Row, notes: "Notes") -> tuple[Text, tuple[Turn, ...]]:
        """Return system and turns, looking at everything; what is wrong goes into `notes`."""
        raise NotImplementedError

    def label(self, row: Row, system: Text, last: Turn) -> str:
        """Return the sample's class, "" where there is none; raises BadValueError."""
        if self.label_column is not None:
            return checked(row.values.get(self.label_column), self.max_characters, strip=self.strip)
        if not self.label_field:
            return ""
        return checked(system if self.label_field == "system" else getattr(last, self.label_field))

    def _made(self, row: Row) -> Conversation:
        made, problems = self._careful(row)
        if made is None:
            raise BadValueError(problems[0].reason)
        return made

    def _careful(self, row: Row) -> tuple[Conversation | None, list[Problem]]:
        notes = Notes(self, row)
        if row.error:
            notes.add("", "", row.error)
            return None, notes.problems
        self._note_columns(row, notes)
        own, turns = self.read(row, notes)
        system, label = self.system if blank(own) and self.system else own, ""
        try:
            label = self.label(row, system, turns[-1]) if turns else ""
        except BadValueError as error:
            notes.add("stratify", self.label_column or "", str(error))
        if notes.problems:
            return None, notes.problems
        return Conversation(system, turns, row.where, label), []

    def _note_columns(self, row: Row, notes: "Notes") -> None:
        """Note the columns that come too late, and those that should be empty."""
        empty = self.refused
        if not self.decided and not self.known.issuperset(row.values):
            late = [column for column, value in row.values.items() if column not in self.known and not blank(value)]
            self._note_late_fields(late, notes)
            empty = empty | refused(late)
        for column, what in empty.items():
            if not nothing(row.values.get(column)):
                notes.add("", column, f"holds {what}, which cannot be trained on yet")
        for column in self.flags:
            if off(row.values.get(column)):
                notes.add("", column, f"has `{column}` off: no answer can be left out of the loss yet")

    def _note_late_fields(self, late: list[str], notes: "Notes") -> None:
        for field, columns in recognise(late).items():
            if field in self.watched:
                notes.add(field, columns[0], "comes after the columns were chosen from the first rows")


class Notes:
    """What is wrong with one row."""

    def __init__(self, mapping: Mapping, row: Row) -> None:
        self.problems: list[Problem] = []
        self._mapping = mapping
        self._row = row

    def add(self, field: str, column: str, reason: str) -> None:
        """Note what is wrong with the value of a column."""
        value = self._row.values.get(column)
        letter = self._mapping.letters.get(column, "")
        self.problems.append(
            Problem(self._row.where, column, letter, field, reason, "" if value is None else shown(value))
        )
