"""Tables, paths, progress and questions of several commands."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType
    from rich.text import Text

    from ftbridge.adapters.convert.result import TableRead
    from ftbridge.adapters.inspect import Profile
    from ftbridge.adapters.mapping.inference.infer import TableMapping

Rows = Sequence[Sequence[str]]  # of a table, the first of them its titles
Columns = Sequence[Sequence[str]]
GAP = 2  # between columns
LONGEST_WORD = 26  # columns of the terminal that a word takes without being broken
COLOURS = {
    **dict.fromkeys(("succeeded", "done"), "green"),
    **dict.fromkeys(("failed", "died", "damaged"), "red"),
    **dict.fromkeys(("running", "interrupted", "unknown", "partial"), "yellow"),
}
WIDTH = 70  # letters that are shown of a cell
YES = {"y", "yes", "是", "是的", "好", "好的", "对", "行", "可以", "确定", "确认", "確定", "確認"}
NO = {"n", "no", "否", "不", "不是", "不要", "不行", "不可以", "取消"}


@contextmanager
def show_row_count() -> Iterator[Callable[[int], None] | None]:
    """Yield a callback that shows the number of rows and their rate; None where stderr is no terminal."""
    from ftbridge.core.console import progress_bar

    rows = _("{rows} rows, {rate}").format(rows="{task.completed:,}", rate="{task.fields[rate]}")
    columns = "spinner", rows, "elapsed"
    with progress_bar(*columns, total=None, transient=True, rate="") as bar:
        yield (lambda rows: bar.update(rows, rate=_("{speed:,.0f} rows/s").format(speed=bar.speed))) if bar else None


def print_table(rows: Rows, *, optional: Sequence[str] = (), stderr: bool = False) -> None:
    """Print rows under the first of them, with numbers to the right; a pipe gets them whole.

    On a terminal, titles are bold and statuses coloured. Where it is too narrow, columns titled `optional` go, from the
    last on; then texts are wrapped; at last each row is a list of its own.
    """
    from ftbridge.core.console import aligned, is_terminal, result, rich_console, say

    if not is_terminal(sys.stderr if stderr else sys.stdout):
        (say if stderr else result)(aligned(rows))
        return
    console = rich_console(stderr=stderr)
    columns = list(zip(*rows, strict=True))
    for title in reversed(optional):
        if _width_of_table(_widths(columns)) > console.width:
            columns = [column for column in columns if column[0] != title]
    fits = _width_of_table(list(map(_least_width, columns))) <= console.width
    console.print((_wrapped_table if fits else _list_of_rows)(columns, console.width))


def _widths(columns: Columns) -> list[int]:
    """Return how wide columns are where nothing is wrapped, without gaps."""
    from rich.cells import cell_len

    from ftbridge.core.console import cell_text

    return [max(cell_len(cell_text(cell)) for cell in column) for column in columns]


def _width_of_table(widths: Sequence[int]) -> int:
    """Return how wide a table is of columns of these widths, with the gaps between them."""
    return sum(widths) + GAP * (len(widths) - 1)


def _least_width(column: Sequence[str]) -> int:
    """Return how narrow a column may get: a number is not broken, nor is a word of a usual length."""
    from rich.cells import cell_len

    from ftbridge.core.console import are_numbers, cell_text

    if are_numbers(column):
        return max(map(cell_len, column))
    return max(min(cell_len(word), LONGEST_WORD) for cell in column for word in cell_text(cell).split() or [""])


def _fitting_widths(columns: Columns, width: int) -> list[int]:
    """Return how wide columns are, without gaps, in a terminal of this width: the widest give way to the others.

    rich's own choice does not heed the least width of a column, and crops what is left over.
    """
    widths, least = _widths(columns), list(map(_least_width, columns))
    while _width_of_table(widths) > width:
        widest = max(range(len(widths)), key=lambda number: (widths[number] > least[number], widths[number]))
        widths[widest] -= 1
    return widths


def _wrapped_table(columns: Columns, width: int) -> "RenderableType":
    """Return a table in a terminal of this width, which is no narrower than the least widths of the columns."""
    from rich.table import Table

    from ftbridge.core.console import are_numbers

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    widths = _fitting_widths(columns, width)
    for column, wide in zip(columns, widths, strict=True):
        side: JustifyMethod = "right" if are_numbers(column) else "left"
        table.add_column(_cell(column[0]), justify=side, width=wide, overflow="fold")
    for row in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(
            *(_cell(cell, column[0], width=wide) for cell, column, wide in zip(row, columns, widths, strict=True))
        )
    return table


def _list_of_rows(columns: Columns, width: int) -> "RenderableType":
    """Return a list of each row, of title and cell, in a terminal of this width."""
    from rich.table import Table

    titles = [column[0] for column in columns]
    table, room = Table.grid(padding=(0, GAP, 0, 0)), width - max(_widths([titles])) - GAP
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for number, row in enumerate(zip(*(column[1:] for column in columns), strict=True)):
        if number:
            table.add_row()
        for title, cell in zip(titles, row, strict=True):
            if cell:
                table.add_row(_cell(title), _cell(cell, title, width=room))
    return table


def _cell(text: str, title: str = "", style: str = "", width: int | None = None) -> "Text":
    """Return what a cell of a width shows, in a style, or coloured where it stands in the column `status`."""
    from rich.text import Text

    from ftbridge.core.console import cell_text
    from ftbridge.core.console.wrapping import wrap
    from ftbridge.language import english

    word = english(text).partition(" ")[0] if english(title) == "status" else ""
    shown = cell_text(text)
    return Text("\n".join(wrap(shown, width)) if width else shown, style=COLOURS.get(word, style))


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Print a title and facts, a line each; those that are "" are left out, and nothing is printed where all are."""
    from rich.cells import cell_len
    from rich.table import Table

    from ftbridge.core.console import cell_text, is_terminal, result, rich_console

    known = {f"  {name}": fact for name, fact in facts.items() if fact}
    if not known:
        return
    if is_terminal(sys.stdout):
        console, table = rich_console(), Table.grid(padding=(0, GAP, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        room = console.width - max(map(cell_len, known)) - GAP
        for name, fact in known.items():
            table.add_row(_cell(name), _cell(fact, name.strip(), width=room))
        console.print(_cell(title, style="bold"), table)
        return
    widest = max(map(cell_len, known))
    lines = (f"{name}{' ' * (widest - cell_len(name))}  {cell_text(fact)}" for name, fact in known.items())
    result("\n".join([title, *lines]))


def print_parts(parts: Iterable[str | Rows], *, apart: bool = True) -> None:
    """Print texts and tables, with blank lines between them where they are to stand `apart`."""
    from ftbridge.core.console import result

    for number, part in enumerate(parts):
        if number and apart:
            result("")
        if isinstance(part, str):
            result(part)
        else:
            print_table(part)


def can_show(text: str) -> bool:
    """Tell whether stdout's encoding has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def table_location(read: "TableRead | Profile") -> str:
    """Return where a table is: its file, sheet and part, as in `a.xlsx, sheet Rows`."""
    sheet, part = (
        read.sheet and _(", sheet {sheet}").format(sheet=read.sheet),
        read.part and _(", part {part}").format(part=read.part),
    )
    return f"{read.file}{sheet}{part}"


def shape_in_words(shape: str, preset: str) -> str:
    """Return how a table is read, with the preset where `shape` does not name it."""
    shape = _(shape)
    return (
        _("{shape} (preset {preset})").format(shape=shape, preset=preset) if preset and preset not in shape else shape
    )


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
    from ftbridge.core.console import is_terminal, say
    from ftbridge.core.console.notebook import is_of_notebook
    from ftbridge.core.errors import UsageError

    agreed = False
    if not is_of_notebook():  # whose `!` lets nobody type
        with suppress(click.Abort):
            agreed = click.prompt(
                _("{question} [y/N]").format(question=question),
                "n",
                show_default=False,
                value_proc=_parse_yes_or_no,
                err=True,
            )
    if agreed:
        return
    if not is_terminal(sys.stdin):
        say()
        raise UsageError(_("nothing was removed, as it was not confirmed; add `--yes` to remove without being asked"))
    raise click.Abort


def _parse_yes_or_no(text: str) -> bool:
    """Return whether an answer is a yes, in English or Chinese, of any width; raises BadParameter for neither."""
    from unicodedata import normalize

    # In the C locale Chinese comes as single bytes.
    typed = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    word = normalize("NFKC", typed).strip(" \t.!。").casefold()
    if word not in YES and word not in NO:
        raise click.BadParameter(_("answer y (是) or n (否)"))
    return word in YES
