"""The mapping of a table, detected by its headers and first rows; where that is not clear, the user is asked.

A column that is known as a question is never left out unasked, a second text is the input, and a class is no answer
where there is a question.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

from ftbridge.adapters.columns import column_listing
from ftbridge.adapters.mapping.conversations.ambiguous import ask_for_turns, refuse_single_messages
from ftbridge.adapters.mapping.conversations.formats import STYLE_KEYS
from ftbridge.adapters.mapping.headers import (
    CHOSEN,
    CLASSES,
    HEADERS,
    INTENTS,
    NAMED_CLASSES,
    REASONING,
    TEXT_HEADERS,
    columns_by_field,
    has_question,
    normalize_header,
)
from ftbridge.adapters.mapping.inference import suggestions
from ftbridge.adapters.mapping.inference.candidate import TEXT, Candidate, ColumnSample
from ftbridge.adapters.mapping.inference.choices import answer_key_column, choice_columns, questions_with_choices
from ftbridge.adapters.mapping.inference.suggestions import FieldSource, Suggestion, column_source, column_suggestion
from ftbridge.adapters.mapping.inference.table_columns import TableColumns
from ftbridge.adapters.mapping.row_template import RowTemplate
from ftbridge.core.errors import InputError
from ftbridge.core.records import Table
from ftbridge.language import gettext as _
from ftbridge.language import joined, ngettext

# What messages name where a column holds none of it.
STYLES = ", ".join(f"{'/'.join(keys)} ({style})" for style, keys in STYLE_KEYS.items())
SuggestionTest = Callable[[Suggestion], bool]


def detect_candidate(
    table: Table, templates: dict[str, RowTemplate], contents: dict[str, ColumnSample], works: SuggestionTest | None
) -> Candidate:
    """Return the one reading that columns and first rows allow, beside what `templates` say.

    Raises QuestionError where only the user can tell, with the readings that `works` finds nothing wrong with, and
    InputError where none is left, or nobody is to be asked (`works` is None).
    """
    return _Detection(table, templates, contents, works).candidate()


class _Detection(TableColumns):
    """The steps to the only reading of a table, which ask or refuse wherever it is not sure."""

    def __init__(
        self,
        table: Table,
        templates: dict[str, RowTemplate],
        contents: dict[str, ColumnSample],
        works: SuggestionTest | None,
    ) -> None:
        super().__init__(table, templates, contents)
        self.works = works

    def candidate(self) -> Candidate:
        """Return the only reading; raises QuestionError or InputError where there is none, or several."""
        if not self.templates:
            self._take_out_choices()
        self._take_out_repetitions()
        double = {field: names for field, names in self.by_field.items() if len(names) > 1}
        conversations = [] if self.templates else [*self.conversations()]
        columns = [] if double else self.reading_by_headers()
        candidates = [*conversations, *columns]
        self._refuse_preferences(candidates)
        self._ask_for_thoughts(candidates)
        self._ask_for_left_out(conversations, columns)
        if len(candidates) > 1:
            self._ask(
                _("`{file}` can be read in several ways").format(file=self.table.file), map(_suggestion_of, candidates)
            )
        if not candidates:
            self._ask_for_conversations()
            self._ask(self._why_unclear(double), self.possible_readings(), self._advice())
        if systems := double.get("system"):
            offers = [_suggestion_of(candidates[0]) | {"system": column_source(name)} for name in systems]
            self._ask(self._why_unclear(double), offers, self._advice())
        return candidates[0]

    def _ask_for_left_out(self, conversations: Sequence[Candidate], columns: Sequence[Candidate]) -> None:
        """Ask where the only reading leaves out a question, or takes a class for the answer."""
        if conversations and not columns:
            self._ask_for_questions(conversations)
        if columns and not conversations and not self.templates:
            self._ask_for_class(columns[0])
            self._ask_for_texts(columns[0])

    def _ask_for_conversations(self) -> None:
        """Ask, or say what is wrong, where columns may be conversations that only the user can tell."""
        if self.works:
            self._ask_for_questions([*self.possible_conversations()])
            refuse_single_messages(self.table)
            ask_for_turns(self.table)

    def _take_out_choices(self) -> None:
        """Take columns of choices out of the fields; ask where answers only name one of these."""
        choices = choice_columns(self.columns)
        if not choices:
            return
        fields = {field: [name for name in names if name not in choices] for field, names in self.by_field.items()}
        fields = {field: names for field, names in fields.items() if names}
        key = self._column_of_marks(choices, fields)
        if readings := self._readings_with_choices(choices, fields, key):
            self._ask(
                _(
                    "`{key}` of `{file}` only names one of {choices}; without these, a model would learn "
                    "letters or numbers"
                ).format(key=key, file=self.table.file, choices=_quote_all(choices)),
                readings,
            )
        if _are_lettered(choices):
            self.by_field = fields

    def _column_of_marks(self, choices: Sequence[str], fields: Mapping[str, Sequence[str]]) -> str:
        """Return the column that says which choice is right, "" where there is none."""
        key = next(iter(fields.get("output", ())), "")
        if normalize_header(key) not in HEADERS["output"]:
            key = answer_key_column([column for column in self.columns if column not in choices]) or key
        return key or next((column for column, field in self.list_columns().items() if field == "output"), "")

    def _readings_with_choices(
        self, choices: Sequence[str], fields: Mapping[str, list[str]], key: str
    ) -> list[Suggestion]:
        """Return the readings in which a question has its choices, and each question alone after them."""
        answers = self.sources_of(key) if key else []
        if not answers:
            return []
        readings: list[Suggestion] = []
        for questions in self._questions_with(choices, fields, key):
            alone = column_suggestion(
                {**_first_columns(fields), **dict(zip(("instruction", "input"), questions, strict=False))}
            )
            alone["output"] = answers[0]
            rest = {field: source for field, source in alone.items() if len(questions) == 1 or field != "input"}
            whose = "its" if len(questions) == 1 else "their"
            for counted, template in questions_with_choices(choices, questions, key, self.table).items():
                description = _("{questions} with {whose} choices{counted}").format(
                    questions=_quote_all(questions), whose=whose, counted=counted
                )
                readings.append(rest | {"instruction": FieldSource(description, template=template)})
            if readings:
                readings.append(
                    alone
                    | {"instruction": FieldSource(_("`{question}` alone").format(question=questions[0]), questions[0])}
                )
        return readings

    def _questions_with(
        self, choices: Sequence[str], fields: Mapping[str, list[str]], key: str
    ) -> Iterator[Sequence[str]]:
        """Yield the columns that may be the question before choices, together where headers say so."""
        if fields.get("instruction"):
            yield fields["instruction"]
            return
        for column in self.unplaced_columns():
            if column not in {*choices, key} and self.contents[column].types == (TEXT,):
                yield [column]

    def _take_out_repetitions(self) -> None:
        """Take texts out of the input that only repeat question and answer, as Alpaca's `text` does."""
        question, answer = (self.by_field.get(field, [""])[0] for field in ("instruction", "output"))
        inputs = self.by_field.get("input", [])
        if not question or not answer or not inputs:
            return
        kept = [
            column
            for column in inputs
            if normalize_header(column) not in TEXT_HEADERS
            or not (
                all(suggestions.repeats_text(each, [column], self.rows) for each in (question, answer))
                or suggestions.repeats_text(column, [question], self.rows)
            )
        ]
        self.by_field = {field: names for field, names in {**self.by_field, "input": kept}.items() if names}

    def _refuse_preferences(self, candidates: Sequence[Candidate]) -> None:
        """Ask for a reading without the columns that say which answers are better, or with the better ones alone."""
        better = self.preference_columns()
        if not better:
            return
        readings = [*map(_suggestion_of, candidates)]
        for column in better:
            if not CHOSEN.fullmatch(normalize_header(column)):
                continue
            if self.contents[column].style:
                readings.append(column_suggestion({"messages": column}))
            elif "instruction" in self.by_field and self.contents[column].may_be_text:
                readings.append(column_suggestion({**_first_columns(self.by_field), "output": column}))
        self._ask(
            ngettext(
                "{columns} of `{file}` says which answers are better, as DPO and KTO want it; "
                "supervised fine-tuning does not learn from that",
                "{columns} of `{file}` say which answers are better, as DPO and KTO want it; "
                "supervised fine-tuning does not learn from that",
                len(better),
            ).format(columns=_quote_all(better), file=self.table.file),
            readings,
            _(", and no answer is left without it"),
        )

    def _ask_for_thoughts(self, candidates: Sequence[Candidate]) -> None:
        """Ask where columns of reasoning are there, and it is not sure that they are the thought before the answer."""
        columns = [column for column in self.columns if REASONING.fullmatch(normalize_header(column))]
        columns = [column for column in columns if self.holds_text(column)]
        if not columns or (self.by_field.get("thought") == columns and all(map(_takes_thought, candidates))):
            return
        self._ask(
            ngettext(
                "{columns} of `{file}` holds reasoning; is it the thought before an answer?",
                "{columns} of `{file}` hold reasoning; is it the thought before an answer?",
                len(columns),
            ).format(columns=_quote_all(columns), file=self.table.file),
            self._readings_with_thoughts(columns, [*map(_suggestion_of, candidates)] or self.possible_readings()),
            _(", and no answer is left without it"),
        )

    def _readings_with_thoughts(self, columns: Sequence[str], readings: Iterable[Suggestion]) -> Iterator[Suggestion]:
        """Yield readings with each column as the thought, where they have a place for it, and without."""
        for reading in readings:
            without = {field: source for field, source in reading.items() if field != "thought"}
            if "messages" not in reading:
                texts = [column for column in columns if self.contents[column].may_be_text]
                yield from (without | {"thought": column_source(column)} for column in texts)
            yield without

    def _ask_for_questions(self, conversations: Sequence[Candidate]) -> None:
        """Ask where a question stands beside a conversation that does not repeat it."""
        for candidate in conversations:
            column = candidate.columns["messages"]
            lost = self.questions_beside(column)
            if lost:
                questions = self.sources_of(lost[0])[:1]
                firsts = [*suggestions.first_entries(column, self.rows)]
                offers = [{"instruction": question, **first} for question in questions for first in firsts]
                self._ask(
                    _(
                        "`{lost}` of `{file}` is a question by its header, and `{column}` beside it holds "
                        "{name}; what is to be learned?"
                    ).format(lost=lost[0], file=self.table.file, column=column, name=_(candidate.name)),
                    [*offers, _suggestion_of(candidate)],
                )

    def _ask_for_class(self, candidate: Candidate) -> None:
        """Ask where the only answer to a question is a class by its header."""
        question, answer = candidate.columns.get("instruction", ""), candidate.columns["output"]
        if not has_question([question]) or normalize_header(answer) not in CLASSES | NAMED_CLASSES:
            return
        others = [column for column in self.unplaced_columns() if column not in candidate.used_columns]
        if normalize_header(answer) in INTENTS and not others:
            return
        rest = {field: column for field, column in candidate.columns.items() if field != "output"}
        self._ask(
            _(
                "`{answer}` of `{file}` is a class by its header, and `{question}` a question; what is the answer?"
            ).format(answer=answer, file=self.table.file, question=question),
            [
                column_suggestion(rest) | {"output": source}
                for column in (answer, *others)
                for source in self.sources_of(column)
            ],
        )

    def _ask_for_texts(self, candidate: Candidate) -> None:
        """Ask where a column that would be left out is a question by its header, and holds lists or objects."""
        lists = [column for column, field in self.list_columns().items() if field in {"instruction", "input", "system"}]
        if lists:
            types = joined(
                _(" and "), dict.fromkeys(_(each) for column in lists for each in self.contents[column].types)
            )
            self._ask(
                ngettext(
                    "{columns} of `{file}` holds {types}, not text",
                    "{columns} of `{file}` hold {types}, not text",
                    len(lists),
                ).format(columns=_quote_all(lists), file=self.table.file, types=types),
                [*self.possible_readings(), _suggestion_of(candidate)],
            )

    def _ask(self, reason: str, offers: Iterable[Suggestion], without: str = "") -> NoReturn:
        """Raise the question which of `offers` is meant, an error that ends with `without` where none works."""
        if self.works is None:
            raise InputError(reason)
        places = self.table.columns if self.table.unsure else ()
        raise suggestions.question_or_error(reason, offers, self.works, without, places)

    def _why_unclear(self, double: dict[str, list[str]]) -> str:
        """Return why no reading is clear, the columns, and what was noted of the table and its first bad row."""
        if double:
            field, names = next(iter(double.items()))
            reason = _("{names} both fit {field}").format(names=_quote_all(names), field=field)
        else:
            reason = _("no column is recognised as {missing_sides}{columns_unlike_headers}").format(
                missing_sides=self._missing_sides(), columns_unlike_headers=self._columns_unlike_headers()
            )
        broken = [joined(": ", (row.where, row.error)) for row in self.table.first if row.error][:1]
        notes = "".join(_("\nnote: {note}").format(note=note) for note in (*self.table.notes, *broken))
        return reason + f"\n{column_listing(self.table)}{notes}"

    def _missing_sides(self) -> str:
        """Return what no header fits: `question`, `answer`, or both, also where both are there and do not suffice."""
        if "output" in self.by_field:
            return _("question and answer") if {"instruction", "input"} & self.by_field.keys() else _("question")
        return _("answer") if {"instruction", "input"} & self.by_field.keys() else _("question and answer")

    def _columns_unlike_headers(self) -> str:
        """Return the columns that hold something else than their headers say, for a message."""
        reasons = ""
        for column, content in self.contents.items():
            due = _("text") if columns_by_field([column]) and not content.may_be_text else ""
            if normalize_header(column) in {"messages", "conversations", "conversation"} and not content.style:
                due = _("lists of objects with {styles}").format(styles=STYLES)
            if due:
                reasons += _("; `{column}` holds {types}, not {due}").format(
                    column=column, types=joined(_(" and "), map(_, content.types)) or _("nothing"), due=due
                )
        return reasons

    def _advice(self) -> str:
        advice = _("\nchoose with `--map FIELD=COLUMN` or templates such as `--input '{{ one }}: {{ another }}'`")
        if self.table.lettered and self.table.columns[:1] != ("A",):
            advice += _("; if these are not headers, add `--header-row none`; other sheets are named with `--sheet`")
        return advice


def _are_lettered(choices: Sequence[str]) -> bool:
    """Tell whether choices are called A, B, C and no more, which as headers mean something else."""
    return len(choices) > 1 and all(len(normalize_header(name)) == 1 for name in choices)


def _first_columns(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the first column of each field."""
    return {field: names[0] for field, names in fields.items()}


def _takes_thought(candidate: Candidate) -> bool:
    """Tell whether a reading has a thought before what is surely an answer, and no class."""
    answer = candidate.columns.get("output")
    return "thought" in candidate.columns and (answer is None or normalize_header(answer) in HEADERS["output"])


def _suggestion_of(candidate: Candidate) -> Suggestion:
    return column_suggestion(candidate.columns)


def _quote_all(columns: Iterable[str]) -> str:
    *others, last = [f"`{column}`" for column in columns]
    return _("{others} and {last}").format(others=joined(", ", others), last=last) if others else last
