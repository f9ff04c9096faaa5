"""`ftbridge predict`: its options go through, and what comes back is shown."""

import json

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.evaluation.predict import Predictions


@pytest.fixture
def asked(monkeypatch):
    """Put in a function that notes what it is asked, and return the notes."""
    notes = {}

    def predict(source, dataset=None, **options):
        notes.update(source=source, dataset=dataset, **options)
        return Predictions(file="out/predictions.jsonl", dataset="d-test", samples=3, asked=3)

    monkeypatch.setattr("ftbridge.evaluation.predict.predict", predict)
    return notes


@pytest.mark.slow
def test_predict_prints_the_file_of_answers(asked):
    done = CliRunner().invoke(cli, ["predict"])
    assert (done.exit_code, done.stdout) == (0, "out/predictions.jsonl\n")
    assert asked["trust_remote_code"] is False
    assert asked["dataset"] == ()
    assert asked["source"] is asked["batch_size"] is asked["bits"] is None
    assert (asked["max_new_tokens"], asked["device"], asked["dtype"], asked["replace"]) == (512, "auto", "auto", False)


def test_predict_names_the_command_that_measures_the_answers(asked):
    done = CliRunner().invoke(cli, ["predict", "run", "--dataset", "d", "--max-new-tokens", "9", "--xlsx"])
    assert "next: `ftbridge evaluate run --dataset d --max-new-tokens 9` measures them\n" in done.stderr
    done = CliRunner().invoke(cli, ["predict", "--questions", "q.xlsx"])
    assert "next" not in done.stderr


def test_predict_options_reach_the_function(asked):
    options = ["--dataset", "d", "--max-new-tokens", "9", "--batch-size", "4", "--limit", "7", "--bits", "4"]
    options += ["--device", "cpu", "--out", "o", "--dataset-dir", "data", "--replace", "--result-jsonl"]
    options += ["--checkpoint", "best", "--dtype", "float32", "--trust-remote-code", "--thinking", "on"]
    options += ["--engine", "vllm", "--model", "m", "--questions", "q.xlsx", "--column", "c", "--xlsx"]
    assert CliRunner().invoke(cli, ["predict", "run", *options]).exit_code == 0
    wanted = {"dataset": ("d",), "max_new_tokens": 9, "batch_size": 4, "limit": 7, "bits": 4, "device": "cpu"}
    wanted |= {"out": "o", "dataset_dir": "data", "replace": True, "result_jsonl": True}
    wanted |= {"checkpoint": "best", "dtype": "float32", "trust_remote_code": True, "thinking": "on", "engine": "vllm"}
    wanted |= {"model": "m", "questions": "q.xlsx", "column": "c", "xlsx": True}
    assert asked == {"source": "run", **wanted}


def test_predict_with_json_prints_the_same_values(asked):
    found = json.loads(CliRunner().invoke(cli, ["predict", "--json"]).stdout)
    assert (found["file"], found["samples"], found["asked"]) == ("out/predictions.jsonl", 3, 3)


@pytest.mark.parametrize("arguments", [["--batch-size", "0"], ["--limit", "0"], ["--bits", "5"], ["--device", "tpu"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["predict", *arguments]).exit_code == 2
