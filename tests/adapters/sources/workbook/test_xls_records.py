"""The records of .xls files, those of other versions and code pages too, which are written here by hand."""

import struct

import pytest
import xlwt

from ftbridge.adapters.sources.workbook import source
from ftbridge.adapters.sources.workbook.package import workbook_kind
from ftbridge.adapters.sources.workbook.xls_records import BIFF8, Records
from ftbridge.core.errors import InputError
from ftbridge.core.records import Reading


def record(kind, data=b""):
    return struct.pack("<HH", kind, len(data)) + data


def text(at, content, version=5):
    """Return a LABEL record."""
    row, column = at
    if version == 2:
        return record(0x4, struct.pack("<HH3xB", row, column, len(content)) + content)
    return record(0x204, struct.pack("<HHHH", row, column, 0, len(content)) + content)


def number(at, value, form=0, version=5):
    if version == 2:
        return record(0x3, struct.pack("<HH3xd", *at, value))
    return record(0x203, struct.pack("<HHHd", *at, form, value))


def sheet(cells, version):
    """Return the records of a sheet, which is a whole file before version 5."""
    kind = {2: 0x9, 3: 0x209, 4: 0x409, 5: 0x809}[version]
    begin = struct.pack("<HH", version << 8, 0x10)
    begin += {2: b"", 3: b"\0\0", 4: b"\0\0", 5: b"\0" * 4}[version]
    return record(kind, begin) + cells + record(0xA)


def biff5(cells, codepage, path, forms=(), name=b"Q"):
    """Write a workbook of Excel 95, whose records need no OLE file around them."""
    begin = record(0x809, struct.pack("<HHHH", 0x500, 5, 0, 0))
    begin += record(0x42, struct.pack("<H", codepage)) if codepage else b""
    for at, form in enumerate(forms):
        begin += record(0x41E, struct.pack("<HB", 164 + at, len(form)) + form)
    for at in range(-1, len(forms)):
        begin += record(0xE0, struct.pack("<HHHH8x", 0, 164 + at if at >= 0 else 0, 1, 0))
    place = len(begin) + 4 + 7 + len(name) + 4
    begin += record(0x85, struct.pack("<IBBB", place, 0, 0, len(name)) + name) + record(0xA)
    path.write_bytes(begin + sheet(cells, 5))
    return path


def values(path, **reading):
    (table,) = source.open_tables(path, Reading(**reading))
    return [list(row.values.values()) for row in table.rows()]


def old(folder, codepage, change=lambda content: content):
    """Write a workbook of Excel 97 and later that claims another code page."""
    book = xlwt.Workbook()
    page = book.add_sheet("数据")
    for at, cells in enumerate([["问题", "答案"], ["你好吗", "I am well"], ["café", "ok 😀"]]):
        for column, cell in enumerate(cells):
            page.write(at, column, cell)
    book.save(str(folder / "faq.xls"))
    content = (folder / "faq.xls").read_bytes()
    right, wrong = record(0x42, struct.pack("<H", 1200)), record(0x42, struct.pack("<H", codepage))
    assert content.count(right) == 1
    (folder / "faq.xls").write_bytes(change(content.replace(right, wrong)))
    return folder / "faq.xls"


@pytest.mark.slow
@pytest.mark.parametrize("codepage", [1200, 936, 950, 932, 949, 1252, 367, 437, 10008, 708, 65001, 0])
def test_text_of_excel_97_is_utf_16_whatever_the_code_page_says(folder, codepage):
    path = old(folder, codepage)
    found = Records(path)
    assert (found.version, found.codepage, found.suits_calamine) == (BIFF8, codepage, codepage == 1200)
    assert values(path) == [["你好吗", "I am well"], ["café", "ok 😀"]]
    assert values(path, encoding="gbk") == values(path)


def test_text_of_excel_97_is_utf_16_where_no_code_page_is_named(folder):
    named, other = struct.pack("<HH", 0x42, 2), struct.pack("<HH", 0x43, 2)
    path = old(folder, 1200, lambda content: content.replace(named, other))
    assert Records(path).codepage is None
    assert values(path) == [["你好吗", "I am well"], ["café", "ok 😀"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codepage", "encoding", "word"),
    [
        (936, "gbk", "你好"),
        (950, "big5", "國語"),
        (932, "cp932", "日本語"),
        (949, "cp949", "한국어"),
        (1251, "cp1251", "Привет"),
        (1252, "cp1252", "café"),
        (367, "ascii", "plain"),
        (367, "cp1252", "café"),
        (10000, "mac_roman", "café"),
        (10008, "gbk", "你好"),
        (None, "latin-1", "café"),
    ],
)
def test_text_of_excel_95_is_of_its_code_page(folder, codepage, encoding, word):
    cells = text((0, 0), b"question") + text((0, 1), b"answer") + text((1, 0), word.encode(encoding))
    path = biff5(cells + text((1, 1), b"x"), codepage, folder / "faq.xls", name=word.encode(encoding))
    (table,) = source.open_tables(path, Reading())
    assert (table.sheet, values(path)) == (word, [[word, "x"]])


def test_a_wrong_code_page_can_be_put_right(folder):
    cells = text((0, 0), b"question") + text((0, 1), b"answer") + text((1, 0), "你好".encode("gbk"))
    path = biff5(cells, 1252, folder / "faq.xls")
    assert values(path) == [["ÄãºÃ"]]
    (table,) = source.open_tables(path, Reading())
    assert "text is read as cp1252 (a guess; `--encoding` decides)" in table.notes
    assert values(path, encoding="gb18030") == [["你好"]]


def test_numbers_of_excel_95_keep_their_formats(folder):
    cells = text((0, 0), b"question") + text((0, 1), b"answer")
    for at, form in enumerate((0, 1, 2, 3, 0)):
        cells += number((at + 1, 0), 51, form) + number((at + 1, 1), 43000.25, form)
    path = biff5(cells, 1252, folder / "faq.xls", [b"0.00", b"yyyy/mm/dd", b"[h]:mm"])
    assert values(path) == [
        [51, 43000.25],
        [51, 43000.25],
        ["1900-02-20", "2017-09-22 06:00:00"],
        ["PT1224H0M0S", "PT1032006H0M0S"],
        [51, 43000.25],
    ]


@pytest.mark.parametrize("version", [2, 3, 4])
def test_workbooks_of_the_first_excels_are_read(folder, version):
    cells = [text((0, 0), b"question", version), text((0, 1), b"answer", version)]
    cells += [text((1, 0), "几号".encode("gbk"), version), number((1, 1), 51, 0, version)]
    path = folder / "faq.xls"
    path.write_bytes(sheet(record(0x42, struct.pack("<H", 936)) + b"".join(cells), version))
    assert source.detect(path, path.read_bytes()[:4096])
    assert workbook_kind(path) == "xls"
    assert values(path) == [["几号", 51]]


@pytest.mark.slow
def test_xls_with_a_cell_far_away_is_read(folder):
    book = xlwt.Workbook()
    page = book.add_sheet("Q")
    for at, cell in {(0, 0): "question", (0, 1): "answer", (1, 0): "a", (1, 1): "b", (65535, 255): "x"}.items():
        page.write(*at, cell)
    book.save(str(folder / "faq.xls"))
    assert values(folder / "faq.xls") == [["a", "b"]]


def test_xls_that_calamine_cannot_read_is_read_by_xlrd(folder):
    book = xlwt.Workbook()
    page = book.add_sheet("Q")
    for at, cell in enumerate(("question", "answer")):
        page.write(0, at, cell)
        page.write(1, at, 1e300, xlwt.easyxf(num_format_str="[h]:mm"))
    book.save(str(folder / "faq.xls"))
    assert values(folder / "faq.xls") == [[1e300, 1e300]]


@pytest.mark.slow
@pytest.mark.parametrize("cut", [600, 1500, 3000])
def test_xls_that_is_cut_off_is_one_sentence(folder, cut):
    path = old(folder, 936, lambda content: content[:cut])
    with pytest.raises(InputError, match="damaged workbook") as error:
        values(path)
    assert "\n" not in str(error.value)
