"""`--config` with a config of another program."""

import pytest

import ftbridge
from ftbridge.core.errors import InputError
from ftbridge.launchers.backends.other_configs.reading import as_words, find_project


def test_a_config_of_another_program_becomes_settings_and_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ftbridge.yaml").write_text("lora_rank: 1\nbackends: {xtuner: {python: mine}}\n")
    (tmp_path / "练习 1.yaml").write_text("model_name_or_path: base\nnum_train_epochs: 2\noutput_dir: saves\n")
    found = find_project("练习 1.yaml")
    assert found.settings.train["epochs"] == 2
    assert found.settings.train["lora_rank"] == 8
    assert found.settings.backends["xtuner"].python == "mine"  # where the programs are is ours to say
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "`练习 1.yaml` is a config of LLaMA-Factory; it means:"
    assert said[1].startswith("  --backend llamafactory --model base --method lora --lora-rank 8 ")
    assert said[2:] == ["without a counterpart, left out:", "  output_dir: saves  a run is written to runs/ID"]


def test_the_data_of_an_xtuner_config_are_looked_up_among_the_registered_datasets(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = """
pretrained_model_name_or_path = "base"
data = dict(type=process_hf_dataset, dataset=dict(path="json", data_files=["some/faq-train.xtuner.jsonl"]))
train_dataloader = dict(batch_size=2, dataset=data)
"""
    (tmp_path / "c.py").write_text(config)
    assert "dataset" not in find_project("c.py").settings.train
    assert "dataset: some/faq-train.xtuner.jsonl  convert it with" in capsys.readouterr().err
    (tmp_path / "faq.jsonl").write_text('{"question": "a", "answer": "b"}')
    ftbridge.convert("faq.jsonl")
    assert find_project("c.py").settings.train["dataset"] == "faq-train"


def test_settings_of_ours_are_read_as_ever(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text("lora_rank: 3\n")
    assert find_project("other.yaml").settings.train == {"lora_rank": 3}
    assert find_project().settings.train == {}
    assert not capsys.readouterr().err


def test_a_config_that_is_not_a_training_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "merge.yaml").write_text("model_name_or_path: base\nexport_dir: out\n")
    with pytest.raises(InputError, match=r"^`merge.yaml`: this config merges a model .*: use `ftbridge merge`$"):
        find_project("merge.yaml")
    (tmp_path / "broken.py").write_text("lr = =")
    with pytest.raises(InputError, match=r"`broken.py` is not a readable config in Python \(line 1\)"):
        find_project("broken.py")


def test_options_are_shown_as_they_are_typed():
    options = {"set": {"a": True, "b": 0.5}, "packing": False, "lora_targets": ("q", "v"), "backend": "xtuner"}
    assert " ".join(as_words(options)) == "--backend xtuner --lora-targets q,v --no-packing --set a=true --set b=0.5"
