"""The readers of workbooks give the same cells."""

import datetime as dt
import itertools
import math

import openpyxl
import pytest
import xlwt

from ftbridge.adapters.sources.workbook.engines import as_cell, date_or_time, unescaped
from ftbridge.adapters.sources.workbook.reader import Order, Sheets, messages

FORMATS = [
    *("General", "0.00", "0.0E+00", '"day" 0', "[Red]0", "# ?/?", "@", "[>=100]0;[<0]\\d", "_($* #,##0_)", "\\d0"),
    *("yyyy-mm-dd", "m/d/yy h:mm", 'yyyy"年"m"月"d"日"', "[$-F800]dddd", "h:mm", "mm:ss.0", "[$-409]h:mm AM/PM;@"),
    *("[h]:mm:ss", "[mm]:ss", "[ss]", "[h]"),
]
VALUES = [
    *(0, 0.25, 0.999, 1, 1.5, 51, 59, 60, 60.5, 61, 43000, 43000.123456789, 43000.999999999, 2958465.9, 3000000),
    *(-0.25, -1, -1.25, True, False),
]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (True, "TRUE"),
        (0.25, 0.25),
        (999_999_999_999_999, 999_999_999_999_999),
        (1.234567890123457e17, [1.234567890123457e17]),
        (-(10**15), [-(10**15)]),
        (math.inf, math.inf),
        (dt.date.fromisoformat("2019-01-02"), "2019-01-02"),
        (dt.datetime.fromisoformat("2019-01-02T00:00"), "2019-01-02"),
        (dt.datetime.fromisoformat("2019-01-02T03:04:05"), "2019-01-02 03:04:05"),
        (dt.time(3, 4, 5), "03:04:05"),
        (dt.timedelta(days=10, hours=15, minutes=10, seconds=10.25), "PT255H10M10.25S"),
        (-dt.timedelta(seconds=90), "-PT0H1M30S"),
    ],
)
def test_cells_are_numbers_and_text_as_iso_writes_it(value, cell):
    assert as_cell(value) == cell
    assert type(as_cell(value)) is type(cell)


def test_excel_escapes_are_resolved_except_half_surrogates():
    assert unescaped("a_x000D_\n_x4E2D__x005F_x000D_ _x12_ _xD83D_") == "a\r\n中_x000D_ _x12_ _xD83D_"


@pytest.fixture
def xls(folder):
    """Return a function that writes an .xls file: `fill` is given its first sheet, Q, and the book."""

    def write(fill, *, since_1904=False):
        book = xlwt.Workbook()
        book.dates_1904 = since_1904
        fill(book.add_sheet("Q"), book)
        book.save(str(folder / "faq.xls"))
        return folder / "faq.xls"

    return write


def every(path, engine, sheets, **options):
    """Return what a reader, in a process of its own, tells of each sheet: what is said of it, and its rows."""
    found = []
    for sheet in sheets:
        visible, page, *batches = messages(Order(str(path), True, engine, (sheet,), **options))
        rows = [row for batch in batches for row in batch.rows]
        found.append((visible, page.start, page.merged, page.hidden, rows))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("since_1904", [False, True])
def test_calamine_and_xlrd_read_the_same_from_old_workbooks(xls, since_1904):
    def fill(sheet, book):
        for (row, value), (column, code) in itertools.product(enumerate(VALUES), enumerate(FORMATS)):
            sheet.write(row, column, value, xlwt.easyxf(num_format_str=code))
        sheet.write(30, 2, "文字 \r\n\u3000😀")
        sheet.write(31, 0, 12345678901234568)
        for column, code in enumerate((0, 7, 15, 23, 29, 36, 42)):
            sheet.row(33).set_cell_error(column, code)
        sheet.write_merge(35, 36, 1, 2, "m")
        sheet.write(36, 3, "n")
        for row in (33, 35, 90):
            sheet.row(row).hidden = True
        for number, visibility in enumerate((0, 1, 2)):
            other = book.add_sheet(f"S{number}")
            other.visibility = visibility
            other.row(3).set_cell_error(3, 42)

    path = xls(fill, since_1904=since_1904)
    fast = every(path, "calamine", ("Q", "S0", "S1", "S2"), fill_merged=True)
    assert every(path, "xlrd", ("Q", "S0", "S1", "S2"), fill_merged=True) == fast
    visible, start, merged, hidden, rows = fast[0]
    assert visible == Sheets({"Q": True, "S0": True, "S1": False, "S2": False})
    assert (start, merged, hidden, rows[31]) == (1, (36, 2, 37, 3), 2, [[12345678901234568]])
    assert rows[33] == [["#NULL!"], ["#DIV/0!"], ["#VALUE!"], ["#REF!"], ["#NAME?"], ["#NUM!"], ["#N/A"]]
    assert rows[35:] == [["", "m", "m"], ["", "m", "m", "n"]]
    assert fast[3][1:] == (4, (), 0, [["", "", "", ["#N/A"]]])


def test_time_too_large_for_a_date_is_read_as_its_number():
    assert date_or_time(1e300, since_1904=False, elapsed=True) == 1e300
    assert date_or_time(1e300, since_1904=False, elapsed=False) == 1e300


def test_calamine_and_openpyxl_read_the_same_from_new_workbooks(workbook):
    at = dt.datetime.fromisoformat("2019-01-02T03:04:05")
    rows = [
        ["a", None, 1, 0.5],
        [],
        [True, at, at.date(), dt.time(1, 2)],
        [dt.timedelta(hours=26), 1e17, "_x000D_", "x"],
    ]
    path = workbook(Q=rows)
    assert every(path, "openpyxl", ("Q",)) == every(path, "calamine", ("Q",))


@pytest.mark.timeout(120)  # a look at each of the 17 billion cells would take hours
def test_rows_above_a_cell_far_away_are_not_looked_at(folder):
    book = openpyxl.Workbook()
    book.active.title = "Q"
    book.active["A1048576"] = book.active["XFD1048576"] = "x"
    book.save(folder / "faq.xlsx")
    (_, start, _, _, (row,)) = every(folder / "faq.xlsx", "calamine", ("Q",))[0]
    assert (start, len(row), row[-1]) == (1 << 20, 1 << 14, "x")
