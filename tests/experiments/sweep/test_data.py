import json
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import UsageError
from ftbridge.core.project import Project
from ftbridge.dataset_info.registry import read_entries
from ftbridge.experiments.sweep.data import base_of_conversion, convert_shared, located
from ftbridge.experiments.sweep.options import SweepOptions, settings_of

NEWS = [f"news {number},{'ab'[number % 2]}" for number in range(40)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a project with a file of forty rows."""
    monkeypatch.chdir(tmp_path)
    Path("news.csv").write_text("question,answer\n" + "\n".join(NEWS))
    return tmp_path


BASE = {"sources": ["news.csv"], "split": "3:1", "to": ["alpaca"]}


def data_of(folder, *points, **base):
    return convert_shared(folder, {**BASE, **base}, settings_of(SweepOptions(points=list(points))))


def test_sizes_are_nested_parts_of_one_conversion(folder):
    found = data_of(folder, {"sample": 4}, {"sample": 10}, {"sample": "all"}, {"lora_rank": 8})
    assert [each.dataset for each in found] == ["news-train-4", "news-train-10", "news-train", "news-train"]
    (place,) = {each.dataset_dir for each in found}
    rows = {
        name: (Path(place) / f"{name}.alpaca.jsonl").read_text().splitlines()
        for name in ("news-train-4", "news-train-10")
    }
    assert {*rows["news-train-4"]} < {*rows["news-train-10"]}


def test_a_larger_grid_keeps_the_sizes_that_are_there(folder):
    data_of(folder, {"sample": 4}, {"sample": 10})
    (found,) = data_of(folder, {"sample": 20})
    assert {"news-train-4", "news-train-10", "news-train-20"} < read_entries(Path(found.dataset_dir)).keys()


def test_a_size_that_there_is_not_fails_alone(folder):
    few, many, whole = data_of(folder, {"sample": 4}, {"sample": 400}, {"sample": "all"})
    assert (few.dataset, whole.dataset) == ("news-train-4", "news-train")
    assert "400 of 30 training samples" in many.error


def test_other_conversions_lie_apart_and_fail_apart(folder):
    plain, wrong, worded = data_of(folder, {}, {"map": {"instruction": "no such"}}, {"instruction": "Q: {{question}}"})
    assert plain.dataset_dir != worded.dataset_dir
    assert plain.dataset == worded.dataset == "news-train"
    assert "no such" in wrong.error
    assert "Q: news" in (Path(worded.dataset_dir) / "news-train.alpaca.jsonl").read_text()


def test_without_options_the_last_conversion_is_made_anew(folder, monkeypatch):
    with pytest.raises(UsageError, match="needs the source of the data"):
        base_of_conversion(Project.find(), {})
    ftbridge.convert("news.csv", split="3:1", seed=7, system="Be brief.", name="turned")
    inside = folder / "elsewhere"
    inside.mkdir()
    base = base_of_conversion(Project.find(), {})
    monkeypatch.chdir(inside)
    (found,) = convert_shared(inside, base, settings_of(SweepOptions(points=[{"sample": 4}])))
    assert found.dataset == "turned-train-4"
    own, made = (
        json.loads((place / "dataset_info.json").read_text())["turned-test"]["ftbridge"]["options"]["sha256"]
        for place in (folder / "data", Path(found.dataset_dir))
    )
    assert own == made


def test_a_conversion_of_nothing_that_is_there_is_told_by_its_points(folder):
    (found,) = data_of(folder, {"sample": 4}, sources=["gone.csv"])
    assert "gone.csv" in found.error


def test_texts_behind_an_at_and_labels_in_a_file_are_as_seen_from_the_folder(folder):
    (folder / "plans").mkdir()
    (folder / "plans" / "prompt.txt").write_text("Q: {{question}}\n")
    (folder / "plans" / "labels.yaml").write_text("a: Alpha\nb: Beta\n")
    given = {"sources": "../news.csv", "instruction": "@prompt.txt", "label_map": "labels.yaml"}
    found = base_of_conversion(Project.find(), located(given, folder / "plans"))
    assert found == {
        "sources": [str(folder / "news.csv")],
        "instruction": "Q: {{question}}",
        "label_map": {"a": "Alpha", "b": "Beta"},
    }
