"""Columns by their names, letters and numbers: which one the user means, and what those without a header are called."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ftbridge.adapters.values import shorten
from ftbridge.core.console import first_few
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.parsing.json_yaml import nearest
from ftbridge.core.records import Table
from ftbridge.language import gettext as _

# How many columns a message names.
COLUMNS_SHOWN = 30


def find_column(table: Table, wanted: str) -> str:
    """Return the header of the column that `wanted` means: a header, the letters in a sheet, or an index from 1.

    A number is always an index; a header that is a number stands in quotes, `"2"`. Raises UsageError where there is no
    such column, QuestionError where a place is meant and the table may have no headers.
    """
    if not _is_number(wanted) and (column := _column_by_header(table.columns, wanted)) is not None:
        return column
    index = _index_from_place(table, wanted)
    if 1 <= index <= len(table.columns):
        if table.unsure:
            raise table.unsure
        return table.columns[index - 1]
    hint = ""
    if wanted in table.columns:
        hint = _("; the header `{wanted}` goes in quotes: `{header}`").format(
            wanted=wanted, header=quoted_header(wanted)
        )
    elif not index and not _is_number(wanted):
        hint = did_you_mean(wanted, table.columns)
    raise UsageError(
        _("there is no column `{wanted}`{hint}\n{column_listing}").format(
            wanted=wanted, hint=hint, column_listing=column_listing(table)
        )
    )


def _is_number(wanted: str) -> bool:
    return re.fullmatch("[0-9]+", wanted) is not None


def _column_by_header(columns: Sequence[str], wanted: str) -> str | None:
    """Return the column with this header, else the only one that differs from it in case and outer blanks alone."""
    if wanted in columns:
        return wanted
    if re.fullmatch('"[0-9]+"', wanted) and wanted[1:-1] in columns:
        return wanted[1:-1]
    same = [column for column in columns if column.strip().casefold() == wanted.strip().casefold()]
    return same[0] if len(same) == 1 and len(wanted) > 1 else None


def _index_from_place(table: Table, wanted: str) -> int:
    """Return the index, from 1, of a column called by number or by the letters of a sheet; 0 where it is neither."""
    if _is_number(wanted):
        return int(wanted) if len(wanted) <= len(str(len(table.columns))) else 0
    return column_index(wanted) if table.lettered and re.fullmatch("[A-Za-z]{1,3}", wanted) else 0


def quoted_header(column: str) -> str:
    """Return a header as an option such as `--map` takes it: in quotes where it is a number."""
    return f'"{column}"' if _is_number(column) else column


def did_you_mean(wanted: str, choices: Iterable[str]) -> str:
    """Return `; did you mean ...?` where a choice is close, else ""."""
    return nearest(wanted, choices)


def column_listing(table: Table) -> str:
    """Return the columns with their letters or numbers, for a message."""
    columns = [
        f"{column_letter(at) if table.lettered else at} `{shorten(name)}`" for at, name in enumerate(table.columns, 1)
    ]
    return _("columns of {text}: {columns}").format(
        text=f"{table.file} {table.sheet}".strip(), columns=first_few(columns, COLUMNS_SHOWN)
    )


def column_letter(index: int) -> str:
    """Return the letters of a sheet's column, whose index counts from 1: 27 is `AA`."""
    letters = ""
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def column_index(letters: str) -> int:
    """Return the index of a sheet's column, from 1: `AA` is 27."""
    index = 0
    for char in letters.upper():
        index = index * 26 + ord(char) - 64
    return index


def unique_headers(cells: Sequence[str]) -> tuple[str, ...]:
    """Return `disambiguate_headers(cells)`; raises InputError where a header is just what another one becomes."""
    headers = disambiguate_headers(cells)
    if double := [name for name, times in Counter(headers).items() if times > 1]:
        raise InputError(
            _("several columns have the header `{double}`; give them different ones").format(double=shorten(double[0]))
        )
    return headers


def disambiguate_headers(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the headers in `cells` without the empty ones at the end.

    One that is missing or occurs twice gets the letter of its column: `[C]`, `Answer [D]`.
    """
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return disambiguate_names(names)


def disambiguate_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns, with the letter of its column behind one that is missing or occurs twice."""
    count = Counter(names)
    return tuple(
        name if name and count[name] == 1 else f"{name} [{column_letter(at)}]".strip()
        for at, name in enumerate(names, 1)
    )
