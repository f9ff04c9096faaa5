"""Rejected rows: shown, kept as a file, and as a workbook."""

import io
import json

import openpyxl
import pytest

from ftbridge.adapters.convert import rejects
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.convert.rejects import Rejects, write_workbook
from ftbridge.adapters.problems import Problem
from ftbridge.adapters.sources.workbook.source import open_tables
from ftbridge.adapters.values import BadCell
from ftbridge.core.errors import InputError
from ftbridge.core.files import spreadsheet
from ftbridge.core.files.atomic import sha256
from ftbridge.core.records import Reading, Row, Where
from ftbridge.dataset_info.registry import files_written, remove


def test_the_first_twenty_are_shown_and_the_rest_counted():
    rejects = Rejects(io.BytesIO)
    for number in range(32):
        where = Where("f", number)
        rejects.add(Row(where, {}), [Problem(where, "", "", "", "is bad")], keep=False)
    assert rejects.rows == 32
    assert len(rejects.problems.table().splitlines()) == 22
    assert rejects.problems.table().endswith("... and 12 more")


def test_labels_without_a_text_are_to_get_one(folder):
    (folder / "a.csv").write_text("text,label\nfine,1\nbad,0\nso so,two words\nbad,0\n")
    with pytest.raises(InputError) as told:
        convert("a.csv", label_map={"1": "good"})
    assert str(told.value).endswith(
        "Give labels a text: --label-map 0=TEXT, --label-map 'two words=TEXT'. Fix these rows, or skip them with "
        "--on-error skip (or --max-rejected 3)"
    )
    (folder / "b.csv").write_text("text,label\nfine,1\nbad,\n")
    with pytest.raises(InputError, match="\n\nFix these rows, or"):
        convert("b.csv", label_map={"1": "good"})


def test_rejected_rows_are_kept_whatever_they_hold():
    file, openings = io.BytesIO(), []
    rejects = Rejects(lambda: openings.append(1) or file)
    assert not openings
    values = {"q": "\ud800\0", "a": BadCell("#N/A"), "问": [None], "id": 5.0}
    for number in (1, 2):
        where = Where("f.xlsx", number, "Q")
        problems = [Problem(where, "a", "B", "output", "is empty"), Problem(where, "q", "A", "instruction", "is bad")]
        rejects.add(Row(where, values), problems, keep=True)
    assert len(openings) == 1
    assert b'"\\ud800\\u0000"' in file.getvalue()
    assert '"问": [null]'.encode() in file.getvalue()
    first, _ = (json.loads(line) for line in file.getvalue().splitlines())
    assert (first["file"], first["sheet"], first["row"]) == ("f.xlsx", "Q", 1)
    assert (first["column"], first["reason"]) == ("a", "output is empty")
    assert first["more"] == [{"column": "q", "value": "", "reason": "instruction is bad"}]
    assert first["values"]["q"] == "\ud800\0"
    assert '"id": 5}' in file.getvalue().decode(errors="replace")  # a workbook's whole number


def line(row, values, **other):
    problem = {"column": "a", "value": "", "reason": "output is empty"}
    return {"file": "f.xlsx", "sheet": "Q", "row": row, **problem, "more": [], "values": values, **other}


def cells(lines):
    """Return the cells of all sheets with their types, as openpyxl reads them."""
    text = "".join(json.dumps(each) + "\n" for each in lines)
    file = io.BytesIO()
    write_workbook(io.BytesIO(text.encode()), file)
    book = openpyxl.load_workbook(file)
    return [[[(cell.value, cell.data_type) for cell in row] for row in page.iter_rows()] for page in book.worksheets]


def values(lines):
    return [[[value for value, _ in row] for row in page] for page in cells(lines)]


def test_rejected_row_shows_its_number_column_reason_and_values():
    lines = [line(2, {"q": "为什么", "n": 69, "x": 0.5}), line(7, {"q": "b", "later": [1, "é"], "t": True, "e": None})]
    assert values(lines) == [
        [
            ["row", "column", "reason", "q", "n", "x", "later", "t", "e"],
            [2, "a", "output is empty", "为什么", 69, 0.5, None, None, None],
            [7, "a", "output is empty", "b", None, None, '[1, "é"]', "true", None],
        ]
    ]


def test_rejected_rows_of_several_files_or_sheets_name_them():
    assert values([line(1, {}), line(1, {}, sheet="R")])[0][0] == ["row", "sheet", "column", "reason"]
    found = values([line(1, {}), line(1, {}, file="g.xlsx", sheet="R")])[0]
    assert found[0] == ["row", "file", "sheet", "column", "reason"]
    assert found[2][:3] == [1, "g.xlsx", "R"]


def test_rejected_row_shows_all_its_reasons_or_else_its_value():
    more = [
        {"column": "q", "value": "", "reason": "instruction is empty"},
        {"column": "", "value": "", "reason": "odd"},
    ]
    (_, first, second), *_ = values([line(1, {"q": "x"}, more=more), line(2, {}, reason="is no JSON", value="{x")])
    assert first[2] == "output is empty; q: instruction is empty; odd"
    assert second[2] == "is no JSON; value: {x"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "#N/A", "=", "1", "TRUE", "2019-01-02", "%"])
def test_text_like_formulas_or_numbers_stays_text_in_the_workbook(text):
    ((head, row),) = cells([line(1, {text: text}, column=text, reason=text)])
    assert head[3] == (text, "s")
    assert row[1:] == [(text, "s")] * 3


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (10**15, "1000000000000000"),
        (1.234567890123457e17, "1.234567890123457e+17"),
        (float("nan"), "NaN"),
        (999_999_999_999_999, 999_999_999_999_999),
        (-0.5, -0.5),
    ],
)
def test_numbers_beyond_excels_digits_are_written_as_text(value, cell):
    assert values([line(1, {"n": value})])[0][1][3] == cell


@pytest.mark.parametrize("text", ["a\0b\x1f", "\ud800", "\uffff", "_x000D_", "_x005F_", "a\r\nb\t", "_x12", "𠀀"])
def test_text_that_xml_cannot_hold_comes_back_from_the_rejected_workbook(folder, text):
    with (folder / "f.xlsx").open("w+b") as file:
        write_workbook(io.BytesIO(json.dumps(line(1, {"q": text, "z": "z"})).encode()), file)
    (table,) = open_tables(folder / "f.xlsx", Reading(header_row=1))
    # These are no characters, and readers leave their escapes alone.
    nothing = {"\ud800": "_xD800_", "\uffff": "_xFFFF_"}
    assert [row.values["q"] for row in table.rows()] == [nothing.get(text, text)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 32_767, 32_767),
        ("x" * 40_000, 32_767),
        ("𠀀" * 20_000, 16_383),
        ("\1" * 32_767, 32_767),
        ("x" + "\1" * 32_767, 32_761),
    ],
)
def test_a_cell_too_long_for_excel_is_cut_with_a_note(text, kept):
    ((_, row),) = values([line(1, {"q": text, "n": 1})])
    assert len(row[3]) == kept
    assert ("; `q` cut to 32,767 characters here" in row[2]) == (kept < len(text) or "\1" in text)


def test_more_rows_than_a_sheet_holds_go_on_in_another(monkeypatch):
    monkeypatch.setattr(spreadsheet, "ROWS", 3)
    monkeypatch.setattr(rejects, "COLUMNS", 7)
    pages = values([line(number, {"q": number, "r": 1, "s": 1}) for number in range(5)])
    assert [[row[0] for row in page] for page in pages] == [["row", 0, 1], ["row", 2, 3], ["row", 4]]
    assert {tuple(page[0]) for page in pages} == {("row", "column", "reason", "q", "r")}


ROWS = [{"question": "why?", "answer": "so"}, {"question": "=how?", "answer": ""}, {"question": "who?", "answer": "we"}]


def test_the_workbook_comes_and_goes_with_the_rejected_rows(lines, folder):
    source = lines(*ROWS)
    plain = convert(source, on_error="skip")
    assert plain.rejected_workbook is None
    made = {file: sha256(file) for file in folder.glob("data/faq*")}
    done = convert(source, on_error="skip", xlsx=True)
    assert (done.changed, done.rejected_workbook) == (False, folder / "data" / "faq.rejected.xlsx")
    assert {file: sha256(file) for file in folder.glob("data/faq*") if file != done.rejected_workbook} == made
    sheet = openpyxl.load_workbook(done.rejected_workbook).active
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["row", "column", "reason", "question", "answer"],
        [2, "answer", "output is empty", "=how?", None],
    ]
    assert "faq.rejected.xlsx" in files_written(folder / "data")
    stamp = done.rejected_workbook.stat().st_mtime_ns
    assert convert(source, on_error="skip", xlsx=True).changed is False
    assert convert(source, on_error="skip").rejected_workbook == done.rejected_workbook
    assert done.rejected_workbook.stat().st_mtime_ns == stamp
    assert convert(source, on_error="skip", dedup="exact").changed is True
    assert not done.rejected_workbook.exists()  # it was that of another conversion
    assert convert(source, on_error="skip", dedup="exact", xlsx=True, seed=1).rejected_workbook.is_file()
    assert convert(lines(*ROWS[:1]), xlsx=True, replace=True).rejected_workbook is None
    assert not done.rejected_workbook.exists()


def test_rejected_workbook_is_made_anew_where_the_rejected_rows_are_gone(lines, folder):
    source = lines(*ROWS)
    convert(source, on_error="skip").rejected_file.unlink()
    done = convert(source, on_error="skip", xlsx=True)
    assert done.changed
    assert done.rejected_workbook.is_file()


def test_rejected_workbook_is_no_source_and_goes_with_its_dataset(lines, folder):
    done = convert(lines(*ROWS), on_error="skip", xlsx=True)
    assert convert(folder, on_error="skip", name="all").counts.read == 3
    assert done.rejected_workbook in remove(folder / "data", ["faq"]).files
    assert not done.rejected_workbook.exists()
