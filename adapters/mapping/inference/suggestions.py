"""What a table may mean where that is not clear: readings with the options that choose them, each of them tried.

Lists and objects are offered as templates: `{{ label | join(', ') }}`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise, product
from typing import Any

import msgspec

from ftbridge.adapters.columns import quoted
from ftbridge.adapters.mapping.headers import TEXTS as HEADED
from ftbridge.adapters.mapping.headers import normalize_header
from ftbridge.adapters.mapping.inference.choices import reference
from ftbridge.adapters.values import blank, parsed, plain
from ftbridge.core.errors import FtbridgeError, InputError, QuestionError

# More are no help in choosing; so many are tried for them.
MOST, TRIED = 6, 60
FIELDS = {
    "messages": "conversations",
    "system": "system prompt",
    "instruction": "question",
    "input": "input",
    "output": "answer",
    "history": "history",
}
# Keys under which an object holds its text.
TEXTS = ("text", "value", "content", "answer", "response", "output", "label", "name", "entity")
SPAN = 3  # start, end and label
TEXTS_OF_SPANS = {*HEADED, "data"}


class FieldSource(msgspec.Struct, frozen=True):
    """What a field is taken from: a column, or a template over columns; `said` is how it is called.

    `of` is the column that a template makes text of.
    """

    said: str
    column: str = ""
    template: str = ""
    of: str = ""


Suggestion = dict[str, FieldSource]


def of_column(column: str) -> FieldSource:
    """Return a column as the source of a field."""
    return FieldSource(f"`{column}`", column)


def of_columns(columns: Mapping[str, str]) -> Suggestion:
    """Return the reading of fields from columns."""
    return {field: of_column(column) for field, column in columns.items()}


def question(
    reason: str,
    offers: Iterable[Suggestion],
    works: Callable[[Suggestion], bool],
    none: str = "",
    places: Sequence[str] = (),
) -> FtbridgeError:
    """Return the question which of `offers` is meant, where some work, else the error for `reason` and `none`.

    `places` are the columns of a table whose headers may be data: what is read by headers is offered by place, too.
    """
    found: dict[str, list[str]] = {}
    by_place: dict[str, list[str]] = {}
    for offer in islice(offers, TRIED):
        said = meaning(offer)
        if said in found or not works(offer):
            continue
        found[said] = options(offer)
        if places and not any(source.template for source in offer.values()):
            numbers = {field: str(places.index(source.column) + 1) for field, source in offer.items()}
            said = meaning({field: FieldSource(f"column {number}") for field, number in numbers.items()})
            maps = [word for field, number in numbers.items() for word in ("--map", f"{field}={number}")]
            by_place[f"the first row is data, {said}"] = ["--header-row", "none", *maps]
        if len(found) == MOST:
            break
    return QuestionError(reason, found | by_place) if found else InputError(reason + none)


def meaning(offer: Suggestion) -> str:
    """Return what an offer is, for a message."""
    return ", ".join(f"{FIELDS[field]} from {offer[field].said}" for field in FIELDS if field in offer)


def options(offer: Suggestion) -> list[str]:
    """Return the options that choose an offer."""
    words = []
    for field in sorted(offer, key=[*FIELDS].index):
        source = offer[field]
        words += [f"--{field}", source.template] if source.template else ["--map", f"{field}={quoted(source.column)}"]
    return words


def alternatives(found: Mapping[str, Sequence[FieldSource]]) -> Iterator[Suggestion]:
    """Yield the readings that take one of several sources for each field, and no column twice.

    Of two questions the second may be the input of the first; of several inputs all may be wanted.
    """
    fields = [[*_ways(field, sources, found)] for field, sources in found.items()]
    for chosen in product(*fields):
        offer = {field: source for part in chosen for field, source in part.items()}
        taken = [source.of or source.column or source.said for source in offer.values()]
        if len({*taken}) == len(taken):
            yield offer


def sources(column: str, rows: Sequence[Mapping[str, Any]], between: str = ", ") -> list[FieldSource]:
    """Return how the lists or objects in a column make text, [] where that cannot be told."""
    return [msgspec.structs.replace(source, of=column) for source in _sources(column, rows, between)]


def _ways(
    field: str, sources: Sequence[FieldSource], found: Mapping[str, Sequence[FieldSource]]
) -> Iterator[Suggestion]:
    """Yield what `alternatives` may take for a field."""
    for source in sources:
        yield {field: source}
    if field == "instruction" and "input" not in found:
        for one, other in pairwise(sources):
            yield {field: one, "input": other}
    if field == "output" and "input" not in found:  # a text, what of it is asked, and the answer
        for one, other in pairwise(sources):
            if one.column:
                yield {"input": one, field: other}
    if field == "input" and len(sources) > 1:
        both = " ".join(_template(reference(source.column)) for source in sources)
        yield {field: FieldSource(" and ".join(source.said for source in sources), template=both)}


def _sources(column: str, rows: Sequence[Mapping[str, Any]], between: str = ", ") -> list[FieldSource]:
    """Return those of `sources`."""
    values = [parsed(row.get(column)) for row in rows]
    written = any(isinstance(plain(row.get(column)), str) for row in rows)
    name, said = reference(column) + (" | parsed" if written else ""), f"`{column}`"
    filled = [value for value in values if not blank(value)]
    if filled and isinstance(filled[0], dict):
        key = _text_key(filled[0])
        whole = FieldSource(f"{said} as JSON", template=_template(f"{name} | tojson"))
        if not key:
            return [whole]
        values = [each.get(key) if isinstance(each, dict) else None for each in filled]
        name, said = f"({name}).{key}" if written else f"{name}.{key}", f"`{key}` of {said}"
        filled = [each for each in values if isinstance(each, list)]
        if not filled:
            return [FieldSource(said, template=_template(name)), whole]
        filled = [each for each in filled if each]
    return _of_lists(name, said, values, filled, rows, between, written=written)


def _of_lists(
    name: str,
    said: str,
    values: Sequence[Any],
    filled: Sequence[Any],
    rows: Sequence[Mapping[str, Any]],
    between: str,
    *,
    written: bool,
) -> list[FieldSource]:
    """Return what a column of lists may be taken for; `filled` are those of its `values` that say something."""
    first = filled[0] if filled else None
    if not isinstance(first, list) or not first:
        return []
    if isinstance(first[0], list):
        return _spans(name, said, first[0], rows)
    if any(each in ([], None, "") for each in values):
        return _entries(name, said, first, between, written=written, none=True)
    several = any(isinstance(each, list) and len(each) > 1 for each in filled)
    return _entries(name, said, first, between, written=written, several=several)


def _entries(
    name: str,
    said: str,
    value: list[Any],
    between: str,
    *,
    written: bool,
    none: bool = False,
    several: bool = False,
) -> list[FieldSource]:
    """Return what a column of lists such as `value` may be taken for.

    It is `written` as text, has rows without an entry (`none`), or some with `several`.
    """
    whole, joined, first = [], name, f"({name})[0]" if written else f"{name}[0]"
    if isinstance(value[0], dict):
        whole = [FieldSource(f"{said} as JSON", template=_template(f"{name} | tojson"))]
        key = _text_key(value[0])
        if not key:
            return whole
        joined, first = f"{name} | map(attribute='{key}')", f"{first}.{key}"
    text, entries = f"{joined} | join('{between}')", f"the entries of {said}"
    if none:
        text, entries = f"({text}) or 'none'", f"{entries}, `none` where there is none"
    found = [FieldSource(entries, template=_template(text))]
    if several:
        found.append(FieldSource(f"the first of {said}", template=_template(first)))
    return found + whole


def _text_key(value: Mapping[str, Any]) -> str:
    """Return the key under which an object holds its text, "" for none."""
    return next((key for key in TEXTS if key in value), "")


def _template(expression: str) -> str:
    return f"{{{{ {expression} }}}}"


def _spans(name: str, said: str, span: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> list[FieldSource]:
    """Return the template for spans of a text, `[[0, 5, "PER"], ...]`."""
    if len(span) != SPAN or not isinstance(span[0], int) or not isinstance(span[1], int):
        return []
    columns = [column for column in rows[0] if normalize_header(column) in TEXTS_OF_SPANS]
    return [
        FieldSource(
            f"the spans of {said}",
            template=f"{{% for each in {name} %}}{{{{ {reference(column)}[each[0]:each[1]] }}}}: {{{{ each[2] }}}}"
            "{% if not loop.last %}, {% endif %}{% endfor %}",
        )
        for column in columns[:1]
    ]


def of_objects(rows: Sequence[Mapping[str, Any]]) -> Iterator[Suggestion]:
    """Yield readings of rows whose texts stand in objects: a pair of translations, what Label Studio exports."""
    first = {column: plain(value) for column, value in rows[0].items()} if rows else {}
    for column, value in first.items():
        if isinstance(value, dict) and len(value) == 2 and all(isinstance(each, str) for each in value.values()):  # noqa: PLR2004 - a text and its translation
            said = [
                FieldSource(f"`{key}` of `{column}`", template=f"{{{{ {reference(column)}[{key!r}] }}}}")
                for key in value
            ]
            yield {"instruction": said[0], "output": said[1]}
            yield {"instruction": said[1], "output": said[0]}
    data, made = first.get("data"), first.get("annotations") or first.get("completions")
    if isinstance(data, dict) and made:
        texts = [key for key, value in data.items() if isinstance(value, str)]
        kind = "annotations" if first.get("annotations") else "completions"
        for key, answer in product(texts, ("choices", "text", "labels")):
            label = f"{{{{ {kind}[0].result | map(attribute='value.{answer}') | map('join', ', ') | join(', ') }}}}"
            yield {
                "instruction": FieldSource(f"`{key}` of `data`", template=f"{{{{ data[{key!r}] }}}}"),
                "output": FieldSource(f"`{answer}` of `{kind}`", template=label),
            }


def firsts(column: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Suggestion]:
    """Yield the reading of lists of `{input, output}` that takes the first of each, beside a question."""
    values = [value for row in rows if isinstance(value := plain(row.get(column)), list) and value]
    if values and all(isinstance(value[0], dict) and value[0].keys() >= {"input", "output"} for value in values):
        name = reference(column)
        which = "the first of" if any(len(value) > 1 for value in values) else "the entry of"
        yield {
            field: FieldSource(
                f"{which} `{column}`" if field == "input" else f"its {field}", template=f"{{{{ {name}[0].{field} }}}}"
            )
            for field in ("input", "output")
        }


def strings(value: Any) -> Iterator[str]:
    """Yield all text in a value, however deep it stands."""
    value = plain(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def repeats(column: str, whole: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the text of `column` stands in one of the columns `whole` in every row that has some."""
    told = [("".join(strings(row.get(column))).strip(), row) for row in rows if not blank(row.get(column))]
    return bool(told) and all(
        said and said in "\n".join(each for other in whole for each in strings(row.get(other))) for said, row in told
    )
