"""What a notebook is given to show, without a notebook; tests/test_notebook.py has a real kernel."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.console import is_terminal, notebook
from ftbridge.core.console.notebook import CellBar, Listing, ShownAsTable, html_of, is_cell, is_of_notebook


class Part(ShownAsTable, msgspec.Struct, frozen=True):
    name: str
    samples: int
    share: float = 0.5
    note: str = ""


class Made(ShownAsTable, msgspec.Struct, frozen=True):
    path: Path
    parts: tuple[Part, ...]
    figures: dict[str, Part]
    others: dict[str, int] = {}
    nothing: str | None = None


EVIL = "<script>alert(1)</script>"


def test_a_record_is_a_table_of_its_fields_without_the_empty_ones():
    made = Made(Path("a/b"), (Part("one", 7), Part("two", 3, 1 / 3)), {"accuracy": Part("three", 1)}, {"rows": 2})
    shown = made._repr_html_()
    assert ">path</th>" in shown
    assert ">a/b</td>" in shown
    assert shown.count(">samples</th>") == 2  # a table of the parts, and one of the figures
    assert ">0.3333</td>" in shown
    assert ">accuracy</td>" in shown
    assert '<td style="text-align: right">2</td>' in shown
    assert "nothing" not in shown
    assert "note" not in shown


@pytest.mark.parametrize("value", [EVIL, [EVIL], {EVIL: EVIL}, Part(EVIL, 1, 0.0, EVIL), {EVIL: Part(EVIL, 1)}])
def test_nothing_in_a_result_becomes_markup(value):
    shown = html_of(value)
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_a_long_list_is_one_table_that_ends():
    shown = Listing(Part(str(number), number) for number in range(1000))._repr_html_()
    assert shown.count("<tr>") == notebook.MOST_ROWS + 1
    assert shown.endswith("and 900 more")
    assert Listing()._repr_html_() == ""
    assert html_of(datetime(2026, 11, 29, tzinfo=UTC)).startswith("2026-11-29")


def test_a_bar_shows_how_far_it_is_and_escapes_what_it_says():
    bar = CellBar("training", 90, "0:12, 1:03 left")
    bar._step, bar._note, bar._lines = 36.5, f"loss {EVIL}", ["step 30: validation loss 1.5"]
    assert bar._text() == f"training 36/90  loss {EVIL}  0:12, 1:03 left"
    shown = bar._repr_html_()
    assert 'value="36.5" max="90"' in shown
    assert "validation loss 1.5<br>" in shown
    assert "<script" not in shown


@pytest.mark.parametrize("variable", ["JPY_PARENT_PID", "MPLBACKEND"])
def test_the_terminal_of_a_cell_has_nobody_before_it(variable, monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("MPLBACKEND", raising=False)
    assert not is_cell()
    assert not is_of_notebook()
    assert is_terminal(Terminal())
    monkeypatch.setenv(variable, "module://matplotlib_inline.backend_inline")
    assert is_of_notebook()
    assert not is_terminal(Terminal())
