"""Messages and help in the user's language, by gettext catalogues: English, which is in the code, and Chinese.

A message stands in the code as `_("run {id} failed").format(id=run.id)`: `_` is the `gettext` of this module, and the
catalogue has the template. The language is that of FTBRIDGE_LANG, else that of the locale.
"""

import gettext as library
import os
from functools import cache
from typing import Any, Self

DOMAIN = "ftbridge"
FOLDER = os.path.dirname(__file__)  # noqa: PTH120 - pathlib is not imported by `--help`


class Message(str):
    """A message in the user's language that knows its English, which is what records and logs hold."""

    __slots__ = ("english",)
    english: str

    def __new__(cls, text: str, english: str) -> Self:
        """Return the text, and the same in English."""
        message = super().__new__(cls, text)
        message.english = english
        return message

    def format(self, *values: Any, **named: Any) -> "Message":
        """Return the message with the values in it, those that are messages themselves in the language of each."""
        text = super().format(*values, **named)
        in_english = {name: english(value) for name, value in named.items()}
        return Message(text, self.english.format(*map(english, values), **in_english))


def gettext(text: str) -> str:
    """Return a text of the code in the user's language; English where the catalogue does not have it."""
    catalogue = _catalogue()
    return Message(catalogue.gettext(text), text) if catalogue else text


def english(message: Any) -> Any:
    """Return the English of a message, or of an error with one; anything else as it is."""
    return getattr(message, "english", message)


def language() -> str:
    """Return the language of messages: `en` or `zh`."""
    return "zh" if _catalogue() else "en"


@cache
def _catalogue() -> library.GNUTranslations | None:
    """Return the catalogue of the user's language, None for English."""
    chosen = os.environ.get("FTBRIDGE_LANG", "").replace("-", "_")
    try:
        found = library.translation(DOMAIN, FOLDER, [chosen] if chosen else None)
    except FileNotFoundError:
        return None
    return found if isinstance(found, library.GNUTranslations) else None
