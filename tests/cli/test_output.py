"""What several commands show and ask."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ftbridge.cli.output import confirm, relative_path, show_row_count, table
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


ROWS = [("name", "samples"), ("药-train", "12"), ("faq-train", "")]
TABLE = "name       samples\n药-train   12\nfaq-train\n"
LIST = "name     药-train\nsamples  12\n\nname  faq-train\n"


@pytest.mark.parametrize(("columns", "shown"), [(18, TABLE), (17, LIST)])
def test_a_table_is_a_list_in_a_terminal_that_is_too_narrow(columns, shown):
    code = f"from ftbridge.cli.output import table; from ftbridge.core.console import result; result(table({ROWS}))"
    with terminal("-c", code, columns=columns, LC_ALL="C.UTF-8") as there:
        assert there.end() == 0
        assert there.shown.decode().replace("\r", "") == shown


def test_piped_table_is_not_narrowed_to_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    assert f"{table(ROWS)}\n" == TABLE


def test_rows_are_shown_on_a_terminal_alone(capsys):
    with show_row_count() as progress:
        assert progress is None
    assert capsys.readouterr().err == ""
