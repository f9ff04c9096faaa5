"""What a recipe file may hold, and what is said of one that holds something else."""

from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.experiments.recipes.recipe import (
    changed_recipe,
    convert_options,
    find_recipe,
    load_recipe,
    parse_recipe,
    shipped_recipes,
    summaries,
    text_of,
)

LEAST = "convert: {sources: faq.xlsx}\ntrain: {model: base}\n"


def write(folder, text, name="mine.yaml"):
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_steps_are_the_sections_that_are_there_in_their_order():
    found = parse_recipe("x", f"report:\n{LEAST}export: {{merge: true}}\n", "`x.yaml`")
    assert found.steps == ("convert", "train", "export", "report")
    assert (found.report, found.evaluate, found.export) == ({}, None, {"merge": True})


def test_a_sweep_trains_exports_and_evaluates_its_points_itself():
    text = f"{LEAST}export:\nevaluate: {{before: true}}\nreport:\nsweep: {{grid: {{lora_rank: [8, 16]}}}}\n"
    assert parse_recipe("x", text, "`x.yaml`").steps == ("convert", "sweep", "report")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("convrt: {}", r"^`x\.yaml`, line 1: `convrt` is not a section of a recipe; did you mean `convert`\?$"),
        ("title: A\nlora_rank: 8", r"line 2: `lora_rank` is an option of `train`, but stands outside it; move it"),
        (
            "convert:\n  sources: x\n  lora_rank: 8",
            r"line 3: `lora_rank` is given under `convert`, but is an option of `t",
        ),
        (
            "convert: {sources: x}\ntrain:\n  epohs: 2",
            r"line 3: `epohs` is not an option of `train`; did you mean `epochs`",
        ),
        ("convert: {sources: x}\ntrain:\n  lora_rank: 0", r"line 3: `lora_rank` takes a whole number of at least 1"),
        (LEAST + "evaluate:\n  task: sorting", r"line 4: `task` takes .*`classification`.*; got `sorting`$"),
        (LEAST + "demo:\n  train:\n    epohs: 2", r"line 5: `epohs` is not an option of `train`"),
        (LEAST + "demo:\n  trian: {}", r"line 4: `trian` is not a section"),
        (LEAST + "sweep: {grid: {lora_rnk: [1, 2]}}", r"`sweep`: there is no option `lora_rnk`; did you mean"),
        (LEAST + "export: yes", r"line 3: `export` is a section, and holds `option: value` lines$"),
        ("convert: {sources: x, split: 7:3}\ntrain:", r"`split` as a number: put it in quotes, as in `split:"),
        ("convert: {sources: x}\ntrain: {dataset: y}", r"a recipe trains on what it converts; leave it out$"),
        ("train: {model: x}", r"has no section `convert`; as in"),
        ("convert: {split: '7:3'}\ntrain:", r"does not say what to convert; as in"),
        ("convert: [", r"^`x\.yaml` is not valid YAML: line 1"),
    ],
)
def test_a_recipe_that_cannot_be_is_told_with_its_line(text, message):
    with pytest.raises(InputError, match=message):
        parse_recipe("x", text, "`x.yaml`")


def test_paths_of_a_recipe_are_relative_to_its_file(tmp_path):
    (tmp_path / "chat.jinja").write_text("x", encoding="utf-8")
    (tmp_path / "system.txt").write_text("Be brief.\n", encoding="utf-8")
    (tmp_path / "labels.yaml").write_text("0: bad\n1: good\n", encoding="utf-8")
    text = (
        "convert: {sources: [faq.xlsx, 'preset:medqa', 'hf://a/b'], system: '@system.txt', label_map: labels.yaml}\n"
        "train: {chat_template: chat.jinja, model: base}\n"
    )
    found = load_recipe(write(tmp_path, text))
    assert found.sources == [str(tmp_path / "faq.xlsx"), "preset:medqa", "hf://a/b"]
    assert found.train == {"chat_template": str(tmp_path / "chat.jinja"), "model": "base"}
    assert convert_options(found) == {"system": "Be brief.", "label_map": {"0": "bad", "1": "good"}, "name": "mine"}


def test_options_are_changed_and_the_others_stay():
    found = parse_recipe("x", f"{LEAST}report: {{language: zh}}", "`x.yaml`")
    changed = changed_recipe(found, {"train.lora_rank": 8, "report.xlsx": True, "convert.split": "7:3"})
    assert changed.train == {"model": "base", "lora_rank": 8}
    assert changed.report == {"language": "zh", "xlsx": True}
    for wrong in ({"lora_rank": 8}, {"train.rank": 8}, {"tran.lora_rank": 8}, {"train.lora_rank": "many"}):
        with pytest.raises(UsageError, match="--set"):
            changed_recipe(found, wrong)


def test_what_goes_to_the_framework_as_it_is_becomes_text():
    found = parse_recipe("x", "convert: {sources: x}\ntrain: {set: {beta: 0.9, fused: true, name: y}}", "`x.yaml`")
    assert found.train["set"] == {"beta": "0.9", "fused": "true", "name": "y"}


def test_a_recipe_is_found_as_a_file_or_by_the_closest_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, LEAST, "plain")
    assert find_recipe("plain").name == "plain"
    assert find_recipe(write(tmp_path, LEAST, "我的 试验.yaml")).name == "我的-试验"
    with pytest.raises(InputError, match=r"there is no recipe at `other\.yaml`"):
        find_recipe("other.yaml")
    with pytest.raises(UsageError, match="there is no recipe `medqaa`"):
        find_recipe("medqaa")


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_that_comes_with_ftbridge_can_be_run(name):
    found = find_recipe(name)
    assert found.title
    assert {"convert", "report"} <= {*found.steps}
    assert text_of(name) == shipped_recipes()[name]
    assert not [source for source in found.sources if Path(source).is_absolute()]


def test_a_list_tells_data_and_model_of_each_recipe():
    assert [each.name for each in summaries()] == [*shipped_recipes()]
    assert all(each.title and each.data and each.model for each in summaries())


def test_one_option_of_a_sweep_is_changed_by_itself():
    text = "convert: {sources: x}\ntrain: {backend: xtuner}\nsweep: {grid: {lora_rank: [8, 16]}}"
    changed = changed_recipe(parse_recipe("x", text, "it"), {"sweep.seeds": [1, 2], "sweep.metric": "f1"})
    assert changed.sweep == {"grid": {"lora_rank": [8, 16]}, "seeds": [1, 2], "metric": "f1"}


def test_a_framework_that_there_is_not_is_told_when_a_recipe_is_read():
    with pytest.raises(InputError, match=r"line 2: `backend`: there is no backend `xtunner`"):
        parse_recipe("x", "convert: {sources: x}\ntrain: {backend: xtunner}", "`it`")


def test_an_encoder_of_a_baseline_is_found_as_seen_from_the_recipe(tmp_path, monkeypatch):
    (tmp_path / "plans" / "bert").mkdir(parents=True)
    file = tmp_path / "plans" / "a.yaml"
    file.write_text("convert: {sources: x.csv}\ntrain: {backend: xtuner}\nevaluate: {baseline: [tfidf, bert=bert]}\n")
    monkeypatch.chdir(tmp_path)
    whole = f"bert={tmp_path / 'plans' / 'bert'}"
    assert load_recipe(file).evaluate["baseline"] == ["tfidf", whole]
    monkeypatch.chdir(tmp_path / "plans")
    assert changed_recipe(load_recipe(file), {"evaluate.baseline": ["bert=bert"]}).evaluate["baseline"] == [whole]
