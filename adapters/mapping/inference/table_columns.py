"""The columns of a table by the fields that they may be, going by templates, headers and first rows."""

import re
from collections.abc import Iterator, Sequence

from ftbridge.adapters.mapping.conversations.formats import ALTERNATING, PAIRS, is_conversation_header
from ftbridge.adapters.mapping.headers import (
    HEADERS,
    PREFERRED,
    REASONING,
    TEXT_HEADERS,
    columns_by_field,
    fitting_first,
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
from ftbridge.adapters.mapping.inference.suggestions import FieldSource, Suggestion, column_source
from ftbridge.adapters.mapping.row_template import RowTemplate
from ftbridge.adapters.values import decode_raw, is_blank
from ftbridge.core.records import Table
from ftbridge.language import to_translate

# Columns that tell rows apart, and are hardly a question or an answer.
MARKS = re.compile(
    r"qid\d*|(.* )?(id|idx|index|no|number|url|link|date|time|timestamp|uuid|hash|split|language|lang|licence|license)|"
    r"编号|序号|日期|时间|链接|备注|题型|章节|难度|知识点|解析"
)


class TableColumns:
    """What each column of a table may be, and the readings that this allows.

    `columns` are those that no template uses, `contents` what stands in the first rows of each, `by_field` the columns
    that fit each field by their headers, `templates` those of the user or of a preset.
    """

    def __init__(self, table: Table, templates: dict[str, RowTemplate], contents: dict[str, ColumnSample]) -> None:
        self.table, self.templates, self.contents = table, templates, contents
        used = {column for template in templates.values() for column in template.columns}
        self.columns = [column for column in table.columns if column not in used]
        self.rows = [row.values for row in table.first]
        self.by_field = columns_by_field(column for column in self.columns if self._may_be_of_its_field(column))
        if len(self.by_field.get("thought", ())) > 1:
            self.by_field.pop("thought")
        if not _is_constant(templates.get("instruction")):
            self.by_field = {field: names for field, names in self.by_field.items() if field not in templates}

    def _may_be_of_its_field(self, column: str) -> bool:
        """Tell whether a column may be what its header says: a thought is text, a history may be a list."""
        header, content = normalize_header(column), self.contents[column]
        if header in HEADERS["thought"]:
            return not content.types or TEXT in content.types
        return content.may_be_text or header in HEADERS["history"]

    def columns_with_header_of(self, field: str) -> list[str]:
        """Return the columns with one of the best headers of a field, whatever they hold."""
        return [column for column in self.columns if normalize_header(column) in HEADERS[field]]

    def conversations(self) -> Iterator[Candidate]:
        """Yield a reading for each column of whole conversations, or of messages that another column answers."""
        systems = self.by_field.get("system") or self.columns_with_header_of("system")
        answers = [column for column in self.columns_with_header_of("output") if self._may_complete(column)]
        for column in self.columns:
            if self._is_conversation(column):
                columns, content = {"messages": column}, self.contents[column]
                if content.wants_answer and len(answers) == 1:
                    columns["output"] = answers[0]
                if systems:
                    columns["system"] = systems[0]
                yield Candidate(content.style, columns, style=content.style)

    def possible_conversations(self) -> Iterator[Candidate]:
        """Yield a reading for each column that holds conversations where the user says so."""
        for column, content in self.contents.items():
            style = content.possible_style
            if style and (style not in {PAIRS, ALTERNATING} or is_conversation_header(column)):
                yield Candidate(style, {"messages": column}, style=style)

    def _is_conversation(self, column: str) -> bool:
        """Tell whether a column holds conversations that are no preference, no history and no answer to others."""
        header = normalize_header(column)
        if not self.contents[column].style or PREFERRED.fullmatch(header):
            return False
        if header in HEADERS["history"]:
            return not {"instruction", "output"} <= self.by_field.keys()
        return header not in HEADERS["output"] or not any(self.contents[each].wants_answer for each in self.columns)

    def _may_complete(self, column: str) -> bool:
        """Tell whether a column may hold the answers to messages: text or messages that want no answer."""
        content = self.contents[column]
        return not content.wants_answer and (content.may_be_text or bool(content.possible_style))

    def reading_by_headers(self) -> list[Candidate]:
        """Return the reading by headers, [] where it lacks question or answer."""
        templates, by_field = self.templates, self.by_field
        columns = {field: names[0] for field, names in by_field.items() if field not in templates}
        if (
            "instruction" in templates
            and "instruction" in by_field
            and "input" not in columns.keys() | templates.keys()
        ):
            columns["input"] = by_field["instruction"][0]  # under an instruction that is the same for all
        asking = [field for field in ("instruction", "input") if field in columns or field in templates]
        answered = "output" in columns or "output" in templates
        if not answered or all(_is_constant(templates.get(field)) for field in asking):
            return []
        return [make_candidate(_candidate_name(columns, templates), columns, templates)]

    def preference_columns(self) -> list[str]:
        """Return the columns that say which answers are better."""
        filled = [column for column in self.columns if self.contents[column].types]
        preferred = [column for column in filled if PREFERRED.fullmatch(normalize_header(column))]
        if any(self.holds_text(column) for column in preferred):
            return sorted(preferred)
        headers = {normalize_header(column): column for column in self.columns}
        if headers.keys().isdisjoint(HEADERS["output"]) and not any(self.contents[each].style for each in self.columns):
            return []
        marks = [headers[header] for header in ("kto tag", "label") if header in headers]
        return [column for column in marks if self._says_true_or_false(column)]

    def _says_true_or_false(self, column: str) -> bool:
        """Tell whether a column says true or false in every row, and both of them where that is text."""
        texts = {str(decode_raw(row.get(column))).strip().lower() for row in self.rows if not is_blank(row.get(column))}
        return self.contents[column].types == (BOOLEANS,) or texts == {"true", "false"}

    def holds_text(self, column: str) -> bool:
        """Tell whether a column holds text, lists or objects, not numbers and truth values alone."""
        return not {BOOLEANS, NUMBERS}.issuperset(self.contents[column].types)

    def questions_beside(self, conversation: str) -> list[str]:
        """Return the columns that are questions by their headers, and whose text the conversation does not hold."""
        lists = [column for column in self.list_columns() if column != conversation]
        return [
            column
            for column in (*self.by_field.get("instruction", ()), *lists)
            if has_question([column])
            and self.contents[column].types
            and not suggestions.repeats_text(column, [conversation], self.rows)
        ]

    def unplaced_columns(self) -> list[str]:
        """Return the columns in no field that may be of one: text first, then lists, and numbers last."""
        placed = {name for names in self.by_field.values() for name in names}
        columns = [column for column in self.columns if column not in placed and self.contents[column].types]
        columns = [
            column
            for column in columns
            if not any(pattern.fullmatch(normalize_header(column)) for pattern in (MARKS, PREFERRED, REASONING))
        ]
        rank = {TEXT: 0, LISTS: 1, OBJECTS: 1, BOOLEANS: 2, NUMBERS: 3}
        return sorted(columns, key=lambda column: rank.get(self.contents[column].types[0], 1))

    def list_columns(self) -> dict[str, str]:
        """Return the columns that hold lists or objects, and the fields that their headers fit."""
        lists = [each for each in self.columns if not self.contents[each].may_be_text and not self.contents[each].style]
        fields = {column: next(iter(columns_by_field([column])), "") for column in lists}
        if has_question(self.by_field.get("instruction", ())):
            fields |= {column: "input" for column in lists if normalize_header(column) in TEXT_HEADERS}
        return {column: field for column, field in fields.items() if field and field != "history"}

    def sources_of(self, column: str, between: str = ", ") -> list[FieldSource]:
        """Return how a column makes text: as it is, or by templates for its lists and objects."""
        if self.contents[column].may_be_text:
            return [column_source(column)]
        return suggestions.column_sources(column, self.rows, between)

    def _answer_sources(self, columns: Sequence[str]) -> list[FieldSource]:
        """Return what of `columns` may be the answer, first those with a header for it, last one of two questions."""
        sources = [source for column in fitting_first(columns, "output") for source in self.sources_of(column)]
        questions = self.by_field.get("instruction", [])
        if len(questions) > 1:
            sources += map(column_source, reversed(questions))
        return sources

    def possible_readings(self) -> Iterator[Suggestion]:
        """Yield readings that take the fields that are known, and others from what is left."""
        fields = self._sources_by_header()
        others = self.unplaced_columns()
        asking = fields.keys() | {field for field, template in self.templates.items() if not _is_constant(template)}
        if asking.isdisjoint({"instruction", "input"}):
            texts = [column for column in others if TEXT in self.contents[column].types]
            fields["input" if "instruction" in self.templates else "instruction"] = [
                source for column in texts or others for source in self.sources_of(column, " ")
            ]
        if "output" not in fields.keys() | self.templates.keys():
            fields["output"] = self._answer_sources(others)
        if not self.templates:
            yield from suggestions.object_suggestions(self.rows)
        yield from suggestions.alternatives({field: sources for field, sources in fields.items() if sources})

    def _sources_by_header(self) -> dict[str, list[FieldSource]]:
        """Return what may be each field that no template gives, going by the headers, lists and objects as well."""
        fields = {field: [*map(column_source, names)] for field, names in self.by_field.items()}
        if {*self.by_field.get("input", ())} <= {*self.by_field.get("instruction", ())}:
            fields.pop("input", None)
        for column, field in self.list_columns().items():
            if field != "system":
                fields.setdefault(field, self.sources_of(column))
        return {field: sources for field, sources in fields.items() if field not in self.templates}


def _is_constant(template: RowTemplate | None) -> bool:
    """Tell whether there is a template that gives every row the same text."""
    return template is not None and not template.columns


def _candidate_name(columns: dict[str, str], templates: dict[str, RowTemplate]) -> str:
    """Return what a reading by headers is called to the user."""
    if templates:
        return to_translate("templates over columns")
    headers = {field: normalize_header(column) for field, column in columns.items()}
    if headers["output"] not in HEADERS["output"]:
        return to_translate("text and label")
    known = {("instruction", "output"): "Alpaca", ("prompt", "completion"): to_translate("prompt and completion")}
    return known.get((headers.get("instruction", ""), headers["output"]), to_translate("question and answer columns"))
