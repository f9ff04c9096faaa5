"""What a field of a record takes, in words: `a whole number of at least 1`."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

from ftbridge.language import gettext as _
from ftbridge.language import joined

SHOWN = 80  # letters of a value
HUGE = 1 << 31  # a limit from here on is named only where a value is beyond it


def wrong_value(kind: type[msgspec.Struct], values: Mapping[str, Any]) -> tuple[str, str]:
    """Return the first field of a `kind` that a value does not fit, and what it takes; "" for both where none is."""
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in values:
            continue
        value = values[field.encode_name]
        try:
            msgspec.convert(value, field.type, strict=False)
        except (msgspec.ValidationError, RecursionError, UnicodeError):
            words = _words(inspect.type_info(field.type), value)
            return (
                (field.encode_name, _("takes {words}; got {shown}").format(words=words, shown=_shown(value)))
                if words
                else ("", "")
            )
    return "", ""


def _words(kind: inspect.Type, value: Any) -> str:
    """Return what a type takes, "" for one without plain words; `value` is what did not fit."""
    if isinstance(kind, inspect.Metadata):
        return _words(kind.type, value)
    if isinstance(kind, inspect.UnionType):
        words = [_words(each, value) for each in kind.types if not isinstance(each, inspect.NoneType)]
        return joined(_(" or "), words) if all(words) else ""
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        item = _words(kind.item_type, value)
        return item and _("a list of {item}").format(item=item)
    if isinstance(kind, inspect.DictType) and not isinstance(value, dict):
        return _("`key: value` lines")  # what is wrong deeper down has no plain words
    return _plain_words(kind, value)


def _plain_words(kind: inspect.Type, value: Any) -> str:
    if isinstance(kind, inspect.LiteralType):
        *most, last = (f"`{each}`" for each in kind.values)
        return _("{most} or {last}").format(most=joined(", ", most), last=last) if most else last
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        number = _("a whole number") if isinstance(kind, inspect.IntType) else _("a number")
        limits = _limits(kind, value)
        return joined(" ", (number, joined(_(" and "), limits))) if limits else number
    return {inspect.BoolType: _("true or false"), inspect.StrType: _("text")}.get(type(kind), "")


def _limits(kind: inspect.IntType | inspect.FloatType, value: Any) -> list[str]:
    limits = [(kind.ge, _("of at least")), (kind.gt, _("above")), (kind.le, _("of at most")), (kind.lt, _("below"))]
    beyond = value if isinstance(value, int | float) else 0
    return [
        joined(" ", (word, f"{limit:.10g}"))
        for limit, word in limits
        if limit is not None and (limit < HUGE or beyond >= limit)
    ]


def _shown(value: Any) -> str:
    """Return a value as its file or the command line has it, the beginning where it is long."""
    if value is None:
        return _("nothing")
    text = str(value)
    if isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, float):
        text = f"{value:.15g}"
    elif isinstance(value, tuple):  # as an option takes several
        text = ",".join(map(str, value))
    return f"`{text[:SHOWN]}{'...' if len(text) > SHOWN else ''}`"
