"""The words of a report, in English or Chinese, and how its numbers are written."""

import locale
import math
import os
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import msgspec

from ftbridge.core.console import escaped
from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.json_yaml import load_yaml
from ftbridge.evaluation.record import Figure
from ftbridge.language import gettext as _

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
# Figures that are no shares of 1.
PLAIN = {"kappa", "answer_length", "reference_length", "unreadable", "loss", "validation_loss"}
_DECIMALS = {"kappa": 3, "loss": 4, "validation_loss": 4}
LEAST_P = 0.0001
MINUS, NOTHING = "\u2212", "\u2013"  # a dash stands for what is not there
PERCENT = "\u202f%"  # with a narrow blank that is no place for a line to end


class Words:
    """Says what the words of a key are in one language, with values put in."""

    def __init__(self, language: Language) -> None:
        """Speak this language."""
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        """Return the words of `key`; raises KeyError where there are none, or a value is missing."""
        return all_words()[key][self.language].format(**values)

    def known(self, key: str, otherwise: str) -> str:
        """Return the words of a key that comes from a file, such as a figure's name, else what else is said."""
        return self(key) if key in all_words() else otherwise

    def name(self, figure: str) -> str:
        """Return what a figure is called."""
        return self.known(f"figure_{figure}", figure)

    def number(self, figure: str, value: float) -> str:
        """Return the value of a figure as it is shown."""
        if math.isnan(value):
            return NOTHING
        text = f"{value:.{_DECIMALS.get(figure, 1)}f}" if figure in PLAIN else percent(value)
        return _signed(text)

    def interval(self, name: str, figure: Figure, key: str = "interval") -> str:
        """Return the ends of a figure's interval, in the words of `key`."""
        low, high = (self.number(name, value).removesuffix(PERCENT) for value in (figure.low, figure.high))
        return self(key, low=low, high=high, unit="" if name in PLAIN else PERCENT)

    def join(self, *sentences: str) -> str:
        """Return sentences, one after the other; Chinese has no blanks between them."""
        return ("" if self.language == "zh" else " ").join(filter(None, sentences))

    def duration(self, seconds: float | None) -> str:
        """Return how long something took, by its two largest units."""
        if seconds is None:
            return NOTHING
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        units = (("hours", hours), ("minutes", minutes), ("seconds", rest))
        given = [self(f"unit_{name}", number=f"{number:,}") for name, number in units if number]
        return " ".join(given[:2]) if given else self("unit_seconds", number=0)

    def time(self, value: datetime) -> str:
        """Return a time of the local clock, to the minute."""
        return f"{value.astimezone():%Y-%m-%d %H:%M}"


def percent(value: float) -> str:
    """Return a share of 1 in percent, with one decimal."""
    return f"{100 * value:.1f}{PERCENT}"


def points(value: float) -> str:
    """Return a difference of shares in percentage points, without its sign."""
    return f"{100 * abs(value):.1f}"


def signed_points(value: float) -> str:
    """Return a difference of shares in percentage points, with its sign; what is nothing has none."""
    text = f"{100 * value:+.1f}"
    return _signed(text) if float(text) else "0.0"


def _signed(text: str) -> str:
    """Return a number with a minus that is one, and none before what is nothing."""
    return text.replace("-", MINUS if any(digit in text for digit in "123456789") else "")


def p_value(value: float) -> str:
    """Return how a p-value is written: `p = 0.04`, `p < 0.0001`."""
    return f"p = {value:.2g}" if value >= LEAST_P else f"p < {LEAST_P}"


def shown(text: str) -> str:
    """Return a text of somebody else's with all that a page or a cell would obey, or not take, as escapes."""
    return escaped(text.encode("utf-8", "backslashreplace").decode())


def language_of(wanted: str) -> Language:
    """Return the language that is meant, `auto` the one of the locale; raises UsageError for any other."""
    if wanted == "auto":
        names = [os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
        spoken = next(filter(None, names), "") or locale.getlocale()[0] or ""
        return "zh" if spoken.lower().startswith("zh") else "en"
    for language in LANGUAGES:
        if wanted == language:
            return language
    raise UsageError(_("there is no report in the language `{wanted}`; take en, zh or auto").format(wanted=wanted))


@cache
def all_words() -> dict[str, dict[str, str]]:
    """Return all words by key and language."""
    text = files("ftbridge.evaluation.report").joinpath("words.yaml").read_text("utf-8")
    values: dict[str, Any] = load_yaml(text, "words.yaml")
    return msgspec.convert(values, dict[str, dict[str, str]])
