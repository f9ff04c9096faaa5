"""Which baselines are asked for, and their answers to questions."""

import json
import shutil
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.evaluation.answers.questions import Question
from ftbridge.evaluation.baselines import baselines
from ftbridge.evaluation.baselines.baselines import DEFAULT, Choice, parse_baseline, parse_baselines, run_baselines

from ...builders.hub_server import hub_server  # noqa: TID252
from ...builders.trained_runs import trained  # noqa: TID252

NEWS = [
    ("goal team", "sport"),
    ("match ball", "sport"),
    ("goal ball team", "sport"),
    ("bank", "money"),
    ("rain", "天气"),
]


@pytest.fixture
def trained_on(tmp_path, monkeypatch):
    """Return a function that gives a run which was trained on rows of question and answer."""
    monkeypatch.chdir(tmp_path)

    def train(rows):
        lines = (json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in rows)
        Path("x.jsonl").write_text("".join(lines))
        ftbridge.convert("x.jsonl")
        return trained("x")

    return train


def questions(*pairs):
    return [Question(at, "", ((text, None),), label) for at, (text, label) in enumerate(pairs, 7)]


def test_the_baselines_are_parsed():
    assert parse_baselines([]) == DEFAULT
    assert [choice.name for choice in DEFAULT] == ["most-frequent", "tfidf"]
    assert parse_baselines(["none"]) == parse_baselines(["none", "none"]) == ()
    assert parse_baselines(["tfidf", "tfidf"]) == (Choice("tfidf"),)
    folder = Path("models/a=b").absolute()
    assert parse_baseline("bert=models/a=b") == Choice("bert", str(folder))
    assert parse_baseline("bert=models/a=b").name == "bert=a=b"
    assert parse_baseline("bert=owner/bert-base") == Choice("bert", "owner/bert-base")
    assert parse_baseline("bert=owner/bert-base").name == "bert=bert-base"


def test_a_folder_comes_before_a_hubs_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("owner/bert").mkdir(parents=True)
    assert parse_baseline("bert=owner/bert") == Choice("bert", str(tmp_path / "owner" / "bert"))


@pytest.mark.parametrize("text", ["", "bert", "bert=", "tfidf=x", "tfidf=", "gpt", "none", "most frequent", "=x"])
def test_another_baseline_is_refused(text):
    with pytest.raises(UsageError, match=r"most-frequent, tfidf, bert=FOLDER, bert=HUB_NAME or none, not `"):
        parse_baseline(text)


def test_none_stands_alone():
    with pytest.raises(UsageError, match="excludes other baselines"):
        parse_baselines(["none", "tfidf"])


def test_each_baseline_answers_each_question_by_its_id(trained_on, capsys):
    run = trained_on(NEWS)
    asked = questions(("a goal", "Sport"), ("the bank", "money"), ("law", "law"))
    first, second = run_baselines(DEFAULT, Project.find(), run, asked)
    assert (first.name, first.training_samples) == ("most-frequent", 5)
    assert (second.name, second.training_samples) == ("tfidf", 5)
    assert dict(first.answers) == {7: "sport", 8: "sport", 9: "sport"}
    assert dict(second.answers) == {7: "sport", 8: "money", 9: "sport"}
    said = capsys.readouterr().err
    assert "note: 2 labels have a single training sample: `money`, `天气`" in said
    assert "note: 1 label of the questions is in no training sample, so no baseline can give it: `law`" in said


def test_one_class_alone_is_said_and_answered(trained_on, capsys):
    run = trained_on([("a", "x"), ("b", "x")])
    for baseline in run_baselines(DEFAULT, Project.find(), run, questions(("a", "x"), ("", "x"))):
        assert dict(baseline.answers) == {7: "x", 8: "x"}
    assert "note: all training samples have the label `x`" in capsys.readouterr().err


def test_a_training_file_that_is_gone_is_refused_before_anything_is_trained(trained_on):
    run = trained_on(NEWS)
    for file in Path("data").glob("x-*"):
        file.unlink()
    with pytest.raises(InputError, match="is gone, or has changed since the training"):
        run_baselines(DEFAULT, Project.find(), run, questions(("a", "x")))
    assert run_baselines((), Project.find(), run, questions(("a", "x"))) == []


def test_answers_that_are_no_labels_are_refused(trained_on, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_CLASSES", 2)
    with pytest.raises(InputError, match="3 different answers, too many for labels"):
        run_baselines(DEFAULT, Project.find(), trained_on(NEWS), questions(("a", "x")))


def test_an_encoder_that_is_not_there_is_refused_before_anything_is_trained(trained_on):
    choices = (*DEFAULT, parse_baseline("bert=nowhere"))
    with pytest.raises(InputError, match=r"`--baseline bert=.*nowhere` cannot be used: it is not a model folder"):
        run_baselines(choices, Project.find(), trained_on(NEWS), questions(("a", "x")))


@pytest.mark.framework
def test_without_a_network_a_hubs_encoder_is_left_out(trained_on, training_python, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    choices, run = [parse_baseline("bert=owner/nowhere"), Choice("tfidf")], trained_on(NEWS)
    for _ in range(2):
        (found,) = run_baselines(choices, Project.find(), run, questions(("a goal", "sport")))
        assert (found.name, dict(found.answers)) == ("tfidf", {7: "sport"})
    said = [line for line in capsys.readouterr().err.splitlines() if "without the baseline" in line]
    assert len(said) == 1
    assert "bert=owner/nowhere: `owner/nowhere` is in no cache here" in said[0]


@pytest.mark.matrix
@pytest.mark.framework
@pytest.mark.parametrize("from_hub", [False, True])
def test_an_encoder_answers_each_question_by_its_id(from_hub, trained_on, make_encoder, tmp_path, monkeypatch):
    folder = make_encoder("bert", " ".join(text for text, _ in NEWS).split())
    wanted, run = parse_baseline(f"bert={folder}"), trained_on(NEWS)
    with hub_server(tmp_path / "hub", monkeypatch) as server:
        if from_hub:
            shutil.copytree(folder, server.folder / "owner" / "tiny")
            wanted = parse_baseline("bert=owner/tiny")
        (found,) = run_baselines([wanted], Project.find(), run, questions(*NEWS))
    assert (found.name, found.training_samples) == ("bert=tiny" if from_hub else f"bert={folder.name}", 5)
    answers = dict(found.answers)
    assert [*answers] == [7, 8, 9, 10, 11]
    assert {*answers.values()} <= {"sport", "money", "天气"}
