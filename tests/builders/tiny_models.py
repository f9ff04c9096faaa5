"""Make tiny models with random weights: `python tiny_models.py BASE OUT CLASS ...` in the training environment.

Each stands in OUT/CLASS, with the tokenizer of BASE. They are of the shapes that are hard on adapters and estimates:
experts in one tensor, shared experts, Mamba and linear attention, routers that are linear layers.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

COMMON = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "dtype": "bfloat16",
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
ROUTED = {"n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
CLASSES = {
    "qwen3_moe": {"num_experts": 4},
    "glm4_moe": {**ROUTED, "first_k_dense_replace": 1},
    "gpt_oss": {"num_local_experts": 4},
    "llama4_text": {"num_local_experts": 4, "intermediate_size_mlp": 96, "moe_layers": [1]},
    "qwen3_next": {
        "num_experts": 4,
        "shared_expert_intermediate_size": 32,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
    "granitemoehybrid": {
        **MAMBA,
        "num_local_experts": 4,
        "shared_intermediate_size": 32,
        "layer_types": ["mamba", "attention"],
    },
    "nemotron_h": {
        **ROUTED,
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "moe", "attention", "mlp"],
        "moe_shared_expert_intermediate_size": 32,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 16,
        "n_groups": 1,
    },
}


def main():
    """Make each class that is named."""
    base, out, *names = sys.argv[1:]
    for name in names:
        torch.manual_seed(0)
        config = AutoConfig.for_model(name, **{**COMMON, **CLASSES[name]})
        AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(Path(out) / name)
        for file in (*Path(base).glob("tokenizer*"), *Path(base).glob("*.jinja")):
            shutil.copy(file, Path(out) / name)


main()
