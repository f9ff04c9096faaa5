"""A recipe that is written for one's own data can be run as it stands."""

import re
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.train_spec import defaults
from ftbridge.dataset_info.presets import presets
from ftbridge.experiments.recipes.init import PURPOSES, is_preset, purpose_of_preset, write_recipe
from ftbridge.experiments.recipes.recipe import load_recipe
from ftbridge.experiments.recipes.run import run_recipe


@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_is_written_for_each_purpose_can_be_run(purpose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.csv").write_text("question,answer\na,b\nc,d\n", encoding="utf-8")
    file = write_recipe(data="faq.csv", purpose=purpose)
    assert run_recipe(file, dry_run=True).steps[0].why == "not done before"
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    options = [at for at, line in enumerate(lines) if re.match(r"  [a-z_]+: ", line)]
    assert all(lines[at - 1].startswith("  # ") for at in options)
    assert f"Default: {defaults()['lora_rank']}." in text


@pytest.mark.parametrize("name", presets())
def test_what_is_written_for_each_preset_can_be_run(name, tmp_path):
    file = write_recipe(preset=name, out=tmp_path / f"{name}.yaml")
    found = load_recipe(file)
    assert found.sources == [f"preset:{name}"]
    assert found.train["model"] == presets()[name].model
    assert run_recipe(file, dry_run=True, folder=tmp_path).steps[0].name == "convert"


def test_a_preset_tells_what_it_is_for():
    assert [purpose_of_preset(name) for name in ("patents", "fudan-news", "huanhuan", "msra-ner", "medqa")] == [
        "classify", "classify", "role-play", "extract", "answer"
    ]  # fmt: skip


def test_data_is_named_relative_to_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "yes").write_text("question,answer\na,b\n", encoding="utf-8")
    file = write_recipe(data="yes", model="base", out="recipes/my.yaml")
    assert load_recipe(file).sources == [str(tmp_path / "yes")]


def test_nothing_is_written_over_a_file_or_without_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"faq\.csv"):
        write_recipe(data="faq.csv")
    Path("faq.csv").touch()
    write_recipe(data="faq.csv")
    with pytest.raises(UsageError, match=r"`faq\.yaml` exists already; name another with `--out FILE`"):
        write_recipe(data="faq.csv")
    with pytest.raises(UsageError, match="which data"):
        write_recipe()
    with pytest.raises(UsageError, match="`--for` takes `classify`"):
        write_recipe(data="faq.csv", purpose="win", out="b.yaml")
    with pytest.raises(UsageError, match=r"end with `\.yaml`"):
        write_recipe(data="faq.csv", out="faq.csv")


def test_a_word_is_a_preset_unless_a_file_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_preset("medqa")
    (tmp_path / "medqa").touch()
    assert not is_preset("medqa")
