"""What adapters change in a base, and which ones cannot be merged; the numbers are judged in test_merge.py."""

import json

import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.weights import safetensors
from ftbridge.weights.adapter import changes
from ftbridge.weights.tensors import Place

Q = "layers.0.q_proj"
LORA = {f"{Q}.lora_A.weight": (2, 4), f"{Q}.lora_B.weight": (6, 2)}


def base(dtype="BF16", **shapes):
    named = {f"{Q}.weight": (6, 4), f"{Q}.bias": (6,), "embed_tokens.weight": (9, 4), "h.c_attn.weight": (4, 6)}
    return {name: Place("base", 0, 0, dtype, shape) for name, shape in {**named, **shapes}.items()}


@pytest.fixture
def adapter(tmp_path):
    """Return a function that writes an adapter with tensors of these shapes; it returns the folder."""

    def write(shapes=LORA, name="adapter", **config):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 8, "lora_dropout": 0.1, **config})
        )
        made = []
        for title, shape in shapes.items():
            size = 4
            for length in shape:
                size *= length
            made.append((f"base_model.model.{title}", "F32", shape, [bytes(size)]))
        safetensors.write(folder / "adapter_model.safetensors", made)
        return folder

    return write


@pytest.mark.parametrize(
    ("config", "weight", "scale"),
    [
        ({}, 1, 4),
        ({}, -0.5, -2),
        ({"use_rslora": True}, 1, 8 / 2**0.5),
        ({"alpha_pattern": {"k_proj": 1, "q_proj": 3}}, 1, 1.5),
        ({"alpha_pattern": {"proj": 3}}, 1, 4),
    ],
)
def test_the_scale_is_pefts(adapter, config, weight, scale):
    found = changes(base(), [(adapter(**config), weight)])
    assert [(step.scale, step.transposed) for step in found[f"{Q}.weight"].steps] == [(scale, False)]


def test_weights_that_lie_the_other_way_round_are_told_by_their_shapes(adapter):
    shapes = {"transformer.h.c_attn.lora_A.weight": (2, 4), "transformer.h.c_attn.lora_B.weight": (6, 2)}
    square = {"transformer.h.c_proj.lora_A.weight": (2, 4), "transformer.h.c_proj.lora_B.weight": (4, 2)}
    found = changes(base(**{"h.c_proj.weight": (4, 4)}), [(adapter(shapes | square), 1)])
    assert {name: change.steps[0].transposed for name, change in found.items()} == {
        "h.c_attn.weight": True,
        "h.c_proj.weight": True,
    }


def test_several_adapters_come_one_after_another(adapter):
    found = changes(base(), [(adapter(), 1), (adapter(name="other", lora_alpha=2), 0.5)])
    assert [step.scale for step in found[f"{Q}.weight"].steps] == [4, 0.5]


def test_what_an_adapter_holds_whole_takes_the_bases_place(adapter):
    folder = adapter({"embed_tokens.weight": (11, 4), "lm_head.original_module.weight": (1,)})
    change = changes(base(), [(folder, 1)])["embed_tokens.weight"]
    assert (change.shape, change.before.shape, change.steps) == ((11, 4), (9, 4), [])
    with pytest.raises(UsageError, match=r"holds `embed_tokens\.weight` whole"):
        changes(base(), [(folder, 0.5)])
    with pytest.raises(UsageError, match=r"holds `embed_tokens\.weight` whole"):
        changes(base(), [(folder, 1), (folder, 1)])


@pytest.mark.parametrize(
    "shapes",
    [
        {"k_proj.lora_A.weight": (2, 4), "k_proj.lora_B.weight": (6, 2)},
        {f"{Q}.lora_A.weight": (2, 5), f"{Q}.lora_B.weight": (6, 2)},
        {f"{Q}.lora_A.weight": (2, 4), f"{Q}.lora_B.weight": (6, 3)},
        {f"{Q}.lora_A.weight": (2, 4)},
        {f"{Q}.weight": (7, 4)},
        {**LORA, f"{Q}.lora_B.bias": (5,)},
        {**LORA, f"{Q}.lora_magnitude_vector": (4,)},
        {"norm.weight": (3,)},
    ],
)
def test_an_adapter_of_another_base_is_refused_with_the_first_tensor(adapter, shapes):
    with pytest.raises(InputError, match=r"does not fit the base: `.*(proj|norm).*--model"):
        changes(base(), [(adapter(shapes), 1)])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "LOHA"}, "of the kind `LOHA`; only LORA can be merged"),
        ({"peft_type": "PROMPT_TUNING"}, "of the kind `PROMPT_TUNING`"),
        ({"init_lora_weights": "pissa_niter_4"}, "begun with `pissa_niter_4`, which changed the base"),
        ({"trainable_token_indices": [1]}, "asks for `trainable_token_indices`"),
        ({"layer_replication": [[0, 1]]}, "asks for `layer_replication`"),
        ({"r": "two"}, "cannot read .*adapter_config.json"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(adapter, config, message):
    with pytest.raises(InputError, match=message):
        changes(base(), [(adapter(**config), 1)])


def test_odd_tensors_and_dtypes_are_refused(adapter):
    with pytest.raises(InputError, match=r"`base_model\.model\.x\.hada_w1_a` is nothing that LoRA has"):
        changes(base(), [(adapter({"x.hada_w1_a": (1,)}), 1)])
    with pytest.raises(InputError, match=r"q_proj\.weight` is I8; merging needs BF16, F16, F32"):
        changes(base("I8"), [(adapter(), 1)])


def test_dora_cannot_be_weighted_and_needs_a_turned_tensor_whole(adapter):
    folder = adapter({**LORA, f"{Q}.lora_magnitude_vector": (6,)})
    assert changes(base(), [(folder, 1)])[f"{Q}.weight"].steps[0].magnitude
    with pytest.raises(UsageError, match="DoRA, whose lengths cannot be weighted"):
        changes(base(), [(folder, 0.5)])
    shapes = {"lora_embedding_A": (1, 1 << 23), "lora_embedding_B": (4, 1), "lora_magnitude_vector": (4,)}
    large = adapter({f"embed_tokens.{part}": shape for part, shape in shapes.items()}, "large")
    with pytest.raises(InputError, match=r"DoRA of `embed_tokens\.weight` would need the whole tensor"):
        changes(base(**{"embed_tokens.weight": (1 << 23, 4)}), [(large, 1)])
