"""Tables, paths, progress and questions of several commands."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from ftbridge.adapters.convert.result import TableRead
    from ftbridge.adapters.inspect import Profile
    from ftbridge.adapters.mapping.inference.infer import TableMapping

WIDTH = 70  # letters that are shown of a cell
YES = {"y", "yes", "是", "是的", "好", "好的", "对", "行", "可以", "确定", "确认", "確定", "確認"}
NO = {"n", "no", "否", "不", "不是", "不要", "不行", "不可以", "取消"}


@contextmanager
def show_row_count() -> Iterator[Callable[[int], None] | None]:
    """Yield a callback that shows the number of rows and their rate; None where stderr is no terminal."""
    from ftbridge.core.console import progress_bar

    columns = "spinner", "{task.completed:,} rows, {task.fields[rate]}", "elapsed"
    with progress_bar(*columns, total=None, transient=True, rate="") as bar:
        yield (lambda rows: bar.update(rows, rate=f"{bar.speed:,.0f} rows/s")) if bar else None


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table under the first of them, or, in a terminal that is too narrow, as a list for each row."""
    from rich.cells import cell_len

    from ftbridge.core.console import aligned, is_terminal, terminal_size

    text = aligned(rows)
    if not is_terminal(sys.stdout) or max(map(cell_len, text.splitlines())) <= terminal_size()[0]:
        return text
    titles, *rest = rows
    blocks = ([(title, cell) for title, cell in zip(titles, row, strict=True) if cell] for row in rest)
    return "\n\n".join(aligned(block) for block in blocks)


def can_show(text: str) -> bool:
    """Tell whether stdout's encoding has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def table_location(read: "TableRead | Profile") -> str:
    """Return where a table is: its file, sheet and part, as in `a.xlsx, sheet Rows`."""
    sheet, part = read.sheet and f", sheet {read.sheet}", read.part and f", part {read.part}"
    return f"{read.file}{sheet}{part}"


def shape_in_words(shape: str, preset: str) -> str:
    """Return how a table is read, with the preset where `shape` does not name it."""
    return f"{shape} (preset {preset})" if preset and preset not in shape else shape


def field_lines(read: "TableRead | TableMapping") -> Iterator[str]:
    """Yield a line for each field: the column, the template or the constant text that it is from."""
    from ftbridge.adapters.values import shorten

    for field, source in read.columns.items():
        kind = _("column")
        if field in read.templates:
            kind = _("template") if "{{" in source or "{%" in source else _("text")
        yield f"  {field:<12} {kind} {shorten(source, WIDTH)}"


def relative_path(path: Path) -> Path:
    """Return the path as seen from here, where it is in here."""
    here = path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def confirm(question: str) -> None:
    """Ask before something is removed; raises Abort for a no, UsageError where there is nobody to ask."""
    from ftbridge.core.console import say
    from ftbridge.core.errors import UsageError

    try:
        agreed = click.prompt(f"{question} [y/N]", "n", show_default=False, value_proc=_parse_yes_or_no, err=True)
    except click.Abort:
        agreed = False
    if agreed:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        say()
        raise UsageError("nothing was removed, for nobody said yes; add `--yes` to remove without being asked")
    raise click.Abort


def _parse_yes_or_no(text: str) -> bool:
    """Return whether an answer is a yes, in English or Chinese, of any width; raises BadParameter for neither."""
    from unicodedata import normalize

    # In the C locale Chinese comes as single bytes.
    typed = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    word = normalize("NFKC", typed).strip(" \t.!。").casefold()
    if word not in YES and word not in NO:
        raise click.BadParameter("answer y (是) or n (否)")
    return word in YES
