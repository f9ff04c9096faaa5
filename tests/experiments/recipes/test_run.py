"""The steps of a recipe that run without a framework, and those that need one."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import yaml

from ftbridge import datasets
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.core.errors import InputError, InterruptedRun, QuestionError, SetupError, UsageError
from ftbridge.core.project import Project
from ftbridge.experiments.recipes import run as running
from ftbridge.experiments.recipes import steps
from ftbridge.experiments.recipes.recipe import load_recipe, parse_recipe
from ftbridge.experiments.recipes.run import parse_changes, run_recipe, settings_of_words
from ftbridge.experiments.recipes.steps import Book, plan_step
from ftbridge.launchers.runs.record import load_run
from tests.builders.runs import record_run

ROWS = [("question", "answer"), *((f"What is {n}?", f"It is {n}.") for n in range(20))]


def write_data(folder, rows=ROWS):
    text = "".join(f"{question},{answer}\n" for question, answer in rows)
    (folder / "faq.csv").write_text(text, encoding="utf-8")


def write_recipe(folder, **sections):
    values = {
        "convert": {"sources": "faq.csv", "split": "4:1"},
        "train": {"backend": "xtuner", "model": "base"},
        **sections,
    }
    file = folder / "faq.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Return a recipe in a project with its data, where the test stands."""
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    return write_recipe(tmp_path)


def until_convert(recipe, **options):
    (step,) = run_recipe(recipe, until="convert", **options).steps
    return step


def test_a_step_is_done_once_and_anew_where_it_has_changed(recipe, tmp_path, capsys):
    assert until_convert(recipe).made["parts"] == {"faq-train": 16, "faq-test": 4}
    assert until_convert(recipe).why == ""
    assert until_convert(recipe, set={"convert.split": "1:1"}).why == "split was 4:1 and is 1:1"
    assert until_convert(recipe, set={"convert.split": "1:1", "convert.strip": True}).why == (
        "strip was not given and is on"
    )
    write_data(tmp_path, ROWS[:11])
    assert until_convert(recipe).why.endswith("faq.csv has changed")
    assert {each.name: each.samples for each in datasets.list()} == {"faq-train": 8, "faq-test": 2}
    assert "convert: up to date" in capsys.readouterr().err


def test_a_dataset_that_is_gone_is_made_again(recipe):
    until_convert(recipe)
    datasets.remove("faq-test")
    assert until_convert(recipe).why == "faq-test is gone, or was changed"


def test_a_dataset_of_somebody_else_is_asked_about(recipe, tmp_path):
    convert("faq.csv", split="8:1:1")
    with pytest.raises(QuestionError) as asked:
        until_convert(recipe)
    assert list(asked.value.answers.values()) == [
        ["--set", "convert.replace=true"],
        ["--set", "convert.name=faq-2"],
    ]
    assert until_convert(recipe, set={"convert.replace": True}).made["dataset"] == "faq-train"
    assert until_convert(recipe).why == ""


def test_an_edited_dataset_is_not_replaced(recipe, tmp_path):
    until_convert(recipe)
    with (tmp_path / "data" / "faq-train.alpaca.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    for change in ({}, {"convert.split": "1:1"}):
        with pytest.raises(QuestionError, match=r"changed since it was converted|other rows"):
            until_convert(recipe, set=change)


@pytest.mark.parametrize("moment", [0, 0.05, 0.2])
def test_a_conversion_goes_on_after_a_kill(recipe, moment):
    command = [sys.executable, "-m", "ftbridge", "recipe", "run", recipe, "--until", "convert"]
    killed = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert b"convert: not done before" in killed.stderr.readline()
    time.sleep(moment)
    killed.kill()
    killed.communicate()
    assert until_convert(recipe).made["parts"] == {"faq-train": 16, "faq-test": 4}
    assert until_convert(recipe).why == ""


def test_a_conversion_that_was_killed_before_it_was_noted_is_taken_as_it_is(recipe, tmp_path):
    made = until_convert(recipe).made
    (tmp_path / ".ftbridge" / "recipes" / "faq.json").unlink()
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "data").iterdir()}
    again = until_convert(recipe)
    assert (again.why, again.made) == ("not done before", made)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "data").iterdir()} == written


def test_questions_of_convert_are_answered_by_set():
    words = ["--map", "instruction=A", "--map", "output=问 题", "--header-row", "2", "--all-sheets", "--sheet", "no"]
    assert settings_of_words(words) == [
        "--set", 'convert.map={"instruction":"A","output":"问 题"}',
        "--set", 'convert.header_row="2"',
        "--set", "convert.all_sheets=true",
        "--set", 'convert.sheet=["no"]',
    ]  # fmt: skip


def test_changes_are_read_as_yaml_and_a_split_as_it_stands():
    assert parse_changes(["train.epochs=2", "convert.split=7:3", "evaluate.baseline=[none]"]) == {
        "train.epochs": 2,
        "convert.split": "7:3",
        "evaluate.baseline": ["none"],
    }
    with pytest.raises(UsageError, match=r"`--set` takes SECTION\.OPTION=VALUE"):
        parse_changes(["train.epochs"])


def test_a_dry_run_writes_nothing_and_says_what_is_to_be_done(recipe, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    planned = run_recipe(recipe, dry_run=True)
    assert [(step.name, step.why) for step in planned.steps] == [
        ("convert", "not done before"),
        ("train", "after convert, which comes first"),
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_other_data_takes_the_place_of_a_preset_and_is_read_as_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "convert: {sources: 'preset:medqa', split: '4:1'}\ntrain: {backend: xtuner}\n"
    medqa = parse_recipe("medqa", text, "it")
    with pytest.raises(UsageError, match=r"on no hub .* get it from https://.* `--data FILE`, or .*`--demo`$"):
        run_recipe(medqa)
    write_data(tmp_path, [("Question", "Answer"), *ROWS[1:]])
    (step,) = run_recipe(medqa, data="faq.csv", until="convert").steps
    assert (step.options["preset"], step.options["sources"]) == ("medqa", ["faq.csv"])


def test_a_model_is_named_from_where_one_stands(recipe, tmp_path, monkeypatch):
    (tmp_path / "ftbridge.yaml").touch()
    (tmp_path / "inner" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inner")
    assert run_recipe(recipe, model="base", dry_run=True).steps[1].options["model"] == str(tmp_path / "inner" / "base")
    assert run_recipe(recipe, model="owner/base", dry_run=True).steps[1].options["model"] == "owner/base"


def test_what_is_chosen_is_not_varied(recipe):
    text = "convert: {sources: x}\ntrain: {model: a}\nsweep: {grid: {backend: [xtuner, llamafactory], lora_rank: [8]}}"
    swept = running._with_changes(parse_recipe("x", text, "it"), {"backend": "xtuner", "model": None}, {})
    assert swept.sweep["grid"] == {"backend": ["xtuner"], "lora_rank": [8]}


def test_what_cannot_be_is_told_before_anything_is_done(recipe, tmp_path):
    with pytest.raises(UsageError, match="has no step `covert`; did you mean `convert`"):
        run_recipe(recipe, until="covert")
    with pytest.raises(UsageError, match="`a b` is not a valid name for a recipe"):
        run_recipe(recipe, name="a b")
    write_recipe(tmp_path, convert={"sources": "faq.csv"}, evaluate={})
    with pytest.raises(UsageError, match="makes no `faq-test`: give it one"):
        run_recipe(recipe)
    (tmp_path / ".ftbridge" / "recipes" / "faq.json").write_text("[", encoding="utf-8")
    with pytest.raises(InputError, match=r"faq\.json` is damaged; delete it"):
        run_recipe(recipe)


def test_ctrl_c_says_what_is_done(recipe, monkeypatch):
    until_convert(recipe)

    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ftbridge.experiments.recipes.steps.resolve_train_spec", stop)
    with pytest.raises(InterruptedRun, match="stopped in the step `train`; convert is done, and the same command"):
        run_recipe(recipe)


@pytest.mark.parametrize(("status", "made"), [("succeeded", True), ("running", False)])
def test_a_training_that_an_earlier_run_did_is_not_done_again(status, made, recipe, tmp_path, monkeypatch):
    until_convert(recipe)
    run = record_run(Project.find(), "earlier", status, pid=os.getpid())
    book = Book(load_recipe(recipe), Project.find(), parallel=False, max_points=1)
    book.note_training("key", run.id)
    monkeypatch.setattr(steps, "plan_training", lambda *_: SimpleNamespace(key="key"))
    planned = plan_step("train", book)
    assert planned.why == "not done before"
    if made:
        assert planned.do() == {"run": "earlier"}
    else:
        with pytest.raises(UsageError, match="run `earlier` is doing this training right now: wait for it to end"):
            planned.do()


@pytest.mark.framework
def test_a_recipe_goes_on_after_a_kill_and_does_nothing_twice(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    small = {
        "backend": "llamafactory", "model": str(project / "base"), "device": "cpu", "method": "lora", "lora_rank": 4,
        "micro_batch_size": 4, "gradient_accumulation_steps": 1, "epochs": 16, "save_steps": 16, "save_limit": 9,
    }  # fmt: skip
    evaluation = {"before": True, "max_new_tokens": 4, "device": "cpu"}
    recipe = write_recipe(tmp_path, train=small, export={}, evaluate=evaluation, report={"language": "en"})
    killed = subprocess.Popen([sys.executable, "-m", "ftbridge", "recipe", "run", recipe], start_new_session=True)
    end = time.monotonic() + 300
    while not any(load_run(file.parent).checkpoints for file in tmp_path.glob("runs/*/run.json")):
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    done = run_recipe(recipe)
    assert "resuming from" in capsys.readouterr().err
    assert [step.name for step in done.steps if not step.why] == ["convert"]
    assert len(list(tmp_path.glob("runs/*"))) == 1
    assert all((tmp_path / file).exists() for file in (*done.steps[2].made.values(), *done.steps[4].made.values()))
    assert [step.why for step in run_recipe(recipe).steps] == [""] * 5
    changed = run_recipe(recipe, set={"evaluate.max_new_tokens": 3})
    assert [step.why for step in changed.steps[:4]] == ["", "", "", "max_new_tokens was 4 and is 3"]
    assert changed.steps[4].why.endswith("has changed")
    assert len(list(tmp_path.glob("runs/*"))) == 1


def test_data_that_cannot_be_fetched_is_told_with_what_else_there_is_to_do(recipe, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises((InputError, SetupError)):
        until_convert(recipe, data="hf://owner/name")
    assert "note: `--data FILE` takes a file instead of the hub's data" in capsys.readouterr().err
