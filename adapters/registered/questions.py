"""A file of questions without answers, as a dataset that a model can answer."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ftbridge import __version__
from ftbridge.adapters.columns import find_column
from ftbridge.adapters.mapping.headers import columns_by_field
from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.adapters.sources.detection import open_path
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.adapters.targets import xtuner
from ftbridge.adapters.values import BadValueError, checked_text
from ftbridge.core.console import counted, say
from ftbridge.core.errors import InputError, QuestionError
from ftbridge.core.files.atomic import atomic_file
from ftbridge.core.records import Conversation, DatasetEntry, Reading, Row, Table, Turn
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.language import gettext as _
from ftbridge.language import joined

MOST_CHOICES = 9  # columns that a question offers


class QuestionFile(msgspec.Struct, frozen=True):
    """A file with a question in each row, in the column of this name, letter or number ("": the one that fits)."""

    path: Path
    column: str = ""


def questions_dataset(file: QuestionFile, system: str, cache: Path) -> Dataset:
    """Return the questions of a file as a dataset in the folder `cache`, each with a `system` prompt and no answer.

    Rows without a question are skipped, which is said. The entry's column `output` is one that has answers, unread.
    Raises InputError where the file cannot be read or has no
    questions, QuestionError where several columns may be meant.
    """
    tables = open_path(file.path, Reading())
    columns = [_column(table, file.column) for table in tables]
    decides = (digest(file.path), columns, system, __version__)
    key = hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:16]
    target = cache / f"questions-{key}.{xtuner.suffix}"
    asked = blank = 0
    with atomic_file(target) as out:
        for row, column in _rows(tables, columns):
            question = _question(row, column)
            if not question:
                blank += 1
                continue
            turn = Turn("", question, "")
            out.write(msgspec.json.encode(xtuner.sample(Conversation(system, (turn,), row.where))) + b"\n")
            asked += 1
        if not asked:
            named = joined(", ", (f"`{column}`" for column in dict.fromkeys(columns)))
            raise InputError(
                _("there are no questions in the column {column} of `{file}`").format(column=named, file=file.path)
            )
    if blank:
        say(_("skipped {rows} without a question").format(rows=counted(blank, "row")))
    name = re.sub(r"[^\w.-]+", "-", file.path.stem).strip("-._") or "questions"
    entry = DatasetEntry(
        version=__version__,
        files={CONVERSATIONS: target.name},
        samples=asked,
        sources={},
        columns=_answer_columns(tables, columns),
        system=system,
    )
    return Dataset(name, cache, entry)


def _column(table: Table, wanted: str) -> str:
    if table.asks:
        raise table.asks
    if wanted:
        return find_column(table, wanted)
    fitting = columns_by_field(table.columns).get("instruction", [])
    choices = fitting or table.columns
    if len(choices) == 1:
        return choices[0]
    raise QuestionError(
        _("which column of `{file}` has the questions?").format(file=table.file),
        {f"`{column}`": ["--column", column] for column in choices[:MOST_CHOICES]},
    )


def _answer_columns(tables: Sequence[Table], asked: Sequence[str]) -> dict[str, str]:
    """Return the first column that has answers, which are not read, as `output`; none where there is no such column."""
    for table, column in zip(tables, asked, strict=True):
        for found in columns_by_field(table.columns).get("output", []):
            if found != column:
                return {"output": found}
    return {}


def _rows(tables: Sequence[Table], columns: Sequence[str]) -> Iterator[tuple[Row, str]]:
    for table, column in zip(tables, columns, strict=True):
        for row in table.rows():
            yield row, column


def _question(row: Row, column: str) -> str:
    """Return the question of a row, "" for none; raises InputError for a cell that is no text."""
    try:
        return checked_text(row.values.get(column), strip=True)
    except BadValueError as error:
        raise InputError(
            _("{where}: `{column}` {error}").format(where=row.where, column=column, error=error)
        ) from error
