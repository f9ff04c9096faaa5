"""`ftbridge predict`: its options go through, and what comes back is shown."""

import json

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.evaluation.answers.leakage import Leaks
from ftbridge.evaluation.predict import Predictions
from ftbridge.evaluation.scoring.labels import measure


@pytest.fixture
def asked(monkeypatch):
    """Put in a function that notes what it is asked, and return the notes."""
    notes = {}

    def predict(source, dataset=None, *, metrics, **options):
        notes.update(source=source, dataset=dataset, metrics=metrics, **options)
        found = measure([("a", "a", "stop"), ("b", "a", "length"), ("?", "b", "stop")], ("a", "b"), "the label map")
        file = "out/predictions.jsonl"
        leakage = Leaks(dataset="d", ids=frozenset([2, 9])).among([1, 2, 3])
        shown = {"metrics": found, "leakage": leakage} if metrics else {}
        return Predictions(file=file, dataset="d-test", samples=3, asked=3, **shown)

    monkeypatch.setattr("ftbridge.evaluation.predict.predict", predict)
    return notes


@pytest.mark.slow
def test_predict_prints_the_file_of_answers(asked):
    done = CliRunner().invoke(cli, ["predict"])
    assert (done.exit_code, done.stdout) == (0, "out/predictions.jsonl\n")
    assert asked["trust_remote_code"] is False
    assert asked["source"] is asked["dataset"] is asked["batch_size"] is asked["bits"] is None
    assert (asked["max_new_tokens"], asked["device"], asked["dtype"], asked["replace"]) == (512, "auto", "auto", False)


def test_predict_options_reach_the_function(asked):
    options = ["--dataset", "d", "--max-new-tokens", "9", "--batch-size", "4", "--limit", "7", "--bits", "4"]
    options += ["--device", "cpu", "--out", "o", "--dataset-dir", "data", "--replace", "--result-jsonl"]
    options += ["--checkpoint", "best", "--dtype", "float32", "--trust-remote-code", "--thinking", "on"]
    assert CliRunner().invoke(cli, ["predict", "run", *options]).exit_code == 0
    wanted = {"dataset": "d", "max_new_tokens": 9, "batch_size": 4, "limit": 7, "bits": 4, "device": "cpu"}
    wanted |= {"out": "o", "dataset_dir": "data", "replace": True, "result_jsonl": True, "metrics": False}
    wanted |= {"checkpoint": "best", "dtype": "float32", "trust_remote_code": True, "thinking": "on"}
    assert asked == {"source": "run", **wanted}


def test_predict_with_metrics_prints_a_table(asked):
    done = CliRunner().invoke(cli, ["predict", "--metrics"])
    shown = dict(line.rsplit("  ", 1) for line in done.stdout.splitlines()[:-1])
    shown = {key.strip(): value.strip() for key, value in shown.items()}
    assert shown["exact match"] == shown["accuracy"] == "0.3333"
    assert shown["macro precision"] == "0.5000"
    assert (shown["unparseable answers"], shown["ended by length"]) == ("1", "1")
    assert shown["labels"] == "2, from the label map"
    assert shown["questions trained on"] == "1 of 3"


def test_predict_with_json_prints_the_same_values(asked):
    found = json.loads(CliRunner().invoke(cli, ["predict", "--metrics", "--json"]).stdout)
    assert found["metrics"]["labels"]["accuracy"] == pytest.approx(1 / 3)
    assert (found["leakage"]["trained"], found["leakage"]["questions"]) == (1, 3)
    assert found["file"] == "out/predictions.jsonl"


@pytest.mark.parametrize("arguments", [["--batch-size", "0"], ["--limit", "0"], ["--bits", "5"], ["--device", "tpu"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["predict", *arguments]).exit_code == 2
