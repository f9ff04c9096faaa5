"""Files to read: what content gives, and an example of every source."""

import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from ftbridge.adapters.sources.detection import source_of
from ftbridge.core.records import Reading, Row, Table

from .columnar import write_arrow

LABEL = json.dumps({"info": {"features": {"answer": {"names": ["no", "yes"], "_type": "ClassLabel"}}}})


def rows_of(table: Table) -> list[Row]:
    """Return the rows of all pieces of a table, numbered as each piece numbers them."""
    return [row for piece in table.pieces for row in piece.rows()]


def read_source(
    content: bytes | str, name: str, source: Any, *, detected: bool = False, **reading: Any
) -> list[tuple[Table, list[Row]]]:
    """Return the tables, each with its rows, that `source` finds in a file `name` with this content.

    With `detected` it is to be the source that such a file is given to.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert not detected or source_of(path) is source
        return [(table, rows_of(table)) for table in source.open_tables(path, Reading(**reading))]


class Example(NamedTuple):
    """What a source is tried with: `write` makes its good file, of rows with a question and an answer.

    `damage` makes of its content what it cannot read at all; `unreadable` is the content of a file in which a row
    cannot be read, which stands at `address`.
    """

    file: str
    write: Callable[[Path, list[dict[str, Any]]], object]
    damage: Callable[[bytes], bytes]
    unreadable: Callable[[Path], object]
    address: str


def _csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["question", "answer"], *(row.values() for row in rows)])


def _workbook(path, rows):
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Q")
    for row in [["question", "answer"], *([*row.values()] for row in rows)]:
        sheet.append(row)
    book.save(path)


def _folder(path, rows):
    path.mkdir(exist_ok=True)
    _jsonl(path / "a.jsonl", rows)


def _jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def _broken_line(path):
    path.write_text('{"question": "a", "answer": "b"}\n{"question": "c", \n{"question": "e", "answer": "f"}\n')


def _labels():
    """Return a table whose second row has a label that has no name."""
    return pa.table({"question": ["a", "b"], "answer": [1, 2]}).replace_schema_metadata({"huggingface": LABEL})


def _cut(content):
    return content[: len(content) // 2]


def _qa(path, rows):
    path.write_text("".join(f"Q: {row['question']}\nA: {row['answer']}\n" for row in rows), "utf-8")


def _folder_of(path):
    path.mkdir(exist_ok=True)
    _broken_line(path / "a.jsonl")


EXAMPLES = {
    "arrow": Example(
        "faq.arrow",
        lambda path, rows: write_arrow(path, pa.Table.from_pylist(rows), size=1000),
        _cut,
        lambda path: write_arrow(path, _labels()),
        "faq.arrow row 2",
    ),
    "csv": Example(
        "faq.csv",
        _csv,
        lambda _: b"\n\n",
        lambda path: path.write_text("question,answer\na,b\nc,d,e,f\n"),
        "faq.csv record 3",
    ),
    "folder": Example("faq", _folder, lambda _: b"no object\n", _folder_of, "a.jsonl line 2"),
    "json": Example(
        "faq.json",
        lambda path, rows: path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8"),
        _cut,
        lambda path: path.write_text('[{"question": "a", "answer": "b"}, 5]'),
        "faq.json element 2",
    ),
    "jsonl": Example("faq.jsonl", _jsonl, lambda _: b"no object\n", _broken_line, "faq.jsonl line 2"),
    "parquet": Example(
        "faq.parquet",
        lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000),
        _cut,
        lambda path: pq.write_table(_labels(), path),
        "faq.parquet row 2",
    ),
    "qa": Example(
        "faq.qa",
        _qa,
        lambda content: content + b"\xff",
        lambda path: path.write_text("Q: a\nA: b\nQ: c\nB: d\n"),
        "faq.qa line 3",
    ),
    "workbook": Example(
        "faq.xlsx",
        _workbook,
        _cut,
        lambda path: _workbook(path, [{"question": "a", "answer": "b"}, {"question": "c", "answer": "#N/A"}]),
        "faq.xlsx Q!3",
    ),
}
