"""Workbooks; openpyxl's full reading is the reference."""

import datetime as dt
import tempfile
import time
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from ftbridge.adapters.sources import workbook as xlsx
from ftbridge.adapters.values import BadCell
from ftbridge.core.errors import InputError

FAQ = [["question", "answer"], ["why?", "because"]]
TEXT = st.text().filter(lambda text: not ILLEGAL_CHARACTERS_RE.search(text) and not text.startswith("="))
EPOCH = dt.datetime.fromisoformat("2019-01-02")
CELL = st.one_of(
    st.none(),
    TEXT,
    st.sampled_from(["#N/A", "_x000D_", "a\r\nb", " \u00a0", "_x005F_x000D_", "1", "TRUE", "2019-01-02"]),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.booleans(),
    st.datetimes(EPOCH.replace(year=1901), EPOCH.replace(year=2100)).map(lambda at: at.replace(microsecond=0)),
)


def read(path, sheet=None):
    table = xlsx.open_table(path, sheet)
    return table, list(table.rows)


def reference(path):
    """Return the cells of all rows as openpyxl reads the whole workbook."""
    sheet = openpyxl.load_workbook(path, data_only=True).active
    return [list(row) for row in sheet.iter_rows(min_row=2, max_col=3)]


def expected(cell):
    if cell.data_type == "e":
        return BadCell(cell.value)
    if isinstance(cell.value, bool):
        return str(cell.value).upper()
    if isinstance(cell.value, dt.datetime):
        midnight = cell.value.time() == dt.time()
        return cell.value.date().isoformat() if midnight else cell.value.isoformat(" ")
    return cell.value


@settings(max_examples=40)
@given(st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=6))
def test_what_openpyxl_reads_comes_out(rows):
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "faq.xlsx"
        book = openpyxl.Workbook()
        for row in [["a", "b", "c"], *rows]:
            book.active.append(row)
        book.save(path)
        found = {row.where.row: row.values for row in read(path)[1]}
        for number, cells in enumerate(reference(path), 2):
            values = {name: expected(cell) for name, cell in zip("abc", cells, strict=True) if cell.value is not None}
            full = any(not isinstance(value, str) or value.strip() for value in values.values())
            assert found.get(number, {}) == (values if full else {})


def test_rows_know_their_cells(workbook):
    table, (row,) = read(workbook(DrugQA=[[], *FAQ]))
    assert str(row.where) == "faq.xlsx DrugQA!3"
    assert row.where.cell("B") == "DrugQA!B3"
    assert (table.sheet, table.lettered, table.columns) == ("DrugQA", True, ("question", "answer"))


def test_empty_rows_count_only_between_full_ones(workbook):
    rows = read(workbook(Q=[*FAQ, [], [" ", None], ["how?", "so"], [], [None, ""]]))[1]
    assert [(row.where.row, bool(row.values)) for row in rows] == [
        (2, True),
        (3, False),
        (4, False),
        (5, True),
    ]


def test_values_are_those_that_excel_shows(workbook):
    rows = [
        ["a", "b", "c", "d"],
        [69, 0.5, True, EPOCH],
        ["#N/A", "x\u00a0", dt.time(1, 2), None],
    ]
    first, second = (list(row.values.values()) for row in read(workbook(Q=rows))[1])
    assert first == [69, 0.5, "TRUE", "2019-01-02"]
    assert second == [BadCell("#N/A"), "x\u00a0", dt.time(1, 2)]


def test_headers_that_are_missing_or_double_get_their_letter(workbook):
    table, (row,) = read(workbook(Q=[["answer", None, " answer ", "x\n"], [1, 2, 3, 4]]))
    assert table.columns == ("answer [A]", "[B]", "answer [C]", "x")
    assert list(row.values.values()) == [1, 2, 3, 4]


def test_headers_that_pretend_are_refused(workbook):
    with pytest.raises(InputError, match="the same in several columns"):
        read(workbook(Q=[["answer [C]", "q", "answer", "answer"]]))


def hide(path, *titles):
    book = openpyxl.load_workbook(path)
    for title in titles:
        book[title].sheet_state = "hidden"
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("sheets", "hidden", "chosen"),
    [
        ({"Any": [["x", "y"]]}, [], "Any"),
        ({"Notes": [["x"]], "Q": FAQ, "More": FAQ}, [], "Q"),
        ({"Q": FAQ, "DrugQA": [["Question", "Answer"]]}, [], "DrugQA"),
        ({"Q": FAQ, "Any": [["x", "y"]]}, ["Q"], "Any"),
        ({"Sheet1": [["x", "y"]], "Sheet2": [], "Sheet3": []}, [], "Sheet1"),
    ],
)
def test_the_sheet_is_the_one_that_is_meant(workbook, sheets, hidden, chosen):
    assert read(hide(workbook(**sheets), *hidden))[0].sheet == chosen


def test_a_hidden_sheet_is_read_when_asked_for(workbook):
    path = hide(workbook(Q=FAQ, Any=[["x"]]), "Q")
    assert read(path, "Q")[0].columns == ("question", "answer")


@pytest.mark.parametrize(
    ("sheets", "sheet", "message"),
    [
        ({"One": [["x"]], "Two": [["y"]]}, None, "several sheets.*`One`, `Two`"),
        ({"One": FAQ}, "Tow", "no sheet `Tow`; known are: One"),
        ({"One": FAQ}, "one", "did you mean `One`"),
        ({"One": []}, None, "sheet `One` of .* is empty"),
        ({"One": [], "Two": []}, None, "no sheet with rows"),
    ],
)
def test_a_sheet_that_is_not_clear_is_asked_for(workbook, sheets, sheet, message):
    with pytest.raises(InputError, match=message):
        read(workbook(**sheets), sheet)


def ole(*parts):
    return xlsx.OLE + b"\0" * 600 + b"".join(part.encode("utf-16-le") for part in parts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("~$faq.xlsx", b"", "only Excel's mark that `faq.xlsx` is open"),
        ("faq.xlsx", ole("EncryptedPackage"), "is encrypted"),
        ("faq.xlsx", ole("Workbook"), "an old Excel workbook.*save it as .xlsx"),
        ("faq.xls", ole("Workbook"), "an old Excel workbook"),
        ("faq.xlsb", b"PK\3\4", "a binary Excel workbook"),
        ("faq.ods", b"PK\3\4", "an OpenDocument sheet"),
        ("faq.xlsx", b"question,answer\n", "no workbook, or only a part of one"),
        ("faq.xlsx", b"", "no workbook, or only a part of one"),
    ],
)
def test_what_is_no_workbook_is_one_sentence(folder, name, content, message):
    (folder / name).write_bytes(content)
    assert xlsx.detect(Path(name), content)
    with pytest.raises(InputError, match=message) as error:
        read(folder / name)
    assert "\n" not in str(error.value)


def test_half_a_workbook_is_one_sentence(workbook):
    path = workbook(Q=FAQ)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="only a part of one"):
        read(path)


def rewritten(path, member, change):
    """Write the workbook again with one file in it changed."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return path


@pytest.mark.parametrize("cut", [-40, 300])
def test_a_sheet_that_breaks_off_is_one_sentence(workbook, cut):
    path = rewritten(workbook(Q=[*FAQ] * 3000), "xl/worksheets/sheet1.xml", lambda content: content[:cut])
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_a_file_that_vanishes_is_one_sentence(folder):
    with pytest.raises(InputError, match="cannot be read"):
        read(folder / "gone.xlsx")


def test_a_value_in_the_last_cell_costs_no_time(workbook):
    path = workbook(Q=FAQ)
    book = openpyxl.load_workbook(path)
    book["Q"]["XFD1048576"] = "here"
    book.save(path)
    began = time.monotonic()
    table, rows = read(path)
    assert (len(table.columns), len(rows)) == (2, 1)
    assert time.monotonic() - began < 30


def test_a_wrong_size_in_the_file_loses_no_rows(workbook):
    path = workbook(Q=[*FAQ] * 5)
    rewritten(path, "xl/worksheets/sheet1.xml", lambda content: content.replace(b'ref="A1:B10"', b'ref="A1:A2"'))
    assert len(read(path)[1]) == 9


def test_every_messy_workbook_is_read_or_refused_in_one_sentence(shared):
    paths = [path for path in sorted((shared / "messy_xlsx").glob("*/*")) if xlsx.detect(path, b"")]
    refused = {}
    for path in paths:
        try:
            read(path)
        except InputError as error:
            refused[path.name] = str(error)
    assert len(refused) < len(paths)
    assert not [text for text in refused.values() if "\n" in text]
