"""The name of a tensor in a model's files, where a training has another one.

A model that also sees (Qwen 3.5, Gemma 3) has its text model within it: in the files as `model.language_model.` or
`language_model.model.`, in memory as `model.language_model.`, and as `model.` where the text model was loaded alone, as
AutoModelForCausalLM does with Qwen 3.5. The published files of some classes call their layers otherwise as well. (The
rules are those of transformers/conversion_mapping.py, 5.24.)
"""

from collections.abc import Container, Iterator

# What the names of a text model begin with, the longer before those that begin alike.
_TEXT_PREFIXES = (
    "model.language_model.",
    "language_model.model.",
    "model.text_model.",
    "language_model.",
    "model.",
    "backbone.",  # Nemotron-H
    "transformer.",
    "",
)
# What stands within a name: in memory, in the files. All pairs of a line count together, in their order.
_RENAMED_PARTS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    ((".mlp.", ".block_sparse_moe."),),  # Mixtral, MiniMax, Kimi Linear
    ((".forget_gate.", "."),),  # Kimi Linear
    ((".mlp.shared_experts.", ".mlp.shared_mlp."),),  # Hy3
    (  # DeepSeek V4
        (".self_attn.", ".attn."),
        (".mlp.", ".ffn."),
        (".shared_experts.gate_proj.", ".shared_experts.w1."),
        (".shared_experts.down_proj.", ".shared_experts.w2."),
        (".shared_experts.up_proj.", ".shared_experts.w3."),
        (".q_a_proj.", ".wq_a."),
        (".q_b_proj.", ".wq_b."),
        (".kv_proj.", ".wkv."),
        (".gate_proj.", ".wgate."),
        (".o_b_proj.", ".wo_b."),
    ),
)
# Of a vision tower, one level of which transformers 5 leaves out.
_TOWERS = (("vision_tower.", "vision_tower.vision_model."),)


def name_in_files(name: str, files: Container[str]) -> str:
    """Return what `files`, the tensors of a model by name, call the tensor `name`, or "" where they have none."""
    return next((each for each in _possible_names(name) if each in files), "")


def is_beside_text(name: str) -> bool:
    """Tell whether a tensor of a composite's files is of another part than the text model, as the vision tower's."""
    return not name.startswith(_TEXT_PREFIXES[:4]) and not name.rpartition(".")[0].endswith("lm_head")


def _possible_names(name: str) -> Iterator[str]:
    for pairs in _RENAMED_PARTS:
        known = name
        for here, there in pairs:
            known = known.replace(here, there)
        yield known
        yield from _other_prefixes(known)


def _other_prefixes(name: str) -> Iterator[str]:
    for prefix in _TEXT_PREFIXES:
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            for other in _TEXT_PREFIXES:
                yield other + rest
                for short, long in _TOWERS:
                    if rest.startswith(short):
                        yield other + rest.replace(short, long, 1)
