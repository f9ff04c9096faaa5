"""What the pages say of chat templates, beside what these write; and each Chinese page, beside the English one."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from ftbridge.templates.render_chat_template import environment
from ftbridge.tokens.chat_template import shipped
from tests.tokens.picture import TURN

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def rows(page):
    """Return the cells of the table of shipped templates on a page, by name."""
    table = (DOCS / page).read_text("utf-8").partition("| `--chat-template` |")[2].partition("\n\n")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    return {name.strip().strip("`"): rest for name, *rest in cells}


@pytest.mark.parametrize("page", ["tokens.md", "models.md"])
def test_a_page_names_all_chat_templates_that_are_shipped(page):
    assert sorted(rows(page).keys() - {"FILE"}) == shipped()


@pytest.mark.parametrize("name", ["alpaca", "plain", "vicuna"])
def test_the_page_of_tokens_shows_a_shipped_chat_template_as_it_writes(name):
    text = files("ftbridge.templates").joinpath("chat", f"{name}.jinja").read_text("utf-8")
    tokens = {"bos_token": "", "eos_token": "<end>"}
    written = environment().from_string(text).render(messages=TURN, **tokens)
    shown = re.findall("`([^`]*<end>)`", rows("tokens.md")[name][0])[0].replace("↵", "\n")
    assert shown in written
    assert written.rstrip().endswith(shown)
    assert written.startswith(shown) == (name == "plain")


def outline(page):
    """Return the levels of a page's headings, and the ftbridge commands of its bash blocks, both in order."""
    text = page.read_text("utf-8")
    lines = [line.strip() for kind, block in BLOCK.findall(text) if kind == "bash" for line in block.splitlines()]
    commands = [line.partition(" #")[0].rstrip() for line in lines if line.startswith("ftbridge ")]
    return [len(marks) for marks in re.findall("^(#+) ", BLOCK.sub("", text), re.MULTILINE)], commands


@pytest.mark.parametrize("chinese", sorted(DOCS.glob("zh/*.md")), ids=lambda page: page.name)
def test_a_chinese_page_has_the_headings_and_commands_of_the_english_one_and_they_link_to_each_other(chinese):
    english = DOCS / chinese.name
    assert outline(chinese) == outline(english)
    assert f"](zh/{chinese.name})" in english.read_text("utf-8").partition("\n")[0]
    assert f"](../{chinese.name})" in chinese.read_text("utf-8").partition("\n")[0]
