"""Rows to conversations, and what is wrong with a row that makes none.

Most rows are good and need no more than a quick look. Whatever is out of the ordinary is read again with care, which
makes the sample or says what is wrong: there is one truth, and `conversation` and `problems` never disagree.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.flags import off
from ftbridge.adapters.mapping.conversations.formats import PAIRS, Reader, style_of, unfolded
from ftbridge.adapters.mapping.headers import HEADERS, recognise, refused
from ftbridge.adapters.mapping.row_template import Prompt
from ftbridge.adapters.values import LONGEST, BadValueError, blank, checked, nothing, passed, shown
from ftbridge.core.records import Conversation, Row, Text, Turn, Where

Quick = Callable[[Row], Conversation | None]


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one value of one row; `letter` is its column's, in a sheet."""

    where: Where
    column: str
    letter: str
    field: str
    reason: str
    value: str = ""

    @property
    def address(self) -> str:
        """Return the place without the file: `DrugQA!D17`, or `line 3`."""
        return self.where.cell(self.letter)


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
        """Return what makes the sample of a row that has nothing out of the ordinary, and None of any other row."""
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
            new = [column for column, value in row.values.items() if column not in self.known and not blank(value)]
            for field, columns in recognise(new).items():
                if field in self.watched:
                    notes.add(field, columns[0], "comes after the columns were chosen from the first rows")
            empty = empty | refused(new)
        for column, what in empty.items():
            if not nothing(row.values.get(column)):
                notes.add("", column, f"holds {what}, which cannot be trained on yet")
        for column in self.flags:
            if off(row.values.get(column)):
                notes.add("", column, f"has `{column}` off: no answer can be left out of the loss yet")


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


class ColumnMapping(Mapping, frozen=True, kw_only=True):
    """One sample a row, its fields in columns of their own or made by templates; `labels` are texts for outputs."""

    prompts: dict[str, Prompt] = {}
    labels: dict[str, str] = {}

    def quick(self) -> Quick | None:
        """Return what makes the sample of a row that has nothing out of the ordinary, and None of any other row."""
        if self.prompts or self.labels:
            return None
        question, answer = self.columns["instruction"], self.columns["output"]
        more, own, earlier = (self.columns.get(field) for field in ("input", "system", "history"))
        longest, default, label = self.max_characters, self.system, self.label
        labelled = self.label_column is not None or self.label_field

        def quick(row: Row) -> Conversation | None:
            get = row.values.get
            instruction, output = passed(get(question), longest), passed(get(answer), longest)
            extra = passed(get(more), longest) if more else ""
            system = passed(get(own), longest) if own else ""
            if not output or extra is None or system is None or not (instruction or (extra and instruction == "")):
                return None
            if earlier and not blank(get(earlier)):
                return None
            turn, system = Turn(instruction, extra, output), system or default
            return Conversation(system, (turn,), row.where, label(row, system, turn) if labelled else "")

        return quick

    def read(self, row: Row, notes: Notes) -> tuple[Text, tuple[Turn, ...]]:
        """Return system and turns, looking at everything; what is wrong goes into `notes`."""
        fields = [field for field in HEADERS if field in self.columns or field in self.prompts]
        texts = {field: self._text(field, row, notes) for field in fields if field != "history"}
        asked = [field for field in ("instruction", "input") if field in texts]
        # A text that is the same in every row is no question where the row's own part of it is empty.
        own = [field for field in asked if field not in self.prompts or self.prompts[field].columns] or asked
        if all(texts[field] is not None and not (texts[field] or "").strip() for field in own):
            notes.add(own[0], self._column(own[0]), "is empty")
        if texts["output"] is not None:
            texts["output"] = self._output(texts["output"], notes)
        system = texts.get("system") or ""
        history: tuple[Turn, ...] = ()
        if "history" in self.columns:
            try:
                system, history = self._history(row.values.get(self.columns["history"]), system)
            except BadValueError as error:
                notes.add("history", self.columns["history"], str(error))
        turn = Turn(*(texts.get(field) or "" for field in ("instruction", "input", "output")))
        return system, (*history, turn)

    def _column(self, field: str) -> str:
        """Return the column that a field comes from, the first where a template uses several."""
        prompt = self.prompts.get(field)
        return next(iter(prompt.columns), "") if prompt else self.columns[field]

    def _text(self, field: str, row: Row, notes: Notes) -> str | None:
        column, prompt = self._column(field), self.prompts.get(field)
        try:
            value = prompt.render(row.values) if prompt else row.values.get(column)
            return checked(value, self.max_characters, strip=self.strip)
        except BadValueError as error:
            notes.add(field, column, str(error))
            return None

    def _output(self, output: str, notes: Notes) -> str:
        """Return the output, by the label map where there is one."""
        column = self._column("output")
        if not output.strip():
            notes.add("output", column, "is empty")
        elif self.labels and output not in self.labels:
            notes.add("output", column, f"is not in the label map: {', '.join(sorted(self.labels))[:100]}")
        return self.labels.get(output, output)

    def _history(self, value: Any, system: str) -> tuple[str, tuple[Turn, ...]]:
        """Return system and earlier turns: pairs of question and answer as in Alpaca, messages, turns, or texts."""
        value = unfolded(value)
        if blank(value):
            return system, ()
        if not isinstance(value, list):
            raise BadValueError("is no list of [question, answer] pairs")
        style = style_of(value, self.roles) or PAIRS
        reader = Reader(style=style, roles=self.roles, longest=self.max_characters, strip=self.strip)
        own, turns = reader.read(value)
        if own and system not in {"", own}:
            raise BadValueError("has a system prompt of its own")
        return system or own, tuple(turns)
