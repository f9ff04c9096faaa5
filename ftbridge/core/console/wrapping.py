"""Text in the lines of a terminal: broken between words, and between most characters of Chinese; never in backticks."""

import re

LEAST = 16  # columns that are worth wrapping a text to
_WIDE = r"\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
# Without single quotes, which are apostrophes, too.
_OPENING = "（【「『《〈“"
_CLOSING = "，。、；：？！）】」』》〉”…"
# Matches what stays together, with the blanks after it: a word, a text in backticks, a wide character.
_PIECE = re.compile(
    rf"[{_OPENING}]*(?:(?:`[^`]*`|[^\s{_WIDE}{_OPENING}{_CLOSING}])+|[{_WIDE}])?[{_CLOSING}]*\s*", re.ASCII
)
# Matches what a line goes on under the end of: columns before the last, and the arrow before a remedy.
_LEAD = re.compile(r" *-> |.*\S {2,}(?=\S)")


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of a text that fit into `width` columns, but for a word that is longer than that."""
    from rich.cells import cell_len

    lines = [""]
    for piece in filter(None, _PIECE.findall(text)):
        if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def wrap_lines(text: str, width: int) -> str:
    """Return a text with its lines wrapped to `width` columns, the last column of a table under itself.

    A line that begins with blanks may be a command, to be copied, and stays as it is.
    """
    return "\n".join(_wrap_line(line, width) for line in text.split("\n"))


def cut(text: str, width: int) -> str:
    """Return a text with an ellipsis for what does not fit into `width` columns."""
    from rich.text import Text

    shown = Text(text)
    shown.truncate(width, overflow="ellipsis")
    return shown.plain


def _wrap_line(line: str, width: int) -> str:
    from rich.cells import cell_len

    found = _LEAD.match(line)
    lead = found[0] if found else ""
    is_code = (line.startswith(" ") and not lead) or "\t" in line or lead.count("`") % 2
    indent = cell_len(lead)
    if is_code or cell_len(line) <= width or width - indent < LEAST:
        return line
    return lead + ("\n" + " " * indent).join(wrap(line[len(lead) :], width - indent))
