"""Errors: one family, an exit code each, and a builtin parent where there is a fitting one."""

import ast
import re
import shlex

import pytest

from ftbridge.core import errors
from ftbridge.core.errors import FtbridgeError, shell_words

from ..conftest import ROOT  # noqa: TID252

CODES = {
    "UsageError": (2, ValueError),
    "InputError": (3, ValueError),
    "SetupError": (4, RuntimeError),
    "FrameworkError": (5, RuntimeError),
    "InterruptedRun": (130, Exception),
}


@pytest.mark.parametrize("name", CODES)
def test_an_error_has_its_exit_code_and_its_parent(name):
    kind = getattr(errors, name)
    code, parent = CODES[name]
    assert kind.exit_code == code
    assert issubclass(kind, FtbridgeError)
    assert issubclass(kind, parent)
    assert str(kind("what, where, what next")) == "what, where, what next"


def test_every_error_is_in_the_table():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FtbridgeError)]
    assert {kind.__name__ for kind in kinds} == {"FtbridgeError", "QuestionError", *CODES}
    assert len({kind.exit_code for kind in kinds}) == len(kinds) - 1  # a question is one of usage
    assert FtbridgeError.exit_code == 70
    assert issubclass(errors.QuestionError, errors.UsageError)


def test_words_can_be_typed_in_a_shell():
    for words in (["cd", "/a b/it's"], ["--role", "the user=user"], ["路 径", '"', "$HOME"], ["plain/path.csv"]):
        assert shlex.split(shell_words(words)) == words


def filled(node):
    """Return the text of an f-string or of `_("...").format(...)`, with what is put in between two zero bytes."""
    match node:
        case ast.JoinedStr():
            parts = node.values
            return "".join(
                each.value if isinstance(each, ast.Constant) else f"\0{ast.unparse(each.value)}\0" for each in parts
            )
        case ast.Call(func=ast.Attribute(value=ast.Call(args=[ast.Constant(value=str(text)), *_]), attr="format")):
            given = {each.arg: f"\0{ast.unparse(each.value)}\0" for each in node.keywords}
            return re.sub(r"\{(\w+)[^{}]*\}", lambda found: given.get(found[1], found[0]), text)
    return ""


def printed_commands(file):
    """Yield what the commands that a file prints take from elsewhere."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for command in re.findall(r"`((?:ftbridge|uv|ls|kill|--model) [^`]*)`|^ *(cd .*)", filled(node)):
            yield from "".join(command).split("\0")[1::2]


def test_paths_in_printed_commands_are_quoted():
    folders = ("adapters", "dataset_info", "ftbridge", "launchers", "templates")
    files = [file for name in folders for file in (ROOT / name).rglob("*.py")]
    given = [(file.name, each) for file in files for each in printed_commands(file)]
    bare = re.compile(r"path|folder|dir\b|file|python|card|model\b", re.IGNORECASE)
    assert ("dataset.py", "shell_words([str(dataset_dir / entry.file_name)])") in given
    assert [each for each in given if bare.search(each[1]) and "shell_words" not in each[1]] == []
