"""Workbooks; openpyxl's full reading is the reference."""

import datetime as dt
import json
import re
import resource
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from ftbridge.adapters.sources.workbook import source
from ftbridge.adapters.sources.workbook.package import UNSTORED, search_sheets
from ftbridge.adapters.values import BadCell
from ftbridge.core.errors import InputError, QuestionError
from ftbridge.core.records import Reading

from ....builders.sources import rows_of  # noqa: TID252

FAQ = [["question", "answer"], ["why?", "because"]]
SHEET = "xl/worksheets/sheet1.xml"
EPOCH = dt.datetime.fromisoformat("2019-01-02")
# openpyxl does not read Excel's escapes, such as `_x000D_`, nor writes them.
TEXT = st.text().filter(lambda text: not ILLEGAL_CHARACTERS_RE.search(text) and text[:1] != "=" and "_x" not in text)
CELL = st.one_of(
    st.none(),
    TEXT,
    st.sampled_from(["#N/A", "a\nb", " \u00a0", "\u3000x ", "1", "TRUE", "2019-01-02", "\t", "&amp;<b>]]>"]),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.booleans(),
    st.datetimes(EPOCH.replace(year=1901), EPOCH.replace(year=2100)).map(lambda at: at.replace(microsecond=0)),
)


def tables(path, **reading):
    return source.open_tables(path, Reading(**reading))


def read(path, **reading):
    (table,) = tables(path, **reading)
    return table, rows_of(table)


def values(path, **reading):
    return [list(row.values.values()) for row in read(path, **reading)[1]]


@pytest.fixture
def book(folder):
    """Return a function that writes a workbook: `fill` is given its first sheet, Q."""

    def write(fill, name="faq.xlsx"):
        made = openpyxl.Workbook()
        made.active.title = "Q"
        fill(made.active)
        made.save(folder / name)
        return folder / name

    return write


def rewritten(path, member, change, compression=zipfile.ZIP_DEFLATED):
    """Write the workbook again with one file in it changed."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["UTF-99", "utf-7", "utf-16", "idna"])
@pytest.mark.parametrize("member", ["_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels", SHEET])
def test_part_declaring_an_unknown_encoding_is_read_as_utf_8(book, member, encoding):
    path = rewritten(book(with_error), member, lambda content: declaring(encoding, content))
    assert values(path) == [["为什么?", BadCell("#N/A")]]


@pytest.mark.slow
@pytest.mark.parametrize("member", ["[Content_Types].xml", "xl/styles.xml", SHEET])
def test_unknown_encoding_with_as_shown_is_one_sentence(book, member):
    path = rewritten(book(with_error), member, lambda content: declaring("UTF-99", content))
    with pytest.raises(InputError, match="--as-shown"):
        values(path, as_shown=True)


@pytest.mark.parametrize("place", ["%%2", "ZZZZ2", "Z" * 200 + "2", "-2"])
def test_error_cell_in_an_impossible_column_is_one_sentence(book, place):
    path = rewritten(book(with_error), SHEET, lambda content: content.replace(b'r="B2"', f'r="{place}"'.encode()))
    with pytest.raises(InputError, match=r"damaged workbook \(the cell address `"):
        list(search_sheets(path, "xlsx", ["Q"])["Q"].errors)


def with_error(sheet):
    sheet.append(FAQ[0])
    sheet.append(["为什么?", "#N/A"])
    sheet["B2"].data_type = "e"


def declaring(encoding, content):
    return f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + re.sub(rb"<\?xml[^>]*\?>", b"", content)


def expected(cell):
    """Return what stands for a cell of openpyxl's."""
    if cell.data_type == "e":
        return BadCell(cell.value)
    if isinstance(cell.value, bool):
        return str(cell.value).upper()
    if isinstance(cell.value, dt.datetime):
        return str(cell.value.date() if cell.value.time() == dt.time() else cell.value)
    return cell.value


def full(value):
    return value is not None and str(value).strip() != ""


@settings(max_examples=25)
@given(st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=20))
@pytest.mark.slow
def test_any_cells_are_read_as_openpyxl_reads_them(rows):
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "faq.xlsx"
        made = openpyxl.Workbook()
        for row in [["a", "b", "c"], *rows]:
            made.active.append(row)
        made.save(path)
        found = {row.where.row: row.values for row in read(path, header_row=1)[1]}
        for number, cells in enumerate(openpyxl.load_workbook(path).active.iter_rows(min_row=2, max_col=3), 2):
            # openpyxl does not mark a text that is only blanks as one to keep, and Excel drops it then.
            wanted = {name: expected(cell) for name, cell in zip("abc", cells, strict=True) if full(cell.value)}
            assert {name: value for name, value in found.get(number, {}).items() if full(value)} == wanted


def test_workbook_rows_carry_their_sheet_and_cells(workbook):
    table, (row,) = read(workbook(DrugQA=[[], *FAQ]))
    assert str(row.where) == "faq.xlsx DrugQA!3"
    assert row.where.cell("B") == "DrugQA!B3"
    assert (table.sheet, table.lettered, table.columns, table.first) == ("DrugQA", True, ("question", "answer"), (row,))


def test_empty_rows_are_kept_only_between_full_ones(workbook):
    rows = read(workbook(Q=[*FAQ, [], [" ", None], ["how?", "so"], [], [None, ""]]))[1]
    assert [(row.where.row, bool(row.values)) for row in rows] == [(2, True), (3, False), (4, False), (5, True)]


def test_values_are_iso_text_and_shortest_numbers(workbook):
    rows = [
        ["a", "b", "c", "d"],
        [69, 0.25, True, EPOCH],
        ["x\u00a0", dt.time(1, 2), dt.timedelta(hours=26, seconds=1.5), EPOCH.replace(hour=3, second=5)],
    ]
    assert values(workbook(Q=rows)) == [
        [69, 0.25, "TRUE", "2019-01-02"],
        ["x\u00a0", "01:02:00", "PT26H0M1.5S", "2019-01-02 03:00:05"],
    ]


def test_a_formula_is_its_cached_value(book):
    def formula(content):
        return content.replace(b"<v></v>", b"<v>3</v>").replace(b"<v />", b"<v>3</v>")

    path = rewritten(book(lambda sheet: [sheet.append(row) for row in (["a", "b"], ["x", "=1+2"])]), SHEET, formula)
    assert values(path) == [["x", 3]]


def test_workbook_escapes_and_outer_blanks_are_read_as_excel_does(workbook):
    path = workbook(Q=[["a"], ["1_x000D_2"], ["one"], ["two"]])
    rewritten(path, SHEET, lambda content: content.replace(b"<t>one", b"<t> one\n"))
    rewritten(path, SHEET, lambda content: content.replace(b"<t>two", b'<t xml:space="preserve"> two'))
    assert values(path) == [["1\r2"], ["one"], [" two"]]


def test_error_cells_are_told_from_empty_ones(workbook):
    path = workbook(Q=[["#REF!", "#N/A"], ["a", "b"], ["x", None], ["#N/A", "y"], ["#DIV/0!", None]])
    assert values(path, header_row=2) == [["x"], [BadCell("#N/A"), "y"], [BadCell("#DIV/0!")]]
    assert values(path, header_row=0)[0] == [BadCell("#REF!"), BadCell("#N/A")]
    assert values(path, header_row=2, as_shown=True) == values(path, header_row=2)


def test_error_cells_of_several_sheets_are_told_and_searched_together(workbook, monkeypatch):
    path = workbook(Q=[["q"], ["#REF!"]], R=[["r"], ["x"]], S=[["s"], ["#N/A"], ["x"]])
    opened = []
    monkeypatch.setattr(source, "search_sheets", lambda *given: opened.append(given) or search_sheets(*given))
    found = [[[*row.values.values()] for row in rows_of(table)] for table in tables(path, all_sheets=True)]
    assert found == [[[BadCell("#REF!")]], [["x"]], [[BadCell("#N/A")], ["x"]]]
    assert [given[1:] for given in opened] == [("xlsx", ("Q", "R", "S"))]


@pytest.mark.slow
def test_formulas_without_a_stored_value_are_told_from_empty_cells(workbook):
    rows = [["question", "answer"], ["x", '=A2&"!"'], ["y", "z"], ["=A3", "=B3"], [None, None], ["=A5", None]]
    formula = {text: BadCell(text, UNSTORED) for text in ('=A2&"!"', "=A3", "=B3", "=A5")}
    found = [["x", formula['=A2&"!"']], ["y", "z"], [formula["=A3"], formula["=B3"]], [], [formula["=A5"]]]
    path = workbook(Q=rows, R=[["=A1", "b"], ["x"]])
    assert values(path, sheets=("Q",)) == found
    assert values(path, sheets=("Q",), as_shown=True) == found
    assert [rows_of(table)[-1].where.row for table in tables(path, all_sheets=True)] == [6, 2]


@pytest.mark.slow
def test_formulas_below_the_first_rows_are_where_they_are(workbook):
    rows = [["question", "answer"], *([f"q {at}", at] for at in range(600)), ["=A2", "=B2"]]
    both = tables(workbook(Q=rows, R=rows), all_sheets=True)
    assert [table.sheet for table in both] == ["Q", "R"]
    for table in both:
        assert [row.where.row for row in rows_of(table) if BadCell("=A2", UNSTORED) in row.values.values()] == [602]


@pytest.mark.slow
def test_numbers_of_too_many_digits_are_noted_once_for_each_column(workbook):
    order = 1.234567890123457e17
    rows = [["问题", "答案", "id"], ["a", 123456789012345, "1234567890123456"], ["b", order, 10**15], ["c", order, 1]]
    path = workbook(Q=rows, R=rows)
    for reading in ({"sheets": ("Q",)}, {"sheets": ("R",), "header_row": 1}):
        table, found = read(path, **reading)
        assert [row.values["答案"] for row in found] == [123456789012345, order, order]
        assert table.late == [
            f"`{column}` holds numbers of 16 and more digits, as in {table.sheet}!{cell}, and Excel keeps 15; "
            "store them as text"
            for column, cell in (("答案", "B3"), ("id", "C3"))
        ]
    for table in tables(path, all_sheets=True):
        assert len(rows_of(table)) == 3
        assert len(table.late) == 2
    (shown,) = tables(path, sheets=("Q",), as_shown=True)
    assert [row.values["答案"] for row in rows_of(shown)][1:] == ["1.23457E+17"] * 2
    assert len(shown.late) == 2


def test_a_number_of_many_digits_may_be_a_header(workbook):
    assert read(workbook(Q=[["x", 10**15], ["a", "b"]]), header_row=1)[0].columns == ("x", str(10**15))


def test_hidden_rows_are_read_and_counted_in_a_note(book):
    def fill(sheet):
        for row in [*FAQ, ["how?", "so"], ["who?", "we"]]:
            sheet.append(row)
        for row in (2, 3, 9):
            sheet.row_dimensions[row].hidden = True

    path = book(fill)
    for engine in ({}, {"as_shown": True}):
        table, rows = read(path, **engine)
        assert len(rows) == 3
        assert table.notes == ("2 rows are hidden in the sheet `Q`, as by a filter, and read as well",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "value"),
    [
        (b'<row r="2"', b'<row r="2.0"', "because"),
        (b'ref="A1:B2"', b'ref="A:B"', "because"),
        (b't="inlineStr"><is><t>because</t></is>', b't="e"><v>#SPILL!</v>', BadCell("#SPILL!")),
        (b't="inlineStr"><is><t>because</t></is>', b't="b"><v>2</v>', "TRUE"),
    ],
)
def test_sheet_that_calamine_calls_damaged_is_read_by_openpyxl(workbook, right, wrong, value):
    path = rewritten(workbook(Q=FAQ), SHEET, lambda content: content.replace(right, wrong))
    with zipfile.ZipFile(path) as package:
        assert wrong in package.read(SHEET)
    assert values(path) == [["why?", value]]


def test_a_sheet_of_errors_alone_has_rows_without_headers(workbook):
    path = workbook(Q=[[None, "#N/A"], [None, "#N/A"]])
    assert values(path, header_row=0) == [[BadCell("#N/A")]] * 2
    with pytest.raises(InputError, match=r"sheet `Q` of .* is empty"):
        read(path)


def test_headers_that_are_missing_or_double_get_their_letter(workbook):
    table, (row,) = read(workbook(Q=[["answer", None, " answer ", "x\n"], [1, 2, 3, 4]]))
    assert table.columns == ("answer [A]", "[B]", "answer [C]", "x")
    assert list(row.values.values()) == [1, 2, 3, 4]


def test_headers_made_equal_by_column_letters_are_refused(workbook):
    with pytest.raises(InputError, match="the same in several columns"):
        read(workbook(Q=[["answer [C]", "q", "answer", "answer"]]))


def test_table_that_begins_below_and_right_of_a1_is_read(book):
    def fill(sheet):
        sheet["C5"], sheet["D5"], sheet["D6"] = "question", "answer", "x"

    table, (row,) = read(book(fill))
    assert table.columns == ("[A]", "[B]", "question", "answer")
    assert (row.where.row, row.values) == (6, {"answer": "x"})


TITLE = [["FAQ 2024"], [], ["by", "us"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "row"),
    [
        ([*TITLE, *FAQ], 4),
        ([*TITLE, ["x", "y", "z", "w"], [1, 2, 3, 4], [1, 2, 3, 4]], 4),
        ([["x", None, "z"], ["a", "b", "c"], ["d", "e", "f"]], 1),
        ([["x", "y"], ["a", "b"], ["a", "b"]], 1),
        ([["x"], ["a"], ["b"]], 1),
    ],
)
def test_headers_below_titles_are_found_with_a_note(workbook, rows, row):
    path = workbook(Q=rows)
    table, found = read(path)
    assert read(path, as_shown=True)[0].columns == table.columns
    assert table.columns == tuple(
        cell or "[B]" if isinstance(cell, str | None) else str(cell) for cell in rows[row - 1]
    )
    assert len(found) == len(rows) - row
    assert [f"in row {row};" in note for note in table.notes] == [True] * (row > 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "numbers"),
    [
        ([["Question", "Answer of ours"], ["a", "b"], *FAQ], ["1", "3"]),
        ([["Word", "Grade", "Meaning"], ["review", "A", "look"], ["text", "A", "words"]], ["1", "2"]),
        ([["FAQ"], [], ["Word", "Grade"], ["big", "A"], ["review", "B"], ["text", "A"]], ["3", "6"]),
    ],
)
def test_headers_among_rows_like_them_are_asked_about(workbook, rows, numbers):
    path = workbook(Q=rows)
    asks = read(path)[0].asks
    assert [*asks.answers.values()] == [["--header-row", number] for number in numbers]
    for number in numbers:
        assert read(path, header_row=int(number))[0].asks is None


def test_row_that_repeats_the_headers_is_no_sample(workbook):
    rows = [
        ["No.", "问题", "答案"],
        ["No.", "Question", "Answer"],
        [1, "q1", "a1"],
        ["No.", "问题", "答案"],
        [2, "---", "---"],
    ]
    table, found = read(workbook(Q=[*rows, ["--", "----", "--"]]))
    assert table.notes == ("row 2 is skipped: it repeats the headers and is not a sample",)
    assert [(row.where.row, row.error) for row in found] == [
        (3, ""),
        (4, "repeats the headers and is not a sample"),
        (5, ""),
        (6, "is a line of dashes, not a sample"),
    ]


def test_second_table_below_is_told_in_a_note(workbook):
    rows = [["问题", "答案"], ["q1", "a1"], [], ["部门", "人数"], ["销售", 5]]
    table, found = read(workbook(Q=rows))
    assert len(found) == 4
    assert table.notes == ("row 4 looks like the headers of another table (`部门`, `人数`), which is read as this one",)


def test_the_header_row_can_be_chosen(workbook):
    path = workbook(Q=[*TITLE, *FAQ])
    assert read(path, header_row=3)[0].columns == ("by", "us")
    table, rows = read(path, header_row=0)
    assert (table.columns, table.notes) == (("A", "B"), ())
    assert [row.values for row in rows if row.values][:2] == [{"A": "FAQ 2024"}, {"A": "by", "B": "us"}]
    for row in (2, 6):
        with pytest.raises(InputError, match=f"row {row} of the sheet `Q` of .* is empty"):
            read(path, header_row=row)


@pytest.mark.slow
def test_merged_cells_are_filled_when_asked_for(book):
    def fill(sheet):
        for row in (["kind", "question", "answer"], ["x", "a", 1], [None, "b", 2], ["y", "c", None]):
            sheet.append(row)
        for area in ("A2:A3", "B4:C4"):
            sheet.merge_cells(area)

    path = book(fill)
    wanted = [["x", "a", 1], ["x", "b", 2], ["y", "c", "c"]]
    assert values(path, fill_merged=True) == wanted
    assert values(path, fill_merged=True, as_shown=True) == [["x", "a", "1"], ["x", "b", "2"], ["y", "c", "c"]]
    table = read(path)[0]
    assert ["--fill-merged" in note and "B4:C4" in note for note in table.notes] == [True]
    assert not read(path, fill_merged=True)[0].notes


def test_values_with_as_shown_are_read_as_excel_shows_them(book):
    def fill(sheet):
        sheet.append(["a", "b", "c", "d"])
        sheet.append([0.256, EPOCH, 1234.5, 12])
        for cell, code in zip(sheet[2], ["0.0%", "d-mmm-yy", "#,##0.00", "[DBNum1]0"], strict=True):
            cell.number_format = code

    table, (row,) = read(book(fill), as_shown=True)
    assert list(row.values.values()) == ["25.6%", "2-Jan-19", "1,234.50", 12]
    assert ["`[DBNum1]0`" in note for note in table.notes] == [True]


def hide(path, *titles):
    made = openpyxl.load_workbook(path)
    for title in titles:
        made[title].sheet_state = "hidden"
    made.save(path)
    return path


@pytest.mark.parametrize(
    ("sheets", "hidden", "chosen"),
    [
        ({"Any": [["x", "y"]]}, [], "Any"),
        ({"Notes": [["x"]], "Q": FAQ, "More": [["x", "y"]]}, [], "Q"),
        ({"Q": FAQ, "DrugQA": [["Question", "Answer"]]}, [], "DrugQA"),
        ({"Q": FAQ, "Any": [["x", "y"]]}, ["Q"], "Any"),
        ({"Sheet1": [["x", "y"]], "Sheet2": [], "Sheet3": []}, [], "Sheet1"),
    ],
)
def test_sheet_is_chosen_by_preset_headers_or_being_visible_alone(workbook, sheets, hidden, chosen):
    assert read(hide(workbook(**sheets), *hidden))[0].sheet == chosen


@pytest.mark.slow
def test_sheets_that_are_not_taken_are_named(workbook):
    path = hide(workbook(Notes=[["x"]], Q=FAQ, Empty=[], More=[["x", "y"]], Hidden=FAQ), "Hidden")
    assert read(path)[0].notes[0].startswith("other sheets are not read: `Notes`, `More`; read them with")
    assert [table.notes for table in tables(path, sheets=("Q",))] == [()]
    assert [table.notes for table in tables(path, all_sheets=True)][1:] == [(), ()]


def test_sheets_with_the_same_recognised_headers_are_taken_together(workbook):
    alike = [[" Question", "ANSWER"], ["how?", "so"], ["who?", "we"]]
    path = hide(workbook(Notes=[["x"]], Pre=FAQ, Post=alike, Empty=[], Hidden=FAQ), "Hidden")
    found = tables(path)
    assert [(table.sheet, len(rows_of(table))) for table in found] == [("Pre", 1), ("Post", 2)]
    together, left_out, hidden = found[0].notes
    assert together.startswith("sheets with the same headers are taken together: `Pre`, `Post`;")
    assert left_out.startswith("other sheets are not read: `Notes`;")
    assert hidden.startswith("hidden sheets are not read: `Hidden`;")
    assert found[1].notes == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "together"),
    [({}, ["--all-sheets"]), ({"Notes": [["x"]]}, ["--sheet", "Q", "--sheet", "R", "--sheet", "S"])],
)
def test_sheets_with_other_recognised_headers_are_asked_about(workbook, more, together):
    path = workbook(Q=FAQ, R=FAQ, S=[["问题", "分类", "答案"], ["a", "b", "c"]], **more)
    with pytest.raises(QuestionError, match="their headers differ") as error:
        tables(path)
    one = {f"the sheet `{sheet}`": ["--sheet", sheet] for sheet in "QRS"}
    assert error.value.answers == {"all of them": together, **one}
    for words in error.value.answers.values():
        sheets = tuple(word for word in words if not word.startswith("--"))
        asked = {"sheets": sheets} if sheets else {"all_sheets": True}
        assert [table.sheet for table in tables(path, **asked)] == [*(sheets or "QRS")]


def test_several_sheets_are_a_table_each(workbook):
    path = hide(workbook(One=FAQ, Two=[["x"], [1], [2]], Empty=[], Hidden=FAQ), "Hidden")

    def found(**reading):
        return [(table.sheet, len(table.first), len(rows_of(table))) for table in tables(path, **reading)]

    assert found(all_sheets=True) == [("One", 1, 1), ("Two", 2, 2)]
    assert found(sheets=("Hidden", "One", "Hidden")) == [("Hidden", 1, 1), ("One", 1, 1)]
    with pytest.raises(InputError, match=r"sheet `Empty` of .* is empty"):
        found(sheets=("One", "Empty"))


@pytest.mark.slow
def test_several_large_sheets_are_read_to_their_ends(workbook):
    rows = {name: [["q", "a"], *([f"{name} {number}", "so"] for number in range(600))] for name in ("One", "Two")}
    both = tables(workbook(**rows), all_sheets=True)
    assert [table.sheet for table in both] == ["One", "Two"]
    for table in both:
        assert [row.values["q"] for row in rows_of(table)] == [f"{table.sheet} {number}" for number in range(600)]


@pytest.mark.parametrize(
    ("sheets", "reading", "message"),
    [
        (
            {"One": [["x"]], "Two": [["y"]], "Three": []},
            {},
            r"(?s)several sheets.*sheet `One`.*sheet `Two`: --sheet Two$",
        ),
        ({"One": FAQ}, {"sheets": ("Tow",)}, "no sheet `Tow`; known are: One"),
        ({"One": FAQ}, {"sheets": ("One", "one")}, "did you mean `One`"),
        ({"One": []}, {}, "sheet `One` of .* is empty"),
        ({"One": [], "Two": []}, {}, "no sheet with rows"),
        ({"One": [], "Two": []}, {"all_sheets": True}, "no sheet with rows"),
    ],
)
def test_ambiguous_sheet_is_asked_for(workbook, sheets, reading, message):
    with pytest.raises((InputError, QuestionError), match=message):
        tables(workbook(**sheets), **reading)


@pytest.mark.slow
def test_workbook_under_another_suffix_is_read_by_its_content(workbook, folder):
    content = workbook(Q=FAQ).read_bytes()
    for name in ("faq.xls", "faq.ods", "faq.csv", "faq"):
        (folder / name).write_bytes(content)
        assert source.detect(Path(name), content[:4096])
        assert values(folder / name) == [["why?", "because"]]
        assert values(folder / name, as_shown=True) == [["why?", "because"]]


@pytest.mark.parametrize(
    ("name", "head", "workbook"),
    [
        ("a.xls", b"question\tanswer\n", False),
        ("a.xls", "\ufeffquestion\tanswer\n".encode("utf-16-le"), False),
        ("a.xls", b"\n<html>", True),
        ("a.xls", b"", True),
        ("~$a.xlsx", b"\x05me\0\0", True),
        ("a.csv", b"", False),
        ("a.csv", b"\0\0", False),
    ],
)
def test_workbook_is_detected_by_name_unless_it_holds_a_table_of_text(name, head, workbook):
    assert source.detect(Path(name), head) == workbook


def test_workbook_that_is_cut_off_is_one_sentence(workbook):
    path = workbook(Q=FAQ)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="a truncated workbook"):
        read(path)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [-40, 300])
def test_a_sheet_that_breaks_off_is_one_sentence(workbook, cut):
    path = rewritten(workbook(Q=[*FAQ] * 3000), SHEET, lambda content: content[:cut])
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_option_that_a_format_cannot_serve_is_refused_by_name(folder):
    with zipfile.ZipFile(folder / "faq.ods", "w") as package:
        package.writestr("content.xml", "")
    for reading in ({"as_shown": True}, {"fill_merged": True}):
        option = f"--{next(iter(reading)).replace('_', '-')}"
        with pytest.raises(InputError, match=f"is .ods, and `{option}` reads only .xlsx"):
            tables(folder / "faq.ods", **reading)


@pytest.mark.slow
def test_a_value_in_the_last_cell_costs_no_time(book):
    def fill(sheet):
        for row in FAQ:
            sheet.append(row)
        sheet["XFD1048576"] = "here"

    def cpu_seconds():
        return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

    path = book(fill)
    began = cpu_seconds()
    table, rows = read(path)
    assert (len(table.columns), len(rows)) == (2, 1)
    # Not wall time, in which others who compute count; a look at each of the 17 billion cells would take many minutes.
    assert cpu_seconds() - began < 30


def test_wrong_dimension_in_a_sheet_loses_no_rows(workbook):
    path = workbook(Q=[*FAQ] * 5)
    rewritten(path, SHEET, lambda content: content.replace(b'ref="A1:B10"', b'ref="A1:A2"'))
    assert len(read(path)[1]) == 9


# Peak memory in MiB of a process that reads a file, and of those that it starts.
MEASURED = """
import resource, sys
from pathlib import Path
from ftbridge.adapters.sources.workbook import source
from ftbridge.core.errors import InputError, QuestionError
from ftbridge.core.records import Reading
try:
    (table,) = source.open_tables(Path(sys.argv[1]), Reading())
    print(sum(1 for piece in table.pieces for row in piece.rows()), "rows")
except InputError as error:
    print(error)
# A process begins with the peak of the one that started it, but for this line.
(own,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(own) + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
"""


def measured(path):
    run = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    outcome, peak = run.stdout.splitlines()
    return outcome, int(peak)


def sheet_of(path, start, piece, times, end, compression=zipfile.ZIP_DEFLATED):
    """Put XML below the headers, `piece` so many times; this process's own memory would count as the other's."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    head, tail = members.pop(SHEET).split(b"</sheetData>")
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in members.items():
            new.writestr(name, content)
        with new.open(SHEET, "w") as sheet:
            sheet.write(head + start)
            for _ in range(times):
                sheet.write(piece)
            sheet.write(end + b"</sheetData>" + tail)
    return path


LONG = (b'<row r="3"><c r="A3" t="inlineStr"><is><t>', b"x" * (1 << 20), 200, b"</t></is></c></row>")
ODS = (
    b'<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    b'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    b'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
    b'<table:table table:name="Q"><table:table-row table:number-rows-repeated="1048576"><table:table-cell '
    b'office:value-type="float" office:value="1" table:number-columns-repeated="16384"/></table:table-row>'
    b"</table:table></office:spreadsheet></office:body></office:document-content>"
)


def ods(folder, content):
    with zipfile.ZipFile(folder / "faq.ods", "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED)
        package.writestr("META-INF/manifest.xml", "<manifest/>")
        package.writestr("content.xml", content)
    return folder / "faq.ods"


@pytest.mark.parametrize("name", ["faq.ods", "faq"])
def test_tabs_and_line_breaks_of_an_ods_are_kept(folder, name):
    cells = re.sub(rb"<table:table-row.*-row>", b"<table:table-row>%s</table:table-row>", ODS)
    text = b'<table:table-cell office:value-type="string"><text:p>%s</text:p></table:table-cell>'
    path = ods(folder, cells % (text % b"code" + text % b"if x:<text:line-break/><text:tab/>y<text:s/>z"))
    path = path.rename(folder / name)
    assert values(path, header_row=0) == [["code", "if x:\n\ty z"]]


def bomb(folder, path, kind):
    if kind == "packed":
        return sheet_of(path, b"", b'<row r="3"><c r="A3"><v>1</v></c></row>' * 10_000, 400, b"")
    if kind == "long":
        return sheet_of(path, *LONG)
    if kind == "long and not packed":
        return sheet_of(path, *LONG, zipfile.ZIP_STORED)
    if kind == "far apart":
        return sheet_of(path, b'<row r="4000000000"><c><v>1</v></c></row>', b"", 0, b"")
    return ods(folder, ODS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("packed", "it looks malicious"),
        ("long", "it looks malicious"),
        ("long and not packed", "text of more than 32 MiB"),
        ("far apart", "a row below Excel's last"),
        ("repeated", "needs more memory"),
    ],
)
def test_workbook_bomb_is_refused_within_bounded_memory(folder, workbook, kind, message):
    outcome, peak = measured(bomb(folder, workbook(Q=FAQ), kind))
    assert message in outcome
    assert peak < 500


# What comes of each file with all its visible sheets: the number of rows below the headers of those that are not
# empty, one by one, or words of the refusal. Refused are files that are empty, encrypted or no workbook; with "holds
# no sheet with rows" no cell has a value, but for errors.xlsx, whose cells are all errors, so that it has no headers;
# and issue252.xlsx, which openpyxl and calamine refuse as well.
MESSY: dict[str, int | tuple[int, ...] | str] = {
    "ours/archive.xlsx": "zip archive, not a workbook",
    "ours/cut off.xlsx": "is a truncated workbook",
    "ours/empty.xlsx": "is empty",
    "ours/no rows.xlsx": "is empty",
    "ours/one.xlsx": 2,
    "ours/several.xlsx": (2, 1),
    "calamine/any_sheets.ods": 3,
    "calamine/any_sheets.xls": 3,
    "calamine/any_sheets.xlsb": 3,
    "calamine/any_sheets.xlsx": 3,
    "calamine/column_row_ranges.xlsx": (4, 2),
    "calamine/date.xls": 2,
    "calamine/date.xlsx": 2,
    "calamine/date_1904.xlsx": 2,
    "calamine/date_iso.xlsx": 5,
    "calamine/date_quoted_format.xlsx": 3,
    "calamine/empty_s_attribute.xlsx": 4,
    "calamine/empty_shared_string.xlsx": 0,
    "calamine/empty_sheet.xlsx": "is empty",
    "calamine/encoded_entities.xlsx": 0,
    "calamine/errors.xlsx": "holds no sheet with rows",
    "calamine/formula.issue.xlsx": 0,
    "calamine/has_x000D_.xlsx": 0,
    "calamine/has_x000D_inline.xlsx": 0,
    "calamine/header-row.xlsx": 1,
    "calamine/hyperlinks.xlsx": (7, 0),
    "calamine/inlineStr_cdata.xlsx": 1,
    "calamine/inlineStr_with_value.xlsx": 1,
    "calamine/inventory-table.xlsx": 4,
    "calamine/issue127.xlsx": "holds no sheet with rows",
    "calamine/issue252.xlsx": "larger than its declared uncompressed size",
    "calamine/issue3.xlsm": 0,
    "calamine/issue438.xlsx": 4,
    "calamine/issue_174.xlsx": 1,
    "calamine/issue_261.xlsx": 51,
    "calamine/issue_530.xlsx": 2,
    "calamine/issue_553.xlsx": 18,
    "calamine/issues.ods": (5, 0, 2, 0, 3, 7),
    "calamine/issues.xls": (5, 0, 2, 0, 3),
    "calamine/issues.xlsb": (5, 2, 0, 0, 3, 7),
    "calamine/issues.xlsx": (5, 0, 2, 0, 3, 7),
    "calamine/merge_cells.xlsx": 1,
    "calamine/merged_range.xls": (2, 2),
    "calamine/merged_range.xlsx": (2, 2),
    "calamine/minimal_package.xlsx": 194,
    "calamine/no-header.xlsx": 1,
    "calamine/nonstandard-xml-ns-prefix.xlsx": 2,
    "calamine/pass_protected.xlsb": "is encrypted",
    "calamine/pass_protected.xlsx": "is encrypted",
    "calamine/readings.xlsx": 3,
    "calamine/richtext-after-plain.xlsx": 1,
    "calamine/richtext-namespaced.xlsx": 0,
    "calamine/rph.xlsx": 0,
    "calamine/shared_formula_simple.xlsx": 2,
    "calamine/strict_iso_paths.xlsx": 75,
    "calamine/string-ref.xlsx": (1, 1),
    "calamine/table-multiple.xlsx": (4, 4, 9),
    "calamine/temperature-in-middle.xlsx": 2,
    "calamine/temperature-table.xlsx": (2, 2),
    "calamine/temperature.xlsx": 2,
    "calamine/too_small.xls": "is not a workbook",
    "calamine/vba.xlsm": "holds no sheet with rows",
    "calamine/whitespace_trim.xlsx": (2, 2),
    "openpyxl/NameWithValueBug.xlsx": (2, 0),
    "openpyxl/bigfoot.xlsx": "holds no sheet with rows",
    "openpyxl/book1.xlsx": 5,
    "openpyxl/book2.xlsx": 9,
    "openpyxl/bug137.xlsx": 4,
    "openpyxl/bug275.xlsx": 5,
    "openpyxl/bug304.xlsx": 7,
    "openpyxl/charts.xlsx": (9, 9, 9, 8, 3, 3, 9),
    "openpyxl/comments.xlsx": (3, 0, 0),
    "openpyxl/complex-styles.xlsx": 24,
    "openpyxl/concatenate.xlsx": 4,
    "openpyxl/conditional-formatting.xlsx": 14,
    "openpyxl/contains_chartsheets.xlsx": (9, 9),
    "openpyxl/date_1900.xlsx": 0,
    "openpyxl/date_1904.xlsx": 0,
    "openpyxl/empty-no-string.xlsx": "holds no sheet with rows",
    "openpyxl/empty-with-styles.xlsx": 4,
    "openpyxl/empty.xlsx": (0, 29, 0, 0),
    "openpyxl/empty_libre.xlsx": (0, 29, 0, 0),
    "openpyxl/empty_no_dimensions.xlsx": (0, 29, 0, 0),
    "openpyxl/empty_with_no_properties.xlsx": (0, 29, 0, 0),
    "openpyxl/formulae.xlsx": 13,
    "openpyxl/guess_types.xlsx": 1,
    "openpyxl/libreoffice_nrt.xlsx": 2,
    "openpyxl/merge_range.xlsx": 8,
    "openpyxl/null_archive.xlsx": "zip archive, not a workbook",
    "openpyxl/null_file.xlsx": "is empty",
    "python-calamine/any_sheets.xlsx": 3,
    "python-calamine/base.ods": 0,
    "python-calamine/base.xls": 0,
    "python-calamine/base.xlsb": (0, 2),
    "python-calamine/base.xlsx": (0, 2),
    "python-calamine/empty_file.xlsx": "is empty",
    "python-calamine/issue139.xlsx": 1,
    "python-calamine/password.xlsx": "is encrypted",
}


def outcome(path):
    try:
        counts = [sum(bool(row.values) for row in rows_of(table)) for table in tables(path, all_sheets=True)]
    except InputError as error:
        return str(error)
    return counts[0] if len(counts) == 1 else tuple(counts)


@pytest.mark.slow
def test_every_messy_workbook_gives_its_rows_or_is_refused_in_one_sentence(public_data):
    paths = {
        path.relative_to(public_data.folder / "messy_xlsx").as_posix(): path
        for path in (public_data.folder / "messy_xlsx").glob("*/*")
    }
    with ThreadPoolExecutor(4) as threads:
        found = dict(zip(paths, threads.map(outcome, paths.values()), strict=True))
    assert {
        name: words if isinstance(words := MESSY[name], str) and words in str(found[name]) else found[name]
        for name in found
    } == {name: MESSY[name] for name in MESSY if name.startswith("ours/") is public_data.ours}
    assert not [text for text in found.values() if "\n" in str(text)]


def test_medqa_workbook_is_read_as_the_tutorial_has_it(public_data):
    table, rows = read(public_data.folder / "medqa" / "MedQA2019.xlsx")
    wanted = json.loads((public_data.folder / "medqa" / "MedQA2019-structured.jsonl").read_text(encoding="utf-8"))
    found = [(row.values["Question"], row.values["Answer"]) for row in rows]
    assert found == [(turn["input"], turn["output"]) for item in wanted for turn in item["conversation"]]
    number = public_data.row["medqa"]
    assert rows[number - 1].where.cell("D") == f"DrugQA!D{number + 1}"
    assert not table.notes


@pytest.mark.slow
def test_sheets_that_are_called_as_splits_are_parts(workbook):
    found = tables(workbook(Train=FAQ, test=FAQ, 验证集=FAQ))
    assert [(table.sheet, table.part) for table in found] == [
        ("Train", "train"),
        ("test", "test"),
        ("\u9a8c\u8bc1\u96c6", "validation"),
    ]
    assert [table.part for table in tables(workbook(train=FAQ, other=FAQ))] == ["", ""]
