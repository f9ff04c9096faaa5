"""Suggestions of mappings for a table, with the options that choose them, where it is not clear which is meant.

Lists and objects are offered as templates: `{{ label | join(', ') }}`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise, product
from typing import Any

import msgspec

from ftbridge.adapters.columns import quoted_header
from ftbridge.adapters.mapping.headers import TEXT_HEADERS, normalize_header
from ftbridge.adapters.mapping.inference.choices import template_reference
from ftbridge.adapters.values import decode_raw, is_blank, parse_container
from ftbridge.core.errors import FtbridgeError, InputError, QuestionError
from ftbridge.language import gettext as _
from ftbridge.language import joined

# More offers are no help in choosing; so many are tried for them.
MOST_OFFERS, MOST_TRIED = 6, 60
FIELD_WORDS = {
    "messages": _("conversations"),
    "system": _("system prompt"),
    "instruction": _("question"),
    "input": _("input"),
    "thought": _("thought"),
    "output": _("answer"),
    "history": _("history"),
}
# Keys under which an object holds its text.
TEXT_KEYS = ("text", "value", "content", "answer", "response", "output", "label", "name", "entity")
# Start, end and label of a span, as in `[0, 5, "PER"]`.
SPAN = 3
# Texts in an object that are each other's translation.
TRANSLATIONS = 2
TEXTS_OF_SPANS = {*TEXT_HEADERS, "data"}


class FieldSource(msgspec.Struct, frozen=True):
    """What a field is taken from: a column, or a template over columns; `description` names it in messages.

    `made_from` is the column whose lists or objects a template makes text of.
    """

    description: str
    column: str = ""
    template: str = ""
    made_from: str = ""


Suggestion = dict[str, FieldSource]


def column_source(column: str) -> FieldSource:
    """Return a column as the source of a field."""
    return FieldSource(f"`{column}`", column)


def column_suggestion(columns: Mapping[str, str]) -> Suggestion:
    """Return the suggestion to read each field from a column."""
    return {field: column_source(column) for field, column in columns.items()}


def question_or_error(
    reason: str,
    offers: Iterable[Suggestion],
    works: Callable[[Suggestion], bool],
    without: str = "",
    places: Sequence[str] = (),
) -> FtbridgeError:
    """Return the question which of `offers` is meant, where some work, else the error of `reason` and `without`.

    `places` are the columns of a table whose headers may be data: what is read by headers is offered by place, too.
    """
    working: dict[str, Suggestion] = {}
    for offer in islice(offers, MOST_TRIED):
        if describe(offer) not in working and works(offer):
            working[describe(offer)] = offer
        if len(working) == MOST_OFFERS:
            break
    if not working:
        return InputError(reason + without)
    answers = {description: command_options(offer) for description, offer in working.items()}
    if places:
        for offer in working.values():
            answers |= _answer_by_place(offer, places)
    return QuestionError(reason, answers)


def _answer_by_place(offer: Suggestion, places: Sequence[str]) -> dict[str, list[str]]:
    """Return the answer that takes an offer's columns by their numbers and the first row as data; {} for templates."""
    if any(source.template for source in offer.values()):
        return {}
    numbers = {field: str(places.index(source.column) + 1) for field, source in offer.items()}
    description = describe(
        {field: FieldSource(_("column {number}").format(number=number)) for field, number in numbers.items()}
    )
    maps = [word for field, number in numbers.items() for word in ("--map", f"{field}={number}")]
    return {_("the first row is data, {description}").format(description=description): ["--header-row", "none", *maps]}


def describe(offer: Suggestion) -> str:
    """Return which field an offer takes from what, for a message."""
    return joined(
        _(", "),
        (
            _("{field_words} from {description}").format(
                field_words=FIELD_WORDS[field], description=offer[field].description
            )
            for field in FIELD_WORDS
            if field in offer
        ),
    )


def command_options(offer: Suggestion) -> list[str]:
    """Return the options of `ftbridge convert` that choose an offer."""
    words = []
    for field in sorted(offer, key=[*FIELD_WORDS].index):
        source = offer[field]
        if source.template:
            words += [f"--{field}", source.template]
        else:
            words += ["--map", f"{field}={quoted_header(source.column)}"]
    return words


def alternatives(sources_by_field: Mapping[str, Sequence[FieldSource]]) -> Iterator[Suggestion]:
    """Yield the readings that take one of several sources for each field, and no column twice.

    Of two questions the second may be the input of the first; of several inputs all may be wanted.
    """
    no_input = "input" not in sources_by_field
    fields = [[*_combined_sources(field, sources, no_input)] for field, sources in sources_by_field.items()]
    for chosen in product(*fields):
        offer = {field: source for part in chosen for field, source in part.items()}
        taken = [source.made_from or source.column or source.description for source in offer.values()]
        if len({*taken}) == len(taken):
            yield offer


def column_sources(column: str, rows: Sequence[Mapping[str, Any]], between: str = ", ") -> list[FieldSource]:
    """Return the templates that make text of the lists or objects in a column, [] where that cannot be told.

    `between` stands between the entries of a list.
    """
    return [msgspec.structs.replace(source, made_from=column) for source in _sources_in_column(column, rows, between)]


def _combined_sources(field: str, sources: Sequence[FieldSource], no_input: bool) -> Iterator[Suggestion]:
    """Yield what `alternatives` may take for a field: each source, and two of them, one as the input."""
    for source in sources:
        yield {field: source}
    if no_input and field == "instruction":
        yield from ({field: one, "input": other} for one, other in pairwise(sources))
    if no_input and field == "output":  # a text, what of it is asked, and the answer
        yield from ({"input": one, field: other} for one, other in pairwise(sources) if one.column)
    if field == "input" and len(sources) > 1:
        both = " ".join(_expression_template(template_reference(source.column)) for source in sources)
        yield {field: FieldSource(joined(_(" and "), (source.description for source in sources)), template=both)}


class _Expression(msgspec.Struct, frozen=True):
    """A template's expression for the lists or objects of a column, and what it is called to people.

    They are `written` as text in the file, and the expression ends with the filter that reads it.
    """

    text: str
    description: str
    written: bool

    def item(self, access: str) -> str:
        """Return the expression for a part of the value, such as `[0]` or `.text`."""
        return f"({self.text}){access}" if self.written else f"{self.text}{access}"

    def as_json(self) -> FieldSource:
        """Return the whole value, written as JSON, as the source of a field."""
        return FieldSource(
            _("{description} as JSON").format(description=self.description),
            template=_expression_template(f"{self.text} | tojson"),
        )


def _sources_in_column(column: str, rows: Sequence[Mapping[str, Any]], between: str) -> list[FieldSource]:
    """Return what a column of lists or objects may be taken for."""
    values = [parse_container(row.get(column)) for row in rows]
    written = any(isinstance(decode_raw(row.get(column)), str) for row in rows)
    expression = _Expression(template_reference(column) + (" | parsed" if written else ""), f"`{column}`", written)
    filled = [value for value in values if not is_blank(value)]
    if filled and isinstance(filled[0], dict):
        return _sources_in_objects(expression, filled, rows, between)
    return _sources_in_lists(expression, values, filled, rows, between)


def _sources_in_objects(
    expression: _Expression, values: Sequence[Any], rows: Sequence[Mapping[str, Any]], between: str
) -> list[FieldSource]:
    """Return what a column of objects may be taken for: the text or the lists under a key, or JSON."""
    key = _text_key(values[0])
    if not key:
        return [expression.as_json()]
    under_key = [value.get(key) if isinstance(value, dict) else None for value in values]
    lists = [value for value in under_key if isinstance(value, list)]
    part = _Expression(
        expression.item(f".{key}"),
        _("`{key}` of {description}").format(key=key, description=expression.description),
        expression.written,
    )
    if not lists:
        return [FieldSource(part.description, template=_expression_template(part.text)), expression.as_json()]
    return _sources_in_lists(part, under_key, [value for value in lists if value], rows, between)


def _sources_in_lists(
    expression: _Expression,
    values: Sequence[Any],
    filled: Sequence[Any],
    rows: Sequence[Mapping[str, Any]],
    between: str,
) -> list[FieldSource]:
    """Return what a column of lists may be taken for; `filled` are those of its `values` that say something."""
    first = filled[0] if filled else None
    if not isinstance(first, list) or not first:
        return []
    if isinstance(first[0], list):
        return _span_sources(expression, first[0], rows)
    entry_key = _text_key(first[0]) if isinstance(first[0], dict) else ""
    whole = [expression.as_json()] if isinstance(first[0], dict) else []
    if whole and not entry_key:
        return whole
    entries = f"{expression.text} | map(attribute='{entry_key}')" if entry_key else expression.text
    joined, description = f"{entries} | join('{between}')", f"the entries of {expression.description}"
    if any(value in ([], None, "") for value in values):
        joined, description = f"({joined}) or 'none'", f"{description}, `none` where there is none"
        return [FieldSource(description, template=_expression_template(joined)), *whole]
    sources = [FieldSource(description, template=_expression_template(joined))]
    if any(isinstance(value, list) and len(value) > 1 for value in filled):
        first_entry = expression.item("[0]") + (f".{entry_key}" if entry_key else "")
        sources.append(
            FieldSource(f"the first of {expression.description}", template=_expression_template(first_entry))
        )
    return sources + whole


def _text_key(value: Mapping[str, Any]) -> str:
    """Return the key under which an object holds its text, "" for none."""
    return next((key for key in TEXT_KEYS if key in value), "")


def _expression_template(expression: str) -> str:
    return f"{{{{ {expression} }}}}"


def _span_sources(expression: _Expression, span: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> list[FieldSource]:
    """Return the template for spans of a text, `[[0, 5, "PER"], ...]`."""
    if len(span) != SPAN or not isinstance(span[0], int) or not isinstance(span[1], int):
        return []
    columns = [column for column in rows[0] if normalize_header(column) in TEXTS_OF_SPANS]
    return [
        FieldSource(
            _("the spans of {description}").format(description=expression.description),
            template=f"{{% for each in {expression.text} %}}{{{{ {template_reference(column)}[each[0]:each[1]] }}}}: "
            "{{ each[2] }}{% if not loop.last %}, {% endif %}{% endfor %}",
        )
        for column in columns[:1]
    ]


def object_suggestions(rows: Sequence[Mapping[str, Any]]) -> Iterator[Suggestion]:
    """Yield readings of rows whose texts stand in objects: a pair of translations, what Label Studio exports."""
    first = {column: decode_raw(value) for column, value in rows[0].items()} if rows else {}
    for column, value in first.items():
        if isinstance(value, dict):
            yield from _translation_suggestions(column, value)
    if isinstance(first.get("data"), dict):
        yield from _label_studio_suggestions(first)


def _translation_suggestions(column: str, value: Mapping[str, Any]) -> Iterator[Suggestion]:
    """Yield both directions between the two texts of an object, `{"en": "...", "de": "..."}`; nothing for others."""
    if len(value) == TRANSLATIONS and all(isinstance(each, str) for each in value.values()):
        one, other = (
            FieldSource(
                _("`{key}` of `{column}`").format(key=key, column=column),
                template=_expression_template(f"{template_reference(column)}[{key!r}]"),
            )
            for key in value
        )
        yield {"instruction": one, "output": other}
        yield {"instruction": other, "output": one}


def _label_studio_suggestions(row: Mapping[str, Any]) -> Iterator[Suggestion]:
    """Yield the texts of `data` with the results of its first annotation, `completions` in older exports."""
    kind = next((key for key in ("annotations", "completions") if row.get(key)), "")
    texts = [key for key, value in row["data"].items() if isinstance(value, str)] if kind else []
    for key, answer in product(texts, ("choices", "text", "labels")):
        label = f"{kind}[0].result | map(attribute='value.{answer}') | map('join', ', ') | join(', ')"
        yield {
            "instruction": FieldSource(
                _("`{key}` of `data`").format(key=key), template=_expression_template(f"data[{key!r}]")
            ),
            "output": FieldSource(
                _("`{answer}` of `{kind}`").format(answer=answer, kind=kind), template=_expression_template(label)
            ),
        }


def first_entries(column: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Suggestion]:
    """Yield the reading of lists of `{input, output}` that takes the first of each, beside a question."""
    values = [value for row in rows if isinstance(value := decode_raw(row.get(column)), list) and value]
    if values and all(isinstance(value[0], dict) and value[0].keys() >= {"input", "output"} for value in values):
        name = template_reference(column)
        which = _("the first of") if any(len(value) > 1 for value in values) else _("the entry of")
        yield {
            field: FieldSource(
                f"{which} `{column}`" if field == "input" else _("its {field}").format(field=field),
                template=f"{{{{ {name}[0].{field} }}}}",
            )
            for field in ("input", "output")
        }


def texts_in(value: Any) -> Iterator[str]:
    """Yield all text in a value, however deep it stands."""
    value = decode_raw(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)


def repeats_text(column: str, whole: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the text of `column` stands in one of the columns `whole` in every row that has some."""
    filled = [row for row in rows if not is_blank(row.get(column))]
    for row in filled:
        text = "".join(texts_in(row.get(column))).strip()
        if not text or text not in "\n".join(each for other in whole for each in texts_in(row.get(other))):
            return False
    return bool(filled)
