"""The tables of a report as a workbook, in which a text is always a text."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftbridge.core.files.atomic import atomic_file
from ftbridge.evaluation.report.answers import Answers
from ftbridge.evaluation.report.charts import Number, Table, Value
from ftbridge.evaluation.report.contents import Contents
from ftbridge.evaluation.report.words import PLAIN, Words, shown

CREATOR = "ftbridge report"  # in the workbook's properties, by which it is known as ours
CELL = 32_767  # characters that Excel takes
TITLE = 31
# What a spreadsheet takes for the beginning of a formula, blanks before it aside.
_FORMULA = re.compile(r"\s*[=+\-@]")
_PROPERTIES = "docProps/core.xml"


class _Sheet(NamedTuple):
    title: str
    header: tuple[str, ...]
    rows: Iterator[tuple[Value, ...]]


def write_workbook(path: Path, contents: Contents, words: Words) -> None:
    """Write all tables of a report, a sheet each, and the answers that it shows; raises SetupError where it cannot."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    book.properties.creator = CREATOR
    taken: set[str] = set()
    for sheet in _sheets(contents, words):
        page = book.create_sheet(_free_title(sheet.title, taken))
        page.freeze_panes = "A2"
        page.append([_cell(page, name, bold=True) for name in sheet.header])
        for row in sheet.rows:
            page.append([cell for value in row for cell in _cells(page, value)])
    with atomic_file(path) as file:
        book.save(file)


def is_own_workbook(path: Path) -> bool:
    """Tell whether a file is a workbook that a report has written."""
    try:
        with zipfile.ZipFile(path) as book:
            return CREATOR.encode() in book.read(_PROPERTIES)[:5000]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False


def _sheets(contents: Contents, words: Words) -> Iterator[_Sheet]:
    verdicts = (
        (result.dataset, text)
        for result in contents.results
        for text in (
            result.asked,
            result.verdict.title,
            *result.verdict.sentences,
            *result.checks,
            *result.verdict.cautions,
        )
    )
    yield _Sheet(words("contents_sheet"), (words("dataset"), contents.title), verdicts)
    for table in contents.tables:
        yield _Sheet(table.title, tuple(_header(table, words)), iter(table.rows))
    for result in contents.results:
        if result.answers:
            yield _answers_sheet(result.answers, "text_" if result.task == "generation" else "", words)


def _header(table: Table, words: Words) -> Iterator[str]:
    """Yield the titles of columns; a figure has three, for its interval."""
    for at, name in enumerate(table.header):
        yield name
        if any(isinstance(row[at], Number) for row in table.rows):
            yield from (words("from_column", name=name), words("to_column", name=name))


def _answers_sheet(answers: Answers, kind: str, words: Words) -> _Sheet:
    titles = (each for title in answers.titles for each in (title, words("is_right", title=title)))
    rows = (
        (
            each.id,
            each.question,
            each.reference,
            *(
                value
                for answer in each.answers
                for value in (
                    (answer.text, words(kind + ("right" if answer.right else "wrong"))) if answer else (None, None)
                )
            ),
        )
        for each in answers.asked
    )
    return _Sheet(words("answers"), (words("number"), words("question"), words("reference"), *titles), rows)


def _cells(page: Any, value: Value) -> Iterator[Any]:
    if not isinstance(value, Number):
        yield _cell(page, value)
        return
    for each in (value.figure.value, value.figure.low, value.figure.high):
        yield _cell(page, each, style="0.000" if value.name in PLAIN else "0.0%")


def _cell(page: Any, value: str | float | None, *, bold: bool = False, style: str = "") -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN, which no cell holds
        value = None
    text = isinstance(value, str)
    cell = WriteOnlyCell(page, shown(value)[:CELL] if isinstance(value, str) else value)
    if text:
        cell.data_type = "s"  # openpyxl makes a formula of what begins with `=`
        cell.quotePrefix = bool(_FORMULA.match(str(value)))  # and a spreadsheet, of more, once somebody edits it
    if bold:
        cell.font = Font(bold=True)
    if style:
        cell.number_format = style
    return cell


def _free_title(title: str, taken: set[str]) -> str:
    """Return a title of a sheet that Excel takes and no other sheet has."""
    plain = re.sub(r"[\[\]:*?/\\]", " ", shown(title)).strip(" '") or "Sheet"
    number, found = 1, plain[:TITLE]
    while found.lower() in taken:
        number += 1
        end = f" {number}"
        found = plain[: TITLE - len(end)] + end
    taken.add(found.lower())
    return found
