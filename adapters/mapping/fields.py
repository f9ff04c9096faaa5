"""Samples whose fields stand in columns of their own: question, answer, system prompt, history."""

from typing import Any

from ftbridge.adapters.mapping.base import Mapping, Notes, Quick
from ftbridge.adapters.mapping.conversations.formats import PAIRS, Reader, style_of, unfolded
from ftbridge.adapters.mapping.headers import HEADERS
from ftbridge.adapters.mapping.row_template import RowTemplate
from ftbridge.adapters.values import BadValueError, blank, checked, passed
from ftbridge.core.records import Conversation, Row, Text, Turn


class ColumnMapping(Mapping, frozen=True, kw_only=True):
    """One sample a row, its fields in columns of their own or made by templates; `labels` are texts for outputs."""

    prompts: dict[str, RowTemplate] = {}  # noqa: RUF012 - msgspec copies it, as ruff knows only of a direct subclass
    labels: dict[str, str] = {}  # noqa: RUF012

    def quick(self) -> Quick | None:  # complexipy: ignore - each row goes through it, as through `Encoder.make`
        """Return a fast path from row to sample, which returns None for a row that needs `read`."""
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
            if not output or extra is None or system is None:
                return None
            if not instruction and (instruction is None or not extra):
                return None
            if earlier and not blank(get(earlier)):
                return None
            turn, system = Turn(instruction, extra, output), system or default
            return Conversation(system, (turn,), row.where, label(row, system, turn) if labelled else "")

        return quick

    def read(self, row: Row, notes: Notes) -> tuple[Text, tuple[Turn, ...]]:
        """Return system and turns, looking at everything; what is wrong goes into `notes`."""
        columns, prompts = self.columns, self.prompts
        texts = {
            field: self._text(field, row, notes)
            for field in HEADERS
            if field != "history" and (field in columns or field in prompts)
        }
        self._note_empty_question(texts, notes)
        if texts["output"] is not None:
            texts["output"] = self._output(texts["output"], notes)
        system = texts.get("system") or ""
        history: tuple[Turn, ...] = ()
        if "history" in self.columns:
            try:
                system, history = self._history(row.values.get(self.columns["history"]), system)
            except BadValueError as error:
                notes.add("history", self.columns["history"], str(error))
        turn = Turn(texts.get("instruction") or "", texts.get("input") or "", texts["output"] or "")
        return system, (*history, turn)

    def _note_empty_question(self, texts: dict[str, str | None], notes: Notes) -> None:
        """Note that the row asks nothing; a text that is None was wrong, and is noted already."""
        asking = [field for field in ("instruction", "input") if field in texts]
        # A text that is the same in every row is no question where the row's own part of it is empty.
        varying = [field for field in asking if field not in self.prompts or self.prompts[field].columns] or asking
        for field in varying:
            text = texts[field]
            if text is None or text.strip():
                return
        notes.add(varying[0], self._column(varying[0]), "is empty")

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
