"""How many of the questions that are asked were trained on."""

import json
import shutil
from pathlib import Path

import pytest

import ftbridge
from ftbridge.adapters.registered.dataset import resolve_dataset
from ftbridge.core.project import Project
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.evaluation.answers.leakage import find_leakage
from ftbridge.evaluation.answers.questions import questions_of
from ftbridge.evaluation.answers.training_data import training_data

from ...builders.trained_runs import trained  # noqa: TID252


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(rows, name, **options):
    Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ftbridge.convert(f"{name}.jsonl", **options)


def faq(*questions, **more):
    return [{"question": question, "answer": "a", **more} for question in questions]


def dataset(name):
    return resolve_dataset(Path("data").resolve(), name, CONVERSATIONS, Path("cache").resolve())


def leaked(run, name):
    data = dataset(name)
    return find_leakage(Project.find(), run, questions_of(data), data)


@pytest.mark.parametrize(
    ("backend", "to"),
    [
        ("xtuner", "xtuner,alpaca"),
        ("xtuner", "xtuner"),
        ("llamafactory", "xtuner,alpaca"),
        ("llamafactory", "sharegpt"),
        ("xtuner", "alpaca"),
    ],
)
def test_questions_that_were_trained_on_are_counted(backend, to):
    convert(faq("why?", "how?", "when?", "\N{FULLWIDTH LATIN CAPITAL LETTER W}here  to?"), "x", to=to.split(","))
    convert(faq("who?", "HOW?", "where to?", "how??"), "y")
    found = leaked(trained("x", backend), "y")
    assert (found.questions, found.trained, found.dataset) == (4, 2, "x")
    assert found.sentence.startswith("2 of 4 questions were trained on (they are in `x`)")


def test_held_out_part_shares_no_question_and_the_training_part_all():
    convert(faq(*(f"q{at}" for at in range(20))), "x", split="7:3")
    run = trained("x")
    assert (leaked(run, "x-test").trained, leaked(run, "x-test").sentence) == (0, "")
    assert leaked(run, "x-train").trained == 14


def test_every_question_of_a_conversation_was_trained_on_and_what_was_said_before_counts():
    def talk(*users):
        said = [[{"role": "user", "content": user}, {"role": "assistant", "content": "a"}] for user in users]
        return {"messages": [message for pair in said for message in pair]}

    convert([talk("a", "b", "c")], "x")
    convert([talk("a"), talk("a", "b"), talk("b"), talk("a", "b", "c"), talk("b", "c")], "y")
    assert leaked(trained("x"), "y").trained == 3


def test_the_system_prompt_counts_where_the_training_has_several():
    convert(faq("sum it up", system="text one") + faq("sum it up", system="text two"), "x")
    convert(faq("sum it up", system="text two") + faq("sum it up", system="text three"), "y")
    assert leaked(trained("x"), "y").trained == 1
    convert(faq("why?", system="be kind"), "z")
    convert(faq("why?"), "w")
    assert leaked(trained("z", name="two"), "w").trained == 1


def test_leakage_with_a_foreign_dataset_is_counted():
    convert(faq("why?", "who?"), "y")
    Path("data/own.json").write_text(json.dumps([{"q": "why?", "a": "so"}]))
    info = json.loads(Path("data/dataset_info.json").read_text())
    info["own"] = {"file_name": "own.json", "columns": {"prompt": "q", "response": "a"}}
    Path("data/dataset_info.json").write_text(json.dumps(info))
    assert [leaked(trained("own", each, each), "y").trained for each in ("xtuner", "llamafactory")] == [1, 1]


@pytest.mark.parametrize("how", ["changed", "gone", "removed"])
def test_changed_or_missing_training_file_makes_leakage_unknown(how):
    convert(faq("why?", "how?"), "x")
    convert(faq("why?"), "y")
    run = trained("x")
    if how == "changed":
        convert(faq("who?"), "x", replace=True)
    elif how == "gone":
        for file in Path("data").glob("x-*"):
            file.unlink()
    else:
        ftbridge.convert("y.jsonl", name="other")
        info = json.loads(Path("data/dataset_info.json").read_text())
        del info["x-train"]
        Path("data/dataset_info.json").write_text(json.dumps(info))
    found = leaked(run, "y")
    assert found.trained is None
    assert "it is unknown whether questions were trained on: " in found.sentence
    assert ("no dataset `x`" if how == "removed" else "gone, or has changed since the training") in found.sentence


def test_leakage_from_another_split_of_the_same_source_is_named():
    rows = faq(*(f"q{at}" for at in range(20)))
    convert(rows, "x")
    run = trained("x")
    ftbridge.convert("x.jsonl", split="7:3")
    assert leaked(run, "x-test").anew
    ftbridge.convert("x.jsonl", name="z", split="7:3")
    found = leaked(run, "z-test")
    assert found.trained is None
    assert found.sentence.endswith("; both come from `x.jsonl`")


def test_data_that_were_converted_anew_since_the_training_are_told_so():
    rows = faq(*(f"q{at}" for at in range(20)))
    convert(rows, "x", split="7:3", seed=1)
    run = trained("x")
    ftbridge.convert("x.jsonl", split="7:3", seed=2, replace=True)
    found = leaked(run, "x-test")
    assert (found.trained, found.anew) == (None, True)
    assert found.sentence == (
        "`x` was converted anew after this run was trained, and the samples that it was trained on are gone: "
        "questions of `x-test` may have been trained on, and it cannot be counted how many"
    )
    for file in Path("data").glob("x-train*"):
        file.unlink()
    assert "gone, or has changed since the training" in leaked(run, "x-test").sentence


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_leakage_of_a_mixture_is_counted_after_its_data_were_converted_anew(backend):
    convert(faq(*(f"q{at}" for at in range(40))), "x", split="7:3", seed=1)
    convert(faq("why?", "how?"), "y")
    run = trained("x#25,y", backend)
    ftbridge.convert("x.jsonl", split="7:3", seed=2, replace=True)
    (mixed,) = (Path("cache") / name for name in run.datasets if name.startswith("mixed-"))
    place = Path(".ftbridge/datasets")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(mixed, place)
    trained_on = {each.turns[0].user for each in training_data(Project.find(), run).samples()}
    asked = {question.turns[-1][0] for question in questions_of(dataset("x-test"))}
    found = leaked(run, "x-test")
    assert (found.questions, found.trained) == (12, len(trained_on & asked))
    assert found.trained
    (place / mixed.name).unlink()
    assert leaked(run, "x-test").anew


def test_leakage_is_counted_from_any_unchanged_target():
    convert(faq("why?"), "x")
    convert(faq("why?"), "y")
    run = trained("x", "llamafactory")
    Path("data/x-train.alpaca.jsonl").write_text("{}\n")
    assert leaked(run, "y").trained == 1
