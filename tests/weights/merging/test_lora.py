"""What adapters change in a base, and which ones cannot be merged; the numbers are judged in test_merge.py."""

import json
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.weights.merging.lora import changes
from ftbridge.weights.tensors import safetensors
from ftbridge.weights.tensors.tensor import FileRange, Tensor

Q = "layers.0.q_proj"
LORA = {f"{Q}.lora_A.weight": (2, 4), f"{Q}.lora_B.weight": (6, 2)}


def base(dtype="BF16", **shapes):
    named = {f"{Q}.weight": (6, 4), f"{Q}.bias": (6,), "embed_tokens.weight": (9, 4), "h.c_attn.weight": (4, 6)}
    nothing = (FileRange(Path("base"), 0, 0),)
    return {name: Tensor(dtype, shape, nothing) for name, shape in {**named, **shapes}.items()}


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
def test_scale_of_an_adapter_is_that_of_peft(adapter, config, weight, scale):
    found = changes(base(), [(adapter(**config), weight)])
    assert [(step.scale, step.transposed) for step in found[f"{Q}.weight"].steps] == [(scale, False)]


def test_transposed_base_weights_are_told_by_their_shapes(adapter):
    shapes = {"transformer.h.c_attn.lora_A.weight": (2, 4), "transformer.h.c_attn.lora_B.weight": (6, 2)}
    square = {"transformer.h.c_proj.lora_A.weight": (2, 4), "transformer.h.c_proj.lora_B.weight": (4, 2)}
    found = changes(base(**{"h.c_proj.weight": (4, 4)}), [(adapter(shapes | square), 1)])
    assert {name: change.steps[0].transposed for name, change in found.items()} == {
        "h.c_attn.weight": True,
        "h.c_proj.weight": True,
    }


def test_several_adapters_are_applied_in_order(adapter):
    found = changes(base(), [(adapter(), 1), (adapter(name="other", lora_alpha=2), 0.5)])
    assert [step.scale for step in found[f"{Q}.weight"].steps] == [4, 0.5]


def test_tensor_that_an_adapter_holds_whole_replaces_the_bases(adapter):
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
        ({"init_lora_weights": "pissa_niter_4"}, "initialised with `pissa_niter_4`, which changed the base"),
        ({"trainable_token_indices": [1]}, "asks for `trainable_token_indices`"),
        ({"layer_replication": [[0, 1]]}, "asks for `layer_replication`"),
        ({"r": "two"}, "cannot read .*adapter_config.json"),
    ],
)
def test_adapter_kind_that_cannot_be_merged_is_refused_by_name(adapter, config, message):
    with pytest.raises(InputError, match=message):
        changes(base(), [(adapter(**config), 1)])


def test_a_config_that_is_not_utf8_is_refused(adapter):
    folder = adapter()
    config = folder / "adapter_config.json"
    config.write_bytes(config.read_bytes().replace(b"LORA", b"LO\xffRA"))
    with pytest.raises(InputError, match=r"adapter_config.json` is not in UTF-8"):
        changes(base(), [(folder, 1)])


def test_adapter_with_unknown_tensors_or_base_dtypes_is_refused(adapter):
    with pytest.raises(InputError, match=r"`base_model\.model\.x\.hada_w1_a` is not part of LoRA"):
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


EXPERTS = "model.layers.0.mlp.experts"


def experts(**more):
    """Return a base with two experts of inner width 3, each tensor on its own."""
    shapes = {"gate_proj": (3, 4), "up_proj": (3, 4), "down_proj": (4, 3)}
    named = {f"{EXPERTS}.{each}.{leaf}.weight": shape for each in (0, 1) for leaf, shape in shapes.items()}
    return base(**named, **more)


def test_an_adapter_of_all_experts_goes_to_each_with_its_own_scale(adapter):
    shapes = {f"{EXPERTS}.base_layer.lora_A.weight": (8, 4), f"{EXPERTS}.base_layer.lora_B.weight": (6, 8)}
    shapes |= {f"{EXPERTS}.lora_A.weight": (4, 3), f"{EXPERTS}.lora_B.weight": (4, 4)}
    folder = adapter(
        shapes,
        alpha_pattern={r".*\.gate_up_proj": 16},
        target_parameters=["down_proj", "gate_up_proj"],
        rank_pattern={r".*\.gate_up_proj": 4},
    )
    found = changes(experts(), [(folder, 1)])
    assert len(found) == 6
    up, down = found[f"{EXPERTS}.1.up_proj.weight"].steps, found[f"{EXPERTS}.1.down_proj.weight"].steps
    assert [(step.scale, step.expert, step.b.shape) for step in (*up, *down)] == [
        (4, (1, 2), (3, 8)),
        (4, (1, 2), (4, 4)),
    ]


@pytest.mark.parametrize("shapes", [{"A": (8, 4), "B": (7, 8)}, {"A": (8, 4)}])
def test_an_adapter_of_experts_that_does_not_fit_is_refused_by_name(adapter, shapes):
    folder = adapter({f"{EXPERTS}.base_layer.lora_{part}.weight": shape for part, shape in shapes.items()})
    for held in (experts(), base(**{f"{EXPERTS}.gate_up_proj": (2, 4, 6)})):
        with pytest.raises(InputError, match=rf"adapts the experts `{EXPERTS}`, which .* train again without experts"):
            changes(held, [(folder, 1)])


def test_an_alpha_pattern_that_could_be_matched_for_ever_is_refused(adapter):
    folder = adapter(alpha_pattern={r"(\w+|[\w.]+)+!": 1.0})
    with pytest.raises(InputError, match="`alpha_pattern` with a repeated group"):
        changes(base(), [(folder, 1)])
