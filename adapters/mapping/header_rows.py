"""Rows of headers: which row it is, whether it may be data, and where it is repeated further down.

Rows are given as the texts of their cells, without outer blanks. No file says that its first row is no data; where it
may be, and the reading depends on it, the user is asked.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from statistics import median

import msgspec

from ftbridge.adapters.mapping.headers import (
    HEADERS,
    NAMELESS,
    TIERS,
    columns_by_field,
    has_question_and_answer,
    normalize_header,
)
from ftbridge.adapters.values import shorten
from ftbridge.core.console import first_few
from ftbridge.core.errors import QuestionError
from ftbridge.core.records import place_of
from ftbridge.language import gettext as _
from ftbridge.language import joined

Cells = Sequence[str]

# The certainty that a row holds headers.
SURE, UNSURE, DATA = range(3)
# Numbers, dates, times and shares.
NUMBER = re.compile(r"[-+]?[\d.,:/% -]*\d[\d.,:/% -]*")
RULE = re.compile(r"[-=+|:—–─━═┼╪\s]*([-=—–─━═]{2}|:-|-:)[-=+|:—–─━═┼╪\s]*")  # noqa: RUF001 - dashes of all kinds
# Names as programs give them.
IDENTIFIER = re.compile(r"[a-z]+[A-Z]\w*|[A-Za-z]\w*_\w+|#.+")
SENTENCE = tuple(".!?。！？")
# Which share of a column's values makes their type its type, and from how many values on labels are noticed.
MAJORITY, ENOUGH_FOR_LABELS = 0.8, 5
# The widths from which a cell is a sentence, and up to which it may be a header.
SENTENCES_FROM, HEADERS_TO = 20, 30
# Lines of more dashes than this are noticed only directly below the headers.
WIDEST = HEADERS_TO + 1
# What a row below the headers holds that names the types of the values, or says that they must be there.
TYPE_WORDS = {
    *("string", "str", "text", "int", "int32", "int64", "integer", "float", "float64", "double", "number", "bool"),
    *("boolean", "object", "category", "date", "datetime", "varchar", "required", "optional", "mandatory"),
    *("必填", "选填", "可选", "非必填", "文本", "数字", "字符串", "日期"),
}
# How many cells a message names.
CELLS_SHOWN = 5


def repeats_headers(cells: Cells, columns: Cells) -> bool:
    """Tell whether a row says the headers again, in the same words or in others for the same fields."""
    pairs = [(cell, column) for cell, column in zip(cells, columns, strict=False) if cell]
    normalized = [(normalize_header(cell), normalize_header(column)) for cell, column in pairs]
    if len(set(normalized)) > 1 and all(cell == column for cell, column in normalized):
        return True
    fields = {column: field for field, names in columns_by_field(columns).items() for column in names}
    cells_with_field = [(cell, fields[column]) for cell, column in pairs if column in fields]
    # `q` and `a` are the first sample of many a test file.
    if not all(len(cell) > 1 and field in columns_by_field([cell]) for cell, field in cells_with_field):
        return False
    return has_question_and_answer(columns) and has_question_and_answer(cell for cell, _unused in cells_with_field)


def is_rule(cells: Cells) -> bool:
    """Tell whether a row is a line of dashes or equals signs, as SQL clients and Markdown have below the headers."""
    filled = [*filter(None, cells)]
    return bool(filled) and all(map(RULE.fullmatch, filled))


def why_no_sample(cells: Cells, columns: Cells) -> str:
    """Return why a row is no sample, for a message: a line of dashes, or the headers again; "" for one that may be."""
    if is_rule(cells):
        return _("is a line of dashes, not a sample")
    return _("repeats the headers and is not a sample") if repeats_headers(cells, columns) else ""


def suspicious_cells(columns: Cells) -> tuple[int, frozenset[str]]:
    """Return the index of a column, and the values there for which `why_no_sample` is asked: most rows have none."""
    by_field = columns_by_field(columns) if has_question_and_answer(columns) else {}
    field = next((field for field in ("instruction", "input", "output") if field in by_field), "")
    index = columns.index(by_field[field][0]) if field else 0
    return index, frozenset([*columns[index : index + 1]]) | _header_spellings(field) | _dash_lines()


@cache
def _header_spellings(field: str) -> frozenset[str]:
    """Return the headers of a field as people write them: `User_question`, `USER QUESTION`."""
    tiers = HEADERS.get(field, ()), *TIERS.get(field, ())
    headers = (word.replace(" ", blank) for tier in tiers for word in tier if len(word) > 1 for blank in " _")
    return frozenset(form for word in headers for form in (word, word.upper(), word.title(), word.capitalize()))


@cache
def _dash_lines() -> frozenset[str]:
    return frozenset(f"{end}{dash * count}{end}" for dash in "-=" for end in ("", ":") for count in range(2, WIDEST))


def names_types(cells: Cells) -> bool:
    """Tell whether a row names the type of each column, or says that values must be there: `string`, `必填`."""
    filled = [cell.strip("()* \uff08\uff09").lower() for cell in cells if cell]
    return len(filled) > 1 and TYPE_WORDS.issuperset(filled)


def subdivides_headers(cells: Cells, columns: Cells) -> bool:
    """Tell whether a row divides headers that stand over several columns each: `en, zh, en, zh`."""
    names = [*columns, *([""] * (len(cells) - len(columns)))]
    nameless = [not name or bool(NAMELESS.fullmatch(name)) for name in names]
    starts = [at for at, empty in enumerate(nameless) if not empty]
    groups = [tuple(cells[one:other]) for one, other in pairwise([*starts, len(cells)])]
    return len(groups) > 1 and len(groups[0]) > 1 and len({*groups}) == 1 and all(groups[0]) and starts[0] == 0


def first_data_row(rows: Sequence[Cells], at: int, columns: Cells) -> int:
    """Return the index of the first row of data below the headers in row `at`: behind lines, types and repetitions."""
    start = at + 1
    for number in range(at + 1, len(rows)):
        if any(rows[number]):
            if not (why_no_sample(rows[number], columns) or _why_no_first_row(rows[number], columns)):
                break
            start = number + 1
    return start


def _why_no_first_row(cells: Cells, columns: Cells) -> str:
    """Return why a row directly below the headers is no sample."""
    if names_types(cells):
        return _("gives the types of the columns")
    return _("divides the headers") if subdivides_headers(cells, columns) else ""


def header_certainty(cells: Cells, below: Sequence[Cells]) -> int:
    """Return whether a row is SURE to hold headers, rather looks like DATA, as the rows `below` do, or is UNSURE."""
    votes = {
        vote for column, cell in enumerate(cells) if cell for vote in _header_votes(cell, _column_values(below, column))
    }
    return votes.pop() if len(votes) == 1 else UNSURE


def _column_values(rows: Sequence[Cells], column: int) -> list[str]:
    return [row[column] for row in rows if column < len(row) and row[column]]


def _header_votes(cell: str, values: list[str]) -> Iterator[int]:
    """Yield SURE or DATA for each way in which a cell differs from, or is like, the values below it."""
    if values:
        yield from _type_votes(cell, values)
        yield from _width_votes(_display_width(cell), median(map(_display_width, values)))


def _type_votes(cell: str, values: list[str]) -> Iterator[int]:
    numbers = sum(map(bool, map(NUMBER.fullmatch, values))) >= MAJORITY * len(values)
    if NUMBER.fullmatch(cell):
        if numbers:
            yield DATA
    elif numbers:
        yield SURE
    if not numbers and cell in values:
        yield DATA
    elif len(values) >= ENOUGH_FOR_LABELS and len(set(values)) * 3 <= len(values):  # labels, of which this is none
        yield SURE
    if cell.endswith(SENTENCE) and 2 * sum(value.endswith(SENTENCE) for value in values) >= len(values):
        yield DATA
    if IDENTIFIER.fullmatch(cell) and sum(map(bool, map(IDENTIFIER.fullmatch, values))) < len(values) / 2:
        yield SURE


def _width_votes(width: int, usual: float) -> Iterator[int]:
    if width >= SENTENCES_FROM and width <= 3 * usual <= 9 * width:
        yield DATA
    elif usual >= max(SENTENCES_FROM, 3 * width):
        yield SURE


def _display_width(text: str) -> int:
    """Return the width of a text in columns of a terminal: a Chinese character has two."""
    return len(text) + sum(char > "⺀" for char in text)


def rival_header_row(rows: Sequence[Cells], at: int) -> int | None:
    """Return the index of another row that may hold the headers where row `at` may be data; None for none.

    Titles and notes above have fewer cells, or an empty row below them.
    """
    filled = [[*filter(None, row)] for row in rows[: at + 1]]
    top = at
    while top and len(filled[top - 1]) >= max(2, len(filled[at])):
        top -= 1
    if at - top == 1 and has_question_and_answer(cell for cell in filled[at] if len(cell) > 1):
        top = at  # in two languages
    if top == at and header_certainty(rows[at], [row for row in rows[at + 1 :] if row != rows[at]]) == DATA:
        top = next(number for number, cells in enumerate(filled) if cells)
    return top if top < at else None


def next_table_row(rows: Sequence[Cells], start: int) -> int | None:
    """Return the index of a row, behind an empty one, that looks like headers of another table; None for none.

    So it does where the values below it are of another kind than those in the rows from `start` on.
    """
    for at in range(start + 2, len(rows) - 1):
        if not _begins_a_block(rows, at) or not _may_be_headers(rows[at]):
            continue
        end = next((number for number in range(at + 1, len(rows)) if not any(rows[number])), len(rows))
        above, below = rows[start : at - 1], rows[at + 1 : end]
        if any(_all_numbers(below, column) and not _all_numbers(above, column) for column in range(len(rows[at]))):
            return at
    return None


def _begins_a_block(rows: Sequence[Cells], at: int) -> bool:
    """Tell whether a row stands below an empty one, or below a title of one cell that does."""
    above = [*filter(None, rows[at - 1])]
    return not above or (len(above) == 1 and not any(rows[at - 2]))


def _may_be_headers(cells: Cells) -> bool:
    """Tell whether a row has several cells, all different, and none that is a number, a sentence or too wide."""
    filled = [*filter(None, cells)]
    if len(filled) <= 1 or len(set(filled)) < len(filled):
        return False
    return not any(
        NUMBER.fullmatch(cell) or cell.endswith(SENTENCE) or _display_width(cell) > HEADERS_TO for cell in filled
    )


def _all_numbers(rows: Sequence[Cells], column: int) -> bool:
    values = _column_values(rows, column)
    return bool(values) and all(map(NUMBER.fullmatch, values))


class HeaderFindings(msgspec.Struct, frozen=True):
    """What is found out about a row of headers: the data begins in row `start`, counted from 0.

    `asks` is what only the user can decide, `unsure` what must be decided where columns are meant by their places.
    """

    start: int
    notes: tuple[str, ...] = ()
    asks: QuestionError | None = None
    unsure: QuestionError | None = None


class FirstRows(msgspec.Struct, frozen=True):
    """The first rows of a file or a sheet, called by `unit`; `before` rows come before them.

    `doubt` is the certainty from which headers that nothing is recognised in are doubted.
    """

    name: str
    unit: str
    rows: Sequence[Cells]
    before: int = 0
    doubt: int = DATA

    def examine_headers(self, at: int, columns: Cells, *, requested: bool) -> HeaderFindings:
        """Return where the data below the headers in row `at` begins, and what is doubtful unless `requested`."""
        start = first_data_row(self.rows, at, columns)
        notes = self._notes_on_rows(at, start, columns)
        if requested:
            return HeaderFindings(start, notes)
        cells = self.rows[at]
        if has_question_and_answer(cells) and (top := rival_header_row(self.rows, at)) is not None:
            return HeaderFindings(start, notes, asks=self._ask_which_row(top, at))
        if not self._may_be_data(at, start):
            return HeaderFindings(start, notes)
        doubt = _("{taken_for_headers} ({cells_shown}); if it is data, add `--header-row none`").format(
            taken_for_headers=self._taken_for_headers(at), cells_shown=self._cells_shown(at)
        )
        return HeaderFindings(
            start, (*notes, doubt), unsure=None if has_question_and_answer(cells) else self._ask_whether_data(at)
        )

    def _notes_on_rows(self, at: int, start: int, columns: Cells) -> tuple[str, ...]:
        """Return what is to be said of rows between the headers and the data, and of another table below."""
        notes = []
        for number in range(at + 1, start):
            cells = self.rows[number]
            if any(cells):
                reason = why_no_sample(cells, columns) or _why_no_first_row(cells, columns)
                notes.append(_("{place} is skipped: it {reason}").format(place=self._place(number), reason=reason))
        if (other := next_table_row(self.rows, start)) is not None:
            notes.append(
                _("{place} looks like the headers of another table ({cells_shown}), which is read as this one").format(
                    place=self._place(other), cells_shown=self._cells_shown(other)
                )
            )
        return tuple(notes)

    def _may_be_data(self, at: int, start: int) -> bool:
        """Tell whether the headers in row `at` may be data, going by the rows from `start` on."""
        cells = self.rows[at]
        recognised = [cell for cell in cells if len(cell) > 1 and columns_by_field([cell])]
        if has_question_and_answer(recognised):
            return False
        below = [row for row in self.rows[start:] if row != cells]
        return header_certainty(cells, below) >= (DATA if recognised else self.doubt)

    def _place(self, row: int) -> str:
        return place_of(self.unit, row + self.before + 1)

    def _taken_for_headers(self, row: int) -> str:
        return _("{place} is read as the headers").format(place=self._place(row))

    def _cells_shown(self, row: int) -> str:
        return first_few([f"`{shorten(cell)}`" for cell in self.rows[row] if cell], CELLS_SHOWN)

    def _ask_which_row(self, *rows: int) -> QuestionError:
        return QuestionError(
            _("`{name}` may have its headers in {map}; rows above are skipped").format(
                name=self.name, map=joined(_(" or in "), map(self._place, rows))
            ),
            {joined(": ", (self._place(row), self._cells_shown(row))): self._header_row_option(row) for row in rows},
        )

    def _ask_whether_data(self, row: int) -> QuestionError:
        return QuestionError(
            _("{taken_for_headers} of `{name}`, but may be data ({cells_shown})").format(
                taken_for_headers=self._taken_for_headers(row), name=self.name, cells_shown=self._cells_shown(row)
            ),
            {_("it is data"): ["--header-row", "none"], _("it holds the headers"): self._header_row_option(row)},
        )

    def _header_row_option(self, row: int) -> list[str]:
        return ["--header-row", str(row + self.before + 1)]
