"""Which reading of a table its headers and first rows allow; where that is not clear, what the user may mean.

A column that is known as a question is never left out unasked, a second text is the input, and a class is no answer
where there is a question.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

from ftbridge.adapters.columns import column_listing
from ftbridge.adapters.mapping.conversations.ambiguous import ask_for_turns, refuse_single_messages
from ftbridge.adapters.mapping.conversations.formats import ALTERNATING, PAIRS, STYLE_KEYS, is_conversation_header
from ftbridge.adapters.mapping.headers import (
    CHOSEN,
    CLASSES,
    HEADERS,
    INTENTS,
    NAMED_CLASSES,
    PREFERRED,
    REASONING,
    TEXT_HEADERS,
    columns_by_field,
    has_question,
    normalize_header,
)
from ftbridge.adapters.mapping.inference import suggestions
from ftbridge.adapters.mapping.inference.candidate import (
    BOOLEANS,
    LISTS,
    NUMBERS,
    OBJECTS,
    TEXT,
    Candidate,
    ColumnSample,
    make_candidate,
)
from ftbridge.adapters.mapping.inference.choices import answer_key_column, choice_columns, questions_with_choices
from ftbridge.adapters.mapping.inference.suggestions import FieldSource, Suggestion, column_source, column_suggestion
from ftbridge.adapters.mapping.row_template import RowTemplate
from ftbridge.adapters.values import decode_raw, is_blank
from ftbridge.core.errors import InputError
from ftbridge.core.records import Table

STYLES = ", ".join(f"{'/'.join(keys)} ({style})" for style, keys in STYLE_KEYS.items())
# Columns that tell rows apart, and are hardly a question or an answer.
MARKS = re.compile(
    r"qid\d*|(.* )?(id|idx|index|no|number|url|link|date|time|timestamp|uuid|hash|split|language|lang|licence|license)|"
    r"编号|序号|日期|时间|链接|备注|题型|章节|难度|知识点|解析"
)
SuggestionTest = Callable[[Suggestion], bool]


def detect_candidate(
    table: Table, prompts: dict[str, RowTemplate], seen: dict[str, ColumnSample], works: SuggestionTest | None
) -> Candidate:
    """Return the one reading that columns and first rows allow, beside what `prompts` say.

    Raises QuestionError where only the user can tell, with the readings that `works` finds nothing wrong with, and
    InputError where none is left, or nobody is to be asked (`works` is None).
    """
    return _Detection(table, prompts, seen, works).shape()


class _Detection:
    def __init__(
        self, table: Table, prompts: dict[str, RowTemplate], seen: dict[str, ColumnSample], works: SuggestionTest | None
    ) -> None:
        self.table, self.prompts, self.seen, self.works = table, prompts, seen, works
        used = {column for each in prompts.values() for column in each.columns}
        self.free = [column for column in table.columns if column not in used]
        self.rows = [row.values for row in table.first]
        read = [
            column for column in self.free if seen[column].readable or normalize_header(column) in HEADERS["history"]
        ]
        self.found = columns_by_field(read)
        if not _is_constant(prompts.get("instruction")):
            self.found = {field: names for field, names in self.found.items() if field not in prompts}

    def shape(self) -> Candidate:
        """Return the reading."""
        if not self.prompts:
            self._take_out_choices()
        self._take_out_repetitions()
        double = {field: names for field, names in self.found.items() if len(names) > 1}
        conversations = [] if self.prompts else [*self._conversations()]
        columns = [] if double else self._columns()
        candidates = [*conversations, *columns]
        self._refuse_preferences(candidates)
        self._refuse_reasoning(candidates)
        self._ask_for_left_out(conversations, columns)
        if len(candidates) > 1:
            self._ask(f"`{self.table.file}` can be read in several ways", map(_suggestion_of, candidates))
        if not candidates:
            self._ask_for_conversations()
            self._ask(self._why_unclear(double), self._whatever_fits(), self._hint())
        if systems := double.get("system"):
            offers = [_suggestion_of(candidates[0]) | {"system": column_source(name)} for name in systems]
            self._ask(self._why_unclear(double), offers, self._hint())
        return candidates[0]

    def _ask_for_left_out(self, conversations: Sequence[Candidate], columns: Sequence[Candidate]) -> None:
        """Ask where the only reading leaves out a question, or takes a class for the answer."""
        if conversations and not columns:
            self._ask_for_questions(conversations)
        if columns and not conversations and not self.prompts:
            self._ask_for_class(columns[0])
            self._ask_for_texts(columns[0])

    def _ask_for_conversations(self) -> None:
        """Ask, or say what is wrong, where columns may be conversations that only the user can tell."""
        if self.works:
            self._ask_for_questions([*self._maybe_conversations()])
            refuse_single_messages(self.table)
            ask_for_turns(self.table)

    def _ask_for_texts(self, shape: Candidate) -> None:
        """Ask where a column that would be left out is a question by its header, and holds lists or objects."""
        lists = [column for column, field in self._lists().items() if field in {"instruction", "input", "system"}]
        if lists:
            kinds = " and ".join(dict.fromkeys(kind for column in lists for kind in self.seen[column].kinds))
            self._ask(
                f"{_quote_all(lists)} of `{self.table.file}` {'hold' if len(lists) > 1 else 'holds'} {kinds}, not text",
                [*self._whatever_fits(), _suggestion_of(shape)],
            )

    def _maybe_conversations(self) -> Iterator[Candidate]:
        for column, each in self.seen.items():
            if each.maybe and (each.maybe not in {PAIRS, ALTERNATING} or is_conversation_header(column)):
                yield Candidate(each.maybe, {"messages": column}, style=each.maybe)

    def _ask(self, reason: str, found: Iterable[Suggestion], none: str = "") -> NoReturn:
        if self.works is None:
            raise InputError(reason)
        places = self.table.columns if self.table.unsure else ()
        raise suggestions.question_or_error(reason, found, self.works, none, places)

    def _take_out_choices(self) -> None:
        """Take columns of choices out of the fields; ask where answers only name one of these."""
        choices = choice_columns(self.free)
        if not choices:
            return
        fields = {field: [name for name in names if name not in choices] for field, names in self.found.items()}
        fields = {field: names for field, names in fields.items() if names}
        key = self._key_of_choices(choices, fields)
        if found := self._with_choices(choices, fields, key):
            self._ask(
                f"`{key}` of `{self.table.file}` only names one of {_quote_all(choices)}; without these, a model would "
                "learn letters or numbers",
                found,
            )
        if _are_lettered(choices):
            self.found = fields

    def _key_of_choices(self, choices: Sequence[str], fields: Mapping[str, Sequence[str]]) -> str:
        """Return the column that says which choice is right, "" where there is none."""
        key = next(iter(fields.get("output", ())), "")
        if normalize_header(key) not in HEADERS["output"]:
            key = answer_key_column([column for column in self.free if column not in choices]) or key
        return key or next((column for column, field in self._lists().items() if field == "output"), "")

    def _with_choices(self, choices: Sequence[str], fields: Mapping[str, list[str]], key: str) -> list[Suggestion]:
        """Return the readings in which a question has its choices, and each question alone after them."""
        answers = self._sources(key) if key else []
        if not answers:
            return []
        found: list[Suggestion] = []
        for questions in self._questions_before(choices, fields, key):
            alone = column_suggestion(
                {**_first_columns(fields), **dict(zip(("instruction", "input"), questions, strict=False))}
            )
            alone["output"] = answers[0]
            rest = {field: source for field, source in alone.items() if len(questions) == 1 or field != "input"}
            whose = "its" if len(questions) == 1 else "their"
            for counted, template in questions_with_choices(choices, questions, key, self.table).items():
                said = f"{_quote_all(questions)} with {whose} choices{counted}"
                found.append(rest | {"instruction": FieldSource(said, template=template)})
            if found:
                found.append(alone | {"instruction": FieldSource(f"`{questions[0]}` alone", questions[0])})
        return found

    def _questions_before(
        self, choices: Sequence[str], fields: Mapping[str, list[str]], key: str
    ) -> Iterator[Sequence[str]]:
        """Yield the columns that may be the question before choices, together where headers say so."""
        if fields.get("instruction"):
            yield fields["instruction"]
            return
        for column in self._others():
            if column not in {*choices, key} and self.seen[column].kinds == (TEXT,):
                yield [column]

    def _take_out_repetitions(self) -> None:
        """Take texts out of the input that only repeat question and answer, as Alpaca's `text` does."""
        question, answer = (self.found.get(field, [""])[0] for field in ("instruction", "output"))
        inputs = self.found.get("input", [])
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
        self.found = {field: names for field, names in {**self.found, "input": kept}.items() if names}

    def _conversations(self) -> Iterator[Candidate]:
        """Yield a reading for each column of whole conversations, or of messages that another column answers."""
        systems = self.found.get("system") or self._columns_called("system")
        answers = [column for column in self._columns_called("output") if self._may_complete(column)]
        for column in self.free:
            if self._is_conversation(column):
                columns = {"messages": column}
                if self.seen[column].open and len(answers) == 1:
                    columns["output"] = answers[0]
                if systems:
                    columns["system"] = systems[0]
                yield Candidate(self.seen[column].style, columns, style=self.seen[column].style)

    def _columns_called(self, field: str) -> list[str]:
        """Return the columns whose headers are the best ones of a field, whatever they hold."""
        return [column for column in self.free if normalize_header(column) in HEADERS[field]]

    def _may_complete(self, column: str) -> bool:
        """Tell whether a column may hold the answers to messages: text or messages that want no answer."""
        seen = self.seen[column]
        return not seen.open and (seen.readable or bool(seen.maybe))

    def _is_conversation(self, column: str) -> bool:
        """Tell whether a column holds conversations that are no preference, no history and no answer to others."""
        header = normalize_header(column)
        if not self.seen[column].style or PREFERRED.fullmatch(header):
            return False
        if header in HEADERS["history"]:
            return not {"instruction", "output"} <= self.found.keys()
        return header not in HEADERS["output"] or not any(self.seen[other].open for other in self.free)

    def _columns(self) -> list[Candidate]:
        """Return the reading by headers, where it is whole."""
        prompts, found = self.prompts, self.found
        columns = {field: names[0] for field, names in found.items() if field not in prompts}
        if "instruction" in prompts and "instruction" in found and "input" not in columns.keys() | prompts.keys():
            columns["input"] = found["instruction"][0]  # under an instruction that is the same for all
        asked = [field for field in ("instruction", "input") if field in columns or field in prompts]
        if "output" not in columns.keys() | prompts.keys() or all(_is_constant(prompts.get(field)) for field in asked):
            return []
        return [make_candidate(_candidate_name(columns, prompts), columns, prompts)]

    def _refuse_preferences(self, candidates: Sequence[Candidate]) -> None:
        """Ask for a reading without the columns that say which answers are better, or with the better ones alone."""
        better = self._preferences()
        if not better:
            return
        readings = [*map(_suggestion_of, candidates)]
        for column in better:
            if not CHOSEN.fullmatch(normalize_header(column)):
                continue
            if self.seen[column].style:
                readings.append(column_suggestion({"messages": column}))
            elif "instruction" in self.found and self.seen[column].readable:
                readings.append(column_suggestion({**_first_columns(self.found), "output": column}))
        self._ask(
            f"{_quote_all(better)} of `{self.table.file}` {'say' if len(better) > 1 else 'says'} which answers are "
            "better, as DPO and KTO want it; supervised fine-tuning does not learn from that",
            readings,
            ", and no answer is left without it",
        )

    def _refuse_reasoning(self, candidates: Sequence[Candidate]) -> None:
        """Ask for a reading without the columns of reasoning."""
        thoughts = [
            column for column in self.free if REASONING.fullmatch(normalize_header(column)) and self._written(column)
        ]
        if thoughts:
            self._ask(
                f"{_quote_all(thoughts)} of `{self.table.file}` {'hold' if len(thoughts) > 1 else 'holds'} reasoning, "
                "which cannot be trained on yet",
                [*map(_suggestion_of, candidates)] or self._whatever_fits(),
                ", and no answer is left without it",
            )

    def _preferences(self) -> list[str]:
        """Return the columns that say which answers are better."""
        told = [
            column for column in self.free if PREFERRED.fullmatch(normalize_header(column)) and self.seen[column].kinds
        ]
        if any(self._written(column) for column in told):
            return sorted(told)
        names = {normalize_header(column): column for column in self.free}
        answers = names.keys() & {*HEADERS["output"]} or any(self.seen[column].style for column in self.free)
        marks = [names[each] for each in ("kto tag", "label") if each in names]
        return [column for column in marks if answers and self._truths(column)]

    def _truths(self, column: str) -> bool:
        """Tell whether a column says true or false in every row, and both of them where that is text."""
        said = {str(decode_raw(row.get(column))).strip().lower() for row in self.rows if not is_blank(row.get(column))}
        return self.seen[column].kinds == (BOOLEANS,) or said == {"true", "false"}

    def _written(self, column: str) -> bool:
        return not {BOOLEANS, NUMBERS}.issuperset(self.seen[column].kinds) and bool(self.seen[column].kinds)

    def _ask_for_questions(self, conversations: Sequence[Candidate]) -> None:
        """Ask where a question stands beside a conversation that does not repeat it."""
        for candidate in conversations:
            column = candidate.columns["messages"]
            lost = self._questions_beside(column)
            if lost:
                questions = self._sources(lost[0])[:1]
                firsts = [*suggestions.first_entries(column, self.rows)]
                offers = [{"instruction": question, **first} for question in questions for first in firsts]
                self._ask(
                    f"`{lost[0]}` of `{self.table.file}` is a question by its header, and `{column}` beside it holds "
                    f"{candidate.name}; what is to be learned?",
                    [*offers, _suggestion_of(candidate)],
                )

    def _questions_beside(self, conversation: str) -> list[str]:
        """Return the columns that are questions by their headers, and whose text the conversation does not hold."""
        others = [*self.found.get("instruction", ()), *(column for column in self._lists() if column != conversation)]
        return [
            column
            for column in others
            if has_question([column])
            and self.seen[column].kinds
            and not suggestions.repeats_text(column, [conversation], self.rows)
        ]

    def _ask_for_class(self, shape: Candidate) -> None:
        """Ask where the only answer to a question is a class by its header."""
        question, answer = shape.columns.get("instruction", ""), shape.columns["output"]
        if not has_question([question]) or normalize_header(answer) not in CLASSES | NAMED_CLASSES:
            return
        others = [column for column in self._others() if column not in shape.used]
        if normalize_header(answer) in INTENTS and not others:
            return
        rest = {field: column for field, column in shape.columns.items() if field != "output"}
        self._ask(
            f"`{answer}` of `{self.table.file}` is a class by its header, and `{question}` a question; what is the "
            "answer?",
            [
                column_suggestion(rest) | {"output": source}
                for column in (answer, *others)
                for source in self._sources(column)
            ],
        )

    def _others(self) -> list[str]:
        """Return the columns in no field that may be of one: text first, then lists, and numbers last."""
        placed = {name for names in self.found.values() for name in names}
        free = [each for each in self.free if each not in placed and self.seen[each].kinds]
        free = [
            each
            for each in free
            if not any(kind.fullmatch(normalize_header(each)) for kind in (MARKS, PREFERRED, REASONING))
        ]
        by_kind = {TEXT: 0, LISTS: 1, OBJECTS: 1, BOOLEANS: 2, NUMBERS: 3}
        return sorted(free, key=lambda each: by_kind.get(self.seen[each].kinds[0], 1))

    def _lists(self) -> dict[str, str]:
        """Return the columns that hold lists or objects, and the fields that their headers fit."""
        held = [each for each in self.free if not self.seen[each].readable and not self.seen[each].style]
        fields = {column: next(iter(columns_by_field([column])), "") for column in held}
        if has_question(self.found.get("instruction", ())):
            fields |= {column: "input" for column in held if normalize_header(column) in TEXT_HEADERS}
        return {column: field for column, field in fields.items() if field and field != "history"}

    def _sources(self, column: str, between: str = ", ") -> list[FieldSource]:
        if self.seen[column].readable:
            return [column_source(column)]
        return suggestions.column_sources(column, self.rows, between)

    def _answers(self, columns: Sequence[str]) -> list[FieldSource]:
        """Return what of `columns` may be the answer, first those with a header for it, last one of two questions."""
        known = [column for column in columns if "output" in columns_by_field([column])]
        every = [*known, *(column for column in columns if column not in known)]
        found = [source for column in every for source in self._sources(column)]
        questions = self.found.get("instruction", [])
        if len(questions) > 1:
            found += map(column_source, reversed(questions))
        return found

    def _whatever_fits(self) -> Iterator[Suggestion]:
        """Yield readings that take the fields that are known, and others from what is left."""
        fields = self._sources_by_header()
        others = self._others()
        asking = fields.keys() | {field for field, template in self.prompts.items() if not _is_constant(template)}
        if asking.isdisjoint({"instruction", "input"}):
            texts = [column for column in others if TEXT in self.seen[column].kinds]
            fields["input" if "instruction" in self.prompts else "instruction"] = [
                source for column in texts or others for source in self._sources(column, " ")
            ]
        if "output" not in fields.keys() | self.prompts.keys():
            fields["output"] = self._answers(others)
        if not self.prompts:
            yield from suggestions.object_suggestions(self.rows)
        yield from suggestions.alternatives({field: sources for field, sources in fields.items() if sources})

    def _sources_by_header(self) -> dict[str, list[FieldSource]]:
        """Return what may be each field that no template gives, going by the headers, lists and objects as well."""
        fields = {field: [*map(column_source, names)] for field, names in self.found.items()}
        if {*self.found.get("input", ())} <= {*self.found.get("instruction", ())}:
            fields.pop("input", None)
        for column, field in self._lists().items():
            if field != "system":
                fields.setdefault(field, self._sources(column))
        return {field: sources for field, sources in fields.items() if field not in self.prompts}

    def _why_unclear(self, double: dict[str, list[str]]) -> str:
        """Return why no reading is clear, the columns, and what was noted of the table and its first bad row."""
        if double:
            field, names = next(iter(double.items()))
            reason = f"{_quote_all(names)} both fit {field}"
        else:
            reason = f"no column is recognised as {self._missing_fields()}{self._misfits()}"
        broken = [f"{row.where}: {row.error}" for row in self.table.first if row.error][:1]
        notes = "".join(f"\nnote: {note}" for note in (*self.table.notes, *broken))
        return f"{reason}\n{column_listing(self.table)}{notes}"

    def _missing_fields(self) -> str:
        if "output" in self.found:
            return "question and answer" if {"instruction", "input"} & self.found.keys() else "question"
        return "answer" if {"instruction", "input"} & self.found.keys() else "question and answer"

    def _misfits(self) -> str:
        """Return the columns that hold something else than their headers say, for a message."""
        misfits = ""
        for column, seen in self.seen.items():
            due = "text" if columns_by_field([column]) and not seen.readable else ""
            if normalize_header(column) in {"messages", "conversations", "conversation"} and not seen.style:
                due = f"lists of objects with {STYLES}"
            if due:
                misfits += f"; `{column}` holds {' and '.join(seen.kinds) or 'nothing'}, not {due}"
        return misfits

    def _hint(self) -> str:
        hint = (
            "\nsay which to take, with `--map FIELD=COLUMN` or templates such as `--input '{{ one }}: {{ another }}'`"
        )
        if self.table.lettered and self.table.columns[:1] != ("A",):
            hint += "; where these are no headers, add `--header-row none`; other sheets are named with `--sheet`"
        return hint


def _is_constant(template: RowTemplate | None) -> bool:
    return template is not None and not template.columns


def _are_lettered(choices: Sequence[str]) -> bool:
    """Tell whether choices are called A, B, C and no more, which as headers mean something else."""
    return len(choices) > 1 and all(len(normalize_header(name)) == 1 for name in choices)


def _candidate_name(columns: dict[str, str], prompts: dict[str, RowTemplate]) -> str:
    if prompts:
        return "templates over columns"
    headers = {field: normalize_header(column) for field, column in columns.items()}
    if headers["output"] not in HEADERS["output"]:
        return "text and label"
    known = {("instruction", "output"): "Alpaca", ("prompt", "completion"): "prompt and completion"}
    return known.get((headers.get("instruction", ""), headers["output"]), "question and answer columns")


def _first_columns(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the first column of each field."""
    return {field: names[0] for field, names in fields.items()}


def _suggestion_of(shape: Candidate) -> Suggestion:
    return column_suggestion(shape.columns)


def _quote_all(columns: Iterable[str]) -> str:
    *others, last = [f"`{column}`" for column in columns]
    return f"{', '.join(others)} and {last}" if others else last
