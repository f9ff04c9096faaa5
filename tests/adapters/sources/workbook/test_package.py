"""What a workbook's file tells before it is read."""

import gzip
import re
import zipfile
from pathlib import Path

import pytest

from ftbridge.adapters.sources.workbook.package import UNSTORED, search_sheets, with_tabs_and_breaks, workbook_kind
from ftbridge.adapters.sources.workbook.xls_records import OLE
from ftbridge.core.errors import InputError


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        (["_rels/.rels", "xl/workbook.xml"], "xlsx"),
        (["_rels\\.RELS", "xl\\workbook.xml"], "xlsx"),
        (["_rels/.rels", "xl/workbook.bin"], "xlsb"),
        (["mimetype", "content.xml"], "ods"),
    ],
)
def test_archive_kind_is_told_by_its_members(folder, members, kind):
    path = folder / "faq"
    with zipfile.ZipFile(path, "w") as package:
        for member in members:
            package.writestr(member, "")
    assert workbook_kind(path) == kind


def test_an_old_workbook_is_told_by_its_head(folder):
    (folder / "faq.xlsx").write_bytes(OLE + b"\0" * 600 + "Workbook".encode("utf-16-le"))
    assert workbook_kind(folder / "faq.xlsx") == "xls"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("~$faq.xlsx", b"", "is Excel's lock file; convert `faq.xlsx` instead"),
        ("faq.xlsx", OLE + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
        ("faq.xls", OLE + b"\0" * 600 + "WordDocument".encode("utf-16-le"), "faq.xls` is a Word document, not a"),
        (
            "faq.xls",
            OLE + b"\0" * 600 + "PowerPoint Document".encode("utf-16-le"),
            "is a presentation, not a workbook",
        ),
        ("faq.xlsx", b"question,answer\n", "not a workbook, or is truncated"),
        ("faq.xlsx", b"", "is empty"),
        ("faq.xlsx", b"PK\3\4" + b"\0" * 100, "a truncated workbook"),
        ("faq.xls", b"\xef\xbb\xbf\r\n<table>", "a web page or XML"),
        ("faq.xlsx.gz", gzip.compress(b"x", mtime=0), "a packed workbook; unpack it first"),
    ],
)
def test_file_that_is_no_workbook_is_one_sentence(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        workbook_kind(folder / name)
    assert "\n" not in str(error.value)


def test_zip_that_is_no_workbook_and_missing_file_are_one_sentence(folder):
    with zipfile.ZipFile(folder / "faq.xlsx", "w") as package:
        package.writestr("a.csv", "x")
    with pytest.raises(InputError, match=r"a zip archive, not a workbook; it holds `a.csv`"):
        workbook_kind(folder / "faq.xlsx")
    with pytest.raises(InputError, match="cannot be read"):
        workbook_kind(folder / "gone.xlsx")


TEXT = "application/vnd.oasis.opendocument.text"


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"_rels/.rels": "", "word/document.xml": ""}, "a Word document"),
        ({"_rels/.rels": "", "ppt/presentation.xml": ""}, "a presentation"),
        ({"mimetype": TEXT, "content.xml": ""}, "an OpenDocument text"),
        ({"mimetype": f"{TEXT}-template\n", "content.xml": ""}, "an OpenDocument text"),
    ],
)
def test_document_under_a_workbooks_name_is_told_as_what_it_is(folder, members, what):
    with zipfile.ZipFile(folder / "faq.xlsx", "w") as package:
        for name, content in members.items():
            package.writestr(name, content)
    with pytest.raises(InputError, match=f"`faq.xlsx` is {what}, not a workbook; copy its table into a workbook"):
        workbook_kind(Path("faq.xlsx"))


def test_a_workbook_that_holds_documents_is_a_workbook(folder):
    (folder / "faq.xls").write_bytes(OLE + "WordDocument".encode("utf-16-le") + "Workbook".encode("utf-16-le"))
    assert workbook_kind(folder / "faq.xls") == "xls"
    for mimetype in ("application/vnd.oasis.opendocument.spreadsheet", "\xff" * 200):
        with zipfile.ZipFile(folder / "faq.ods", "w") as package:
            package.writestr("mimetype", mimetype)
            package.writestr("content.xml", "")
        assert workbook_kind(folder / "faq.ods") == "ods"


@pytest.fixture
def sheet(workbook):
    """Return a function that puts rows of XML into the sheet Q, and returns its errors and how many rows are hidden."""

    def write(rows, change=lambda content: content):
        path = workbook(Q=[["x"]])
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, content in members.items():
                is_sheet = name == "xl/worksheets/sheet1.xml"
                content = re.sub(b"(<sheetData>).*(</sheetData>)", rb"\1%s\2" % rows, content)  # noqa: PLW2901
                new.writestr(name, change(content) if is_sheet else content)
        errors, hidden = search_sheets(path, "xlsx", ["Q"])["Q"]
        return list(errors or ()), hidden

    return write


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (b'<row r="3"><c r="A3"><v>1</v></c></row>', []),
        (
            b'<row r="3"><c r="A3" t="e"><f>NA()</f><v>#N/A</v></c><c r="AB3" t="s"><v>0</v></c></row>',
            [(3, 1, ["#N/A"])],
        ),
        (b"<row r='7'><c t = 'e' r='AB7'><v>#REF!</v></c></row>", [(7, 28, ["#REF!"])]),
        (b'<row><c/><c t="e"><v>#NUM!</v></c></row>', [(1, 2, ["#NUM!"])]),
        (b'<row r="2"><c r="A2" t="inlineStr"><is><t>t="e"</t></is></c></row>', []),
        (b'<row r="2"><c r="A2"><f>A1&amp;"!"</f><v></v></c></row>', [(2, 1, ['=A1&"!"', UNSTORED])]),
        (b'<row r="2"><c r="B2"><f>1</f><v /></c></row>', [(2, 2, ["=1", UNSTORED])]),
        (b'<row r="2"><c r="B2" t="b"><f>1</f></c></row>', [(2, 2, ["=1", UNSTORED])]),
        (
            (
                b'<row r="2"><c r="B2"><f t="shared" ref="B2:B3" si="0">1</f><v>1</v></c></row>'
                b'<row r="3"><c r="B3"><f t="shared" si="0"/><v></v></c></row>'
            ),
            [(3, 2, ["=", UNSTORED])],
        ),
        (b'<row r="2"><c r="B2" t="e"><f>NA()</f><v/></c></row>', [(2, 2, ["=NA()", UNSTORED])]),
        (b'<row r="2"><c r="B2" t="str"><f>""</f><v></v></c></row>', []),
        (b'<row r="2"><c r="B2"><f>1</f><v>1</v></c><c r="C2"><f t="shared" si="0"/><v>0</v></c></row>', []),
    ],
)
def test_cells_without_a_value_are_found_however_they_are_written(sheet, monkeypatch, rows, found):
    for chunk in (7, 1 << 20):
        monkeypatch.setattr("ftbridge.adapters.sources.workbook.package.MIB", chunk)
        assert sheet(rows) == (found, 0)


def test_cells_without_a_value_are_found_in_any_name_space(sheet):
    rows = b'<row r="2" hidden="1"><c r="A2"><f>B2</f><v></v></c></row>'
    assert sheet(rows, lambda content: re.sub(rb"<(/?)(?=\w)", rb"<\1x:", content)) == ([(2, 1, ["=B2", UNSTORED])], 1)


@pytest.mark.parametrize(
    ("rows", "hidden"),
    [
        (b'<row r="2" hidden="1"><c r="A2"><v>1</v></c></row>' * 3, 3),
        (b"<row r='2' spans='1:4' hidden = 'true' ht='15'><c r='A2'><v>1</v></c></row>", 1),
        (b'<row hidden="1"><c><v>1</v></c></row><row><c><v>1</v></c></row>', 1),
        (b'<row r="2" hidden="0"><c r="A2"><v>1</v></c></row><row r="3" hidden="1"/><row r="4" hidden="1" ></row>', 0),
        (b'<row r="2"><c r="A2" t="inlineStr"><is><t>arrow hidden="1"></t></is></c></row>', 0),
    ],
)
def test_hidden_rows_that_hold_something_are_counted(sheet, monkeypatch, rows, hidden):
    for chunk in (7, 1 << 20):
        monkeypatch.setattr("ftbridge.adapters.sources.workbook.package.MIB", chunk)
        assert sheet(rows) == ([], hidden)


@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_hidden_rows_of_an_ods_are_counted(folder, monkeypatch, chunk):
    row = '<table:table-row table:visibility="%s"%s>%s</table:table-row>'
    text, number = "<table:table-cell><text:p>a</text:p></table:table-cell>", '<table:table-cell office:value="1"/>'
    rows = [row % ("filter", "", text), row % ("collapse", ' table:number-rows-repeated="3"', number + text)]
    rows += [row % ("visible", "", text), row % ("filter", "", "<table:table-cell/>")]
    tables = "".join(f'<table:table table:name="{name}">{"".join(rows)}</table:table>' for name in ("Q", "表"))
    with zipfile.ZipFile(folder / "faq.ods", "w") as package:
        package.writestr("content.xml", f"<office:body>{tables}</office:body>")
    monkeypatch.setattr("ftbridge.adapters.sources.workbook.package.MIB", chunk)
    found = search_sheets(folder / "faq.ods", "ods", ["Q", "表"])
    assert {name: each.hidden for name, each in found.items()} == {"Q": 4, "表": 4}


def test_damaged_row_number_of_an_error_cell_is_one_sentence(sheet):
    with pytest.raises(InputError, match="damaged"):
        sheet(b'<row r="three"><c t="e"/></row>')


@pytest.mark.slow
def test_cell_with_too_long_a_text_is_refused(sheet, monkeypatch):
    monkeypatch.setattr("ftbridge.adapters.sources.workbook.package.LONGEST_TEXT", 3 << 20)
    row = b'<row r="2"><c r="A2" t="inlineStr"><is><t>%s</t></is></c></row>'
    assert sheet(row % (b"x" * (2 << 20))) == ([], 0)
    with pytest.raises(InputError, match="text of more than 3 MiB in one cell"):
        sheet(row % (b"x" * (6 << 20)))


@pytest.mark.parametrize("before", [b"", b"x" * (1 << 20)])
def test_ods_elements_for_tabs_and_breaks_become_characters(folder, before):
    path = folder / "faq.ods"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("content.xml", before + b"<text:p>a<text:tab/>b<text:line-break />c<text:table/>")
    with path.open("rb") as file, with_tabs_and_breaks(file) as changed, zipfile.ZipFile(changed) as package:
        text = package.read("content.xml").removeprefix(before)
    assert text == b"<text:p>a&#9;<text:tab/>b&#10;<text:line-break />c<text:table/>"


def test_a_workbook_without_such_elements_is_not_copied(folder):
    with zipfile.ZipFile(folder / "faq.ods", "w") as package:
        package.writestr("content.xml", "<text:p>a</text:p>")
    with (folder / "faq.ods").open("rb") as file:
        assert with_tabs_and_breaks(file) is file
