"""How a table is read: as the user says, as a preset says, or as its columns and first rows tell.

Nothing is guessed: where two readings are as likely, or none is complete, the user is asked for `--map`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from ftbridge.adapters.columns import column_letter, column_listing, find_column, quoted_header
from ftbridge.adapters.mapping.base import Mapping
from ftbridge.adapters.mapping.conversations.roles import refuse_invalid_roles
from ftbridge.adapters.mapping.fields import ColumnMapping
from ftbridge.adapters.mapping.headers import (
    HEADERS,
    LOSS_FLAG,
    columns_by_field,
    normalize_header,
    untrainable_columns,
)
from ftbridge.adapters.mapping.inference import suggestions
from ftbridge.adapters.mapping.inference.candidate import FIELDS, Candidate, ColumnSample, make_candidate, sample_column
from ftbridge.adapters.mapping.inference.detect import STYLES, SuggestionTest, detect_candidate
from ftbridge.adapters.mapping.inference.suggestions import Suggestion, column_source
from ftbridge.adapters.mapping.messages import MessageMapping
from ftbridge.adapters.mapping.row_template import RowTemplate, parse_template
from ftbridge.adapters.values import LONGEST, BadValueError, checked_text, is_blank, shorten
from ftbridge.core.errors import FtbridgeError, InputError, QuestionError, UsageError
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.core.records import Table
from ftbridge.dataset_info.presets import Preset

TEMPLATES = ("instruction", "input", "output")
# A reading that is offered makes a sample of one of so many first rows.
TRIED = 20
ALONE = "several sources, sheets or files are read with the same options, and none fits all: convert them one by one"


class MappingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asks of the reading of rows; kept with the dataset.

    `map` maps a field (messages, system, instruction, input, output, history) to a column; `instruction`, `input` and
    `output` are templates over the row's columns; `label_map` holds the texts for outputs. `stratify` is a field or a
    column, whose text becomes the sample's label. A text of more than `max_characters` is an error of its row. `role`
    maps the names of who speaks to user, assistant or system, and `tags` are a message's keys, as LLaMA-Factory's.
    """

    map: dict[str, str] = {}
    system: str | None = None
    instruction: str | None = None
    input: str | None = None
    output: str | None = None
    label_map: dict[str, str] = {}
    stratify: str = ""
    strip: bool = False
    max_characters: int = LONGEST
    role: dict[str, str] = {}
    tags: dict[str, str] = {}

    @property
    def decides(self) -> bool:
        """Tell whether the user says which columns count."""
        return bool(self.map) or any(getattr(self, field) is not None for field in TEMPLATES)


class TableMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is read: `columns` maps a field to its column or template, `why` are the lines that explain it."""

    mapping: Mapping
    shape: str
    columns: dict[str, str]
    left_out: tuple[str, ...]
    why: tuple[str, ...]


def infer_mapping(
    table: Table, wish: MappingOptions, preset: Preset | None, told: str = "", *, ask: bool = True
) -> TableMapping:
    """Choose how `table` is read: by `wish`, else by `preset`, else by its columns and first rows.

    `told` is what says so where that is not the user. Raises QuestionError for what only the user can decide
    (InputError where there is nobody to `ask`), UsageError for what `wish` names and is not there, InputError for what
    cannot be read.
    """
    if table.asks:
        raise table.asks
    refuse_invalid_roles(wish.role)
    contents = {column: sample_column(table, column, wish.role, wish.tags) for column in table.columns}
    works = partial(_makes_a_sample, table, wish) if ask else None
    columns, templates = _requested_sources(table, wish, preset)
    if columns:
        reason = "as `--map` says" if wish.map or not preset else f"as the preset `{preset.name}` says"
        reason = told or reason
        shape = _requested_candidate(columns, templates, contents)
        if missing := [
            field for field in ("instruction", "output") if not shape.style and field not in shape.field_sources
        ]:
            raise _missing_fields(table, missing, shape, contents, works)
    else:
        shape = detect_candidate(table, templates, contents, works)
        other = "no column holds whole conversations" if not shape.style else "the headers give no question and answer"
        reason = "as the templates say, the rest by headers" if templates else f"the only reading, since {other}"
    return TableMapping(
        mapping=_make_mapping(table, wish, preset, shape),
        shape=shape.name,
        columns=shape.field_sources,
        left_out=tuple(column for column in table.columns if column not in shape.used_columns),
        why=(*_describe_columns(contents, shape), f"read as {shape}: {reason}"),
    )


def question_for_all(error: QuestionError, tables: Sequence[Table], wish: MappingOptions) -> FtbridgeError:
    """Return a table's question with the answers that are right for all of `tables`; an error where none is."""
    if len(tables) == 1:
        return error
    fit = {said: options for said, options in error.answers.items() if _reads_all(options, tables, wish)}
    return QuestionError(error.reason, fit) if fit else InputError(f"{error.reason}\n{ALONE}")


def _missing_fields(
    table: Table,
    fields: Sequence[str],
    shape: Candidate,
    contents: dict[str, ColumnSample],
    works: SuggestionTest | None,
) -> FtbridgeError:
    """Return the question which columns the `fields` are that a `--map` leaves open, else the error that it does."""
    reason = f"`--map` names no {' and no '.join(fields)}"
    free = [column for column in table.columns if column not in shape.used_columns and contents[column].may_be_text]
    columns = {
        field: sorted(
            (each for each in free if contents[each].types), key=lambda each: field not in columns_by_field([each])
        )
        for field in fields
    }
    found = suggestions.alternatives({field: [*map(column_source, columns[field])] for field in fields})
    if works is None:
        return InputError(reason)
    return suggestions.question_or_error(
        reason, found, works, f"; add `--map {fields[0]}=COLUMN`\n{column_listing(table)}"
    )


def _reads_all(options: Sequence[str], tables: Sequence[Table], wish: MappingOptions) -> bool:
    taken: dict[str, Any] = {"map": dict(wish.map), "role": dict(wish.role)}
    for option, value in zip(options[::2], options[1::2], strict=False):
        name = option.removeprefix("--")
        if name in {"map", "role"}:
            key, _, taken_for = value.rpartition("=") if name == "role" else value.partition("=")
            taken[name][key] = taken_for
        elif name in TEMPLATES:
            taken[name] = value
        else:  # of how a source is read, which cannot be tried here
            return False
    return all(_reads_some_row(table, msgspec.structs.replace(wish, **taken)) for table in tables)


def _makes_a_sample(table: Table, wish: MappingOptions, offer: Suggestion) -> bool:
    """Tell whether a reading makes a sample of one of the first rows."""
    columns = {field: quoted_header(source.column) for field, source in offer.items() if source.column}
    templates = {field: source.template for field, source in offer.items() if source.template}
    return _reads_some_row(table, msgspec.structs.replace(wish, map={**wish.map, **columns}, **templates))


def _reads_some_row(table: Table, wish: MappingOptions) -> bool:
    try:
        mapping = infer_mapping(table, wish, None, ask=False).mapping
    except FtbridgeError:
        return False
    rows = table.first[:TRIED]
    return not rows or any(not mapping.problems(row) for row in rows)


def _requested_sources(
    table: Table, wish: MappingOptions, preset: Preset | None
) -> tuple[dict[str, str], dict[str, RowTemplate]]:
    """Return the columns and the templates that the user and the preset name."""
    templates = {field: getattr(wish, field) for field in TEMPLATES if getattr(wish, field) is not None}
    columns: dict[str, str] = {}
    for given, wanted in wish.map.items():
        field, column = _field_and_column(table, given, wanted)
        if field in columns:
            raise UsageError(f"`--map` names two columns for {field}: `{columns[field]}` and `{column}`")
        columns[field] = column
    if both := [field for field in columns if field in templates]:
        raise UsageError(f"`--map {both[0]}=...` and `--{both[0]}` both say what {both[0]} is; leave one of them out")
    if preset and not wish.map:
        templates = {field: getattr(preset, field) for field in TEMPLATES if getattr(preset, field)} | templates
        wanted_columns = {field: column for field, column in preset.columns.items() if field not in templates}
        columns = {field: find_column(table, column) for field, column in wanted_columns.items()}
    return columns, {field: parse_template(template, field, table) for field, template in templates.items()}


def _field_and_column(table: Table, field: str, column: str) -> tuple[str, str]:
    """Return field and column of a `--map`; it may call a field `question` or `问题`, or be the wrong way round.

    Raises UsageError where there is no such field or column.
    """
    straight = _field_called(field)
    if straight:
        with suppress(UsageError):
            return straight, find_column(table, column)
    if other := _field_called(column):
        with suppress(UsageError):
            return other, find_column(table, field)
    if straight:
        return straight, find_column(table, column)
    raise UsageError(f"`--map` knows no field `{field}`{closest(field, FIELDS)}")


def _field_called(name: str) -> str:
    """Return the field that a word means, "" for none."""
    if name in FIELDS:
        return name
    return next(iter(columns_by_field([name])), "")


def _requested_candidate(
    columns: dict[str, str], templates: dict[str, RowTemplate], contents: dict[str, ColumnSample]
) -> Candidate:
    """Return the reading that the user or a preset decided; raises UsageError where it contradicts itself."""
    if "messages" in columns:
        room = {"messages", "system", *(["output"] if contents[columns["messages"]].wants_answer else [])}
        if others := [field for field in (*columns, *templates) if field not in room]:
            raise UsageError(f"a column of whole conversations leaves no room for `{others[0]}`; leave it out")
        if not (style := contents[columns["messages"]].possible_style):
            raise UsageError(f"`{columns['messages']}` holds no lists of objects with {STYLES} in the first rows")
        return Candidate(style, columns, style=style)
    return make_candidate("columns as asked for", columns, templates)


def _describe_columns(contents: dict[str, ColumnSample], shape: Candidate) -> Iterator[str]:
    """Yield a line for each column: what was seen in it, and what its header says."""
    for column, each in contents.items():
        line = f"`{shorten(column)}`: {' and '.join(each.types) or 'empty in the first rows'}"
        line += f", such as `{each.example}`" if each.types else ""
        for field in columns_by_field([column]):
            line += f"; its header fits {field}"
            line += f", and `{shape.columns[field]}` better" if shape.columns.get(field, column) != column else ""
        yield line


def _refuse_texts(wish: MappingOptions) -> None:
    """Raise UsageError for texts of the user's that cannot stand in a sample."""
    texts = {"--system": wish.system, **{f"--label-map {label}": text for label, text in wish.label_map.items()}}
    for option, text in texts.items():
        try:
            checked_text(text)
        except BadValueError as error:
            raise UsageError(f"`{option}` {error}") from error
    if empty := [label for label, text in wish.label_map.items() if is_blank(text)]:
        raise UsageError(f"`--label-map` has no text for the label `{empty[0]}`; give one, as in `7=Electricity`")
    if wish.max_characters < 1:
        raise UsageError(f"`--max-characters` takes a number from 1; got `{wish.max_characters}`")


def _make_mapping(table: Table, wish: MappingOptions, preset: Preset | None, shape: Candidate) -> Mapping:
    """Return the mapping for a reading, with all that `wish` and `preset` say besides."""
    _refuse_texts(wish)
    decided = bool(wish.map)
    left_out = [column for column in table.columns if column not in shape.used_columns]
    common: dict[str, Any] = {
        "columns": shape.columns,
        "known_columns": frozenset(table.columns),
        "letters": {column: column_letter(at) for at, column in enumerate(table.columns, 1)} if table.lettered else {},
        "system": _system_prompt(wish, preset),
        "strip": wish.strip,
        "max_characters": wish.max_characters,
        "user_decided": decided,
        "watched_fields": frozenset(["system"] if shape.style else HEADERS) - shape.field_sources.keys(),
        "refused_columns": untrainable_columns(left_out, decided=decided) if shape.style or not decided else {},
        "loss_flags": () if decided else _loss_flags(left_out),
        "roles": wish.role,
        **_label_source(table, wish, shape),
    }
    if not shape.style:
        return ColumnMapping(templates=shape.templates, label_texts=_output_texts(wish, preset, shape), **common)
    if wish.label_map:
        raise UsageError("`--label-map` is for outputs that stand in a column; these are whole conversations")
    mapping = MessageMapping(style=shape.style, tags=wish.tags, **common)
    mapping.ask_for_unknown_roles(table)
    return mapping


def _system_prompt(wish: MappingOptions, preset: Preset | None) -> str:
    if wish.system is not None:
        return wish.system
    return preset.system if preset else ""


def _loss_flags(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that say by their headers which answers are learned; not those with a remark in brackets."""
    return tuple(
        column
        for column in columns
        if LOSS_FLAG.fullmatch(normalize_header(column)) and "(" not in column and "\uff08" not in column
    )


def _label_source(table: Table, wish: MappingOptions, shape: Candidate) -> dict[str, str]:
    """Return the field or the column that `--stratify` names, as a mapping takes it."""
    if not wish.stratify:
        return {}
    fields = {"instruction", "output", "system"} if shape.style else {*shape.field_sources} - {"history"}
    if wish.stratify in fields:
        return {"label_field": wish.stratify}
    return {"label_column": find_column(table, wish.stratify)}


def _output_texts(wish: MappingOptions, preset: Preset | None, shape: Candidate) -> dict[str, str]:
    """Return the user's texts for outputs, else the preset's where the outputs are from its column."""
    if wish.label_map or not preset or wish.output is not None:
        return wish.label_map
    return preset.labels if shape.columns.get("output") == preset.columns.get("output") else {}
