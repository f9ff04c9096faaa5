"""How a table is read: as the user says, as a preset says, or as its columns and first rows tell.

Nothing is guessed: where two readings are as likely, or none is complete, the user is asked for `--map`.
"""

import shlex
from collections.abc import Iterator
from typing import Any

import msgspec

from ftbridge.adapters.choices import choices_of, question_with
from ftbridge.adapters.columns import HEADERS, find_column, header, letter, listing, recognise, refused
from ftbridge.adapters.conversations import KEYS, TEXTS, style_of, surely, wants_answer
from ftbridge.adapters.doubts import ask_for_turns, refuse_single_messages
from ftbridge.adapters.mapping import ColumnMapping, Mapping
from ftbridge.adapters.messages import MessageMapping
from ftbridge.adapters.prompts import Prompt, prompt
from ftbridge.adapters.roles import refuse_roles
from ftbridge.adapters.values import LONGEST, BadValueError, blank, checked, plain, shown
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.plugins import Table
from ftbridge.core.strict import closest
from ftbridge.dataset_info.presets import Preset

FIELDS = ("messages", *HEADERS)
TEMPLATES = ("instruction", "input", "output")
BOOLEANS, LISTS, OBJECTS = "true or false", "lists", "objects"
STYLES = ", ".join(f"{'/'.join(keys)} ({style})" for style, keys in KEYS.items())
PREFERENCES = {"chosen", "rejected"}
KINDS = {bool: BOOLEANS, int: "numbers", float: "numbers", str: "text", list: LISTS, dict: OBJECTS}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
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


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is read: `columns` maps a field to its column or template, `why` are the lines that explain it."""

    mapping: Mapping
    shape: str
    columns: dict[str, str]
    left_out: tuple[str, ...]
    why: tuple[str, ...]


class Shape(msgspec.Struct, frozen=True):
    """One way to read a table: fields from columns, fields from templates, and the style of its messages."""

    name: str
    columns: dict[str, str]
    prompts: dict[str, Prompt] = {}
    style: str = ""

    def __str__(self) -> str:
        fields = ", ".join(f"{field} from `{shown(source)}`" for field, source in self.sources.items())
        return f"{self.name} ({fields})"

    @property
    def sources(self) -> dict[str, str]:
        """Return the column or the template of each field, in order."""
        known = self.columns | {field: each.template for field, each in self.prompts.items()}
        return {field: known[field] for field in FIELDS if field in known}

    @property
    def used(self) -> set[str]:
        """Return all columns that are used."""
        return {*self.columns.values(), *(column for each in self.prompts.values() for column in each.columns)}

    @property
    def option(self) -> str:
        """Return the options that choose this reading."""
        return " ".join(f"--map {shlex.quote(f'{field}={column}')}" for field, column in self.columns.items())


class Seen(msgspec.Struct, frozen=True):
    """What stands in a column's first rows: kinds of values, an example, and the style where they are messages.

    `maybe` is their style where the user says that they are messages; `open` tells that they want an answer.
    """

    kinds: tuple[str, ...]
    example: str
    style: str
    maybe: str = ""
    open: bool = False

    @property
    def readable(self) -> bool:
        """Tell whether some of it may be text."""
        return not self.kinds or not {LISTS, OBJECTS, self.style, *KEYS}.issuperset(self.kinds)


def read_as(table: Table, wish: Wish, preset: Preset | None, told: str = "") -> Choice:
    """Choose how `table` is read: by `wish`, else by `preset`, else by its columns and first rows.

    `told` is what says so where that is not the user. Raises QuestionError for what only the user can decide,
    UsageError for what `wish` names and is not there, InputError where the table does not say enough.
    """
    refuse_roles(wish.role)
    seen = {column: _seen(table, column, wish) for column in table.columns}
    columns, prompts = _asked(table, wish, preset)
    if columns:
        reason = "as `--map` says" if wish.map or not preset else f"as the preset `{preset.name}` says"
        reason = told or reason
        shape = _told(columns, prompts, seen)
    else:
        shape = _recognised(table, prompts, seen)
        other = "no column holds whole conversations" if not shape.style else "the headers give no question and answer"
        reason = "as the templates say, the rest by headers" if prompts else f"the only reading, since {other}"
    return Choice(
        mapping=_mapping(table, wish, preset, shape),
        shape=shape.name,
        columns=shape.sources,
        left_out=tuple(column for column in table.columns if column not in shape.used),
        why=(*_described(seen, shape), f"read as {shape}: {reason}"),
    )


def _asked(table: Table, wish: Wish, preset: Preset | None) -> tuple[dict[str, str], dict[str, Prompt]]:
    """Return the columns and the templates that the user and the preset name."""
    templates = {field: getattr(wish, field) for field in TEMPLATES if getattr(wish, field) is not None}
    columns = {_field(field): find_column(table, wanted) for field, wanted in wish.map.items()}
    if both := [field for field in columns if field in templates]:
        raise UsageError(f"`--map {both[0]}=...` and `--{both[0]}` both say what {both[0]} is; leave one of them out")
    if preset and not wish.map:
        templates = {field: getattr(preset, field) for field in TEMPLATES if getattr(preset, field)} | templates
        wanted_columns = {field: column for field, column in preset.columns.items() if field not in templates}
        columns = {field: find_column(table, column) for field, column in wanted_columns.items()}
    return columns, {field: prompt(template, field, table) for field, template in templates.items()}


def _field(field: str) -> str:
    if field not in FIELDS:
        raise UsageError(f"`--map` knows no field `{field}`{closest(field, FIELDS)}")
    return field


def _told(columns: dict[str, str], prompts: dict[str, Prompt], seen: dict[str, Seen]) -> Shape:
    """Return the reading that the user or a preset decided; raises UsageError where it is not whole."""
    if "messages" in columns:
        room = {"messages", "system", *(["output"] if seen[columns["messages"]].open else [])}
        if others := [field for field in (*columns, *prompts) if field not in room]:
            raise UsageError(f"a column of whole conversations leaves no room for `{others[0]}`; leave it out")
        if not (style := seen[columns["messages"]].maybe):
            raise UsageError(f"`{columns['messages']}` holds no lists of objects with {STYLES} in the first rows")
        return Shape(style, columns, style=style)
    shape = _whole("columns as asked for", columns, prompts)
    if missing := {"instruction", "output"} - shape.sources.keys():
        raise UsageError(f"`--map` names no {' and no '.join(sorted(missing))}; add `--map {min(missing)}=COLUMN`")
    return shape


def _whole(name: str, columns: dict[str, str], prompts: dict[str, Prompt]) -> Shape:
    """Return a reading; a question that is alone is its instruction."""
    if "instruction" not in columns.keys() | prompts.keys():
        columns = {"instruction" if field == "input" else field: column for field, column in columns.items()}
        prompts = {"instruction" if field == "input" else field: each for field, each in prompts.items()}
    return Shape(name, {field: columns[field] for field in FIELDS if field in columns}, prompts)


def _recognised(table: Table, prompts: dict[str, Prompt], seen: dict[str, Seen]) -> Shape:
    """Return the one reading that columns and first rows allow; raises InputError for none and for several."""
    free = [column for column in table.columns if not any(column in each.columns for each in prompts.values())]
    found = recognise(column for column in free if seen[column].readable or header(column) in HEADERS["history"])
    if not _constant(prompts.get("instruction")):
        found = {field: names for field, names in found.items() if field not in prompts}
    if not prompts:
        found = _without_choices(table, free, found)
    double = {field: names for field, names in found.items() if len(names) > 1}
    shapes = [*_conversations(free, found, seen)] if not prompts else []
    shapes += [] if double else _from_columns(found, prompts)
    if better := _preferences(free, seen):
        other = f"{shapes[0]}, with {shapes[0].option}" if shapes else "single answers, with --map for each field"
        names = " and ".join(f"`{column}`" for column in better)
        raise InputError(
            f"{names} of `{table.file}` say which answers are better, as DPO and KTO want it; supervised fine-tuning "
            f"does not learn from that. It can be read as {other}"
        )
    if len(shapes) > 1:
        readings = "\n".join(f"  {shape}: {shape.option}" for shape in shapes)
        raise InputError(f"`{table.file}` can be read in several ways; say which with `--map`:\n{readings}")
    if not shapes:
        refuse_single_messages(table)
        ask_for_turns(table)
    if not shapes or "system" in double:
        raise InputError(_unclear(table, double, seen))
    return shapes[0]


def _without_choices(table: Table, free: list[str], found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the fields without columns of choices; raises InputError where answers only name one of these."""
    choices = choices_of(free)
    fields = {
        field: kept for field, names in found.items() if (kept := [name for name in names if name not in choices])
    }
    if choices and {"instruction", "output"} <= fields.keys():
        question, answer = fields["instruction"][0], fields["output"][0]
        if template := question_with(choices, question, answer, table):
            raise InputError(
                f"`{answer}` of `{table.file}` only names one of {', '.join(f'`{name}`' for name in choices)}; show "
                f"them with the question, as in `--instruction {shlex.quote(template)}`, or leave them out: "
                f"`--map {shlex.quote(f'instruction={question}')} --map {shlex.quote(f'output={answer}')}`"
            )
    return fields


def _constant(template: Prompt | None) -> bool:
    return template is not None and not template.columns


def _conversations(free: list[str], found: dict[str, list[str]], seen: dict[str, Seen]) -> Iterator[Shape]:
    """Yield a reading for each column of whole conversations, or of messages that another column answers."""
    systems = found.get("system") or [column for column in free if header(column) in HEADERS["system"]]
    system = {"system": systems[0]} if systems else {}
    answers = [column for column in free if header(column) in HEADERS["output"] and not seen[column].open]
    answers = [column for column in answers if seen[column].readable or seen[column].maybe]
    alone = not {"instruction", "output"} <= found.keys()
    for column in free:
        style, name = seen[column].style, header(column)
        if not style or name in PREFERENCES or (name in HEADERS["history"] and not alone):
            continue
        if name in HEADERS["output"] and any(seen[other].open for other in free):
            continue
        if seen[column].open and len(answers) == 1:
            yield Shape(style, {"messages": column, "output": answers[0]} | system, style=style)
        else:
            yield Shape(style, {"messages": column} | system, style=style)


def _from_columns(found: dict[str, list[str]], prompts: dict[str, Prompt]) -> list[Shape]:
    """Return the reading by headers, where it is whole."""
    columns = {field: names[0] for field, names in found.items() if field not in prompts}
    if "instruction" in prompts and "instruction" in found and "input" not in columns.keys() | prompts.keys():
        columns["input"] = found["instruction"][0]  # under an instruction that is the same for all
    asked = [field for field in ("instruction", "input") if field in columns or field in prompts]
    if "output" not in columns.keys() | prompts.keys() or all(_constant(prompts.get(field)) for field in asked):
        return []
    return [_whole(_name(columns, prompts), columns, prompts)]


def _name(columns: dict[str, str], prompts: dict[str, Prompt]) -> str:
    if prompts:
        return "templates over columns"
    headers = {field: header(column) for field, column in columns.items()}
    if headers["output"] not in HEADERS["output"]:
        return "text and label"
    known = {("instruction", "output"): "Alpaca", ("prompt", "completion"): "prompt and completion"}
    return known.get((headers.get("instruction", ""), headers["output"]), "question and answer columns")


def _preferences(free: list[str], seen: dict[str, Seen]) -> list[str]:
    """Return the columns that make this a dataset of preferences between answers; none for any other."""
    headers = {header(column): column for column in free}
    if headers.keys() >= PREFERENCES:
        return [headers[each] for each in sorted(PREFERENCES)]
    answers = headers.keys() & HEADERS["output"] or any(seen[column].style for column in free)
    marks = [headers[each] for each in ("kto tag", "label") if each in headers]
    return [column for column in marks if answers and seen[column].kinds == (BOOLEANS,)]


def _unclear(table: Table, double: dict[str, list[str]], seen: dict[str, Seen]) -> str:
    reason = "no column is recognised as question and answer"
    for column, each in seen.items():
        wanted = "text" if recognise([column]) and not each.readable else ""
        if header(column) in {"messages", "conversations", "conversation"} and not each.style:
            wanted = f"lists of objects with {STYLES}"
        if wanted:
            reason += f"; `{column}` holds {' and '.join(each.kinds) or 'nothing'}, not {wanted}"
    if double:
        field, names = next(iter(double.items()))
        reason = f"{' and '.join(f'`{name}`' for name in names)} both fit {field}"
    hint = "`--map instruction=COLUMN --map output=COLUMN`, or several in one: `--input '{{ one }}: {{ another }}'`"
    if table.lettered and table.columns[:1] != ("A",):
        hint += "; where these are no headers, add `--header-row none`; to take other sheets, name them with `--sheet`"
    broken = [f"{row.where}: {row.error}" for row in table.first if row.error][:1]
    notes = "".join(f"\nnote: {note}" for note in (*table.notes, *broken))
    return f"{reason}; say which to take: {hint}\n{listing(table)}{notes}"


def _seen(table: Table, column: str, wish: Wish) -> Seen:
    values = [value for row in table.first if not blank(value := plain(row.values.get(column)))]
    maybe = [style_of(value, wish.role, wish.tags) for value in values]
    sure = [style if surely(column, style, wish.role) else "" for style in maybe]
    if TEXTS in sure and {*sure} != {TEXTS}:
        sure = [""] * len(sure)
    asking = header(column) in HEADERS["instruction"]
    kinds = (style or KINDS.get(type(value), type(value).__name__) for style, value in zip(sure, values, strict=True))
    example = shown(values[0]) if values else ""
    return Seen(
        tuple(dict.fromkeys(kinds)),
        example,
        next(filter(None, sure), ""),
        next(filter(None, maybe), ""),
        any(sure) and all(wants_answer(value, wish.role, wish.tags, unknown=asking) for value in values),
    )


def _described(seen: dict[str, Seen], shape: Shape) -> Iterator[str]:
    """Yield a line for each column: what was seen in it, and what its header says."""
    for column, each in seen.items():
        line = f"`{shown(column)}`: {' and '.join(each.kinds) or 'empty in the first rows'}"
        line += f", such as `{each.example}`" if each.kinds else ""
        for field in recognise([column]):
            line += f"; its header fits {field}"
            line += f", and `{shape.columns[field]}` better" if shape.columns.get(field, column) != column else ""
        yield line


def _refuse_texts(wish: Wish) -> None:
    """Raise UsageError for texts of the user's that cannot stand in a sample."""
    texts = {"--system": wish.system, **{f"--label-map {label}": text for label, text in wish.label_map.items()}}
    for option, text in texts.items():
        try:
            checked(text)
        except BadValueError as error:
            raise UsageError(f"`{option}` {error}") from error
    if empty := [label for label, text in wish.label_map.items() if blank(text)]:
        raise UsageError(f"`--label-map` has no text for the label `{empty[0]}`; give one, as in `7=Electricity`")
    if wish.max_characters < 1:
        raise UsageError(f"`--max-characters` takes a number from 1; got `{wish.max_characters}`")


def _mapping(table: Table, wish: Wish, preset: Preset | None, shape: Shape) -> Mapping:
    """Return the mapping for a reading, with all that `wish` and `preset` say besides."""
    system = wish.system if wish.system is not None else preset.system if preset else ""
    _refuse_texts(wish)
    fields = {"instruction", "output", "system"} if shape.style else {*shape.sources} - {"history"}
    label_field = wish.stratify if wish.stratify in fields else ""
    common: dict[str, Any] = {
        "columns": shape.columns,
        "known": frozenset(table.columns),
        "letters": {column: letter(at) for at, column in enumerate(table.columns, 1)} if table.lettered else {},
        "system": system,
        "strip": wish.strip,
        "max_characters": wish.max_characters,
        "decided": bool(wish.map),
        "watched": frozenset(["system"] if shape.style else HEADERS) - shape.sources.keys(),
        "roles": wish.role,
        "label_field": label_field,
        "label_column": find_column(table, wish.stratify) if wish.stratify and not label_field else None,
    }
    if shape.style or not wish.map:
        common["refused"] = refused(column for column in table.columns if column not in shape.used)
    if shape.style:
        if wish.label_map:
            raise UsageError("`--label-map` is for outputs that stand in a column; these are whole conversations")
        mapping = MessageMapping(style=shape.style, tags=wish.tags, **common)
        mapping.ask(table)
        return mapping
    return ColumnMapping(prompts=shape.prompts, labels=_labels(wish, preset, shape), **common)


def _labels(wish: Wish, preset: Preset | None, shape: Shape) -> dict[str, str]:
    """Return the user's texts for outputs, else the preset's where the outputs are from its column."""
    if wish.label_map or not preset or wish.output is not None:
        return wish.label_map
    return preset.labels if shape.columns.get("output") == preset.columns.get("output") else {}
