"""Beside the weights: config, tokenizer, and the tokens at which generation stops."""

import json

import pytest

from ftbridge.core.errors import InputError
from ftbridge.weights.model_files.config import refuse_quantised, write_files

TOKENIZER = {
    "model": {"vocab": {"a": 0, "</s>": 1}},
    "added_tokens": [{"id": 2, "content": "<|im_end|>"}],
}


@pytest.fixture
def folders(tmp_path):
    """Return base, adapter and new folder, with a config and a tokenizer in the base."""
    for name in ("base", "adapter", "new"):
        (tmp_path / name).mkdir()
    base = tmp_path / "base"
    (base / "config.json").write_text('{"torch_dtype":"bfloat16","eos_token_id":1}')
    (base / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (base / "model.safetensors.index.json").write_text("{}")
    (base / "tokenization_own.py").write_text("")
    return base, tmp_path / "adapter", tmp_path / "new"


def test_merged_model_has_the_bases_files_and_the_adapters_chat_template(folders):
    base, adapter, new = folders
    (base / "chat_template.jinja").write_text("base")
    (adapter / "chat_template.jinja").write_text("adapter")
    (adapter / "adapter_config.json").write_text("{}")
    write_files(new, base, adapter, {"torch_dtype": "bfloat16", "eos_token_id": 1}, ())
    names = {"config.json", "tokenizer.json", "tokenization_own.py", "chat_template.jinja", "generation_config.json"}
    assert {path.name for path in new.iterdir()} == names
    (new / "model.safetensors.index.json").write_text("of the merged model's own shards")
    assert (new / "chat_template.jinja").read_text() == "adapter"
    assert (new / "config.json").read_bytes() == (base / "config.json").read_bytes()
    write_files(new, base, adapter, {"vocab_size": 3}, ())
    assert json.loads((new / "config.json").read_text()) == {"vocab_size": 3}
    assert (new / "model.safetensors.index.json").read_text() == "of the merged model's own shards"


@pytest.mark.parametrize(
    ("own", "stop", "ends"),
    [
        (None, ["<|im_end|>"], [2, 1]),  # config.json has the base's
        ({"eos_token_id": [0, 2]}, ["<|im_end|>", "unknown"], [2, 0]),
        ({"eos_token_id": 2, "top_p": 0.8}, ["<|im_end|>"], 2),
        ({}, ["a"], 0),
    ],
)
def test_generation_stops_where_the_family_and_the_base_do(folders, own, stop, ends):
    base, adapter, new = folders
    if own is not None:
        (base / "generation_config.json").write_text(json.dumps(own))
    write_files(new, base, adapter, json.loads((base / "config.json").read_text()), stop)
    assert json.loads((new / "generation_config.json").read_text()) == {**(own or {}), "eos_token_id": ends}
    assert json.loads((new / "config.json").read_text())["eos_token_id"] == (
        ends[0] if isinstance(ends, list) else ends
    )


def test_what_a_training_of_the_base_has_switched_off_is_on_again(folders):
    base, adapter, new = folders
    (base / "generation_config.json").write_text('{"use_cache": false}')
    write_files(new, base, adapter, {"use_cache": False, "text_config": {"use_cache": False, "rope": {}}}, ())
    wanted = {"use_cache": True, "text_config": {"use_cache": True, "rope": {}}}
    assert json.loads((new / "config.json").read_text()) == wanted
    assert json.loads((new / "generation_config.json").read_text()) == {"use_cache": True}


def test_several_end_tokens_in_the_bases_config_stay_several(folders):
    base, adapter, new = folders
    write_files(new, base, adapter, {"eos_token_id": [0, 1]}, ["<|im_end|>"])
    assert json.loads((new / "config.json").read_text())["eos_token_id"] == [2, 0, 1]
    write_files(new, base, adapter, {"eos_token_id": [0, 2]}, ["<|im_end|>"])
    assert json.loads((new / "config.json").read_text())["eos_token_id"] == [0, 2]


@pytest.mark.parametrize(
    ("title", "named", "hint"),
    [
        ("Qwen2.5-7B-Instruct-GPTQ-Int4", "", ", likely `Qwen2.5-7B-Instruct`"),
        ("models--Qwen--Qwen3-8B-AWQ/snapshots/0a1b", "", ", likely `Qwen/Qwen3-8B`"),
        ("quantised", "Qwen/Qwen3-8B", ", likely `Qwen/Qwen3-8B`"),
        ("quantised", "", ""),
    ],
)
def test_a_quantised_base_is_refused_naming_what_it_was_made_from(tmp_path, title, named, hint):
    if named:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
    refuse_quantised(tmp_path / title, {}, tmp_path)
    with pytest.raises(InputError) as caught:
        refuse_quantised(tmp_path / title, {"quantization_config": {"bits": 4}}, tmp_path)
    assert str(caught.value).endswith(f"made from{hint} with `--model`")
