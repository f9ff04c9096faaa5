"""From bytes to text: UTF-8 wherever a file is that, else by the mark at its start, else guessed.

A guess is made on lines that hold more than ASCII, and is told to the user.
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftbridge.adapters.sources.compression import first_bytes, open_unpacked
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.language import gettext as _

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark this one begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Where several fit equally well, the first is taken; cp950, cp932 and cp949 are Big5, Shift JIS and EUC-KR as
# Windows writes them.
CHINESE_CODECS = ("gb18030", "cp950")
FREQUENT_CODECS = (*CHINESE_CODECS, "cp1252", "latin_1")
ALL_CODECS = (*FREQUENT_CODECS, "cp932", "cp949", "cp1251")
# With fewer bytes than this that are not ASCII, only the frequent ones are guessed.
FEW_BYTES = 8
BLOCK = 1 << 20
PIECE_SIZE = 1 << 17
SAMPLE_SIZE = 64 << 10
# A file that is ASCII up to here is taken for UTF-8; what does not decode later is an error of its row.
SEARCHED = 64 << 20


class Encoding(msgspec.Struct, frozen=True):
    """A codec's name, and how it was found: `asked` for, `guessed`, or neither where the file says it."""

    codec: str = "utf-8"
    asked: bool = False
    guessed: bool = False

    @property
    def note(self) -> str:
        """What the user should know; "" for UTF-8 and for what was asked for."""
        if self.asked or self.codec == "utf-8":
            return ""
        return (
            _("read as {codec} (guessed; `--encoding` decides)").format(codec=self.codec)
            if self.guessed
            else _("read as {codec}").format(codec=self.codec)
        )


def find_encoding(path: Path, asked: str = "", guesses: tuple[str, ...] = ALL_CODECS) -> Encoding:
    """Return the encoding of a text file, packed or not: as `asked`, else as found among UTF-8, 16, 32 and `guesses`.

    Raises UsageError for a codec that Python does not know, InputError where most of the text does not fit it.
    """
    head = first_bytes(path)
    if not asked:
        if codec := _detect_unicode(head):
            return Encoding(codec)
        sample = _sample_lines(path)
        return Encoding() if _mostly_decodes(sample, "utf-8") else _guess_encoding(sample, guesses)
    try:
        b"\0\0\0\0".decode(asked, "surrogateescape")  # idna, for one, cannot pass over damage
        codec = codecs.lookup(asked).name
    except (LookupError, ValueError) as error:
        raise UsageError(
            _("`--encoding` takes a codec of Python's, such as utf-8 or gb18030; got `{asked}`").format(asked=asked)
        ) from error
    if codec in {"utf-16", "utf-32"}:  # the order of the bytes is told, or as Windows has it
        codec = _detect_unicode(head) if _detect_unicode(head).startswith(codec) else f"{codec}-le"
    if not _mostly_decodes(head if codec.startswith(("utf-16", "utf-32")) else _sample_lines(path), codec):
        raise InputError(
            _("`{path}` is not in {asked}; give another `--encoding`, or leave it out").format(path=path, asked=asked)
        )
    return Encoding(codec, asked=True)


def as_utf8(head: bytes) -> bytes:
    """Return the beginning of a file as UTF-8 without a mark, where its encoding can be told from there."""
    codec = _detect_unicode(head) or "utf-8"
    text = head if codec == "utf-8" else head.decode(codec, "replace").encode()
    return text.removeprefix(codecs.BOM_UTF8)


class DecodedText:
    """The text of a file in pieces of about 128 KiB, without a mark at its start.

    Bytes that do not decode become halves of surrogate pairs, and `damaged` is true from then on.
    Raises InputError where the file cannot be read, or not even so much.
    """

    def __init__(self, path: Path, codec: str) -> None:
        self._path = path
        self._codec = codec
        self.damaged = False

    def __iter__(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self._codec)()
        with open_unpacked(self._path) as file:
            start, data = True, b" "
            while data:
                data = file.read(PIECE_SIZE)
                piece = self._decode(decoder, data)
                yield piece.removeprefix("\ufeff") if start else piece
                start = start and not piece

    def _decode(self, decoder: codecs.IncrementalDecoder, data: bytes) -> str:
        state = decoder.getstate()
        try:
            return decoder.decode(data, final=not data)
        except UnicodeDecodeError:
            self.damaged = True
        decoder.setstate(state)
        decoder.errors = _error_handler(self._codec)
        try:
            return decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise InputError(
                _("`{path}` is damaged: it cannot be read as {codec}: {error}").format(
                    path=self._path, codec=self._codec, error=error
                )
            ) from error


def utf8_blocks(path: Path, encoding: Encoding) -> Iterator[bytes]:
    """Yield the file as UTF-8, without a mark, in blocks of about a MiB; what is damaged stays invalid."""
    if encoding.codec != "utf-8":
        yield from (piece.encode("utf-8", "surrogatepass") for piece in DecodedText(path, encoding.codec))
        return
    with open_unpacked(path) as file:
        yield file.read(BLOCK).removeprefix(codecs.BOM_UTF8)
        while data := file.read(BLOCK):
            yield data


def _error_handler(codec: str) -> str:
    return "surrogatepass" if codec.startswith(("utf-16", "utf-32")) else "surrogateescape"


def _detect_unicode(head: bytes) -> str:
    """Return the encoding that the mark at the start tells, or the places of the zero bytes; "" for neither."""
    for mark, codec in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return codec
    even, odd = head[::2].count(0), head[1::2].count(0)
    # In UTF-16 all ASCII characters have a zero byte, on the same side, and a few others, such as 一, on the other one;
    # a cell of another file may hold a few.
    least = len(head) / (4 if _mostly_decodes(head, "utf-8") else 100)
    if len(head) % 2 or 2 * min(even, odd) >= max(even, odd) or even + odd < least:
        return ""
    return "utf-16-be" if even > odd else "utf-16-le"


def _sample_lines(path: Path) -> bytes:
    """Return lines that hold more than ASCII, about 64 KiB of them; b"" where there are none."""
    sample, searched = b"", 0
    with open_unpacked(path) as file:
        while len(sample) < SAMPLE_SIZE and searched < SEARCHED and (block := file.read(BLOCK)):
            block += file.readline(LONGEST)
            searched += len(block)
            if not block.isascii():
                sample += b"\n".join(line for line in block.split(b"\n") if not line.isascii()) + b"\n"
    if len(sample) <= SAMPLE_SIZE:
        return sample
    # These characters are never the second half of another one.
    whole = re.match(rb"(?s).*[\n -/]", sample[:SAMPLE_SIZE])
    return whole[0] if whole else sample[:SAMPLE_SIZE]


def _mostly_decodes(data: bytes, codec: str) -> bool:
    """Tell whether most of what is not ASCII in `data` decodes; its end may be cut off."""
    try:
        text = codecs.getincrementaldecoder(codec)(_error_handler(codec)).decode(data)
    except UnicodeDecodeError:
        return False
    broken = len(re.findall("[\ud800-\udfff]", text))
    return broken * 2 <= sum(not char.isascii() for char in text)


def _guess_encoding(sample: bytes, guesses: tuple[str, ...]) -> Encoding:
    """Return the likeliest of `guesses`, UTF-8 where none fits."""
    from charset_normalizer import from_bytes

    if sum(byte > 127 for byte in sample[:SAMPLE_SIZE]) < FEW_BYTES:  # noqa: PLR2004 - the last of ASCII
        guesses = tuple(guess for guess in guesses if guess in FREQUENT_CODECS)
    found = from_bytes(sample, cp_isolation=list(guesses), threshold=1)
    best = min(found, key=lambda each: (each.chaos, -each.coherence, guesses.index(each.encoding)), default=None)
    return Encoding(best.encoding, guessed=True) if best else Encoding()
