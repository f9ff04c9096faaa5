"""Evaluations: what is written, what is compared, and what is told of the questions."""

import json
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.evaluation.answers.folder import UNFINISHED
from ftbridge.evaluation.evaluate import compare_evaluations
from ftbridge.evaluation.record import load_evaluation
from ftbridge.templates.families import get_family
from ftbridge.weights.card import load_card

from ..builders.runs import record_run  # noqa: TID252
from .answering_model import NEWS, AnsweringModel, predict, rows

OUT = Path("evaluations/model/all-train")


def evaluate(model, dataset="all", **options):
    """Evaluate the answers to a dataset, and return the evaluation."""
    (written,) = ftbridge.evaluate(model, dataset=dataset, **options).evaluations
    return written.evaluation


def test_answers_are_judged_and_kept_without_asking_again(model):
    found = evaluate(model)
    assert found.scores.task == "classification"
    assert (found.scores.parsed["contained"], found.scores.parsed["unparseable"]) == (5, 1)
    accuracy = found.scores.figures["accuracy"]
    assert (accuracy.value, accuracy.items, accuracy.method) == (pytest.approx(3 / 6), 6, "wilson")
    assert (found.dataset, found.model.title, found.engine.name) == ("all-train", "model", "transformers")
    assert load_evaluation(OUT) == msgspec.structs.replace(found, predictions=str(OUT.resolve() / "predictions.jsonl"))
    assert evaluate(model).scores == found.scores
    assert len(AnsweringModel.asked) == len(NEWS)
    own = ftbridge.evaluate(OUT / "predictions.jsonl").evaluations[0].evaluation
    assert own.scores == found.scores
    with pytest.raises(InputError, match=r"no.jsonl. does not hold answers"):
        ftbridge.evaluate("no.jsonl")


def test_a_killed_evaluation_writes_nothing_and_goes_on(model):
    AnsweringModel.stop_after = 2
    with pytest.raises(ftbridge.InterruptedRun, match="2 answers of this time are kept"):
        evaluate(model)
    assert not (OUT / "evaluation.json").exists()
    assert len(rows(OUT, UNFINISHED)) == 2
    AnsweringModel.stop_after = None
    assert evaluate(model).scores.items == 6
    assert len(AnsweringModel.asked) == 6


def test_first_questions_alone_are_told_as_such(model):
    evaluate(model)
    found = evaluate(model, limit=2)
    assert (found.limit, found.scores.items) == (2, 2)


@pytest.mark.parametrize(("family", "parsed"), [("qwen3", 5), ("qwen2.5", 0)])
def test_a_thought_is_kept_and_not_measured_where_the_model_has_thoughts(model, monkeypatch, family, parsed):
    """Of a model without them, the words are text."""
    prompt = msgspec.to_builtins(get_family(family).cell("xtuner").prompt)
    thinking = get_family(family).thinking
    msgspec.structs.replace(load_card(model), family=family, template=prompt, thinking=thinking).save(model)
    monkeypatch.setattr(AnsweringModel, "thought", "<think>Politics? Sports?</think>\n\n")
    assert evaluate(model).scores.parsed["contained"] == parsed
    assert all(row["answer"].startswith("<think>") for row in rows(OUT))


def of_a_run(model, name="one"):
    """Make a run that was trained on `parts-train`, and say that the model is made of it."""
    Path("runs", name).mkdir(parents=True)
    entry = json.loads(Path("data/dataset_info.json").read_text())["parts-train"]["ftbridge"]
    run = record_run(Project.find(), name, dataset="parts-train")
    digests = {file: entry["options"]["sha256"][target] for target, file in entry["files"].items()}
    msgspec.structs.replace(run, datasets=digests).save()
    msgspec.structs.replace(load_card(model), run=name).save(model)


def test_trained_on_questions_are_told_of(model, capsys):
    assert evaluate(model).leakage is None
    of_a_run(model)
    assert "warning" not in capsys.readouterr().err
    found = evaluate(model, replace=True)
    assert (found.leakage.questions, found.leakage.trained, found.leakage.dataset) == (6, 3, "parts-train")
    assert "warning: 3 of 6 questions were trained on" in capsys.readouterr().err
    predict(model, out="runs/one/predictions/all-train")
    own = ftbridge.evaluate("runs/one/predictions/all-train/predictions.jsonl").evaluations[0].evaluation
    assert own.leakage == found.leakage
    assert evaluate(model, "parts").leakage.trained == 0
    msgspec.structs.replace(load_card(model), run="gone").save(model)
    assert evaluate(model, replace=True).leakage.trained is None
    assert "cannot be told: there is no run or folder `gone`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "origin", "labels"),
    [
        ({"label_map": {"Sports": "体育", "Politics": "政治"}}, "the label map of the conversion", {"体育", "政治"}),
        ({}, "", {"Sports", "Politics"}),
    ],
)
def test_labels_come_from_the_label_map_or_the_references(model, options, origin, labels):
    ftbridge.convert("news.json", name="mapped", **options)
    found = evaluate(model, "mapped")
    assert (found.labels_from, set(found.scores.confusion.labels)) == (origin, labels)


def test_a_preset_knows_its_labels(model):
    Path("tweets.csv").write_text("Tweet text,Label,ID\nnews 1,1,0\nnews 2,2,1\n")
    ftbridge.convert("tweets.csv")
    found = evaluate(model, "tweets")
    assert found.labels_from == "the preset twitter-complaints"
    assert set(found.scores.confusion.labels) == {"complaint", "no complaint"}


def test_two_models_are_compared_on_the_same_questions(model, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    found = ftbridge.evaluate(model, other, dataset="all")
    (compared,) = found.comparisons
    assert (compared.first, compared.second, compared.items) == ("model", "other", 6)
    assert (compared.both, compared.only_first, compared.only_second, compared.neither) == (3, 0, 0, 3)
    assert compared.p_value == 1
    kept = json.loads(Path(found.file).read_text())
    assert Path(found.file) == tmp_path / "evaluations" / "all-train" / "comparison.json"
    assert kept["comparisons"] == [msgspec.to_builtins(compared)]
    with pytest.raises(UsageError, match="name each once"):
        ftbridge.evaluate(model, model, dataset="all")


def test_evaluations_of_different_questions_are_not_compared(model):
    with pytest.raises(InputError, match="evaluate both on the same dataset"):
        compare_evaluations(evaluate(model), evaluate(model, "parts"))


def test_answers_as_they_stand_take_no_options_of_a_model(model):
    predict(model)
    with pytest.raises(UsageError, match="is judged as it stands"):
        ftbridge.evaluate("out/predictions.jsonl", before=True)
