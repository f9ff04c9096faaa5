"""Values as Excel displays them by a cell's number format: `0.256` under `0.0%` is `25.6%`.

A format has up to four sections, for positive and negative numbers, zero and text, or conditions such as `[>=1000]`
(ECMA-376 part 1, 18.8.31). Colours, and what only fills a width (`_x`, `*x`, `?`), are no text and left out. Names of
months and days are English: a format that asks for another language, or for Chinese numerals, is not known.
"""

import datetime as dt
import operator
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cache
from itertools import takewhile
from typing import Any, NamedTuple

EPOCH = dt.datetime(1899, 12, 30)  # noqa: DTZ001 - a sheet's dates have no zone
DAY = dt.timedelta(days=1)
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Format 14 under openpyxl's name: the short date of the country that Excel is set to, here the American one.
SHORT_DATE = ("mm-dd-yy", "m/d/yyyy")
TOKEN = re.compile(
    r"""(?P<end>;)
    |"(?P<quoted>[^"]*)"
    |\\(?P<escaped>.)
    |\[\$(?P<currency>[^\]-]*)-?(?P<language>[^\]]*)\]
    |(?P<dropped>[_*].|\[(?:black|blue|cyan|green|magenta|red|white|yellow|color\ ?\d+)\])
    |\[(?P<condition>(?:<>|[<>]=?|=)-?[\d.]+)\]
    |\[(?P<elapsed>h+|m+|s+)\]
    |(?P<noon>AM/PM|A/P|上午/下午)
    |(?P<general>General)
    |E(?P<exponent>[+-])
    |(?P<date>y+|m+|d+|h+|s+|e)
    |(?P<digit>[0#?])
    |(?P<point>\.)
    |(?P<comma>,)
    |(?P<percent>%)
    |(?P<slash>/)
    |(?P<text>@)
    |(?P<plain>[-+$\ ():!^&'~{}<>=1-9]|[^\x00-\x7f])""",
    re.IGNORECASE | re.VERBOSE,
)
LITERALS = {"quoted", "escaped", "currency", "plain"}
TIMES = {"date", "elapsed", "minute", "noon"}
RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<>": operator.ne,
}
ENGLISH = re.compile("|.*09|F[48]00|en-.*|x-sys.*", re.IGNORECASE)
# Excel computes with so many digits, and `General` shows so many characters before it takes an exponent.
PRECISION = 15
# Excel's own limit for a format ([MS-XLS] 2.4.126); a longer one can cost seconds for each cell.
LONGEST_FORMAT = 255
GENERAL_WIDTH = 11


class Token(NamedTuple):
    """A part of a section: its kind is one of the groups of TOKEN, or "literal", or "minute"."""

    kind: str
    text: str


class Section(NamedTuple):
    """A section of a format, and the condition under which it holds."""

    tokens: tuple[Token, ...]
    condition: str

    def has(self, *kinds: str) -> bool:
        """Tell whether a token of one of `kinds` is there."""
        return any(token.kind in kinds for token in self.tokens)


def is_known_format(code: str) -> bool:
    """Tell whether a number format, as in `numFmt formatCode`, is one whose text `displayed_text` can tell."""
    return _parse_sections(code) is not None


def displayed_text(value: Any, code: str) -> str | None:
    """Return the text that Excel displays for a stored `value`; None where the format is unknown or does not fit."""
    sections = _parse_sections(code)
    if sections is None:
        return None
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str):
        pieces = (value if each.kind == "text" else each.text for each in sections[-1].tokens)
        return "".join(pieces) if _has_text_section(sections) else value
    try:
        return _format_number(value, sections)
    except (ArithmeticError, ValueError):
        return None


@cache
def _parse_sections(code: str) -> tuple[Section, ...] | None:
    """Return the sections of a format, None where it is not known."""
    if len(code) > LONGEST_FORMAT:
        return None
    code = code.replace(*SHORT_DATE) or "General"
    sections: list[list[Token]] = [[]]
    at = 0
    while at < len(code):
        match = TOKEN.match(code, at)
        if not match:
            return None
        at = match.end()
        if match.lastgroup == "end":
            sections.append([])
        else:
            sections[-1] += _tokens_of_match(match)
    read = [_parse_section(section) for section in sections[:4]]
    return None if None in read else tuple(section for section in read if section)


def _tokens_of_match(match: re.Match[str]) -> list[Token]:
    """Return the tokens of a match of TOKEN: two for a currency with its language, none for what is no text."""
    kind = str(match.lastgroup)
    if kind == "dropped":
        return []
    if kind == "language":
        return [Token("literal", match["currency"]), Token("language", match["language"])]
    if kind in LITERALS:
        return [Token("literal", match[kind])]
    return [Token(kind, match[kind].lower() if kind in {"date", "elapsed"} else match[kind])]


def _parse_section(tokens: list[Token]) -> Section | None:
    """Return a section, None where names are asked for in another language."""
    english = all(ENGLISH.fullmatch(token.text) for token in tokens if token.kind == "language")
    names = any(token.kind == "date" and token.text[:3] in {"mmm", "ddd"} for token in tokens)
    if names and not english:
        return None
    condition = "".join(token.text for token in tokens if token.kind == "condition")
    shown = [token for token in tokens if token.kind not in {"language", "condition"}]
    return Section(tuple(_with_minutes(shown)), condition)


def _with_minutes(tokens: list[Token]) -> list[Token]:
    """Return the tokens with those of `m` as minutes that stand next to hours or seconds; the others are months."""
    times = [at for at, token in enumerate(tokens) if token.kind in TIMES]
    texts = ["", *(tokens[at].text for at in times), ""]
    found = [*tokens]
    for at, before, text, after in zip(times, texts, texts[1:], texts[2:], strict=False):
        next_to_time = before[:1] == "h" or after[:1] == "s"
        if next_to_time and tokens[at].kind == "date" and text in {"m", "mm"}:
            found[at] = Token("minute", text)
    return found


def _has_text_section(sections: tuple[Section, ...]) -> bool:
    """Tell whether the last section is for text."""
    return len(sections) == 4 or sections[-1].has("text")  # noqa: PLR2004 - the fourth is


def _format_number(value: Any, sections: tuple[Section, ...]) -> str | None:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if isinstance(value, dt.time):
        value = dt.datetime.combine(EPOCH, value)
    moment = value if isinstance(value, dt.datetime) else None
    if isinstance(value, dt.datetime):
        value -= EPOCH
    exact = Decimal(f"{value / DAY if isinstance(value, dt.timedelta) else value:.{PRECISION}g}")
    section, signed = _choose_section(exact, sections)
    if section is None:
        return None
    if section.has(*TIMES):
        if exact < 0:
            return None
        return _format_time(moment or EPOCH + dt.timedelta(days=float(exact)), section)
    sign, size = "-" if signed else "", abs(exact)
    if section.has("digit"):
        return sign + (_format_fraction if section.has("slash") else _format_decimal)(size, section)
    return sign + "".join(
        _format_general(size) if each.kind in {"text", "general"} else each.text for each in section.tokens
    )


def _choose_section(number: Decimal, sections: tuple[Section, ...]) -> tuple[Section | None, bool]:
    """Return the section for a number, and whether a minus sign is shown with it."""
    if len(sections) > 1 and _has_text_section(sections):
        sections = sections[:-1]
    if any(section.condition for section in sections):
        return _choose_by_condition(number, sections)
    if number < 0:
        return (sections[1], False) if len(sections) > 1 else (sections[0], True)
    return sections[2] if not number and len(sections) > 2 else sections[0], False  # noqa: PLR2004 - the third is zero's


def _choose_by_condition(number: Decimal, sections: tuple[Section, ...]) -> tuple[Section | None, bool]:
    """Return as above the first section whose condition holds; None where there is none."""
    for section in sections:
        bound = Decimal(section.condition.lstrip("<>=") or 0)
        relation = section.condition.rstrip("-.0123456789")
        if not relation or RELATIONS[relation](number, bound):
            return section, number < 0 and not (relation[:1] == "<" and bound <= 0)
    return None, False


def _format_general(number: Decimal) -> str:
    """Return a number as `General` shows it: eleven characters, or six digits and an exponent."""
    size = number.adjusted() if number else 0
    places = max(GENERAL_WIDTH - 2 - max(size, 0), 0)
    short = _round_to_places(number, places) if size < GENERAL_WIDTH else ""
    if short and (size >= -4 or Decimal(short) == number):  # noqa: PLR2004 - 0.0001 still is shown so
        return short.rstrip("0").rstrip(".") if "." in short else short
    mantissa, _, exponent = f"{number:.5E}".partition("E")
    return f"{mantissa.rstrip('0').rstrip('.')}E{int(exponent):+03d}"


def _round_to_places(number: Decimal, places: int) -> str:
    return f"{number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"


def _format_decimal(number: Decimal, section: Section) -> str:
    tokens = list(section.tokens)
    number *= 100 ** sum(token.kind == "percent" for token in tokens)
    kinds = [token.kind for token in tokens]
    end = kinds.index("exponent") if "exponent" in kinds else len(kinds)
    middle = kinds.index("point") if "point" in kinds[:end] else end
    digits = [at for at in range(middle) if kinds[at] == "digit"]
    grouped = bool(digits) and "comma" in kinds[digits[0] : digits[-1]]
    for stretch in (kinds[:middle], kinds[middle:end]):  # every comma behind the last digit divides by a thousand
        number /= 1000 ** [*takewhile(lambda kind: kind != "digit", reversed(stretch))].count("comma")
    places = kinds[middle:end].count("digit")
    power = 0
    if end < len(kinds) and number:
        step = max(len(digits), 1)
        power = number.adjusted() // step * step
        # What is rounded up to one more digit takes the next power.
        power += step * (Decimal(_round_to_places(number.scaleb(-power), places)) >= 10**step)
        number = number.scaleb(-power)
    whole, _, part = _round_to_places(number, places).partition(".")
    text = _format_integer_part(tokens[:middle], whole.lstrip("0"), grouped=grouped) + _format_fractional_part(
        tokens[middle:end], part
    )
    if end == len(kinds):
        return text
    width = kinds[end:].count("digit")
    sign = "-" if power < 0 else tokens[end].text.strip("-")
    behind = "".join(each.text for each in tokens[end + 1 :] if each.kind != "digit")
    return f"{text}E{sign}{abs(power):0{width}d}{behind}"


def _format_integer_part(tokens: list[Token], digits: str, *, grouped: bool) -> str:
    """Return the part before the point: digits go to their places from the right, and to the first what is left."""
    left = sum(token.kind == "digit" for token in tokens)
    text, count = "", 0
    for token in reversed(tokens):
        if token.kind != "digit":
            text = ("" if token.kind == "comma" else token.text) + text
            continue
        left -= 1
        own = digits[-1:] if left else digits
        digits = digits[: len(digits) - len(own)]
        for digit in reversed(own or ("0" if token.text == "0" else "")):
            text = digit + ("," if grouped and count and count % 3 == 0 else "") + text
            count += 1
    return text


def _format_fractional_part(tokens: list[Token], digits: str) -> str:
    """Return the part from the point on."""
    text, at = "", 0
    needed = len(digits.rstrip("0"))
    for token in tokens:
        if token.kind == "digit":
            text += digits[at] if at < needed or token.text == "0" else ""
            at += 1
        elif token.kind != "comma":
            text += token.text
    return text


def _format_fraction(number: Decimal, section: Section) -> str:
    kinds = [token.kind for token in section.tokens]
    texts = [token.text for token in section.tokens]
    slash = kinds.index("slash")
    top = slash - len([*takewhile(lambda kind: kind == "digit", reversed(kinds[:slash]))])
    end = slash + 1 + len([*takewhile(lambda text: text in "0#?123456789", texts[slash + 1 :])])
    wholes = [at for at in range(top) if kinds[at] == "digit"]
    below = "".join(texts[slash + 1 : end])
    exact = Fraction(number)
    whole = int(exact) if wholes else 0
    if below.isdigit() and int(below):
        share = Fraction(int((exact - whole) * int(below) + Fraction(1, 2)), int(below))
        numerator, denominator = int(share * int(below)), int(below)
    else:
        share = (exact - whole).limit_denominator(10 ** len(below) - 1)
        numerator, denominator = share.numerator, share.denominator
    if wholes and share == 1:
        whole, numerator = whole + 1, 0
    shown_whole = bool(wholes) and (bool(whole) or not numerator or "0" in texts[: wholes[-1] + 1])
    pieces = [str(whole)] if shown_whole else []
    pieces += [f"{numerator}/{denominator}"] if numerator or not wholes else []
    return "".join(texts[: (wholes or [top])[0]]) + " ".join(pieces) + "".join(texts[end:])


def _format_time(moment: dt.datetime, section: Section) -> str:
    places = sum(token.kind == "digit" for token in section.tokens)
    seconds = any(token.text[:1] == "s" for token in section.tokens if token.kind in TIMES)
    unit = dt.timedelta(seconds=1) / 10 ** (places if seconds else 3)
    moment = EPOCH + round((moment - EPOCH) / unit) * unit
    fraction = iter(f"{moment.microsecond:06d}")
    half = section.has("noon")
    return "".join(
        next(fraction, "0") if each.kind == "digit" else _format_time_token(moment, each, half=half)
        for each in section.tokens
    )


def _format_time_token(moment: dt.datetime, token: Token, *, half: bool) -> str:
    """Return what a token of a date or time stands for; `half` where hours count to twelve."""
    text, width = token.text, min(len(token.text), 2)
    if token.kind == "elapsed":
        unit = {"h": 3600, "m": 60, "s": 1}[text[0]]
        return f"{(moment - EPOCH) // dt.timedelta(seconds=unit):0{len(text)}d}"
    if token.kind == "minute":
        return f"{moment.minute:0{width}d}"
    if token.kind == "noon":
        before, after = text.split("/")
        return before if moment.hour < 12 else after  # noqa: PLR2004 - noon
    if token.kind != "date":
        return text
    hour = (moment.hour - 1) % 12 + 1 if half else moment.hour
    month, day = MONTHS[moment.month - 1], DAYS[moment.weekday()]
    names = {"mmm": month[:3], "mmmm": month, "mmmmm": month[0], "ddd": day[:3], "dddd": day}
    numbers = {"m": moment.month, "d": moment.day, "h": hour, "s": moment.second}
    if text[0] in "ye":
        return str(moment.year) if text == "e" or len(text) > 2 else f"{moment.year % 100:02d}"  # noqa: PLR2004 - yy
    return names.get(text) or f"{numbers[text[0]]:0{width}d}"
