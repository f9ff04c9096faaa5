"""What a workbook's file tells before it is read: its kind, whether it is a bomb, its error cells and hidden rows.

Excel's newer formats are zip archives of XML, whose sheets hold cells such as `<c r="B7" t="e"><v>#N/A</v></c>`.
"""

import mmap
import posixpath
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple
from xml.etree import ElementTree as ET
from xml.parsers import expat

from ftbridge.adapters.columns import column_index
from ftbridge.adapters.sources.compression import GZIP, ZSTD
from ftbridge.adapters.sources.workbook.xls_records import BARE, OLE
from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _
from ftbridge.language import joined

Kind = Literal["xlsx", "xlsb", "ods", "xls"]
# Row and column, both from 1, of the cells of a sheet that hold no value, in its order; what they hold, and why that is
# none, where it is not an error.
BadCells = Iterator[tuple[int, int, list[str]]]
# The suffixes of each kind.
SUFFIXES_OF_KIND: dict[Kind, set[str]] = {
    "xlsx": {".xlsx", ".xlsm", ".xltx", ".xltm"},
    "xls": {".xls"},
    "xlsb": {".xlsb"},
    "ods": {".ods"},
}
WORKBOOK_SUFFIXES = set().union(*SUFFIXES_OF_KIND.values())
ZIP = b"PK\3\4"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
MIB = 1 << 20
# A million equal rows pack 17 times smaller; the worst that the packing allows is 1032 times.
MOST_PACKED = 100
# Smaller parts do no harm, however well they pack.
HARMLESS_SIZE = 64 * MIB
# Excel's own limit for a cell is 32,767 characters.
LONGEST_TEXT = 32 * MIB
# A formula that no value follows: the end of its text, or of the tag of one that shares the text of another before it.
NO_VALUE = rb"\s*(?:</(?:\w+:)?c\s*>|<(?:\w+:)?v\s*(?:/>|>\s*</))"
UNCALCULATED = [
    re.compile(rb"f>" + NO_VALUE),
    re.compile(rb"""\ssi\s*=\s*["']\d+["'][^<>]*/>""" + NO_VALUE),
]
# A hidden row that is not empty.
HIDDEN_ROW = re.compile(rb"""row\s(?:[^<>]*\s)?hidden\s*=\s*["'](?:1|true)["'](?:[^<>]*[^<>/])?>(?=\s*<[^/])""")
# No tag of a row or formula is longer.
LONGEST_TAG = 512
UNSTORED = _("is a formula without a stored value; open the file in Excel or LibreOffice and save it")
FORMULA_SHOWN = 100
LAST_COLUMN = 1 << 14
# What other documents keep their text in: a part of a zip archive, a stream of an old file.
DOCUMENT_PARTS = {
    "word/document.xml": _("a Word document"),
    "ppt/presentation.xml": _("a presentation"),
    "visio/document.xml": _("a drawing"),
}
# A workbook's own come first: it may hold documents.
STREAMS = {"Workbook": "", "Book": "", "WordDocument": _("a Word document"), "PowerPoint Document": _("a presentation")}
OPENDOCUMENT = "application/vnd.oasis.opendocument."
ODS_CONTENT = "content.xml"
ODS_CHARACTER = re.compile(rb"<text:(tab|line-break)(?=[ /])")  # fits less than so many bytes:
LONGEST_NAME = 32
# What the packing and the XML of a damaged file raise; an encoding that Python does not know is a LookupError.
DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, OSError, RuntimeError, ValueError),
    *(struct.error, zipfile.BadZipFile, zlib.error, expat.ExpatError, ET.ParseError),
)
CHARACTER_OF = {b"tab": b"&#9;", b"line-break": b"&#10;"}


def workbook_kind(path: Path) -> Kind:
    """Return the kind of the workbook by its content; raises InputError with a sentence where it is none."""
    if path.name.startswith("~$"):
        raise InputError(
            _("`{path}` is Excel's lock file; convert `{name}` instead").format(path=path, name=path.name[2:])
        )
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            if head.startswith(OLE):
                _refuse_old_file(path, file)
        if head.startswith((OLE, *BARE)):
            return "xls"
        if head.startswith(ZIP):
            return _zip_kind(path)
    except OSError as error:
        raise InputError(
            _("`{path}` cannot be read: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error
    if not head:
        raise InputError(_("`{path}` is empty; save or download it again").format(path=path))
    if head.startswith((GZIP, ZSTD)):
        raise InputError(_("`{path}` is a packed workbook; unpack it first").format(path=path))
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise InputError(
            _("`{path}` is a web page or XML under a workbook's name; open it in Excel and save it as .xlsx").format(
                path=path
            )
        )
    raise InputError(_("`{path}` is not a workbook, or is truncated; save or download it again").format(path=path))


def _refuse_old_file(path: Path, file: IO[bytes]) -> None:
    """Raise InputError for a file with streams, as .xls is one, that is encrypted or another program's."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(ENCRYPTED) >= 0:
            raise InputError(
                _("`{path}` is encrypted; open it in Excel and save it without a password").format(path=path)
            )
        names = (name for name in STREAMS if content.find(name.encode("utf-16-le")) >= 0)
        what = STREAMS[next(names, "Workbook")]
    _refuse_document(path, what)


def _refuse_document(path: Path, what: str) -> None:
    """Raise InputError for a document that is `what`; for "", which is none, return."""
    if what:
        raise InputError(
            _("`{path}` is {what}, not a workbook; copy its table into a workbook and save it as .xlsx").format(
                path=path, what=what
            )
        )


def _zip_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as package:
            parts = package.infolist()
            document = _opendocument_kind(package)
    except DAMAGE as error:
        raise InputError(_("`{path}` is a truncated workbook; save or download it again").format(path=path)) from error
    for info in parts:
        if info.file_size > max(HARMLESS_SIZE, MOST_PACKED * info.compress_size):
            raise InputError(
                _(
                    "`{path}` would unpack to {file_size} MiB from {size} KiB (`{filename}`), as "
                    "no real workbook does; it looks malicious"
                ).format(
                    path=path,
                    file_size=info.file_size // MIB,
                    size=info.compress_size // 1024,
                    filename=info.filename,
                )
            )
    names = _parts_by_name(parts)
    if "xl/workbook.bin" in names:
        return "xlsb"
    if "content.xml" in names:
        _refuse_document(
            path,
            _("an OpenDocument {document}").format(document=document) if document not in {"", "spreadsheet"} else "",
        )
        return "ods"
    if "_rels/.rels" in names:
        _refuse_document(path, next((DOCUMENT_PARTS[name] for name in DOCUMENT_PARTS if name in names), ""))
        return "xlsx"
    held = joined(", ", (f"`{part.filename}`" for part in parts[:3])) or _("nothing")
    raise InputError(_("`{path}` is a zip archive, not a workbook; it holds {held}").format(path=path, held=held))


def _opendocument_kind(package: zipfile.ZipFile) -> str:
    """Return what an OpenDocument file says that it is, such as `text`; "" where it does not."""
    try:
        with package.open("mimetype") as file:
            kind = file.read(len(OPENDOCUMENT) + LONGEST_NAME).decode("ascii", "replace").strip()
    except (KeyError, *DAMAGE):
        return ""
    return kind.removeprefix(OPENDOCUMENT).partition("-")[0] if kind.startswith(OPENDOCUMENT) else ""


def _parts_by_name(parts: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the parts by name as they are referred to, whatever their case and slashes."""
    return {info.filename.lower().replace("\\", "/"): info for info in parts}


class SheetFindings(NamedTuple):
    """What the search of a sheet has found: its cells without a value, None where it has none, and its hidden rows."""

    errors: BadCells | None
    hidden: int


def search_sheets(path: Path, kind: Kind, sheets: Iterable[str]) -> dict[str, SheetFindings]:
    """Return what is found in those of the `sheets` of an .xlsx or .ods that can be searched.

    The sheets are searched at once, and their errors parsed when they are wanted. Raises InputError where a text is
    beyond all measure.
    """
    try:
        with zipfile.ZipFile(path) as package:
            if kind == "ods":
                return {name: SheetFindings(None, hidden) for name, hidden in _hidden_in_ods(package).items()}
            members, texts = _sheet_parts(package)
            for text in texts:
                _search_part(path, package, text)
            found = {}
            for sheet in sheets:
                if part := members.get(sheet):
                    bad, hidden = _search_part(path, package, part)
                    found[sheet] = SheetFindings(_parse_bad_cells(path, part) if bad else None, hidden)
            return found
    except InputError:
        raise
    except DAMAGE:
        return {}  # damaged: whoever reads the rows says so


def _sheet_parts(package: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], list[zipfile.ZipInfo]]:
    """Return the parts that hold the sheets, by name, and those of the texts that sheets share."""
    named = _parts_by_name(package.infolist())

    def part(name: str) -> bytes:
        with package.open(named[name.lower()]) as file:
            return file.read(LONGEST_TEXT)

    def related(name: str) -> dict[str, tuple[str, str]]:
        """Return type and name of the parts that belong to a part, by their id."""
        folder, name = posixpath.split(name)
        tree = _parse_xml(part(posixpath.join(folder, "_rels", f"{name}.rels")))
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
    for each in _parse_xml(part(book)).iterfind(".//{*}sheet"):
        key = next((value for name, value in each.items() if name.endswith("}id")), "")
        _unused, target = parts.get(key, ("", ""))
        if target.lower() in named:
            members[each.get("name", "")] = named[target.lower()]
    texts = [name.lower() for kind, name in parts.values() if kind == "sharedStrings"]
    return members, [named[name] for name in texts if name in named]


def _parse_xml(text: bytes) -> ET.Element:
    # expat itself bounds what entities can grow to.
    return ET.fromstring(text, ET.XMLParser(encoding=_encoding(text)))  # noqa: S314


def _encoding(text: bytes) -> str | None:
    """Return "utf-8" where a part declares an encoding that it cannot be read by; the fast reader takes it so."""
    text = text.removeprefix(b"\xef\xbb\xbf")
    if text.startswith(b"<?xml"):
        try:
            expat.ParserCreate().Parse(text[: text.find(b"?>") + 2])
        except (LookupError, ValueError, expat.ExpatError):
            return "utf-8"
    return None


def _search_part(path: Path, package: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[bool, int]:
    """Tell whether a part may hold cells without a value, and how many rows are hidden in it.

    Raises InputError for a text longer than any cell's.
    """
    bad, hidden, length = False, 0, 0
    before, formula, calculated = b"", b"</f>", False
    with package.open(member) as file:
        while chunk := file.read(MIB):
            length = 0 if b"<" in chunk else length + len(chunk)
            if length > LONGEST_TEXT:
                raise InputError(
                    _("`{path}` holds a text of more than {longest_text} MiB in one cell; shorten it").format(
                        path=path, longest_text=LONGEST_TEXT // MIB
                    )
                )
            data = before + chunk
            # Longer bytes are found sooner, and a single one soonest.
            formula = b":f>" if b":worksheet" in data[:LONGEST_TAG] else formula
            calculated = calculated or formula in data
            bad = bad or b'"e"' in data or (b"'" in data and b"'e'" in data)
            bad = bad or (calculated and any(pattern.search(data) for pattern in UNCALCULATED))
            rows, end = _count_hidden_rows(data)
            hidden += rows
            before = data[max(end, len(data) - LONGEST_TAG) :]
    return bad, hidden


def _count_hidden_rows(data: bytes) -> tuple[int, int]:
    """Return how many rows that are not empty are hidden in a piece of a sheet's XML, and where the last tag ends."""
    hidden = end = 0
    if b" hidden" in data:
        for match in HIDDEN_ROW.finditer(data):
            end = match.end()
            hidden += data[match.start() - 1 : match.start()] in {b"<", b":"}
    return hidden, end


class _BadCellParser:
    """Collects the cells of a sheet that hold no value, as its XML comes in."""

    def __init__(self, encoding: str | None) -> None:
        self.found: list[tuple[int, int, list[str]]] = []
        self._row = self._column = 0
        self._type = self._inside = ""
        # What the elements `f` and `v` of a cell hold; there is no formula without an `f`.
        self._held: dict[str, str] = {}
        parser = expat.ParserCreate(encoding)
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text
        self.parse = parser.Parse

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if name == "row":
            self._row, self._column = int(attributes.get("r", self._row + 1)), 0
        elif name == "c":
            reference = attributes.get("r", "")
            self._column = column_index(reference.rstrip("0123456789")) if reference else self._column + 1
            if not 0 < self._column <= LAST_COLUMN:
                raise ValueError(_("the cell address `{reference}` is not valid").format(reference=reference[:20]))
            self._type, self._held = attributes.get("t", "n"), {}
        self._inside = name if name in {"f", "v"} else ""
        if self._inside:
            self._held[name] = ""

    def _text(self, data: str) -> None:
        if self._inside and len(self._held[self._inside]) < FORMULA_SHOWN:
            self._held[self._inside] += data

    def _end(self, name: str) -> None:
        self._inside = ""
        if name.rpartition(":")[2] != "c":
            return
        value, formula = self._held.get("v", "").strip(), self._held.get("f")
        if self._type == "e" and (value or formula is None):
            self.found.append((self._row, self._column, [value]))
        elif formula is not None and not value and self._type != "str":  # a formula's text may be empty
            self.found.append((self._row, self._column, [f"={formula[:FORMULA_SHOWN]}", UNSTORED]))


def _parse_bad_cells(path: Path, member: zipfile.ZipInfo) -> BadCells:
    parser = None
    try:
        with zipfile.ZipFile(path) as package, package.open(member) as file:
            while chunk := file.read(MIB):
                parser = parser or _BadCellParser(_encoding(chunk))
                parser.parse(chunk)
                yield from parser.found
                parser.found.clear()
    except DAMAGE as error:
        raise InputError(
            _("`{path}` is a damaged workbook ({error}); open it in Excel and save it again").format(
                path=path, error=error
            )
        ) from error


def _hidden_in_ods(package: zipfile.ZipFile) -> dict[str, int]:
    """Return how many rows that are not empty are hidden, by the names of their sheets."""
    if not _may_hide_rows(package):
        return {}
    parser = None
    with package.open(ODS_CONTENT) as file:
        while chunk := file.read(MIB):
            parser = parser or _HiddenRowCounter(_encoding(chunk))
            parser.parse(chunk)
    return parser.found if parser else {}


def _may_hide_rows(package: zipfile.ZipFile) -> bool:
    """Tell whether the content of an .ods holds a value that hides rows, without parsing it."""
    before = b""
    with package.open(ODS_CONTENT) as file:
        while chunk := file.read(MIB):
            data = before + chunk
            if b'"collapse"' in data or b'"filter"' in data:
                return True
            before = chunk[-LONGEST_NAME:]
    return False


class _HiddenRowCounter:
    """Counts the hidden rows of an .ods that are not empty, by the names of their sheets, as its XML comes in."""

    def __init__(self, encoding: str | None) -> None:
        self.found: dict[str, int] = {}
        self._sheet = ""
        self._times = 0  # as many rows a hidden one stands for, until a value was found in it
        parser = expat.ParserCreate(encoding)
        parser.StartElementHandler = self._start
        self.parse = parser.Parse

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "table:table":
            self._sheet = attributes.get("table:name", "")
        elif name == "table:table-row":
            repeated = attributes.get("table:number-rows-repeated", "1")
            hidden = attributes.get("table:visibility") in {"collapse", "filter"}
            self._times = int(repeated) if hidden and repeated.isdecimal() else 0
        elif self._times and (name == "text:p" or "office:value" in attributes):
            self.found[self._sheet] = self.found.get(self._sheet, 0) + self._times
            self._times = 0


def with_tabs_and_breaks(file: IO[bytes]) -> IO[bytes]:
    """Return a copy of an .ods with characters for tabs and line breaks in its texts, any other file as it is.

    They are elements, `<text:tab/>`, and calamine passes over them.
    """
    with zipfile.ZipFile(file) as package:
        names = package.namelist()
        if ODS_CONTENT not in names or not any(map(ODS_CHARACTER.search, _content_pieces(package))):
            return file
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever reads it
        with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
            for name in sorted({"mimetype", "META-INF/manifest.xml"}.intersection(names), reverse=True):
                made.writestr(name, package.read(name), zipfile.ZIP_STORED)  # the type comes first, as it stands
            with made.open(ODS_CONTENT, "w", force_zip64=True) as content:
                for text in _content_pieces(package):
                    content.write(ODS_CHARACTER.sub(lambda found: CHARACTER_OF[found[1]] + found[0], text))
    return copy


def _content_pieces(package: zipfile.ZipFile) -> Iterator[bytes]:
    """Yield the content of an .ods in pieces that cut no element which `ODS_CHARACTER` finds."""
    rest = b""
    with package.open(ODS_CONTENT) as file:
        while data := rest + file.read(MIB):
            cut = data.rfind(b"<", -LONGEST_NAME) if len(data) > len(rest) else -1
            rest = b"" if cut < 0 else data[cut:]
            yield data[: len(data) - len(rest)]
