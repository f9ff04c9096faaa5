"""What is wrong with the rows of a source: counted, shown as a table, and kept beside the dataset."""

import json
import re
from collections.abc import Callable
from fractions import Fraction
from typing import IO

from ftbridge.adapters.mapping.base import Problem
from ftbridge.adapters.values import plain, shown
from ftbridge.core.console import aligned
from ftbridge.core.errors import UsageError
from ftbridge.core.records import Row

SHOWN = 20


class Tally:
    """Problems: how many, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Problem] = []

    def add(self, problems: list[Problem]) -> None:
        """Note problems."""
        self.count += len(problems)
        self.first += problems[: SHOWN - len(self.first)]

    def table(self) -> str:
        """Return the first problems as an aligned table, address, field, what is wrong, value; and how many follow."""
        several = len({each.where.file for each in self.first}) > 1
        rows = [("address", "field", "what is wrong", "value")]
        for each in self.first:
            address = f"{each.where.file} {each.address}" if several else each.address
            rows.append((address, each.field or "row", each.reason, each.value))
        more = self.count - len(self.first)
        return aligned(rows) + (f"\n... and {more} more" if more else "")


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
                    "reason": f"{problem.field} {problem.reason}".strip(),
                }
                for problem in problems
            ]
            where = {"file": row.where.file, "sheet": row.where.sheet, "row": row.where.row}
            values = {str(column): plain(value) for column, value in row.values.items()}
            record = {**where, **first, "more": more, "values": values}
            line = json.dumps(record, default=shown, ensure_ascii=False)
            self._file.write(line.encode(errors="backslashreplace") + b"\n")  # half a surrogate pair as `\\ud800`


def parse_max_rejected(text: str) -> Callable[[int], int]:
    """Return how many rows may be rejected of a number of rows, from `20` or `1.5%`; raises UsageError."""
    match = re.fullmatch(r"(\d{1,9})|(\d{1,3}(?:\.\d{1,6})?)%", text.strip())
    if not match:
        raise UsageError(f"`--max-rejected` takes a number of rows or a share, as in `20` or `1%`; got `{text}`")
    if match[1]:
        return lambda _: int(match[1])
    return lambda rows: int(rows * Fraction(match[2]) / 100)
