"""Messages and help in the user's language, by gettext catalogues: English, which is in the code, and Chinese.

A message is in the code as `_("run {id} failed").format(id=run.id)`: `_` is the `gettext` of this module, and the
catalogue has the template. The language is that of FTBRIDGE_LANG, else that of the locale; English where stdout or
stderr cannot show Chinese. `python -m tests.language.messages` keeps the catalogue.
"""

import gettext as library
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Self

DOMAIN = "ftbridge"
FOLDER = os.path.dirname(__file__)  # noqa: PTH120 - pathlib is not imported by `--help`
SEPARATORS = {", ": "、", "; ": "；", ": ": "："}  # what stands between messages, as Chinese has it
COUNTED = "counted"  # the context of nouns that follow a number, which Chinese gives a measure word


class Message(str):
    """A message in the user's language that knows its English, which is what records and logs hold."""

    __slots__ = ("english",)
    english: str

    def __new__(cls, text: str, english: str) -> Self:
        """Return the text, and the same in English."""
        message = super().__new__(cls, text)
        message.english = english
        return message

    def __str__(self) -> str:
        """Return the message itself, so that `str` of an error with one keeps its English."""
        return self

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Return what another process makes the same message of."""
        return self[:], self.english

    def __add__(self, more: str) -> "Message":
        """Return the message with more behind it."""
        return Message(self[:] + more, self.english + english(more))

    def __radd__(self, before: str) -> "Message":
        """Return the message with something before it."""
        return Message(before + self[:], before + self.english)

    def format(self, *values: Any, **named: Any) -> "Message":
        """Return the message with the values in it, those that are messages themselves in the language of each.

        Between Chinese and other letters there is a blank, between Chinese and a Chinese message none, whatever the
        template has there.
        """
        text = _filled(self[:], values, named)
        in_english = {name: english(value) for name, value in named.items()}
        return Message(text, self.english.format(*map(english, values), **in_english))


def _filled(template: str, values: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Return a Chinese template with values in it, with blanks as Chinese has them where a value begins and ends."""
    from string import Formatter  # English does without

    formatter, text, translated = Formatter(), "", False
    for literal, name, spec, conversion in formatter.parse(template):
        text = _beside(text, literal, translated=translated)
        if name is not None:
            value = formatter.convert_field(formatter.get_field(name, values, named)[0], conversion)
            piece = formatter.format_field(value, spec or "")
            translated = isinstance(piece, Message)
            text = _beside(text, piece, translated=translated)
    return text


def _beside(text: str, piece: str, *, translated: bool) -> str:
    """Return a text with a piece behind it, with a blank between Chinese and Latin, and none beside what is Chinese."""
    before, last, first, after = text[-2:-1], text[-1:], piece[:1], piece[1:2]
    if translated and last == " " and _is_chinese(before) and _is_chinese(first):
        return text[:-1] + piece
    if translated and first == " " and _is_chinese(last) and _is_chinese(after):
        return text + piece[1:]
    mixed = (_is_chinese(last) and _is_latin(first, "`-/~<")) or (_is_latin(last, "`%)") and _is_chinese(first))
    return f"{text} {piece}" if mixed else text + piece


def _is_chinese(letter: str) -> bool:
    return "\u4e00" <= letter <= "\u9fff"


def _is_latin(letter: str, marks: str) -> bool:
    return (letter.isascii() and letter.isalnum()) or letter in tuple(marks)


_PLAIN: set[Any] = {object.__str__, str.__str__}  # of types whose values are no messages, or are texts themselves


def gettext(text: str) -> str:
    """Return a text of the code in the user's language; English where the catalogue does not have it."""
    catalogue = _catalogue()
    return Message(catalogue.gettext(text), text) if catalogue and text and not isinstance(text, Message) else text


def ngettext(one: str, several: str, number: int) -> str:
    """Return the text of the code for a number of things, in the user's language."""
    catalogue, text = _catalogue(), one if number == 1 else several
    return Message(catalogue.ngettext(one, several, number), text) if catalogue else text


def to_translate(text: str) -> str:
    """Return a text as it is, which is translated where it is shown: the names in records are in English."""
    return text


def counted_noun(noun: str) -> str:
    """Return a noun as it follows a number: with its measure word in Chinese, else as it is."""
    catalogue = _catalogue()
    return catalogue.pgettext(COUNTED, noun) if catalogue else noun


def joined(separator: str, messages: Iterable[Any]) -> str:
    """Return messages as one, with the punctuation of the user's language, which knows its English as well."""
    parts = list(messages)
    if not _catalogue():
        return separator.join(map(str, parts))
    text = SEPARATORS.get(separator, separator).join(map(str, parts))
    return Message(text, str(english(separator)).join(str(english(part)) for part in parts))


def english(message: Any) -> Any:
    """Return the English of a message, of an error with one, or of what is shown as one; anything else as it is."""
    if isinstance(message, Exception) and not hasattr(message, "english"):
        return english(message.args[0]) if len(message.args) == 1 else message
    shown = message if type(message).__str__ in _PLAIN else str(message)
    return getattr(shown, "english", message)


def language() -> str:
    """Return the language of messages: `en` or `zh`."""
    return "zh" if _catalogue() else "en"


def translate_click() -> None:
    """Let click say its own texts, such as `Usage:`, in the language of messages; child processes take it, too."""
    os.environ["LANGUAGE"] = language()
    library.bindtextdomain(DOMAIN, FOLDER)
    library.textdomain(DOMAIN)


@cache
def _catalogue() -> library.GNUTranslations | None:
    """Return the catalogue of the user's language, None for English."""
    chosen = os.environ.get("FTBRIDGE_LANG", "").replace("-", "_")
    try:
        found = library.translation(DOMAIN, FOLDER, [chosen] if chosen else None)
        for stream in (sys.stdout, sys.stderr):
            "中文".encode(getattr(stream, "encoding", None) or "utf-8")
    except (FileNotFoundError, LookupError, UnicodeEncodeError):
        return None
    return found
