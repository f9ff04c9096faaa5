"""Workbooks of each kind, with what a reader may stumble over: formulas, errors, merged cells, hidden rows."""

import io
import struct
import zipfile

import openpyxl
import xlwt

RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OPEN = "urn:oasis:names:tc:opendocument:xmlns"


def write(folder, rows):
    """Write faq.xlsx, .xlsm, .xls, .xlsb and .ods."""
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    sheet["B5"], sheet["C6"] = "=1+1", "#N/A"
    sheet["C6"].data_type = "e"
    sheet["D2"].number_format = "yyyy-mm-dd"
    sheet["D2"] = 45000.5
    sheet.merge_cells("A7:A8")
    sheet.row_dimensions[4].hidden = True
    book.create_sheet("Other").append(["a", "b"])
    for name in ("faq.xlsx", "faq.xlsm"):
        book.save(folder / name)
    old = xlwt.Workbook()
    sheet = old.add_sheet("Q")
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            sheet.write(number, column, value)
    sheet.write(len(rows), 1, xlwt.Formula("1/0"))
    sheet.write_merge(len(rows) + 1, len(rows) + 2, 0, 0, "merged")
    old.save(str(folder / "faq.xls"))
    (folder / "faq.ods").write_bytes(_ods(rows))
    (folder / "faq.xlsb").write_bytes(_xlsb(rows))


def _zip(parts):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return made.getvalue()


def _ods(rows):
    def cell(value):
        if isinstance(value, str):
            text = f"<text:p>{value}<text:tab/></text:p>"
            return f'<table:table-cell office:value-type="string">{text}</table:table-cell>'
        return f'<table:table-cell office:value-type="float" office:value="{value}"/>'

    lines = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    lines += '<table:table-row table:visibility="collapse" table:number-rows-repeated="2">'
    lines += "<table:table-cell/></table:table-row>"
    spaces = "".join(f' xmlns:{name}="{OPEN}:{name}:1.0"' for name in ("office", "table", "text"))
    table = f'<table:table table:name="Q">{lines}</table:table>'
    body = f"<office:body><office:spreadsheet>{table}</office:spreadsheet></office:body>"
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return _zip(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": f"{head}<office:document-content{spaces}>{body}</office:document-content>",
            "META-INF/manifest.xml": "<manifest/>",
        }
    )


def _xlsb(rows):
    """Return a workbook in Excel's binary format: records of a type, a length and their data."""

    def record(kind, data=b""):
        number = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
        length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
        return number + length + data

    def text(value):
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    def cell(column, value):
        place = struct.pack("<II", column, 0)
        is_text = isinstance(value, str)
        return record(6, place + text(value)) if is_text else record(5, place + struct.pack("<d", value))

    def related(kind, target):
        one = f'<Relationship Id="rId1" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{PACKAGE}/relationships">{one}</Relationships>'

    sheet = record(0x81) + record(0x94, struct.pack("<4I", 0, len(rows) - 1, 0, len(rows[0]) - 1)) + record(0x91)
    for number, row in enumerate(rows):
        sheet += record(0, struct.pack("<IIHHBBI", number, 0, 300, 0, 0, 0, 0))
        sheet += b"".join(cell(column, value) for column, value in enumerate(row))
    sheet += record(0x92) + record(0x82)
    book = record(0x83) + record(0x99, bytes(8) + text("")) + record(0x8F)
    book += record(0x9C, struct.pack("<II", 0, 1) + text("rId1") + text("Q")) + record(0x90) + record(0x84)
    return _zip(
        {
            "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
            "_rels/.rels": related("officeDocument", "xl/workbook.bin"),
            "xl/workbook.bin": book,
            "xl/_rels/workbook.bin.rels": related("worksheet", "worksheets/sheet1.bin"),
            "xl/worksheets/sheet1.bin": sheet,
        }
    )
