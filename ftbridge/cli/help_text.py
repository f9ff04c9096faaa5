"""How a help is laid out: lines that end between words, or between Chinese characters, which are two columns wide.

No regular expression does it: to compile one of Chinese takes longer than the whole help may.
"""

from collections.abc import Iterable, Iterator

import click

from ftbridge.language import gettext as _

FIRST_WIDE = "\u2e80"  # from here on characters are two columns wide
# Punctuation that no line ends with, and that none begins with.
OPENING, CLOSING = "（《〈「『【", "，。、；：！？）》〉」』】"
SHORT = 32  # columns of a default that stays in one line


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else len(text) + sum(letter >= FIRST_WIDE for letter in text)


def wrap(text: str, width: int) -> list[str]:
    """Return a text in lines of at most `width` columns; only a word that is longer is broken."""
    lines, line = [], ""
    for blank, piece in _pieces(text):
        if line and columns(line + blank + piece) > width:
            lines.append(line)
            line = piece
        else:
            line += blank * bool(line) + piece
        while columns(line) > width and line.isascii():
            lines.append(line[:width])
            line = line[width:]
    return [*lines, line]


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield what is not broken, after the blank before it; `[default: VALUE]` at the end is one where it is short."""
    head, bracket, default = text.rpartition(" [")
    kept = bool(bracket) and default.endswith("]") and columns(default) < SHORT
    for word in (head if kept else text).split():
        blank, piece = " ", ""
        for letter in [word] if word.isascii() else word:
            if piece and _may_end(piece[-1], letter):
                yield blank, piece
                blank, piece = "", ""
            piece += letter
        yield blank, piece
    if kept:
        yield " ", f"[{default}"


def _may_end(last: str, following: str) -> bool:
    """Tell whether a line may end between two characters of a word."""
    is_chinese = last >= FIRST_WIDE or following >= FIRST_WIDE
    return is_chinese and last not in OPENING + "([" and following not in CLOSING + ")]"


def write_row(formatter: click.HelpFormatter, term: str, text: str, column: int, spacing: int = 2) -> None:
    """Write a term, and what it means from a column on; below the term where that is too long."""
    indent = formatter.current_indent
    lines = wrap(text, formatter.width - indent - column - spacing)
    if columns(term) > column:
        lines.insert(0, "")
    for at, line in enumerate(lines):
        head = "" if at else term
        blank = " " * max(column - columns(head), 0)
        formatter.write(f"{'':{indent}}{head}{blank}{'':{spacing}}{line}".rstrip() + "\n")


class HelpFormatter(click.HelpFormatter):
    """Writes a help as click does, in columns that hold for Chinese as well."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage."""
        head = f"{prefix or _('Usage:')} {prog} "
        indent = columns(head)
        lines = f"\n{'':{indent}}".join(wrap(args, self.width - indent))
        self.write(f"{head}{lines}".rstrip() + "\n")

    def write_heading(self, heading: str) -> None:
        """Write a heading."""
        self.write(f"{'':{self.current_indent}}{_('{heading}:').format(heading=heading)}\n")

    def write_text(self, text: str) -> None:
        r"""Write paragraphs; the lines of one that begins with `\b` stay as they are."""
        indent = self.current_indent
        paragraphs = text.strip("\n").split("\n\n")
        blocks = [
            each.splitlines()[1:] if each.startswith("\b") else wrap(each.strip(), self.width - indent)
            for each in paragraphs
        ]
        self.write("\n\n".join("\n".join(f"{'':{indent}}{line}" for line in block) for block in blocks) + "\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms, and beside each what it means."""
        rows = list(rows)
        column = min(max(columns(term) for term, _text in rows), col_max)
        for term, text in rows:
            write_row(self, term, text, column, col_spacing)


class Context(click.Context):
    """A context whose helps are laid out so."""

    formatter_class = HelpFormatter
