"""`ftbridge recipe` as it is typed."""

import json

import pytest

from ftbridge.cli.recipe import _found
from ftbridge.core.console import are_numbers
from ftbridge.experiments.recipes.run import RecipeRun, StepRun
from tests.builders.evaluations import write_news
from tests.builders.keyboard import terminal
from tests.builders.models import write_model
from tests.builders.sweeps import write_sweep

RECIPE = "convert: {sources: faq.csv, split: '1:1'}\ntrain: {backend: xtuner, model: base, lora_rank: 8}\nreport:\n"


@pytest.fixture
def folder(tmp_path):
    """Return a folder with data and a recipe."""
    (tmp_path / "faq.csv").write_text("question,answer\na,b\nc,d\n", encoding="utf-8")
    (tmp_path / "faq.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def test_a_dry_run_tells_each_step_with_its_options(folder, run_ftbridge):
    done = run_ftbridge("recipe", "run", "faq.yaml", "--set", "train.lora_rank=16", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["convert:", "not", "done", "before"]
    assert ["lora_rank", "16"] in lines
    assert done.stdout.splitlines()[-1].startswith("memory and disk cannot be estimated")
    assert not (folder / ".ftbridge").exists()


@pytest.mark.slow
def test_a_step_is_done_and_a_question_is_answered_by_set(folder, run_ftbridge):
    done = run_ftbridge("recipe", "run", "faq.yaml", "--until", "convert", "--json")
    assert done.returncode == 0, done.stderr
    (step,) = json.loads(done.stdout)["steps"]
    assert step["made"]["parts"] == {"faq-train": 1, "faq-test": 1}
    asked = run_ftbridge(
        "recipe", "run", "faq.yaml", "--until", "convert", "--name", "other", "--set", "convert.seed=3"
    )
    assert asked.returncode == 2
    assert (
        "ftbridge recipe run faq.yaml --until convert --name other --set convert.seed=3 --set convert.replace=true"
        in asked.stderr
    )


def test_what_cannot_be_run_is_told_in_a_sentence(folder, run_ftbridge):
    (folder / "bad.yaml").write_text("convert: {sources: x}\ntrian: {}\n", encoding="utf-8")
    done = run_ftbridge("recipe", "run", "bad.yaml")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: `bad.yaml`, line 2: `trian` is not a section of a recipe; did you mean `train`?\n"


def test_recipes_are_listed_in_80_columns_and_one_is_shown(folder, run_ftbridge):
    listed = run_ftbridge("recipe", "list")
    assert listed.returncode == 0, listed.stderr
    assert max(map(len, listed.stdout.splitlines())) <= 80
    with terminal("-m", "ftbridge", "recipe", "list", columns=60) as narrow:
        assert narrow.end() == 0
    assert max(map(len, narrow.shown.decode().splitlines())) <= 60
    assert isinstance(json.loads(run_ftbridge("recipe", "list", "--json").stdout), list)
    shown = run_ftbridge("recipe", "show", "faq.yaml")
    assert shown.stdout == RECIPE
    assert "cannot be estimated before the model" in shown.stderr
    values = json.loads(run_ftbridge("recipe", "show", "faq.yaml", "--json").stdout)
    assert (values["steps"], values["train"]["lora_rank"]) == (["convert", "train", "report"], 8)


def run_of(folder, **made):
    steps = tuple(StepRun(name=name, why="", made=each) for name, each in made.items())
    return RecipeRun(name="news", folder=folder, steps=steps)


def test_a_run_ends_with_the_figures_before_and_after_and_the_report(tmp_path):
    write_news(tmp_path, items=40)
    file = "runs/news-lora/evaluations/news-test/evaluation.json"
    made = {"train": {"run": "news-lora"}, "evaluate": {"evaluations": [file]}, "report": {"html": "a/report.html"}}
    steps, figures, *sentences, report = _found(run_of(tmp_path, **made))
    assert steps[1] == ("train", "news-lora")
    header, *rows = figures
    assert header[0] == "news-test"
    assert {"before", "tfidf"} <= {*header}
    (accuracy,) = [row for row in rows if row[0] == "accuracy"]
    assert are_numbers(accuracy)
    assert any("before" in sentence for sentence in sentences)
    assert report == str(tmp_path / "a" / "report.html")


def test_a_run_of_a_sweep_ends_with_its_table(tmp_path):
    write_sweep(tmp_path, settings=[{"sample": 100}, {"sample": 500}], items=20, seeds=(1,))
    _, figures, report = _found(run_of(tmp_path, sweep={"sweep": "sweeps/sizes"}, report={"html": "a.html"}))
    assert [row[1] for row in figures] == ["sample", "500", "100"]
    assert report == str(tmp_path / "a.html")


@pytest.mark.slow
def test_init_asks_three_questions_on_a_terminal(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with terminal("-m", "ftbridge", "recipe", "init", "--out", "mine.yaml") as typing:
        for question, answer in (("Which data", "faq.csv"), ("Which model", ""), ("What for", "1")):
            typing.wait(question)
            typing.type(f"{answer}\n")
        typing.wait("mine.yaml")
    text = (folder / "mine.yaml").read_text(encoding="utf-8")
    assert "sources: faq.csv" in text
    assert "task: classification" in text


def test_init_takes_options_where_nobody_can_be_asked(folder, run_ftbridge):
    done = run_ftbridge("recipe", "init", "--preset", "msra-ner", "--json")
    assert json.loads(done.stdout) == {"file": "msra-ner.yaml"}
    assert "task: extraction" in (folder / "msra-ner.yaml").read_text(encoding="utf-8")
    done = run_ftbridge("recipe", "init")
    assert (done.returncode, done.stderr.startswith("error: which data? Give `--data FILE`")) == (2, True)


def test_a_recipe_whose_sweep_fails_says_why_and_ends_so(folder, run_ftbridge):
    write_model(folder / "base")
    (folder / "sizes.yaml").write_text(f"{RECIPE}\nsweep: {{grid: {{sample: [1000]}}}}\nreport: {{}}\n")
    done = run_ftbridge("recipe", "run", "sizes.yaml", "--model", "base")
    assert done.returncode == 5, done.stderr
    assert "asks for 1000 of 1 training sample" in done.stdout
    assert "error: 1 of 1 points failed" in done.stderr
