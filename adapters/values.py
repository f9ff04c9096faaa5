"""Cell and JSON values as text, in one place for all sources.

`69.0` is `"69"`, `None` is `""`, a JSON `true` is `"true"`; a list is no text.
"""

from typing import Any

import msgspec

# Above this a float no longer holds every whole number, and digits written out would be made up.
EXACT = 2**53


class BadCell(msgspec.Struct, frozen=True):
    """A cell that is there and holds no value, such as `#N/A`; it is wrong only where its column is used."""

    value: str


class BadValueError(ValueError):
    """A value that is no text; the message says why."""


def text(value: Any) -> str:
    """Return `value` as the text a person sees; raises BadValueError where there is none."""
    if isinstance(value, str):
        if "\0" in value:
            raise BadValueError("holds a NUL character")
        return value
    if isinstance(value, msgspec.Raw):
        value = plain(value)
        return text(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - only NaN is not itself
            raise BadValueError("is not a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    if isinstance(value, BadCell):
        raise BadValueError("is an error value of the workbook")
    if isinstance(value, (dict, list, tuple, bytes)):
        kinds = {"dict": "an object", "bytes": "bytes"}
        raise BadValueError(f"holds {kinds.get(type(value).__name__, 'a list')}, not text")
    return str(value)


def plain(value: Any) -> Any:
    """Return `value` decoded where it is JSON as it stood in the source; a number out of range stays as written."""
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.ValidationError:
        return bytes(value).decode()


def shown(value: Any, width: int = 40) -> str:
    """Return `value` on one line, shortened to `width` characters, for a message."""
    value = plain(value)
    line = value.value if isinstance(value, BadCell) else value if isinstance(value, str) else repr(value)
    line = "".join(char if char.isprintable() else " " for char in line[: width * 2])
    return line if len(line) <= width else line[: width - 1] + "…"
