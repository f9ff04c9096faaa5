"""Notebooks: results as tables, and progress in the cell that is running."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, TypeVar

from ftbridge.language import gettext as _

T = TypeVar("T")
EVERY = 0.5  # seconds between two changes of a cell
MOST_ROWS = 100  # of a list
_BAR = "width: 20em; vertical-align: middle"


def is_cell() -> bool:
    """Tell whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


def is_of_notebook() -> bool:
    """Tell whether this is a notebook's kernel, or was started from a cell, as by `!`: nobody can answer there."""
    return "JPY_PARENT_PID" in os.environ or "inline" in os.environ.get("MPLBACKEND", "") or is_cell()


class CellBar:
    """A bar in the output of a cell, which is changed in place, with lines of text above it."""

    def __init__(self, title: str, total: float, times: Any) -> None:
        """Show what `title` names, of `total` steps; `times` as text is the time that has passed and is left."""
        self._title, self._total, self._times = title, total, times
        self._step, self._note, self._lines = 0.0, "", list[str]()
        self._shown = 0.0
        self._handle: Any = None

    def show(self, step: float, note: str) -> None:
        """Show how many steps are done, and a note such as the last loss."""
        self._step, self._note = step, note
        if time.monotonic() - self._shown >= EVERY or step >= self._total:
            self._display()

    def say(self, line: str) -> None:
        """Show a line that stays."""
        self._lines.append(line)
        self._display()

    def _display(self) -> None:
        from IPython.display import display

        self._shown = time.monotonic()
        content = {"text/html": self._repr_html_(), "text/plain": self._text()}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(content, raw=True)

    def _text(self) -> str:
        return "  ".join(
            filter(None, (f"{self._title} {int(self._step)}/{self._total:g}", self._note, str(self._times)))
        )

    def _repr_html_(self) -> str:
        lines = "".join(f"{escape(line)}<br>" for line in self._lines)
        bar = f'<progress value="{self._step:g}" max="{self._total:g}" style="{_BAR}"></progress>'
        return f"<div>{lines}{bar} {escape(self._text())}</div>"


class ShownAsTable:
    """A record that a notebook shows as a table of its fields."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return html_of(self)


class Listing(list[T]):
    """A list of records that a notebook shows as one table, with a row for each."""

    def _repr_html_(self) -> str:
        return html_of(self)


def html_of(value: Any) -> str:
    """Return a result as HTML, with all text in it escaped: records and dicts as tables, empty values left out."""
    if isinstance(value, list | tuple):
        return _table([*map(_values, value)]) if _are_alike(value) else "<br>".join(map(html_of, value))
    if isinstance(value, dict) and _are_alike(value.values()):
        return _table([{"": name, **_values(each)} for name, each in value.items()])
    if items := value if isinstance(value, dict) else _values(value):
        rows = (f"<tr>{_cell(name, 'th')}{_cell(each)}</tr>" for name, each in items.items() if _is_told(each))
        return f"<table>{''.join(rows)}</table>"
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows of the same names as a table, without the columns that are empty in all."""
    names = [name for name in rows[0] if any(_is_told(row[name]) for row in rows)]
    head = "".join(_cell(name, "th") for name in names)
    body = "".join(f"<tr>{''.join(_cell(row[name]) for name in names)}</tr>" for row in rows[:MOST_ROWS])
    more = _("and {count} more").format(count=len(rows) - MOST_ROWS) if len(rows) > MOST_ROWS else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _cell(value: Any, tag: str = "td") -> str:
    side = "right" if tag == "td" and isinstance(value, int | float) else "left"
    return f'<{tag} style="text-align: {side}">{html_of(value) if _is_told(value) else ""}</{tag}>'


def _is_told(value: Any) -> bool:
    return value is not None and value not in ("", (), [], {})


def _are_alike(values: Iterable[Any]) -> bool:
    """Tell whether values are records of one kind."""
    kinds = {type(each) for each in values}
    return len(kinds) == 1 and all(hasattr(kind, "__struct_fields__") for kind in kinds)


def _values(record: Any) -> dict[str, Any]:
    """Return the fields of a record by their names; {} of what is no record."""
    return {name: getattr(record, name) for name in getattr(record, "__struct_fields__", ())}
