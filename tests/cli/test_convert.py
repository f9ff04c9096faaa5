"""`ftbridge convert`."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftbridge.cli.convert import command
from ftbridge.core.errors import InputError, QuestionError, UsageError

from ..builders.keyboard import terminal  # noqa: TID252


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_text(
        '{"问题": "q", "答案": "a", "id": 1}\n{"问题": "p", "答案": "", "id": 2}\n', "utf-8"
    )

    def run(*arguments):
        return CliRunner().invoke(command, ["faq.jsonl", *arguments], catch_exceptions=True)

    return run


def test_convert_prints_the_columns_counts_and_files(run):
    found = run("--on-error", "skip", "--system", "be kind")
    assert found.exit_code == 0, found.output
    assert [" ".join(line.split()) for line in found.stdout.splitlines()] == [
        "faq.jsonl: question and answer columns",
        "instruction column 问题",
        "output column 答案",
        "system 'be kind'",
        "not used id",
        "1 q",
        "-> a",
        "",
        "part samples files in data",
        "faq-train 1 faq-train.xtuner.jsonl, .alpaca.jsonl, .messages.jsonl",
        "2 rows: 1 written, 1 rejected",
        "rejected rows: data/faq.rejected.jsonl",
        "registered in data/dataset_info.json",
        "",
        "next: ftbridge train",
    ]
    again = run("--on-error", "skip", "--system", "be kind")
    assert "unchanged: this dataset exists already" in again.stdout
    workbook = run("--on-error", "skip", "--system", "be kind", "--xlsx").stdout
    assert "rejected rows: data/faq.rejected.jsonl, data/faq.rejected.xlsx\n" in workbook
    assert "unchanged: this dataset exists already" in workbook


def test_convert_with_explain_says_how_each_column_was_read(run):
    why = [line for line in run("--max-rejected", "50%", "--explain").stdout.splitlines() if " why " in line]
    assert "`问题`: text, such as `q`; its header fits instruction" in why[0]
    assert "read as question and answer columns" in why[-1]


@pytest.mark.parametrize("options", [["--dry-run"], ["--explain"], ["--dry-run", "--explain", "--json"]], ids=str)
def test_dry_run_tells_the_counts_and_writes_nothing(run, tmp_path, options):
    found = run("--on-error", "skip", *options)
    assert found.exit_code == 0, found.output
    if "--json" in options:
        done = json.loads(found.stdout)
        assert (done["dry_run"], done["counts"]["written"], bool(done["tables"][0]["why"])) == (True, 1, True)
    else:
        assert found.stdout.splitlines()[-2:] == [
            "2 rows: 1 written, 1 rejected",
            "nothing was written",
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["faq.jsonl"]


@pytest.mark.parametrize("more", [(), ("--json",), ("--dry-run",), ("--explain",)])
def test_wrong_rows_are_refused_with_json_dry_run_or_explain(run, tmp_path, more):
    assert isinstance(run(*more).exception, InputError)
    assert [path.name for path in tmp_path.iterdir()] == ["faq.jsonl"]


def test_json_option_changes_only_what_is_printed(run, tmp_path):
    run("--on-error", "skip", "--name", "one")
    run("--on-error", "skip", "--name", "two", "--json")
    texts = {name: (tmp_path / "data" / f"{name}-train.alpaca.jsonl").read_bytes() for name in ("one", "two")}
    assert texts["one"] == texts["two"]
    assert json.loads((tmp_path / ".ftbridge" / "state.json").read_text())["dataset"] == "two-train"


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_part_that_would_go_is_asked_about_and_the_answers_work(run, tmp_path, more):
    rows = "".join(json.dumps({"问题": str(at), "答案": "a"}) + "\n" for at in range(10))
    (tmp_path / "faq.jsonl").write_text(rows)
    run("--split", "7:3")
    question = run(*more).exception
    assert isinstance(question, QuestionError)
    dry = run("--dry-run", *question.answers["replace it"]).stdout.splitlines()
    assert dry[-2:] == [
        "would replace faq-train (7 to 10), would remove faq-test (3)",
        "nothing was written",
    ]
    other, replaced = (run(*more, *options) for options in reversed(question.answers.values()))
    assert (other.exit_code, replaced.exit_code) == (0, 0)
    if not more:
        assert "replaced" not in other.stdout
        assert "\nreplaced faq-train (7 to 10), removed faq-test (3)\n" in replaced.stdout
    assert {*json.loads((tmp_path / "data" / "dataset_info.json").read_text())} == {"faq-train", "faq-2-train"}


def test_an_edited_file_is_replaced_or_removed_and_that_is_said(run, tmp_path):
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps({"问题": str(at), "答案": "a"}) + "\n" for at in range(10)))
    run("--split", "7:3")
    for part in ("train", "test"):
        (tmp_path / "data" / f"faq-{part}.alpaca.jsonl").write_text("mended\n")
    for replaced, removed, more in (("would replace", "would remove", ["--dry-run"]), ("replaced", "removed", [])):
        said = run("--replace", *more).stdout
        assert f"\n{replaced} data/faq-train.alpaca.jsonl, which was changed since it was converted\n" in said
        assert f"\n{removed} data/faq-test.alpaca.jsonl, which was changed since it was converted\n" in said


def test_the_system_prompt_and_what_is_odd_in_samples_are_printed(run, tmp_path):
    rows = [{"q": "<image>?", "a": "<think>hm</think>so", "system": "be kind"} for _ in range(3)]
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = run().stdout
    assert "\nsystem prompt of all samples: 'be kind'\n" in text
    assert "\nnote: 3 answers hold `<think>` (the first: faq.jsonl line 1)" in text
    assert "\nnote: 3 samples hold `<image>` (the first: faq.jsonl line 1)" in text
    rows[2]["system"] = ""
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = run("--replace").stdout
    assert "\nnote: the rows have different system prompts; `chat` asks with none unless `--system`" in text


def test_long_and_hostile_data_is_shortened_and_escaped(run, tmp_path):
    turns = [{"role": role, "content": "x"} for _ in range(1000) for role in ("user", "assistant")]
    record = {"messages": turns, "\x1b[31m": 1, **{f"column {number}": number for number in range(1000)}}
    (tmp_path / "faq.jsonl").write_text(json.dumps(record) + "\n")
    text = run("--explain").stdout
    assert "and 995 more turns" in text
    assert "column 28 and 971 more" in text
    assert "\x1b" not in text
    assert len(text.splitlines()) < 1100


def test_convert_with_json_prints_the_result_as_values(run):
    found = run("--map", "instruction=问题", "--map", "output=3", "--name", "ids", "--json")
    assert found.exit_code == 0, found.output
    done = json.loads(found.stdout)
    assert (done["name"], done["tables"][0]["columns"]) == ("ids", {"instruction": "问题", "output": "id"})
    assert done["tables"][0]["first"][0]["turns"] == [{"instruction": "q", "input": "", "output": "1"}]
    assert done["counts"]["written"] == 2


def test_templates_and_label_maps_come_from_the_command_line_or_files(run, tmp_path):
    (tmp_path / "ask.txt").write_text("回答：{{问题}}\n", "utf-8-sig")
    (tmp_path / "labels.yaml").write_text("1: one\n")
    common = "--instruction", "@ask.txt", "--map", "output=id", "--label-map", "2=two=2", "--label-map", "labels.yaml"
    (table,) = json.loads(run(*common, "--json").stdout)["tables"]
    turns = [sample["turns"][0] for sample in table["first"]]
    assert [(turn["instruction"], turn["output"]) for turn in turns] == [("回答：q", "one"), ("回答：p", "two=2")]


@pytest.mark.parametrize("again", ["1=uno", "labels.yaml"])
def test_a_label_with_two_texts_is_refused(run, tmp_path, again):
    (tmp_path / "labels.yaml").write_text("1: one\n")
    found = run("--map", "output=id", "--map", "instruction=问题", "--label-map", "1=eins", "--label-map", again)
    assert isinstance(found.exception, UsageError)
    assert "two texts for the label `1`" in str(found.exception)


def test_columns_templates_constants_and_labels_are_told_apart(run, tmp_path):
    (tmp_path / "faq.jsonl").write_text('{"text": "good", "label": 1}\n{"text": "bad", "label": 0}\n')
    options = ("--instruction", "good or bad?", "--input", "{{text}}!", "--map", "output=label")
    shown = run(*options, "--label-map", "1=good", "--label-map", "0=bad", "--limit", "1").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[1:5] == [
        "instruction text good or bad?",
        "input template {{text}}!",
        "output column label",
        "labels 1 = good, 0 = bad",
    ]
    assert "2 rows: 1 written, 1 not used (`--limit`)" in lines


def test_left_out_columns_beyond_thirty_are_counted(run, tmp_path):
    row = {f"column {at}": "" for at in range(100)}
    (tmp_path / "faq.jsonl").write_text(json.dumps({"question": "q", "answer": "a"} | row) + "\n")
    (shown,) = [line for line in run().stdout.splitlines() if line.strip().startswith("not used")]
    assert len(shown) < 1000
    assert shown.endswith("and 70 more")


def test_answers_that_are_numbers_are_noted(run, tmp_path):
    (tmp_path / "faq.jsonl").write_text('{"text": "good", "label": 1.0}\n{"text": "bad", "label": -1}\n')
    assert "the answers are numbers; give them names with `--label-map 1=TEXT --label-map -1=TEXT`" in run().stdout


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (["instruction"], "takes FIELD=COLUMN"),
        (["input="], "takes FIELD=COLUMN"),
        (["input=1", "input=2"], "twice"),
    ],
)
def test_malformed_map_option_is_refused(run, maps, message):
    found = run(*(word for each in maps for word in ("--map", each)))
    assert isinstance(found.exception, UsageError)
    assert message in str(found.exception)


def test_delimiter_and_quote_options_decide_how_text_is_read(run, tmp_path):
    (tmp_path / "faq.jsonl").rename(tmp_path / "faq.txt")
    (tmp_path / "faq.txt").write_text("a^b\n'x'^'y'\n")

    def answers(*options):
        found = CliRunner().invoke(command, ["faq.txt", "--delimiter", "^", "--json", "--replace", *options])
        return found.exception or [
            each["turns"][0]["output"] for each in json.loads(found.stdout)["tables"][0]["first"]
        ]

    assert answers("--quote", "none", "--map", "instruction=a", "--map", "output=b") == ["'y'"]
    assert answers("--quote", "'", "--map", "instruction=a", "--map", "output=b") == ["y"]
    assert isinstance(answers("--map", "instruction=a", "--map", "output=b", "--quote", "^"), UsageError)


def test_a_table_that_may_have_no_headers_is_asked_about_with_options_that_work(run, tmp_path):
    (tmp_path / "faq.jsonl").write_text("你好,我很好\n再见,好的\n", "utf-8")
    (tmp_path / "faq.jsonl").rename(tmp_path / "faq.csv")
    options = ["faq.csv", "--map", "instruction=1", "--map", "output=2", "--json", "--replace"]
    error = CliRunner().invoke(command, options).exception
    assert isinstance(error, QuestionError)
    written = []
    for answer in error.answers.values():
        found = CliRunner().invoke(command, [*options, *answer])
        written.append(json.loads(found.stdout)["counts"]["written"])
    assert written == [2, 1]
    headers = ["faq.csv", "--map", "instruction=你好", "--map", "output=我很好", "--json", "--replace"]
    assert json.loads(CliRunner().invoke(command, headers).stdout)["counts"]["written"] == 1


def test_convert_help_names_every_option():
    text = CliRunner().invoke(command, ["--help"]).output
    for option in (
        "--name",
        "--sheet",
        "--map",
        "--system",
        "--split",
        "--seed",
        "--array",
        "--on-error",
        "--replace",
        "--all-sheets",
        "--header-row",
        "--fill-merged",
        "--as-shown",
        "--encoding",
        "--delimiter",
        "--quote",
        "--preset",
        "--set",
        "--instruction",
        "--input",
        "--output",
        "--label-map",
        "--strip",
        "--max-characters",
        "--stratify",
        "--sample",
        "--dedup",
        "--limit",
        "--to",
        "--max-rejected",
        "--dry-run",
        "--explain",
        "--json",
    ):
        assert option in text


def test_the_command_that_is_shown_works_as_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my 表.csv").write_text("Customer's words,We reply\nwhere is it?,it is on its way\n", encoding="utf-8")
    ftbridge = f'{shlex.quote(sys.executable)} -m ftbridge "$@"'
    Path("ftbridge").write_text(f"#!/bin/sh\nexec {ftbridge}\n", encoding="utf-8")
    Path("ftbridge").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    asked = subprocess.run(
        ["./ftbridge", "convert", "my 表.csv"], env=env, capture_output=True, text=True, check=False, input=""
    )
    assert asked.returncode == 2
    commands = re.findall(r"^    (ftbridge convert .*)$", asked.stderr, re.MULTILINE)
    assert len(commands) == 4  # both ways, and both ways again without headers
    done = subprocess.run(["sh", "-c", commands[0]], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "-> it is on" in done.stdout


def test_question_on_a_terminal_is_answered_and_the_conversion_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("talk.csv").write_text("We reply,Customer says\nit is on its way,where is it?\n", encoding="utf-8")
    with terminal("-m", "ftbridge", "convert", "talk.csv", columns=60) as screen:
        shown = screen.wait("which one?")
        assert "2  question from `Customer says`, answer from" in shown
        screen.type("2\n")
        screen.wait("-> it is on")
        assert screen.end() == 0
    assert Path("data/talk-train.alpaca.jsonl").is_file()


def test_roles_are_told_with_their_names(run, tmp_path):
    talk = [{"from": "human", "value": "hi"}, {"from": "a=b", "value": "hello"}]
    (tmp_path / "faq.jsonl").write_text(json.dumps({"conversations": talk, "id": 1}))
    asked = run()
    assert list(asked.exception.answers.values()) == [["--role", "a=b=assistant"]]
    assert run(*asked.exception.answers["`a=b` is the assistant"]).exit_code == 0
    for wrong in ("nurse", "=user", "a=b=nurse"):
        found = run("--role", wrong)
        assert isinstance(found.exception, UsageError)
        assert "`--role doctor=assistant`" in str(found.exception)
