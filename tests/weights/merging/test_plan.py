"""What a merged model is made of: embeddings that shared a tensor, the vocabulary, the disk."""

import json
from collections import namedtuple

import pytest

from ftbridge.core.errors import InputError, SetupError
from ftbridge.weights.merging.plan import MergePlan
from ftbridge.weights.tensors import safetensors

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


def write(file, shapes, prefix=""):
    sizes = {name: 2 * shape[0] * shape[1] for name, shape in shapes.items()}
    safetensors.write(file, [(prefix + name, "BF16", shape, [bytes(sizes[name])]) for name, shape in shapes.items()])


@pytest.fixture
def merged(tmp_path):
    """Return a function that makes a base and an adapter with whole tensors, and looks into them."""

    def look(adapter, base=(EMBEDDING,), **config):
        (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 5, **config}))
        write(tmp_path / "model.safetensors", dict.fromkeys([*base, "norm.weight"], (5, 2)))
        (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        write(tmp_path / "adapter_model.safetensors", adapter, "base_model.model.")
        return MergePlan(tmp_path, [(tmp_path, 1)])

    return look


def test_a_shared_embedding_stays_shared_where_no_adapter_touches_it(merged):
    found = merged({"norm.weight": (5, 2)})
    assert list(found.tensors) == [EMBEDDING, "norm.weight"]
    assert found.config == {"vocab_size": 5}


@pytest.mark.parametrize("touched", [EMBEDDING, OUTPUT])
def test_tied_output_layer_gets_its_own_tensor_where_one_side_changes(merged, touched):
    found = merged({touched: (5, 2)})
    assert set(found.tensors) == {EMBEDDING, OUTPUT, "norm.weight"}
    assert found.config == {"vocab_size": 5, "tie_word_embeddings": False}
    assert list(found.changes) == [touched]
    assert found.total == 3 * 20


def test_a_resized_vocabulary_is_told_in_the_config(merged):
    assert merged({EMBEDDING: (7, 2)}).config == {"vocab_size": 7}  # still shared
    both = merged({EMBEDDING: (7, 2), OUTPUT: (7, 2)})
    assert both.config == {"vocab_size": 7, "tie_word_embeddings": False}
    with pytest.raises(InputError, match=r"resized to 7 rows, and `lm_head\.weight` has 5"):
        merged({EMBEDDING: (7, 2)}, base=(EMBEDDING, OUTPUT), tie_word_embeddings=False)


def test_a_quantised_base_is_refused(merged):
    with pytest.raises(InputError, match="is quantised; give the model that it was made from"):
        merged({OUTPUT: (5, 2)}, quantization_config={"quant_method": "gptq"})


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(merged, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")  # noqa: PYI024 - as shutil has it
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10))
    (tmp_path / "new").mkdir()
    with pytest.raises(
        SetupError, match=r"takes 60 bytes, and .* 10 bytes free; free some space, or choose another disk"
    ):
        merged({OUTPUT: (5, 2)}).lay_out(tmp_path / "new", 100)
    assert not list((tmp_path / "new").iterdir())
