"""`ftbridge inspect`."""

import json

from click.testing import CliRunner

from ftbridge.cli.inspect import command


def test_inspect_shows_the_columns_as_table_or_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_text('{"问题": "q", "答案": "a"}\n{"问题": "p", "答案": "bcd"}\n', "utf-8")
    found = CliRunner().invoke(command, ["faq.jsonl"])
    assert found.exit_code == 0, found.output
    lines = [line.split() for line in found.stdout.splitlines()]
    assert lines[0] == ["faq.jsonl:", "2", "rows"]
    assert lines[3] == ["答案", "2", "text", "0", "1", "to", "3,", "mean", "2.0", "a"]
    assert lines[-1] == ["output", "column", "答案"]
    (profile,) = json.loads(CliRunner().invoke(command, ["faq.jsonl", "--json"]).stdout)
    assert profile["columns"][1]["longest"] == 3


def test_headers_that_are_not_clear_are_asked_for_after_all_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text("Word;Grade\napple;B\ntext;A\nreview;A\n")
    found = CliRunner().invoke(command, ["words.csv", "--delimiter", "semicolon"])
    assert found.exit_code == 0, found.output
    assert "cannot be read yet: `words.csv` may have its headers in record 1 or in record 3" in found.stdout


def test_inspect_of_an_ambiguous_source_says_that_it_would_not_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_text('{"x": 1, "y": 2, "z": 3}\n')
    found = CliRunner().invoke(command, ["faq.jsonl"])
    assert found.exit_code == 0
    assert "cannot be read yet: " in found.stdout
