"""Samples whose fields stand in columns of their own: question, thought, answer, system prompt, history."""

from typing import Any

from ftbridge.adapters.mapping.base import FastPath, Mapping, RowProblems
from ftbridge.adapters.mapping.conversations.flags import answer_without
from ftbridge.adapters.mapping.conversations.formats import PAIRS, conversation_items, style_of
from ftbridge.adapters.mapping.conversations.reader import ConversationReader
from ftbridge.adapters.mapping.headers import HEADERS
from ftbridge.adapters.mapping.row_template import RowTemplate
from ftbridge.adapters.values import BadValueError, checked_text, holds_nothing, is_blank, quick_text
from ftbridge.core.records import Beside, Conversation, Row, Text, Turn, as_json, turn_of
from ftbridge.language import gettext as _
from ftbridge.language import joined

NOT_IN_LABEL_MAP = _("is not in the label map")


class ColumnMapping(Mapping, frozen=True, kw_only=True):
    """One sample a row, its fields from columns or `templates`; `label_texts` maps outputs to what stands for them."""

    templates: dict[str, RowTemplate] = {}  # noqa: RUF012 - msgspec copies it, as ruff knows only of a direct subclass
    label_texts: dict[str, str] = {}  # noqa: RUF012

    def fast_path(
        self,
    ) -> FastPath | None:  # complexipy: ignore - a call more for each row costs some percent
        """Return a function that makes the sample of an ordinary row, and returns None for one that needs `read`."""
        if self.templates or self.label_texts:
            return None
        question, answer = self.columns["instruction"], self.columns["output"]
        more, system_column, history, before = map(self.columns.get, ("input", "system", "history", "thought"))
        longest, default_system, label = self.max_characters, self.system, self.label
        has_label = self.label_column is not None or self.label_field

        def convert(row: Row) -> Conversation | None:
            get = row.values.get
            instruction, output = quick_text(get(question), longest), quick_text(get(answer), longest)
            extra = quick_text(get(more), longest) if more else ""
            system = quick_text(get(system_column), longest) if system_column else ""
            if not output or extra is None or system is None:
                return None
            if not instruction and (instruction is None or not extra):
                return None
            if history and not is_blank(get(history)):
                return None
            turn, system = Turn(instruction, extra, output), system or default_system
            thought = quick_text(get(before), longest) if before else ""
            if thought != "":
                if thought is None or holds_nothing(thought) or b"<think>" in as_json(output):
                    return None
                turn = Turn(instruction, extra, output, Beside(thought=thought))
            return Conversation(system, (turn,), row.where, label(row, system, turn) if has_label else "")

        return convert

    def read(self, row: Row, problems: RowProblems) -> tuple[Text, tuple[Turn, ...]]:
        """Return system prompt and turns after a look at everything; what is wrong is added to `problems`."""
        columns, templates = self.columns, self.templates
        texts = {
            field: self._checked_text(field, row, problems)
            for field in HEADERS
            if field != "history" and (field in columns or field in templates)
        }
        self._add_empty_question(texts, problems)
        if texts["output"] is not None:
            texts["output"] = self._output_text(texts["output"], problems)
        system = texts.get("system") or ""
        history: tuple[Turn, ...] = ()
        if "history" in self.columns:
            try:
                system, history = self._system_and_history(row.values.get(self.columns["history"]), system)
            except BadValueError as error:
                problems.add("history", self.columns["history"], str(error))
        return system, (*history, self._last_turn(texts, problems))

    def _last_turn(self, texts: dict[str, str | None], problems: RowProblems) -> Turn:
        """Return the turn of a row's texts; what is wrong with its thought is added to `problems`."""
        question, extra, thought, answer = (
            texts.get(field) or "" for field in ("instruction", "input", "thought", "output")
        )
        if not thought.strip() or holds_nothing(thought):
            return Turn(question, extra, answer)
        try:
            answer = answer_without(thought, answer)
        except BadValueError as error:
            problems.add("output", self._column_of("output"), str(error))
        if not answer:
            problems.add("output", self._column_of("output"), _("holds nothing but the thought"))
        return turn_of(question, extra, answer, Beside(thought=thought))

    def _add_empty_question(self, texts: dict[str, str | None], problems: RowProblems) -> None:
        """Add an empty question to `problems`; a text that is None was wrong, and is there already."""
        asking = [field for field in ("instruction", "input") if field in texts]
        # A text that is the same in every row is no question where the row's own part of it is empty.
        varying = [field for field in asking if field not in self.templates or self.templates[field].columns] or asking
        for field in varying:
            text = texts[field]
            if text is None or text.strip():
                return
        problems.add(varying[0], self._column_of(varying[0]), _("is empty"))

    def _column_of(self, field: str) -> str:
        """Return the column that a field comes from, the first where a template uses several."""
        template = self.templates.get(field)
        return next(iter(template.columns), "") if template else self.columns[field]

    def _checked_text(self, field: str, row: Row, problems: RowProblems) -> str | None:
        """Return the text of a field, None where it is wrong, which is added to `problems`."""
        column, template = self._column_of(field), self.templates.get(field)
        try:
            value = template.render(row.values) if template else row.values.get(column)
            return checked_text(value, self.max_characters, strip=self.strip)
        except BadValueError as error:
            problems.add(field, column, str(error))
            return None

    def _output_text(self, output: str, problems: RowProblems) -> str:
        """Return the output, or what stands for it in the label map; what is wrong is added to `problems`."""
        column = self._column_of("output")
        if not output.strip():
            problems.add("output", column, _("is empty"))
        elif self.label_texts and output not in self.label_texts:
            problems.add("output", column, joined(": ", (NOT_IN_LABEL_MAP, ", ".join(sorted(self.label_texts))[:100])))
        return self.label_texts.get(output, output)

    def _system_and_history(self, value: Any, system: str) -> tuple[str, tuple[Turn, ...]]:
        """Return system prompt and earlier turns of Alpaca's pairs, messages, turns or texts; raises BadValueError."""
        value = conversation_items(value)
        if is_blank(value):
            return system, ()
        if not isinstance(value, list):
            raise BadValueError(_("is not a list of [question, answer] pairs"))
        style = style_of(value, self.roles) or PAIRS
        reader = ConversationReader(style=style, roles=self.roles, max_characters=self.max_characters, strip=self.strip)
        own_system, turns = reader.read(value)
        if turns and turns[-1].calls:
            raise BadValueError(_("ends with a call of tools that nothing answers"))
        if own_system and system not in {"", own_system}:
            raise BadValueError(_("has a system prompt of its own"))
        return system or own_system, tuple(turns)
