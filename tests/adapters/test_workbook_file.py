"""What a workbook's file tells before it is read."""

import gzip
import re
import zipfile

import pytest

from ftbridge.adapters import workbook_file
from ftbridge.adapters.workbook_file import OLE, error_cells, kind_of, with_characters
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
def test_the_kind_of_an_archive_is_that_of_its_parts(folder, members, kind):
    path = folder / "faq"
    with zipfile.ZipFile(path, "w") as package:
        for member in members:
            package.writestr(member, "")
    assert kind_of(path) == kind


def test_an_old_workbook_is_told_by_its_head(folder):
    (folder / "faq.xlsx").write_bytes(OLE + b"\0" * 600 + "Workbook".encode("utf-16-le"))
    assert kind_of(folder / "faq.xlsx") == "xls"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("~$faq.xlsx", b"", "only Excel's mark that `faq.xlsx` is open"),
        ("faq.xlsx", OLE + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
        ("faq.xlsx", b"question,answer\n", "no workbook, or only a part of one"),
        ("faq.xlsx", b"", "is empty"),
        ("faq.xlsx", b"PK\3\4" + b"\0" * 100, "only a part of a workbook"),
        ("faq.xls", b"\xef\xbb\xbf\r\n<table>", "a web page or XML"),
        ("faq.xlsx.gz", gzip.compress(b"x"), "a packed workbook; unpack it first"),
    ],
)
def test_what_is_no_workbook_is_one_sentence(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        kind_of(folder / name)
    assert "\n" not in str(error.value)


def test_other_archives_and_lost_files_are_one_sentence(folder):
    with zipfile.ZipFile(folder / "faq.xlsx", "w") as package:
        package.writestr("a.csv", "x")
    with pytest.raises(InputError, match=r"a zip archive, but no workbook; it holds `a.csv`"):
        kind_of(folder / "faq.xlsx")
    with pytest.raises(InputError, match="cannot be read"):
        kind_of(folder / "gone.xlsx")


@pytest.fixture
def sheet(workbook):
    """Return a function that puts rows of XML into the sheet Q and returns its error cells."""

    def write(rows):
        path = workbook(Q=[["x"]])
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, content in members.items():
                new.writestr(name, re.sub(b"(<sheetData>).*(</sheetData>)", rb"\1%s\2" % rows, content))
        return list(error_cells(path, ["Q"]).get("Q", []))

    return write


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (b'<row r="3"><c r="A3"><v>1</v></c></row>', []),
        (b'<row r="3"><c r="A3" t="e"><f>NA()</f><v>#N/A</v></c><c r="AB3" t="s"><v>0</v></c></row>', [(3, 1, "#N/A")]),
        (b"<row r='7'><c t = 'e' r='AB7'><v>#REF!</v></c></row>", [(7, 28, "#REF!")]),
        (b'<row><c/><c t="e"><v>#NUM!</v></c></row>', [(1, 2, "#NUM!")]),
        (b'<row r="2"><c r="A2" t="inlineStr"><is><t>t="e"</t></is></c></row>', []),
    ],
)
def test_error_cells_are_found_however_they_are_written(sheet, monkeypatch, rows, found):
    for chunk in (7, 1 << 20):
        monkeypatch.setattr(workbook_file, "MIB", chunk)
        assert sheet(rows) == found


def test_damage_in_error_cells_is_one_sentence(sheet):
    with pytest.raises(InputError, match="damaged"):
        sheet(b'<row r="three"><c t="e"/></row>')


@pytest.mark.slow
def test_a_text_beyond_all_measure_is_refused(sheet, monkeypatch):
    monkeypatch.setattr(workbook_file, "LONGEST_TEXT", 3 << 20)
    row = b'<row r="2"><c r="A2" t="inlineStr"><is><t>%s</t></is></c></row>'
    assert sheet(row % (b"x" * (2 << 20))) == []
    with pytest.raises(InputError, match="text of more than 3 MiB in one cell"):
        sheet(row % (b"x" * (6 << 20)))


@pytest.mark.parametrize("before", [b"", b"x" * (1 << 20)])
def test_elements_that_stand_for_characters_become_them(folder, before):
    path = folder / "faq.ods"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("content.xml", before + b"<text:p>a<text:tab/>b<text:line-break />c<text:table/>")
    with path.open("rb") as file, with_characters(file) as changed, zipfile.ZipFile(changed) as package:
        text = package.read("content.xml").removeprefix(before)
    assert text == b"<text:p>a&#9;<text:tab/>b&#10;<text:line-break />c<text:table/>"


def test_a_workbook_without_such_elements_is_not_copied(folder):
    with zipfile.ZipFile(folder / "faq.ods", "w") as package:
        package.writestr("content.xml", "<text:p>a</text:p>")
    with (folder / "faq.ods").open("rb") as file:
        assert with_characters(file) is file
