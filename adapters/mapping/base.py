"""Rows to conversations, and what is wrong with a row that makes none.

Most rows are ordinary, and `fast_path` makes their samples. Any other row goes through `read`, which makes the sample
or says what is wrong, so that `conversation` and `problems` never disagree.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.flags import NO_LOSS, REASONING, TOOLS, is_left_out, key_kind
from ftbridge.adapters.mapping.headers import columns_by_field, untrainable_columns
from ftbridge.adapters.problems import Problem
from ftbridge.adapters.values import LONGEST, BadValueError, checked_text, decode_raw, holds_nothing, is_blank, shorten
from ftbridge.core.records import Conversation, Row, Text, Turn
from ftbridge.language import gettext as _

FastPath = Callable[[Row], Conversation | None]


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """Makes conversations of rows; a subclass says how.

    `columns` maps a field to its column, `known_columns` are the table's columns, `letters` the sheet's letters by
    column. Another column that turns up later is an error of its row where it would have been taken for one of the
    `watched_fields`, unless the `user_decided` which columns count. `refused_columns` maps the columns that must be
    empty to what they hold, and no flag in the columns `loss_flags` may leave its row out. `system` is for rows that
    bring none. `strip` takes blanks off the ends of every text. The label is the text of `label_column`, or of the
    field `label_field`. `roles` are names of user, assistant or system that the user has explained, `tags` the keys of
    messages, as in LLaMA-Factory's dataset_info.json.
    """

    columns: dict[str, str]
    known_columns: frozenset[str]
    letters: dict[str, str] = {}
    user_decided: bool = False
    watched_fields: frozenset[str] = frozenset()
    refused_columns: dict[str, str] = {}
    loss_flags: tuple[str, ...] = ()
    system: str = ""
    strip: bool = False
    max_characters: int = LONGEST
    label_column: str | None = None
    label_field: str = ""
    roles: dict[str, str] = {}
    tags: dict[str, str] = {}

    @property
    def tools_are_read(self) -> bool:
        """Tell whether columns of tools are read; else they are refused."""
        return False

    @property
    def tool_columns(self) -> list[str]:
        """Return the columns of tools that are known, and read."""
        return [column for column, what in self.refused_columns.items() if what == TOOLS and self.tools_are_read]

    @property
    def may_mark(self) -> bool:
        """Tell whether samples may have more than questions and answers that are learned."""
        return not {"messages", "history"}.isdisjoint(self.columns)

    def conversation(self, row: Row) -> Conversation:
        """Return the sample in `row`; raises BadValueError where there is none, and `problems` says why.

        Half a surrogate pair may be found only when the sample is written.
        """
        return self.row_converter()(row)

    def row_converter(self) -> Callable[[Row], Conversation]:
        """Return `conversation` as a function for many rows, which takes 1 µs for most of them."""
        fast_path, known_columns = self.fast_path(), self.known_columns
        refused_columns, loss_flags = self.refused_columns, self.loss_flags
        if fast_path is None or self.strip:
            return self._convert_carefully

        def convert(row: Row) -> Conversation:
            values = row.values
            ordinary = not row.error and known_columns.issuperset(values)
            if refused_columns or loss_flags:
                ordinary = ordinary and all(holds_nothing(values.get(column)) for column in refused_columns)
                ordinary = ordinary and not any(is_left_out(column, values.get(column)) for column in loss_flags)
            if ordinary:
                sample = fast_path(row)
                if sample is not None:
                    return sample
            return self._convert_carefully(row)

        return convert

    def problems(self, row: Row) -> list[Problem]:
        """Return all that is wrong with `row`; empty for a good row."""
        return self._conversation_and_problems(row)[1]

    def fast_path(self) -> FastPath | None:
        """Return a function that makes the sample of an ordinary row, and returns None for one that needs `read`."""
        raise NotImplementedError

    def read(self, row: Row, problems: "RowProblems") -> tuple[Text, tuple[Turn, ...]]:
        """Return system prompt and turns after a look at everything; what is wrong is added to `problems`."""
        raise NotImplementedError

    def read_tools(self, row: Row, problems: "RowProblems") -> str:  # noqa: ARG002 - whoever holds them needs it
        """Return the tools that a row offers as a JSON list, "" for none."""
        return ""

    def label(self, row: Row, system: Text, last: Turn) -> str:
        """Return the sample's class, "" where there is none; raises BadValueError."""
        if self.label_column is not None:
            return checked_text(row.values.get(self.label_column), self.max_characters, strip=self.strip)
        if not self.label_field:
            return ""
        return checked_text(system if self.label_field == "system" else getattr(last, self.label_field))

    def _convert_carefully(self, row: Row) -> Conversation:
        sample, problems = self._conversation_and_problems(row)
        if sample is None:
            raise BadValueError(problems[0].reason)
        return sample

    def _conversation_and_problems(self, row: Row) -> tuple[Conversation | None, list[Problem]]:
        """Return the sample in a row, None where there are problems, and these."""
        problems = RowProblems(self, row)
        if row.error:
            problems.add("", "", row.error)
            return None, problems.found
        self._add_column_problems(row, problems)
        system, turns = self.read(row, problems)
        tools = self.read_tools(row, problems)
        if self.system and is_blank(system):
            system = self.system
        label = ""
        try:
            label = self.label(row, system, turns[-1]) if turns else ""
        except BadValueError as error:
            problems.add("stratify", self.label_column or "", str(error))
        if problems.found:
            return None, problems.found
        return Conversation(system, turns, row.where, label, tools), []

    def _add_column_problems(self, row: Row, problems: "RowProblems") -> None:
        """Add the columns that come too late, and those that should be empty, to `problems`."""
        empty = self.refused_columns
        if not self.user_decided and not self.known_columns.issuperset(row.values):
            unknown = [column for column in row.values if column not in self.known_columns]
            late = [column for column in unknown if not is_blank(row.values[column])]
            self._add_late_columns(late, problems)
            empty = empty | untrainable_columns(late)
        for column, content in empty.items():
            if not (content == TOOLS and self.tools_are_read):
                self._add_content(column, content, decode_raw(row.values.get(column)), problems)
        self._add_flags(row, problems)

    def _add_content(self, column: str, content: str, value: Any, problems: "RowProblems") -> None:
        """Add the value of a column that must be empty to `problems`, where it holds this content by its header."""
        if holds_nothing(value):
            return
        if content != REASONING:
            problems.add("", column, _("holds {content}, which cannot be trained on yet").format(content=_(content)))
        elif not isinstance(value, (bool, int, float)):
            problems.add("", column, _("holds {content}; choose with `--map` what to read").format(content=_(content)))

    def _add_flags(self, row: Row, problems: "RowProblems") -> None:
        """Add the columns of flags that are off to `problems`: nothing of such a row is learned."""
        for column in self.loss_flags:
            value = decode_raw(row.values.get(column))
            if is_left_out(column, value):
                state = "on" if key_kind(column) == NO_LOSS else "off"
                what = (
                    _("; put a flag beside each answer")
                    if isinstance(value, list)
                    else _(", and nothing to learn in it")
                )
                problems.add(
                    "", column, _("has `{column}` {state}{what}").format(column=column, state=state, what=what)
                )

    def _add_late_columns(self, late: list[str], problems: "RowProblems") -> None:
        for field, columns in columns_by_field(late).items():
            if field in self.watched_fields:
                problems.add(field, columns[0], _("first appears after the rows from which the columns were detected"))


class RowProblems:
    """Collects what is wrong with one row in `found`."""

    def __init__(self, mapping: Mapping, row: Row) -> None:
        self.found: list[Problem] = []
        self._mapping = mapping
        self._row = row

    def add(self, field: str, column: str, reason: str) -> None:
        """Add what is wrong with the value of a column."""
        value = self._row.values.get(column)
        letter = self._mapping.letters.get(column, "")
        self.found.append(
            Problem(self._row.where, column, letter, field, reason, "" if value is None else shorten(value))
        )
