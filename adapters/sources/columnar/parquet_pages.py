"""What the pages of a parquet file say before they are unpacked: how much they hold.

The footer tells only sums, which a file may get wrong, and nothing of values that a dictionary holds once and rows
repeat. Each page has a header of its own (https://parquet.apache.org/docs/file-format/data-pages/), a struct in
Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
"""

from typing import IO, Any

from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _

# What a page may unpack to: those of most writers have a MiB, or 1,024 rows where these are longer.
LARGEST_PAGE = 256 << 20
# Fields of a page's header, and the kind of page that holds a dictionary.
KIND, UNPACKED, PACKED, DATA, DICTIONARY, DATA_2 = 1, 2, 3, 5, 7, 8
OF_DICTIONARY = 2
# The encoding in which a value begins with a part of the one before.
DELTA_BYTE_ARRAY = 7
# Kinds of fields in Thrift's protocol: truths, whole numbers, text, structs.
TRUTHS, NUMBERS, TEXT, STRUCT = {1, 2}, {4, 5, 6}, 8, 12


def longest_repeated(file: IO[bytes], chunk: Any) -> int:
    """Return the size of the longest value that rows of a column chunk, as pyarrow describes it, may repeat.

    It is 0 where none is repeated, and an upper bound where that is not told. Raises InputError for a page of more
    than `LARGEST_PAGE` bytes; for damage ValueError, LookupError, TypeError or AttributeError.
    """
    seen = longest = 0
    file.seek(min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0))
    while seen < chunk.num_values:
        header = _read_struct(file)
        if header[UNPACKED] > LARGEST_PAGE:
            raise InputError(
                _(
                    "`{name}` has a page of {header} MiB in its column `{path_in_schema}`; the limit is "
                    "{largest_page} MiB: write it in row groups of fewer rows, and look for a huge value"
                ).format(
                    name=file.name,
                    header=header[UNPACKED] >> 20,
                    path_in_schema=chunk.path_in_schema,
                    largest_page=LARGEST_PAGE >> 20,
                )
            )
        if header[PACKED] < 0:
            raise ValueError(_("the header of a page is damaged"))
        if header[KIND] == OF_DICTIONARY:
            longest = _longest_in_dictionary(file.read(header[PACKED]), header, chunk)
        else:
            file.seek(header[PACKED], 1)
        old, new = header.get(DATA, {}), header.get(DATA_2, {})
        if DELTA_BYTE_ARRAY in {old.get(2), new.get(4)}:
            longest = max(longest, header[UNPACKED])
        seen += old.get(1, 0) + new.get(1, 0)
    return longest


def _longest_in_dictionary(page: bytes, header: dict[int, Any], chunk: Any) -> int:
    """Return the size of the longest value of a dictionary."""
    import pyarrow as pa

    size, count = int(header[UNPACKED]), int(header[DICTIONARY][1])
    if chunk.physical_type != "BYTE_ARRAY":
        return size // max(count, 1)
    if chunk.compression == "LZ4":  # of which there are three kinds
        return size
    if chunk.compression != "UNCOMPRESSED":
        page = pa.decompress(page, size, chunk.compression.lower(), asbytes=True)
    at = longest = 0
    while at < len(page):  # each value follows its length
        length = int.from_bytes(page[at : at + 4], "little")
        at, longest = at + 4 + length, max(longest, length)
    return longest


def _read_struct(file: IO[bytes], depth: int = 0) -> dict[int, Any]:
    """Return the numbers and structs in a struct by the numbers of their fields."""
    fields: dict[int, Any] = {}
    number = 0
    while head := file.read(1)[0]:
        step, kind = head >> 4, head & 15
        number = number + step if step else _read_number(file)
        if kind in NUMBERS:
            fields[number] = _read_number(file)
        elif kind == TEXT:
            file.seek(_read_varint(file), 1)
        elif kind == STRUCT and depth < 4:  # noqa: PLR2004 - statistics are two deep
            fields[number] = _read_struct(file, depth + 1)
        elif kind not in TRUTHS:
            raise ValueError(_("the header of a page is damaged"))
    return fields


def _read_varint(file: IO[bytes]) -> int:
    value = shift = 0
    while (byte := file.read(1)[0]) & 128 and shift < 63:  # noqa: PLR2004 - bits of the largest number
        value |= (byte & 127) << shift
        shift += 7
    return value | byte << shift


def _read_number(file: IO[bytes]) -> int:
    """Return a number with a sign, whose last bit that is."""
    value = _read_varint(file)
    return value >> 1 ^ -(value & 1)
