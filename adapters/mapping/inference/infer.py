"""The mapping of a table: given by the user or a preset, else inferred from its headers and first rows.

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
    fitting_first,
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
from ftbridge.language import gettext as _
from ftbridge.language import joined

# The fields that options can give as templates.
TEMPLATES = ("instruction", "input", "output")
# A reading that is offered makes a sample of one of so many first rows.
ROWS_TRIED = 20
ALONE = _("several sources, sheets or files share the same options, and none fit all of them: convert them one by one")


class MappingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a conversion that decide how rows are read; kept with the dataset.

    `map` maps a field (messages, system, instruction, input, thought, output, history) to a column; `instruction`,
    `input` and `output` are templates over the row's columns; `label_map` holds the texts for outputs. `stratify` is a
    field or a column, whose text becomes the sample's label. A text of more than `max_characters` is an error of its
    row. `role` maps the names of who speaks to user, assistant or system, and `tags` are a message's keys, as
    LLaMA-Factory's.
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
    def names_columns(self) -> bool:
        """Tell whether the user says which columns count, by `map` or a template."""
        return bool(self.map) or any(getattr(self, field) is not None for field in TEMPLATES)


class TableMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is read, `shape` in words: `columns` maps a field to its column or template, `why` explains it.

    `templates` are the fields that are from templates, and `labels` the texts that stand for values of the answer.
    """

    mapping: Mapping
    shape: str
    columns: dict[str, str]
    left_out: tuple[str, ...]
    why: tuple[str, ...]
    templates: tuple[str, ...] = ()
    labels: dict[str, str] = {}


def infer_mapping(
    table: Table,
    options: MappingOptions,
    preset: Preset | None,
    said_by: str = "",
    *,
    ask: bool = True,
    recognised: bool = False,
) -> TableMapping:
    """Return how `table` is read: by `options`, else by `preset`, else by its columns and first rows.

    `said_by` says for the explanation who decides, where that is not the user, and `recognised` that nobody asked for
    the preset. Raises QuestionError for what only the user can decide (InputError where there is nobody to `ask`),
    UsageError for what `options` names and is not there, InputError for what cannot be read.
    """
    if table.asks:
        raise table.asks
    refuse_invalid_roles(options.role)
    contents = {column: sample_column(table, column, options.role, options.tags) for column in table.columns}
    works = partial(_makes_a_sample, table, options) if ask else None
    columns, templates = _requested_sources(table, options, preset)
    if columns:
        named, reason = _requested_by(None if options.map else preset)
        reason = said_by or reason
        candidate = _requested_candidate(named, columns, templates, contents)
        missing = [field for field in ("instruction", "output") if field not in candidate.field_sources]
        if missing and not candidate.style:
            raise _question_for_fields(table, missing, candidate, contents, works)
    else:
        candidate = detect_candidate(table, templates, contents, works)
        reason = _why_detected(candidate)
    mapping = _make_mapping(table, options, preset, candidate)
    used = {*candidate.used_columns, *mapping.tool_columns}
    return TableMapping(
        mapping=mapping,
        shape=_recognised_shape(candidate, options, preset) if preset and recognised else candidate.name,
        columns=candidate.field_sources,
        left_out=tuple(column for column in table.columns if column not in used),
        why=(
            *_describe_columns(contents, candidate),
            _("read as {candidate}: {reason}").format(candidate=candidate.in_words(), reason=reason),
        ),
        templates=tuple(candidate.templates),
        labels=mapping.label_texts if isinstance(mapping, ColumnMapping) else {},
    )


def _requested_by(preset: Preset | None) -> tuple[str, str]:
    """Return what columns are called that a preset names, else `--map`, and why they are taken."""
    if not preset:
        return _("columns as in `--map`"), _("as `--map` says")
    name = preset.name
    return _("preset {name}").format(name=name), _("as the preset `{name}` says").format(name=name)


def _recognised_shape(candidate: Candidate, options: MappingOptions, preset: Preset) -> str:
    """Return in words that a table is read as a preset which nobody asked for, and what that adds."""
    shape = _("{title} (recognised as preset {name})").format(title=preset.title, name=preset.name)
    if options.map or candidate.style:
        shape = _("{name}, {shape}").format(name=_(candidate.name), shape=shape)
    added = preset.system and options.system is None
    return _("{shape}; it adds a system prompt (none: `--system ''`)").format(shape=shape) if added else shape


def _why_detected(candidate: Candidate) -> str:
    if candidate.templates:
        return _("as the templates say, the rest by headers")
    others = (
        _("the headers give no question and answer") if candidate.style else _("no column holds whole conversations")
    )
    return _("the only reading, since {others}").format(others=others)


def question_for_all(error: QuestionError, tables: Sequence[Table], options: MappingOptions) -> FtbridgeError:
    """Return a table's question with the answers that are right for all of `tables`; an error where none is."""
    if len(tables) == 1:
        return error
    answers = {answer: words for answer, words in error.answers.items() if _reads_all(words, tables, options)}
    return (
        QuestionError(error.reason, answers)
        if answers
        else InputError(_("{reason}\n{alone}").format(reason=error.reason, alone=ALONE))
    )


def _question_for_fields(
    table: Table,
    fields: Sequence[str],
    candidate: Candidate,
    contents: dict[str, ColumnSample],
    works: SuggestionTest | None,
) -> FtbridgeError:
    """Return the question which columns the `fields` are that a `--map` leaves open, else the error that it does."""
    reason = _("`--map` does not name {fields}").format(fields=joined(_(" or "), fields))
    if works is None:
        return InputError(reason)
    columns = [column for column in table.columns if column not in candidate.used_columns]
    columns = [column for column in columns if contents[column].may_be_text and contents[column].types]
    sources = {field: [*map(column_source, fitting_first(columns, field))] for field in fields}
    without = _("; add `--map {field}=COLUMN`\n{column_listing}").format(
        field=fields[0], column_listing=column_listing(table)
    )
    return suggestions.question_or_error(reason, suggestions.alternatives(sources), works, without)


def _reads_all(words: Sequence[str], tables: Sequence[Table], options: MappingOptions) -> bool:
    """Tell whether `words`, such as `--map`, `output=reply`, added to `options` make a sample of each table."""
    changes: dict[str, Any] = {"map": dict(options.map), "role": dict(options.role)}
    for option, value in zip(words[::2], words[1::2], strict=False):
        name = option.removeprefix("--")
        if name == "map":
            field, _unused, column = value.partition("=")
            changes["map"][field] = column
        elif name == "role":
            speaker, _unused, role = value.rpartition("=")
            changes["role"][speaker] = role
        elif name in TEMPLATES:
            changes[name] = value
        else:  # of how a source is read, which cannot be tried here
            return False
    return all(_reads_some_row(table, msgspec.structs.replace(options, **changes)) for table in tables)


def _makes_a_sample(table: Table, options: MappingOptions, offer: Suggestion) -> bool:
    """Tell whether a reading makes a sample of one of the first rows."""
    columns = {field: quoted_header(source.column) for field, source in offer.items() if source.column}
    templates = {field: source.template for field, source in offer.items() if source.template}
    return _reads_some_row(table, msgspec.structs.replace(options, map={**options.map, **columns}, **templates))


def _reads_some_row(table: Table, options: MappingOptions) -> bool:
    """Tell whether `options` are enough to make a sample of one of the first rows, where there are any."""
    try:
        mapping = infer_mapping(table, options, None, ask=False).mapping
    except FtbridgeError:
        return False
    rows = table.first[:ROWS_TRIED]
    return not rows or any(not mapping.problems(row) for row in rows)


def _requested_sources(
    table: Table, options: MappingOptions, preset: Preset | None
) -> tuple[dict[str, str], dict[str, RowTemplate]]:
    """Return the columns and the templates that the user and the preset name."""
    templates = {field: getattr(options, field) for field in TEMPLATES if getattr(options, field) is not None}
    columns: dict[str, str] = {}
    for given, wanted in options.map.items():
        field, column = _field_and_column(table, given, wanted)
        if field in columns:
            raise UsageError(
                _("`--map` names two columns for {field}: `{column}` and `{other}`").format(
                    field=field, column=columns[field], other=column
                )
            )
        columns[field] = column
    if both := [field for field in columns if field in templates]:
        raise UsageError(
            _("`--map {both}=...` and `--{both}` both say what {both} is; leave one of them out").format(both=both[0])
        )
    if preset and not options.map:
        templates = {field: getattr(preset, field) for field in TEMPLATES if getattr(preset, field)} | templates
        wanted_columns = {field: column for field, column in preset.columns.items() if field not in templates}
        columns = {field: find_column(table, column) for field, column in wanted_columns.items()}
    return columns, {field: parse_template(template, field, table) for field, template in templates.items()}


def _field_and_column(table: Table, field: str, column: str) -> tuple[str, str]:
    """Return field and column of a `--map`; it may call a field `question` or `问题`, or be the wrong way round.

    Raises UsageError where there is no such field or column.
    """
    known_field, swapped_field = _field_called(field), _field_called(column)
    if known_field:
        with suppress(UsageError):
            return known_field, find_column(table, column)
    if swapped_field:
        with suppress(UsageError):
            return swapped_field, find_column(table, field)
    if known_field:
        return known_field, find_column(table, column)
    raise UsageError(_("unknown field `{field}`{hint}").format(field=field, hint=closest(field, FIELDS)))


def _field_called(name: str) -> str:
    """Return the field that a word means, "" for none."""
    if name in FIELDS:
        return name
    return next(iter(columns_by_field([name])), "")


def _requested_candidate(
    name: str, columns: dict[str, str], templates: dict[str, RowTemplate], contents: dict[str, ColumnSample]
) -> Candidate:
    """Return the reading that the user or a preset decided; raises UsageError where it contradicts itself."""
    if "messages" in columns:
        content = contents[columns["messages"]]
        beside = {"messages", "system", "output"} if content.wants_answer else {"messages", "system"}
        if others := [field for field in (*columns, *templates) if field not in beside]:
            raise UsageError(
                _("a column of whole conversations cannot be combined with `{other}`; drop it").format(other=others[0])
            )
        if not content.possible_style:
            raise UsageError(
                _("`{messages}` holds no lists of objects with {styles} in the first rows").format(
                    messages=columns["messages"], styles=STYLES
                )
            )
        return Candidate(content.possible_style, columns, style=content.possible_style)
    return make_candidate(name, columns, templates)


def _describe_columns(contents: dict[str, ColumnSample], candidate: Candidate) -> Iterator[str]:
    """Yield a line for each column: what stands in its first rows, and which field its header fits."""
    for column, content in contents.items():
        line = _("`{column}`: {types}").format(
            column=shorten(column), types=joined(_(" and "), map(_, content.types)) or _("empty in the first rows")
        )
        if content.types:
            line += _(", such as `{example}`").format(example=content.example)
        for field in columns_by_field([column]):
            line += _("; its header fits {field}").format(field=field)
            if candidate.columns.get(field, column) != column:
                line += _(", and `{column}` better").format(column=candidate.columns[field])
        yield line


def _refuse_texts(options: MappingOptions) -> None:
    """Raise UsageError for texts of the user's that cannot stand in a sample."""
    texts = {
        "--system": options.system,
        **{_("--label-map {label}").format(label=label): text for label, text in options.label_map.items()},
    }
    for option, text in texts.items():
        try:
            checked_text(text)
        except BadValueError as error:
            raise UsageError(_("`{option}` {error}").format(option=option, error=error)) from error
    if empty := [label for label, text in options.label_map.items() if is_blank(text)]:
        raise UsageError(
            _("`--label-map` has no text for the label `{empty}`; give one, as in `7=Electricity`").format(
                empty=empty[0]
            )
        )
    if options.max_characters < 1:
        raise UsageError(
            _("`--max-characters` must be a whole number of at least 1; got `{max_characters}`").format(
                max_characters=options.max_characters
            )
        )


def _make_mapping(table: Table, options: MappingOptions, preset: Preset | None, candidate: Candidate) -> Mapping:
    """Return the mapping for a reading, with all that `options` and `preset` say besides."""
    _refuse_texts(options)
    decided = bool(options.map)
    left_out = [column for column in table.columns if column not in candidate.used_columns]
    common: dict[str, Any] = {
        "columns": candidate.columns,
        "known_columns": frozenset(table.columns),
        "letters": {column: column_letter(at) for at, column in enumerate(table.columns, 1)} if table.lettered else {},
        "system": _system_prompt(options, preset),
        "strip": options.strip,
        "max_characters": options.max_characters,
        "user_decided": decided,
        "watched_fields": frozenset(["system"] if candidate.style else HEADERS) - candidate.field_sources.keys(),
        "refused_columns": untrainable_columns(left_out, decided=decided) if candidate.style or not decided else {},
        "loss_flags": () if decided else _loss_flags(left_out),
        "roles": options.role,
        **_label_source(table, options, candidate),
    }
    if not candidate.style:
        return ColumnMapping(
            templates=candidate.templates, label_texts=_output_texts(options, preset, candidate), **common
        )
    if options.label_map:
        raise UsageError(_("`--label-map` is for outputs in a column of their own; these are whole conversations"))
    mapping = MessageMapping(style=candidate.style, tags=options.tags, **common)
    mapping.ask_for_unknown_roles(table)
    return mapping


def _system_prompt(options: MappingOptions, preset: Preset | None) -> str:
    if options.system is not None:
        return options.system
    return preset.system if preset else ""


def _loss_flags(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that say by their headers which answers are learned; not those with a remark in brackets."""
    return tuple(
        column
        for column in columns
        if LOSS_FLAG.fullmatch(normalize_header(column)) and "(" not in column and "\uff08" not in column
    )


def _label_source(table: Table, options: MappingOptions, candidate: Candidate) -> dict[str, str]:
    """Return the field or the column that `--stratify` names, as a mapping takes it."""
    if not options.stratify:
        return {}
    fields = {"instruction", "output", "system"} if candidate.style else {*candidate.field_sources} - {"history"}
    if options.stratify in fields:
        return {"label_field": options.stratify}
    return {"label_column": find_column(table, options.stratify)}


def _output_texts(options: MappingOptions, preset: Preset | None, candidate: Candidate) -> dict[str, str]:
    """Return the user's texts for outputs, else the preset's where the outputs are from its column."""
    if options.label_map or not preset or options.output is not None:
        return options.label_map
    return preset.labels if candidate.columns.get("output") == preset.columns.get("output") else {}
