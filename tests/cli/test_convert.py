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
        "faq.jsonl",
        "instruction 问题",
        "output 答案",
        "system 'be kind'",
        "left out id",
        "2 rows read, 1 samples, 1 rejected",
        "rejected rows: data/faq.rejected.jsonl",
        "faq-train: 1 samples",
        "xtuner data/faq-train.xtuner.jsonl",
        "alpaca data/faq-train.alpaca.jsonl",
        "registered in data/dataset_info.json",
    ]
    again = run("--on-error", "skip", "--system", "be kind")
    assert "nothing has changed" in again.stdout


def test_the_result_can_be_json(run):
    found = run("--map", "instruction=问题", "--map", "output=3", "--name", "ids", "--json")
    assert found.exit_code == 0, found.output
    done = json.loads(found.stdout)
    assert (done["name"], done["columns"]) == ("ids", {"instruction": "问题", "output": "id"})


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
    ):
        assert option in text
