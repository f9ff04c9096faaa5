"""Config and tokenizer that transformers 4.57 and 5 read alike: as written, and as both sets read them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ftbridge
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.process.script import CHILD_ENV
from ftbridge.weights.model_files.transformers4 import config_for_both, make_tokenizer_for_both

READERS = Path(__file__).with_name("two_readers.py")


@pytest.mark.parametrize(
    ("rope", "keys"),
    [
        ({"rope_theta": 1e6, "rope_type": "default"}, {"rope_theta": 1e6}),
        (
            {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4.0, "partial_rotary_factor": 0.5},
            {
                "rope_theta": 1e6,
                "partial_rotary_factor": 0.5,
                "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
            },
        ),
        (
            {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1], "long_factor": [2], "factor": 3},
            {"rope_theta": 1e4, "rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [2]}},
        ),
        (
            {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 2]},
            {"rope_theta": 1e6, "rope_scaling": {"rope_type": "default", "mrope_section": [1, 2]}},
        ),
        (
            {
                "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
                "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
            },
            {
                "rope_theta": 1e6,
                "rope_local_base_freq": 1e4,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
        ),
        ({"rope_theta": 100.0, "rope_type": "axial"}, {}),
        ({"full_attention": {"rope_type": "proportional"}, "sliding_attention": {"rope_theta": 1e4}}, {}),
    ],
)
def test_the_rotary_embedding_stands_there_in_both_forms(rope, keys):
    assert config_for_both({"rope_parameters": rope}) == {"rope_parameters": rope, **keys}
    inner = {"text_config": {"rope_parameters": rope}}
    assert config_for_both(inner) == {"text_config": {"rope_parameters": rope, **keys}}


def test_config_gets_old_names_beside_new_ones_and_an_old_config_stays():
    new = config_for_both({"dtype": "bfloat16", "num_local_experts": 4, "rope_parameters": {"rope_theta": 1.0}})
    assert (new["torch_dtype"], new["num_experts"]) == ("bfloat16", 4)
    old = {"torch_dtype": "bfloat16", "rope_theta": 1.0, "rope_scaling": {"type": "yarn"}, "num_local_experts": 8}
    assert config_for_both(old) == old


BOS = {"post_processor": {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}}


@pytest.mark.parametrize(
    ("written", "tokenizer", "wanted"),
    [
        (
            {
                "backend": "tokenizers",
                "is_local": True,
                "local_files_only": False,
                "tokenizer_class": "TokenizersBackend",
            },
            {},
            {"tokenizer_class": "PreTrainedTokenizerFast"},
        ),
        (
            {"extra_special_tokens": ["<x>"], "model_specific_special_tokens": {"image_token": "<y>"}},
            {},
            {"additional_special_tokens": ["<x>"], "extra_special_tokens": {"image_token": "<y>"}},
        ),
        (
            {"backend": "", "tokenizer_class": "GemmaTokenizer", "bos_token": "<s>", "add_prefix_space": None},
            BOS,
            {"tokenizer_class": "GemmaTokenizerFast", "bos_token": "<s>", "add_bos_token": True},
        ),
        (
            {"backend": "", "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"},
            {"post_processor": None},
            {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "add_bos_token": False},
        ),
        ({"extra_special_tokens": {"a": "<a>"}}, {}, {"extra_special_tokens": {"a": "<a>"}}),
    ],
)
def test_a_tokenizer_of_transformers_5_is_put_such_that_4_57_loads_it(tmp_path, written, tokenizer, wanted):
    make_tokenizer_for_both(tmp_path)  # nothing there, nothing to do
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(written))
    make_tokenizer_for_both(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == wanted


@pytest.mark.parametrize(
    ("written", "own_file", "wanted"),
    [
        ("Qwen2Tokenizer", "", "Qwen2TokenizerFast"),
        ("Qwen2Tokenizer", "vocab.json", "Qwen2Tokenizer"),
        ("LlamaTokenizer", "tokenizer.model", "LlamaTokenizer"),
        ("InternLM2Tokenizer", "", "InternLM2Tokenizer"),
    ],
)
def test_a_class_that_reads_files_which_are_not_there_gives_way_to_one_that_does_not(
    tmp_path, written, own_file, wanted
):
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / (own_file or "tokenizer.json")).write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": written}))
    make_tokenizer_for_both(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {"tokenizer_class": wanted}


def read(python, *folders):
    done = subprocess.run(
        [python, READERS, "read", *folders], capture_output=True, text=True, check=False, env=os.environ | CHILD_ENV
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.framework
def test_export_of_a_full_training_reads_alike_in_both_environments(training_python, tmp_path, monkeypatch):
    older = default_folder("transformers4") / "bin" / "python"
    if not older.exists():
        pytest.skip("the second environment is not here: `ftbridge setup --environment transformers4`")
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    subprocess.run([training_python, READERS, "make", "made"], check=True, capture_output=True)
    classes = sorted(path.name for path in Path("made").iterdir())
    for name in classes:
        ftbridge.export(f"made/{name}/trained", model=f"made/{name}/base", out=f"made/{name}/exported")
    exported = [f"made/{name}/exported" for name in classes]
    newer = read(training_python, *exported, *(f"made/{name}/trained" for name in classes))
    old = read(older, *exported)
    for name, folder in zip(classes, exported, strict=True):
        one, other, trained = newer[folder], old[folder], newer[f"made/{name}/trained"]
        # 4e-6 is what the kernels of two versions of torch make of the same numbers, of 4.
        for each in (other, trained):
            assert each.pop("logits") == pytest.approx(one["logits"], abs=2e-5), name
        del one["logits"]
        assert one == other == trained, name
        assert one["missing"] == []
