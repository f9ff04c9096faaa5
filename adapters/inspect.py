"""What a source holds: its sheets, columns, types, empty cells and lengths, and the reading that would be chosen."""

from collections import Counter
from collections.abc import Callable
from itertools import chain
from os import PathLike, fspath
from typing import Any, Unpack

import msgspec

from ftbridge.adapters.columns import column_letter
from ftbridge.adapters.convert.options import ConvertOptions
from ftbridge.adapters.convert.plan import preset_for
from ftbridge.adapters.mapping.inference.infer import MappingOptions, TableMapping, infer_mapping
from ftbridge.adapters.mapping.inference.sidecar import find_sidecar
from ftbridge.adapters.sources.locate import Origin, open_origin, origins
from ftbridge.adapters.values import LONGEST, decode_raw, shorten, type_name
from ftbridge.core.errors import FtbridgeError
from ftbridge.core.records import Reading, ReadingOptions, Table

# The callback is called after so many rows.
CALLBACK_EVERY = 1000


class Column(msgspec.Struct, kw_only=True):
    """One column: its values by type, the number of empty ones, and the lengths of the others in characters."""

    name: str
    letter: str = ""
    types: dict[str, int] = {}
    empty: int = 0
    shortest: int = 0
    longest: int = 0
    mean: float = 0.0
    example: str = ""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One table: the number of its rows (empty ones left out) and of broken ones, its columns, and its mapping.

    `choice` is None where no reading is clear, and `unclear` says why; `preset` is the dataset that it is taken for.
    """

    file: str
    sheet: str
    part: str
    rows: int
    broken: int
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    preset: str
    choice: TableMapping | None
    unclear: str


def inspect(
    *sources: str | PathLike[str], callback: Callable[[int], object] | None = None, **options: Unpack[ReadingOptions]
) -> list[Profile]:
    """Return the profile of each table of `sources`, which are read to the end.

    `options` say how they are read, as in `convert`; without `sheet`, all sheets are. `callback` is called with the
    number of rows read so far. Raises UsageError for options that do not fit, InputError where one cannot be read.
    """
    reading = Reading.from_options(**options)
    if not reading.sheets:
        reading = msgspec.structs.replace(reading, all_sheets=True)
    return [
        _profile_table(origin, table, callback)
        for origin in origins([fspath(source) for source in sources])
        for table in open_origin(origin, reading, {})
    ]


def _profile_table(origin: Origin, table: Table, callback: Callable[[int], object] | None) -> Profile:
    preset = preset_for(ConvertOptions(), origin, table)
    sidecar = None if preset else find_sidecar(origin.path, table)
    choice, unclear = None, ""
    try:
        if sidecar:
            table = sidecar.with_note(table)
            choice = sidecar.infer_mapping(table, MappingOptions())
        else:
            choice = infer_mapping(table, MappingOptions(), preset, recognised=not origin.preset)
    except FtbridgeError as error:
        unclear = str(error)
    rows, broken, columns = _profile_columns(table, callback)
    return Profile(
        file=table.file,
        sheet=table.sheet,
        part=table.part,
        rows=rows,
        broken=broken,
        columns=columns,
        notes=(*table.notes, *table.late),
        preset=preset.name if preset else "",
        choice=choice,
        unclear=unclear,
    )


def _profile_columns(table: Table, callback: Callable[[int], object] | None) -> tuple[int, int, tuple[Column, ...]]:
    """Return how many rows a table has, how many cannot be read, and its columns."""
    columns = {
        name: Column(name=name, letter=column_letter(at) if table.lettered else "")
        for at, name in enumerate(table.columns, 1)
    }
    lengths: Counter[str] = Counter()
    rows = broken = 0
    for row in chain.from_iterable(piece.rows() for piece in table.pieces):
        broken += bool(row.error)
        rows += bool(row.values or row.error)
        if not row.error:
            for name, value in row.values.items():
                column = columns.setdefault(name, Column(name=name))
                lengths[name] += _add_value(column, decode_raw(value))
        if callback and rows % CALLBACK_EVERY == 0:
            callback(rows)
    for column in columns.values():
        filled = sum(column.types.values())
        column.empty = rows - broken - filled
        column.mean = round(lengths[column.name] / filled, 1) if filled else 0.0
    return rows, broken, tuple(columns.values())


def _add_value(column: Column, value: Any) -> int:
    """Add a value to what is known of its column, and return its length in characters."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return 0
    length = len(value if isinstance(value, str) else shorten(value, LONGEST))
    kind = type_name(value)
    column.shortest = min(column.shortest, length) if column.types else length
    column.longest = max(column.longest, length)
    column.types[kind] = column.types.get(kind, 0) + 1
    column.example = column.example or shorten(value)
    return length
