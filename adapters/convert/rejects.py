"""Rejected rows: counted, kept beside the dataset as JSON lines, and as a workbook to be corrected in a spreadsheet."""

import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import IO, Any

from ftbridge.adapters.mapping.fields import NOT_IN_LABEL_MAP
from ftbridge.adapters.problems import Problem, Tally
from ftbridge.adapters.values import decode_raw, shorten
from ftbridge.core.console import first_few
from ftbridge.core.errors import shell_words
from ftbridge.core.files.spreadsheet import CHARACTERS, is_too_long, write_sheets
from ftbridge.core.records import Row
from ftbridge.language import gettext as _
from ftbridge.language import joined

LABELS_SHOWN = 5
# Excel's limit, and how many digits of a number it keeps.
COLUMNS = 1 << 14
EXACT = 10**15


class Rejects:
    """Collects the rows that make no sample: the first problems for a table, the rows for a file.

    `open_file` opens that file, when the first row goes into it.
    """

    def __init__(self, open_file: Callable[[], IO[bytes]]) -> None:
        self.rows = 0
        self.problems = Tally()
        self._open_file = open_file
        self._file: IO[bytes] | None = None

    def add(self, row: Row, problems: list[Problem], *, keep: bool) -> None:
        """Note one row, and `keep` it in the file: a JSON object a line, with all that is wrong and all values."""
        self.rows += 1
        self.problems.add(problems)
        if keep:
            self._file = self._file or self._open_file()
            first, *more = [
                {
                    "column": problem.column,
                    "value": problem.value,
                    "reason": joined(" ", filter(None, (problem.field, problem.reason))),
                }
                for problem in problems
            ]
            where = {"file": row.where.file, "sheet": row.where.sheet, "row": row.where.row}
            values = {str(column): _as_whole(decode_raw(value)) for column, value in row.values.items()}
            record = {**where, **first, "more": more, "values": values}
            line = json.dumps(record, default=shorten, ensure_ascii=False)
            self._file.write(line.encode(errors="backslashreplace") + b"\n")  # half a surrogate pair as `\\ud800`

    def remedy(self) -> str:
        """Return what may be done about the rows, for a message: labels without a text get one."""
        first = self.problems.first
        labels = dict.fromkeys(each.value for each in first if each.reason.startswith(NOT_IN_LABEL_MAP))
        options = [shell_words(["--label-map", f"{label}=TEXT"]) for label in labels]
        texts = _("Give labels a text: {options}. ").format(options=first_few(options, LABELS_SHOWN)) if labels else ""
        return _("{texts}Fix these rows, or skip them with --on-error skip (or --max-rejected {rows})").format(
            texts=texts, rows=self.rows
        )


def _as_whole(value: Any) -> Any:
    """Return a number without decimals as a whole one: workbooks hold 5 as 5.0."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < EXACT else value


def write_workbook(lines: IO[bytes], file: IO[bytes]) -> None:
    """Write the rows in `lines`, which are those of a file of rejected rows, as an .xlsx `file`."""
    lines.seek(0)
    places, columns = _places_and_columns(map(json.loads, lines))
    lines.seek(0)
    rows = (_workbook_row(json.loads(line), places, columns) for line in lines)
    write_sheets(file, "rejected", ["row", *places, "column", "reason", *columns], rows)


def _places_and_columns(records: Iterable[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return which of file and sheet differ, and all columns that a sheet has room for."""
    first: dict[str, Any] = {}
    places: set[str] = set()
    columns: dict[str, None] = {}
    for record in records:
        first = first or record
        places.update(place for place in ("file", "sheet") if record[place] != first[place])
        if len(columns) < COLUMNS and not columns.keys() >= record["values"].keys():
            columns |= dict.fromkeys(islice(record["values"], COLUMNS))
    return [place for place in ("file", "sheet") if place in places], [*islice(columns, COLUMNS - 5)]


def _workbook_row(record: dict[str, Any], places: list[str], columns: list[str]) -> list[Any]:
    """Return a record as a row of the workbook, its problems as one text."""
    values = record["values"]
    problems = [{"column": record["column"], "reason": record["reason"]}, *record["more"]]
    reasons = [problems[0]["reason"], *(f"{each['column']}: {each['reason']}".lstrip(": ") for each in problems[1:])]
    if record["value"] and not values:
        reasons.append(_("value: {value}").format(value=record["value"]))
    texts = [_cell_value(values.get(column)) for column in columns]
    cut = [
        f"`{column}`"
        for column, text in zip(columns, texts, strict=True)
        if isinstance(text, str) and is_too_long(text)
    ]
    if cut:
        reasons.append(
            _("{cut} cut to {characters:,} characters here, the most that a cell holds").format(
                cut=joined(", ", cut), characters=CHARACTERS
            )
        )
    return [record["row"], *(record[place] for place in places), record["column"], "; ".join(reasons), *texts]


def _cell_value(value: Any) -> Any:
    """Return a value as it goes into a cell: a number that Excel keeps, else text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < EXACT:
        return value
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
