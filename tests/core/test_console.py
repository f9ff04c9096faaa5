"""Words: results to stdout, the rest to stderr, and nothing that a terminal cannot show."""

import io
import json
import sys
from pathlib import Path

from ftbridge.core.console import aligned, print_json, result, say, some


def test_messages_go_to_stderr_and_results_to_stdout(capsys):
    say("药: a message")
    say()
    result("a result")
    assert capsys.readouterr() == ("a result\n", "药: a message\n\n")


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    say("药 \udcff ok")
    assert raw.getvalue() == b"\\u836f \\udcff ok\n"


def test_a_terminal_shows_what_it_would_obey_and_files_get_it_as_it_is(monkeypatch, capsys):
    text = "药\u3000\x1b[31m\r\x9b\u202e\n\t"
    result(text)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    result(text)
    result(text, coloured=True)
    assert capsys.readouterr().out == f"{text}\n药\u3000\\x1b[31m\\r\\x9b\\u202e\n\t\n{text}\n"


def test_json_is_json_whatever_the_terminal_can_show(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_json({"药": ["é💊\udcff", Path("a")]})
    assert json.loads(raw.getvalue()) == {"药": ["é💊\udcff", "a"]}


def test_a_stream_without_an_encoding_gets_the_text(monkeypatch):
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stdout", plain)
    result("药")
    assert plain.getvalue() == "药\n"


def test_columns_are_aligned_whatever_the_script():
    assert aligned([("name", "count"), ("问答", "3"), ("faq", "12")]) == "name  count\n问答  3\nfaq   12"
    assert aligned([("two\nlines", "x"), ("y", "z")]) == "two lines  x\ny          z"


def test_of_many_names_the_first_are_given():
    assert [some(["a", "b", "c"], most) for most in (2, 3)] == ["a, b and 1 more", "a, b, c"]
