"""Answers judged: thoughts, labels, what was trained on, baselines, and another engine's answers beside."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import UsageError
from ftbridge.evaluation.record import load_evaluation
from ftbridge.templates.families import get_family
from ftbridge.weights.card import load_card

from .answering_model import NEWS, AnsweringModel, evaluate, of_a_run, predict, rows
from .answers.engines.api_server import serving

OUT = Path("evaluations/model/all-train")


@pytest.mark.parametrize(("family", "parsed"), [("qwen3", 5), ("qwen2.5", 0)])
def test_a_thought_is_kept_and_not_measured_where_the_model_has_thoughts(model, monkeypatch, family, parsed):
    """Of a model without them, the words are text."""
    prompt = msgspec.to_builtins(get_family(family).cell("xtuner").prompt)
    thinking = get_family(family).thinking
    msgspec.structs.replace(load_card(model), family=family, template=prompt, thinking=thinking).save(model)
    monkeypatch.setattr(AnsweringModel, "thought", "<think>Politics? Sports?</think>\n\n")
    assert evaluate(model).scores.parsed["contained"] == parsed
    assert all(row["answer"].startswith("<think>") for row in rows(OUT))


def test_trained_on_questions_are_told_of(model, capsys):
    assert evaluate(model).leakage is None
    of_a_run(model)
    assert "warning" not in capsys.readouterr().err
    found = evaluate(model, replace=True)
    assert (found.leakage.questions, found.leakage.trained, found.leakage.dataset) == (6, 3, "parts-train")
    said = capsys.readouterr().err
    assert said.count("warning: 3 of 6 questions were trained on") == 1
    assert said.index("warning: ") < said.index("asking 6 questions")  # which may take an hour
    predict(model, out="runs/one/predictions/all-train")
    own = ftbridge.evaluate("runs/one/predictions/all-train/predictions.jsonl").evaluations[0].evaluation
    assert own.leakage == found.leakage
    assert evaluate(model, "parts").leakage.trained == 0
    msgspec.structs.replace(load_card(model), run="gone").save(model)
    assert evaluate(model, replace=True).leakage.trained is None
    assert (
        "it is unknown whether questions were trained on: there is no run or folder `gone`" in capsys.readouterr().err
    )


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


def test_baselines_learn_what_the_run_learned_and_are_compared(model):
    pytest.importorskip("sklearn")
    of_a_run(model)
    found = evaluate(model)
    assert [(each.name, each.training_samples) for each in found.baselines] == [("most-frequent", 3), ("tfidf", 3)]
    assert {each.scores.items for each in found.baselines} == {6}
    assert [each.second for each in found.comparisons] == ["most-frequent", "tfidf"]
    assert evaluate(model, "all", baseline=["none"]).baselines == ()
    assert [each.name for each in evaluate(model, "all", baseline=["most-frequent"]).baselines] == ["most-frequent"]


def test_runs_of_one_training_set_share_its_baselines(model, tmp_path, capsys):
    """What is said of a training set is said as its baselines are trained."""
    pytest.importorskip("sklearn")
    Path("odd.json").write_text(json.dumps([{"instruction": "Sort it", "input": q, "output": q} for q, _ in NEWS]))
    ftbridge.convert("odd.json", name="odd")
    folders = []
    for name, dataset in {"one": "parts-train", "two": "parts-train", "odd": "odd-train"}.items():
        of_a_run(model, name, dataset)
        folders.append(Path(shutil.copytree(model, tmp_path / f"of-{name}")))
    found = ftbridge.evaluate(*folders, dataset="parts", task="classification")
    one, two, odd = (Path(each.file).parent for each in found.evaluations)
    assert one != two
    assert (one / "tfidf.jsonl").read_bytes() == (two / "tfidf.jsonl").read_bytes()
    assert [len(each.evaluation.baselines) for each in found.evaluations] == [2, 2, 2]
    assert [each.evaluation.baselines[1].training_samples for each in found.evaluations] == [3, 3, 6]
    assert (odd / "tfidf.jsonl").read_bytes() != (one / "tfidf.jsonl").read_bytes()
    assert capsys.readouterr().err.count("a single training sample") == 2


def test_without_its_training_file_a_model_is_judged_alone_unless_baselines_are_asked_for(model, capsys):
    of_a_run(model)
    Path("data/parts-train.messages.jsonl").unlink()
    for file in Path("data").glob("parts-train.*"):
        file.unlink()
    assert evaluate(model).baselines == ()
    assert "note: without baselines: the file of `parts-train`" in capsys.readouterr().err
    with pytest.raises(ftbridge.InputError, match="has changed since the training"):
        evaluate(model, "all", baseline=["tfidf"])


def test_answers_of_a_server_are_compared_with_those_of_this_process(model):
    """A parrot is asked, and answers each question by itself."""
    of_a_run(model)
    predict(model, out="runs/one/predictions/all-train")
    with serving() as server:
        options = {"endpoint": server.address, "endpoint_model": "tiny", "baseline": ["none"]}
        found = evaluate("one", **options)
        assert (found.engine.name, found.engine.model) == ("endpoint", "tiny")
        assert (found.engine.same_answers, found.engine.compared) == (0, 6)
        (compared,) = found.comparisons
        assert (compared.second, compared.only_first, compared.only_second) == ("by transformers", 0, 3)
        place = Path("runs/one/evaluations-endpoint/all-train")
        assert load_evaluation(place).engine == found.engine
        assert len(server.requests) == 6
        alone = evaluate("one", **options, limit=2)
        assert (alone.scores.items, len(server.requests)) == (2, 6)
        (written,) = ftbridge.evaluate(dataset="all", **options).evaluations
        assert Path(written.file) == Path("evaluations/tiny/all-train/evaluation.json").absolute()
        assert written.evaluation.comparisons == ()
    for wrong in ({"before": True}, {"also": ["parts"]}):
        with pytest.raises(UsageError, match="a server is a single model"):
            evaluate("one", **options, **wrong)
