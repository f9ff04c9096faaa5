"""What several commands show and ask."""

import io
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

from ftbridge.cli import output
from ftbridge.cli.output import confirm, print_parts, print_table, relative_path, show_row_count
from ftbridge.core.errors import UsageError

from ..builders.keyboard import terminal  # noqa: TID252


@click.command()
def asking():
    confirm("remove it?")
    click.echo("removed")


def test_answer_other_than_yes_is_refused_naming_the_yes_option():
    assert CliRunner().invoke(asking, input="y\n").stdout == "removed\n"
    for said in ("n\n", "\n", ""):
        done = CliRunner().invoke(asking, input=said)
        assert isinstance(done.exception, UsageError)
        assert "add `--yes`" in str(done.exception)


@pytest.mark.parametrize("said", ["y", "YES ", "是", "好", "\uff59", "确定", "是的。", "好!"])
def test_yes_is_understood_in_english_and_chinese(said):
    done = CliRunner().invoke(asking, input=f"{said}\n")
    assert done.stdout == "removed\n"
    assert done.stderr.count("remove it? [y/N]: ") == 1


@pytest.mark.parametrize("said", ["n", "No", "否", "不", "\uff4e", "取消", ""])
def test_no_is_understood_in_english_and_chinese(said):
    done = CliRunner().invoke(asking, input=f"{said}\n")
    assert isinstance(done.exception, UsageError)
    assert done.stderr.count("remove it?") == 1


def test_what_is_neither_yes_nor_no_is_asked_again():
    done = CliRunner().invoke(asking, input="好吗\n是吧\n是\n")
    assert done.stdout == "removed\n"
    assert done.stderr.count("answer y (是) or n (否)") == 2


def test_yes_is_understood_where_the_locale_has_no_chinese():
    code = "from ftbridge.cli.output import confirm; confirm('remove it?')"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with terminal("-c", code, **plain) as there:
        there.wait("[y/N]: ")
        there.type("是\n")
        assert there.end() == 0


def test_a_no_on_a_terminal_ends_as_ctrl_c_does(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    with pytest.raises(click.Abort):
        confirm("remove it?")


def test_a_path_in_the_current_folder_is_shown_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relative_path(tmp_path / "data" / "faq.jsonl") == Path("data/faq.jsonl")
    assert relative_path(Path("/elsewhere/faq.jsonl")) == Path("/elsewhere/faq.jsonl")


ROWS = [
    ("run", "status", "samples", "question", "source"),
    ("药-train", "succeeded", "12", "what is aspirin taken for, and by whom", "a.xlsx"),
    ("faq", "failed (died)", "1,234", "", "b.xlsx"),
]
PRINTED = f"from ftbridge.cli.output import print_table; print_table({ROWS}, optional=['source'])"
WIDE = [
    "run       status         samples  question                                source",
    "药-train  succeeded           12  what is aspirin taken for, and by whom  a.xlsx",
    "faq       failed (died)    1,234                                          b.xlsx",
]


def shown(columns, **variables):
    """Return the lines that a terminal of so many columns is given, without the blanks at their ends."""
    with terminal("-c", PRINTED, columns=columns, LC_ALL="C.UTF-8", **variables) as there:
        assert there.end() == 0
        return [line.rstrip() for line in there.shown.decode().replace("\r", "").splitlines()]


def test_a_table_has_numbers_to_the_right_and_is_whole_in_a_pipe(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "10")
    print_table(ROWS)
    assert capsys.readouterr().out.splitlines() == WIDE
    print_table(ROWS, stderr=True)
    assert capsys.readouterr().err.splitlines() == WIDE


@pytest.mark.parametrize(("columns", "lines"), [(81, WIDE), (79, [line[:-8].rstrip() for line in WIDE])])
def test_a_terminal_gets_the_columns_that_it_has_room_for(columns, lines):
    assert shown(columns, TERM="dumb") == lines


def test_in_a_narrower_terminal_texts_are_wrapped_between_words():
    assert shown(60, TERM="dumb") == [
        "run       status         samples  question",
        "药-train  succeeded           12  what is aspirin taken for,",
        "                                  and by whom",
        "faq       failed (died)    1,234",
    ]


@pytest.mark.parametrize("width", range(60, 130))
def test_no_letter_is_lost_in_a_narrow_terminal(width):
    rows = [
        ("", "column", "types", "empty", "characters", "example"),
        (
            "A",
            "Question",
            "690 text",
            "0",
            "11 to 170, mean 53.1",
            "how does rivastigmine interact with otc sleep medi…",
        ),
        (
            "F",
            "网址",
            "690 text",
            "21",
            "20 to 90, mean 50",
            "https://example.org/drugs/a68215…把它放到充电座上，指示灯变绿就充满了",
        ),
    ]
    columns = list(zip(*rows, strict=True))
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(output._wrapped_table(columns, width))
    lines = console.file.getvalue().splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert sorted("".join(lines).replace(" ", "")) == sorted("".join(map("".join, rows)).replace(" ", ""))


def test_in_the_narrowest_terminal_each_row_is_a_list():
    first = ["run       药-train", "status    succeeded", "samples   12"]
    assert shown(30, TERM="dumb")[:3] == first


def test_titles_are_bold_and_statuses_coloured_where_a_terminal_can():
    title, good, bad = shown(100, TERM="xterm")
    assert title.startswith("\x1b[1mrun")
    assert "\x1b[32msucceeded " in good
    assert "\x1b[31mfailed (died)\x1b[0m" in bad
    assert "\x1b[3" not in "".join(shown(100, TERM="xterm", NO_COLOR="1"))


def test_chinese_facts_are_broken_between_any_two_characters():
    fact = "21 条样本中，有 21 条在对话模板、XTuner、LLaMA-Factory、合并后的文件夹中完全一致"
    printed = f"from ftbridge.cli.output import print_facts; print_facts('run', {{'token': {fact!r}, 'x': 'y'}})"
    with terminal("-c", printed, columns=60, LC_ALL="C.UTF-8", TERM="dumb") as there:
        assert there.end() == 0
        lines = [line.rstrip() for line in there.shown.decode().replace("\r", "").splitlines()]
    assert lines == [
        "run",
        "  token  21 条样本中，有 21 条在对话模板、XTuner、",
        "         LLaMA-Factory、合并后的文件夹中完全一致",
        "  x      y",
    ]


def test_a_cell_cannot_colour_a_terminal():
    rows = [("status", "text"), ("succeeded", "\x1b[31mred")]
    with terminal("-c", f"from ftbridge.cli.output import print_table; print_table({rows})") as there:
        assert there.end() == 0
        assert b"\\x1b[31mred" in there.shown


def test_texts_and_tables_are_printed_apart_or_not(capsys):
    print_parts(["one", [("a",), ("b",)]])
    print_parts(["one", "two"], apart=False)
    assert capsys.readouterr().out == "one\n\na\nb\none\ntwo\n"


def test_rows_are_shown_on_a_terminal_alone(capsys):
    with show_row_count() as progress:
        assert progress is None
    assert capsys.readouterr().err == ""
