"""What the demo of a recipe makes smaller, and the demos themselves."""

import json
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.plugins import plugin_names
from ftbridge.core.project import Project, Settings
from ftbridge.evaluation.sweep.record import load_sweep
from ftbridge.experiments.recipes.demo import ROWS, demo_recipe, texts_of
from ftbridge.experiments.recipes.recipe import parse_recipe, shipped_recipes
from ftbridge.experiments.recipes.run import run_recipe

FULL = """
convert: {sources: 'preset:medqa', split: test=200, sample: [100, 500], name: big}
train: {backend: llamafactory, model: Qwen/Qwen2.5-7B-Instruct, method: lora, lora_rank: 8, gpus: all, dtype: bfloat16,
  deepspeed: zero2, track: [swanlab], trust_remote_code: true}
sweep: {grid: {sample: [100, 500, 1000], lora_rank: [8, 16], model: [a, b]}, seeds: [1, 2], metric: chrf}
evaluate: {before: true, baseline: [tfidf, bert=models/bert], bits: 4, also: [other-test]}
report: {out: here.html, language: zh}
"""


def test_a_demo_is_small_and_needs_no_gpu(tmp_path):
    small = demo_recipe(parse_recipe("x", FULL, "it"), Project(tmp_path, Settings()), write=True)
    assert small.sources == [str(tmp_path / "medqa.xlsx")]
    assert (tmp_path / "medqa.xlsx").is_file()
    assert {key: small.convert[key] for key in ("preset", "split", "limit")} == {
        "preset": "medqa", "split": "4:1", "limit": ROWS
    }  # fmt: skip
    assert not {"sample", "name"} & small.convert.keys()
    kept = {key: small.train[key] for key in ("backend", "method", "lora_rank", "track", "model", "device")}
    assert kept == {
        "backend": "llamafactory", "method": "lora", "lora_rank": 8, "track": ("swanlab",), "model": "base",
        "device": "cpu",
    }  # fmt: skip
    assert not {"gpus", "dtype", "deepspeed", "trust_remote_code"} & small.train.keys()
    assert small.sweep == {"grid": {"sample": [10, 20], "lora_rank": [8]}, "seeds": [1], "metric": "chrf"}
    assert (small.evaluate["baseline"], small.evaluate["device"]) == (["tfidf"], "cpu")
    assert not {"bits", "also"} & small.evaluate.keys()
    assert small.report == {"language": "zh"}


def test_what_a_recipe_says_of_its_demo_wins(tmp_path):
    own = "demo: {convert: {split: '1:1'}, train: {epochs: 2}, sweep: {grid: {lora_rank: [2, 4, 8]}}}"
    small = demo_recipe(parse_recipe("x", FULL + own, "it"), Project(tmp_path, Settings()), write=True)
    assert (small.convert["split"], small.train["epochs"]) == ("1:1", 2)
    assert small.sweep == {"metric": "chrf", "grid": {"lora_rank": [2, 4, 8]}}


def test_data_of_ones_own_is_taken_where_it_is_here(tmp_path):
    (tmp_path / "faq.csv").touch()
    own = f"convert: {{sources: {tmp_path / 'faq.csv'}, preset: medqa}}\ntrain: {{backend: xtuner}}"
    assert demo_recipe(parse_recipe("x", own, "it"), Project(tmp_path, Settings()), write=True).sources == [
        str(tmp_path / "faq.csv")
    ]
    gone = demo_recipe(parse_recipe("x", own.replace("faq", "gone"), "it"), Project(tmp_path, Settings()), write=True)
    assert gone.sources == [str(tmp_path / "medqa.xlsx")]


def test_data_that_is_given_and_not_there_is_no_reason_to_take_the_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"nofile\.json"):
        run_recipe("huanhuan", data="nofile.json", demo=True)


def test_a_demo_is_a_project_of_its_own_with_the_interpreters_around_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "python"
    python.symlink_to("/bin/true")
    settings = f"model: mine\nbackends: {{xtuner: {{python: {python}}}}}\n"
    (tmp_path / "ftbridge.yaml").write_text(settings, encoding="utf-8")
    recipe = parse_recipe("tiny", FULL, "it")
    made = run_recipe(recipe, demo=True, until="convert")
    assert made.folder == tmp_path / "tiny-demo"
    assert made.steps[0].made["parts"] == {"medqa-train": 24, "medqa-test": 6}
    inside = Project.find(made.folder)
    assert inside.folder == made.folder
    assert inside.settings.train == {"model": "base"}
    assert inside.settings.backends["xtuner"].python == str(python)
    assert "can i take" in " ".join(texts_of(made.folder / "data", made.steps[0].made["parts"])).lower()
    assert run_recipe(recipe, demo=True, until="convert").steps[0].why == ""
    with pytest.raises(UsageError, match="makes its own toy model"):
        run_recipe(recipe, demo=True, model="base")


def test_a_folder_of_somebody_else_is_no_demo(tmp_path):
    (tmp_path / "x-demo").mkdir()
    (tmp_path / "x-demo" / "mine.txt").touch()
    with pytest.raises(UsageError, match="is not a demo; choose another name with `--name`"):
        run_recipe(parse_recipe("x", FULL, "it"), demo=True, folder=tmp_path)


def run_demo(run_ftbridge, *options):
    done = run_ftbridge("recipe", "run", *options, "--demo", "--json")
    assert done.returncode == 0, done.stderr
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    return Path(json.loads(done.stdout)["folder"]), steps


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.skipif("training-set-sizes" not in shipped_recipes(), reason="it does not come with ftbridge")
def test_the_sizes_are_shown_with_one_point_on_each_framework(run_ftbridge, training_python):
    grid = f"{{sample: [20], backend: [{', '.join(plugin_names('backends'))}]}}"
    folder, steps = run_demo(run_ftbridge, "training-set-sizes", "--set", f"sweep.grid={grid}")
    assert [*steps] == ["convert", "base", "sweep", "report"]
    assert (folder / steps["report"]["made"]["html"]).is_file()
    assert len(load_sweep(folder / steps["sweep"]["made"]["sweep"]).points) == len(plugin_names("backends"))


@pytest.mark.framework
@pytest.mark.nightly
@pytest.mark.parametrize("backend", plugin_names("backends"))
@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_has_a_demo_that_ends_with_a_report(name, backend, run_ftbridge, training_python):
    folder, steps = run_demo(run_ftbridge, name, "--backend", backend)
    assert (folder / steps["report"]["made"]["html"]).is_file()
