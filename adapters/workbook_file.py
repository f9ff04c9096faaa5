"""What a workbook's file tells before it is read: its kind, whether it is a bomb, and its error cells.

Excel's newer formats are zip archives of XML, whose sheets hold cells such as `<c r="B7" t="e"><v>#N/A</v></c>`.
"""

import mmap
import posixpath
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal
from xml.etree import ElementTree as ET
from xml.parsers import expat

from ftbridge.adapters.columns import letter_index
from ftbridge.core.errors import InputError
from ftbridge.core.files import GZIP, ZSTD

Kind = Literal["xlsx", "xlsb", "ods", "xls"]
# Row, column (both from 1) and text of the error cells of a sheet, in its order.
Errors = Iterator[tuple[int, int, str]]
# The suffixes of each kind.
NAMED: dict[Kind, set[str]] = {
    "xlsx": {".xlsx", ".xlsm", ".xltx", ".xltm"},
    "xls": {".xls"},
    "xlsb": {".xlsb"},
    "ods": {".ods"},
}
SUFFIXES = set().union(*NAMED.values())
ZIP = b"PK\3\4"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
MIB = 1 << 20
# A million equal rows pack 17 times smaller; the worst that the packing allows is 1032 times.
MOST_PACKED = 100
# Smaller parts do no harm, however well they pack.
HARMLESS = 64 * MIB
# Excel's own limit for a cell is 32,767 characters.
LONGEST_TEXT = 32 * MIB
ODS_CONTENT = "content.xml"
ODS_CHARACTER = re.compile(rb"<text:(tab|line-break)(?=[ /])")  # fits less than so many bytes:
LONGEST_NAME = 32
CHARACTERS = {b"tab": b"&#9;", b"line-break": b"&#10;"}


def kind_of(path: Path) -> Kind:
    """Return the kind of the workbook by its content; raises InputError with a sentence where it is none."""
    if path.name.startswith("~$"):
        raise InputError(f"`{path}` is only Excel's mark that `{path.name[2:]}` is open; give that file")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            if head.startswith(OLE):
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    encrypted = content.find(ENCRYPTED) >= 0
                if encrypted:
                    raise InputError(f"`{path}` is encrypted; open it in Excel and save it without a password")
                return "xls"
        if head.startswith(ZIP):
            with zipfile.ZipFile(path) as package:
                return _packed_kind(path, package)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"`{path}` is only a part of a workbook; save or download it again") from error
    if not head:
        raise InputError(f"`{path}` is empty; save or download it again")
    if head.startswith((GZIP, ZSTD)):
        raise InputError(f"`{path}` is a packed workbook; unpack it first")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise InputError(
            f"`{path}` is a web page or XML under a workbook's name; open it in Excel and save it as .xlsx"
        )
    raise InputError(f"`{path}` is no workbook, or only a part of one; save or download it again")


def _packed_kind(path: Path, package: zipfile.ZipFile) -> Kind:
    for info in package.infolist():
        if info.file_size > max(HARMLESS, MOST_PACKED * info.compress_size):
            raise InputError(
                f"`{path}` would unpack to {info.file_size // MIB} MiB from {info.compress_size // 1024} KiB "
                f"(`{info.filename}`), as no workbook does; it was made to do harm"
            )
    names = _parts(package)
    if "xl/workbook.bin" in names:
        return "xlsb"
    if "content.xml" in names:
        return "ods"
    if "_rels/.rels" in names:
        return "xlsx"
    held = ", ".join(f"`{name}`" for name in package.namelist()[:3]) or "nothing"
    raise InputError(f"`{path}` is a zip archive, but no workbook; it holds {held}")


def _parts(package: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the parts by name as they are referred to, whatever their case and slashes."""
    return {info.filename.lower().replace("\\", "/"): info for info in package.infolist()}


def error_cells(path: Path, sheets: Iterable[str]) -> dict[str, Errors]:
    """Return the error cells of those .xlsx sheets that may have some.

    The sheets are searched at once, and parsed when their cells are wanted. Raises InputError where a text is beyond
    all measure.
    """
    try:
        with zipfile.ZipFile(path) as package:
            members, texts = _members(package)
            for text in texts:
                _may_hold_errors(path, package, text)
            wanted = [(sheet, members[sheet]) for sheet in sheets if sheet in members]
            return {sheet: _parsed(path, part) for sheet, part in wanted if _may_hold_errors(path, package, part)}
    except (OSError, EOFError, KeyError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error):
        return {}  # damaged: whoever reads the rows says so


def _members(package: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], list[zipfile.ZipInfo]]:
    """Return the parts that hold the sheets, by name, and those of the texts that sheets share."""
    named = _parts(package)

    def part(name: str) -> bytes:
        with package.open(named[name.lower()]) as file:
            return file.read(LONGEST_TEXT)

    def related(name: str) -> dict[str, tuple[str, str]]:
        """Return type and name of the parts that belong to a part, by their id."""
        folder, name = posixpath.split(name)
        # expat itself bounds what entities can grow to.
        tree = ET.fromstring(part(posixpath.join(folder, "_rels", f"{name}.rels")))  # noqa: S314
        return {
            each.get("Id", ""): (
                each.get("Type", "").rpartition("/")[2],
                posixpath.normpath(posixpath.join("/", folder, each.get("Target", ""))).lstrip("/"),
            )
            for each in tree
        }

    book = dict(related("").values())["officeDocument"]
    parts = related(book)
    members = {}
    for each in ET.fromstring(part(book)).iterfind(".//{*}sheet"):  # noqa: S314
        key = next((value for name, value in each.items() if name.endswith("}id")), "")
        _, target = parts.get(key, ("", ""))
        if target.lower() in named:
            members[each.get("name", "")] = named[target.lower()]
    texts = [name.lower() for kind, name in parts.values() if kind == "sharedStrings"]
    return members, [named[name] for name in texts if name in named]


def _may_hold_errors(path: Path, package: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Tell whether `t="e"` may be in a part; raises InputError for a text longer than any cell's."""
    found, before, length = False, b"", 0
    with package.open(member) as file:
        while chunk := file.read(MIB):
            length = 0 if b"<" in chunk else length + len(chunk)
            if length > LONGEST_TEXT:
                raise InputError(
                    f"`{path}` holds a text of more than {LONGEST_TEXT // MIB} MiB in one cell; shorten it"
                )
            seam = before + chunk[:2]
            found = found or any(mark in chunk or mark in seam for mark in (b'"e"', b"'e'"))
            before = chunk[-2:]
    return found


def _parsed(path: Path, member: zipfile.ZipInfo) -> Errors:
    found: list[tuple[int, int, str]] = []
    cell = value = ""
    row = column = 0
    inside = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, cell, value, inside
        name = name.rpartition(":")[2]
        if name == "row":
            row, column = int(attributes.get("r", row + 1)), 0
        elif name == "c":
            reference = attributes.get("r", "")
            column = letter_index(reference.rstrip("0123456789")) if reference else column + 1
            cell, value = attributes.get("t", ""), ""
        inside = name == "v" and cell == "e"

    def text(data: str) -> None:
        nonlocal value
        value += data if inside else ""

    def end(name: str) -> None:
        nonlocal inside
        inside = False
        if cell == "e" and name.rpartition(":")[2] == "c":
            found.append((row, column, value.strip()))

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        with zipfile.ZipFile(path) as package, package.open(member) as file:
            while chunk := file.read(MIB):
                parser.Parse(chunk)
                yield from found
                found.clear()
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, expat.ExpatError) as error:
        raise InputError(f"`{path}` is a damaged workbook ({error}); open it in Excel and save it again") from error


def with_characters(file: IO[bytes]) -> IO[bytes]:
    """Return a copy of an .ods with characters for tabs and line breaks in its texts, any other file as it is.

    They are elements, `<text:tab/>`, and calamine passes over them.
    """
    with zipfile.ZipFile(file) as package:
        names = package.namelist()
        if ODS_CONTENT not in names or not any(map(ODS_CHARACTER.search, _between_tags(package))):
            return file
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever reads it
        with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
            for name in sorted({"mimetype", "META-INF/manifest.xml"}.intersection(names), reverse=True):
                made.writestr(name, package.read(name), zipfile.ZIP_STORED)  # the type comes first, as it stands
            with made.open(ODS_CONTENT, "w", force_zip64=True) as content:
                for text in _between_tags(package):
                    content.write(ODS_CHARACTER.sub(lambda found: CHARACTERS[found[1]] + found[0], text))
    return copy


def _between_tags(package: zipfile.ZipFile) -> Iterator[bytes]:
    """Yield the content of an .ods in pieces that cut no element which `ODS_CHARACTER` finds."""
    rest = b""
    with package.open(ODS_CONTENT) as file:
        while data := rest + file.read(MIB):
            cut = data.rfind(b"<", -LONGEST_NAME) if len(data) > len(rest) else -1
            rest = b"" if cut < 0 else data[cut:]
            yield data[: len(data) - len(rest)]
