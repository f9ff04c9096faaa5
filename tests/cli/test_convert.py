"""`ftbridge convert`."""

import json

import pytest
from click.testing import CliRunner

from ftbridge.cli.convert import command
from ftbridge.core.errors import UsageError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_text(
        '{"问题": "q", "答案": "a", "id": 1}\n{"问题": "p", "答案": "", "id": 2}\n', "utf-8"
    )

    def run(*arguments):
        return CliRunner().invoke(command, ["faq.jsonl", *arguments], catch_exceptions=True)

    return run


def test_what_was_chosen_and_written_is_printed(run):
    found = run("--on-error", "skip", "--system", "be kind")
    assert found.exit_code == 0, found.output
    assert [" ".join(line.split()) for line in found.stdout.splitlines()] == [
        "faq.jsonl: question and answer columns",
        "instruction 问题",
        "output 答案",
        "system 'be kind'",
        "left out id",
        "1 q",
        "-> a",
        "",
        "part samples xtuner alpaca",
        "faq-train 1 data/faq-train.xtuner.jsonl data/faq-train.alpaca.jsonl",
        "2 rows read = 1 written + 1 rejected + 0 duplicates + 0 left out",
        "rejected rows: data/faq.rejected.jsonl",
        "registered in data/dataset_info.json",
    ]
    again = run("--on-error", "skip", "--system", "be kind")
    assert "nothing has changed" in again.stdout
    workbook = run("--on-error", "skip", "--system", "be kind", "--xlsx").stdout
    assert "rejected rows: data/faq.rejected.jsonl, data/faq.rejected.xlsx\n" in workbook
    assert "nothing has changed" in workbook


def test_the_reading_is_explained_on_demand(run):
    why = [line for line in run("--max-rejected", "50%", "--explain").stdout.splitlines() if " why " in line]
    assert "`问题`: text, such as `q`; its header fits instruction" in why[0]
    assert "read as question and answer columns" in why[-1]


def test_what_is_shown_is_no_longer_than_a_screen_and_never_obeyed(run, tmp_path):
    turns = [{"role": role, "content": "x"} for _ in range(1000) for role in ("user", "assistant")]
    record = {"messages": turns, "\x1b[31m": 1, **{f"column {number}": number for number in range(1000)}}
    (tmp_path / "faq.jsonl").write_text(json.dumps(record) + "\n")
    text = run("--explain").stdout
    assert "and 995 more turns" in text
    assert "column 28, and 971 more" in text
    assert "\x1b" not in text
    assert len(text.splitlines()) < 1100


def test_the_result_can_be_json(run):
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


def test_of_a_hundred_columns_some_are_shown(run, tmp_path):
    row = {f"column {at}": "" for at in range(100)}
    (tmp_path / "faq.jsonl").write_text(json.dumps({"question": "q", "answer": "a"} | row) + "\n")
    (shown,) = [line for line in run().stdout.splitlines() if line.strip().startswith("left out")]
    assert len(shown) < 1000
    assert shown.endswith("and 70 more")


def test_answers_that_are_numbers_are_noted(run, tmp_path):
    (tmp_path / "faq.jsonl").write_text('{"text": "good", "label": 1.0}\n{"text": "bad", "label": -1}\n')
    assert "the answers are numbers; `--label-map 1=TEXT --label-map -1=TEXT` and so on" in run().stdout


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (["instruction"], "takes FIELD=COLUMN"),
        (["input="], "takes FIELD=COLUMN"),
        (["input=1", "input=2"], "twice"),
    ],
)
def test_a_map_that_says_nothing_is_refused(run, maps, message):
    found = run(*(word for each in maps for word in ("--map", each)))
    assert isinstance(found.exception, UsageError)
    assert message in str(found.exception)


def test_help_names_every_option():
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
        "--explain",
        "--json",
    ):
        assert option in text
