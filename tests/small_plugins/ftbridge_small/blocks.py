"""Files of blocks, told by their ending `.blocks`.

question: what is aspirin for
answer: against pain
<an empty line>
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ftbridge.core.errors import InputError
from ftbridge.core.records import Reading, Row, Rows, Table, Where, first_rows

COLUMNS = ("question", "answer")


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the file is called so."""
    del head
    return path.suffix == ".blocks"


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the file: one table of one piece, as nothing is known of a line without those before it."""
    reading.refuse_delimiter(path)
    return [Table(file=path.name, columns=COLUMNS, pieces=(Rows(_rows(path)),), first=first_rows(_rows(path)))]


def _rows(path: Path) -> Iterator[Row]:
    values: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(chain(file, "\n"), 1):
                key, colon, value = line.partition(":")
                where = Where(path.name, number)
                if colon and key in COLUMNS:
                    values[key] = value.strip()
                elif line.strip():
                    yield Row(where, {}, "is neither `question:` nor `answer:`")
                elif values:
                    yield Row(where, values)
                    values = {}
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot read `{path}`: {error}") from error
