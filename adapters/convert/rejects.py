"""What is wrong with the rows of a source: counted, shown as a table, and kept beside the dataset."""

import json
import re
from collections.abc import Callable
from fractions import Fraction
from typing import IO

from ftbridge.adapters.problems import Problem, Tally
from ftbridge.adapters.values import plain, shown
from ftbridge.core.errors import UsageError
from ftbridge.core.records import Row


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
