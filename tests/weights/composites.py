"""Models that see, and mixtures of experts, with adapters as each framework names them; in the training environment.

`composites.py make FOLDER CASE...` gives each case FOLDER/CASE/{base,adapter}, the base's files as published;
`composites.py judge FOLDER CASE...` compares FOLDER/CASE/merged with PEFT's own merge of the float32 base, cast once.
"""

import re
import sys
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LINEAR_ATTENTION = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 2, "linear_num_key_heads": 2,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
QWEN_VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
SLIDING = {"layer_types": ["sliding_attention", "full_attention"]}
CONFIGS = {
    "qwen3_5": {"text_config": TEXT | LINEAR_ATTENTION, "vision_config": QWEN_VISION},
    "gemma3": {
        "text_config": TEXT | SLIDING,
        "vision_config": {**VISION, "image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 4,
    },
    "gemma4": {"text_config": TEXT | SLIDING, "vision_config": VISION, "audio_config": None},
    "qwen3_moe": {**TEXT, **EXPERTS, "num_experts": 4, "num_local_experts": 4},
    "qwen2_moe": {**TEXT, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 40},
    "glm4_moe": {**TEXT, **EXPERTS, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "mixtral": {**TEXT, "num_local_experts": 4, "num_experts_per_tok": 2},
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ATTENTION = ["q_proj", "v_proj", "in_proj_qkv", "out_proj"]
# By case: the class, whether it is loaded as AutoModelForCausalLM does, and what the adapter touches.
CASES = {
    "qwen3_5-text": ("qwen3_5", True, {"target_modules": [*LINEAR, *ATTENTION]}),
    "qwen3_5-whole": ("qwen3_5", False, {"target_modules": [*LINEAR, *ATTENTION, "linear_fc1"]}),
    "gemma3-whole": ("gemma3", False, {"target_modules": [*LINEAR, "fc1"]}),
    "gemma4-whole": (
        "gemma4",
        True,
        {"target_modules": r".*language_model.*\.(q_proj|down_proj|per_layer_projection)"},
    ),
    "qwen3_moe": ("qwen3_moe", True, {"target_modules": LINEAR}),
    "qwen2_moe": ("qwen2_moe", True, {"target_modules": [*LINEAR, "shared_expert_gate"], "use_rslora": True}),
    "glm4_moe": ("glm4_moe", True, {"target_modules": LINEAR}),
    "mixtral": ("mixtral", True, {"target_modules": ["q_proj", "w1", "w2", "w3"]}),
    "down_proj": ("qwen3_moe", True, {"target_parameters": ["mlp.experts.down_proj"]}),
}
# As published: one level more than transformers 5 writes, and a head for drafts, which it does not load.
PUBLISHED = {"gemma3": (r"^vision_tower\.", "vision_tower.vision_model."), "qwen3_5": (r"^$", "")}


def load(case, folder, dtype):
    """Return the model as the case loads it."""
    return (AutoModelForCausalLM if CASES[case][1] else AutoModelForImageTextToText).from_pretrained(
        folder, dtype=dtype
    )


def make(folder, *cases):
    for case in cases:
        name, _, options = CASES[case]
        torch.manual_seed(0)
        config = AutoConfig.for_model(name, **CONFIGS[name])
        made = (AutoModelForImageTextToText if "vision_config" in CONFIGS[name] else AutoModelForCausalLM).from_config(
            config, dtype=torch.bfloat16
        )
        base = Path(folder, case, "base")
        made.save_pretrained(base)
        if name in PUBLISHED:
            pattern, new = PUBLISHED[name]
            held = {re.sub(pattern, new, key): each for key, each in load_file(base / "model.safetensors").items()}
            held |= {"mtp.fc.weight": torch.ones(2, 2)} if name == "qwen3_5" else {}
            save_file(held, base / "model.safetensors", {"format": "pt"})
        plain = load(case, base, torch.float32)
        adapted = get_peft_model(plain, LoraConfig(r=3, lora_alpha=8, task_type="CAUSAL_LM", **options))
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_" in key:  # whole numbers of 1/256: no sum of theirs is rounded, in whatever order
                    parameter.copy_(torch.randint(-31, 32, parameter.shape) / 256)
        adapted.save_pretrained(Path(folder, case, "adapter"))


def judge(folder, *cases):
    for case in cases:
        base, adapter, merged = (Path(folder, case, part) for part in ("base", "adapter", "merged"))
        plain = load(case, base, torch.float32)
        before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
        adapted = PeftModel.from_pretrained(plain, adapter)
        touched = sum("lora_A" in name for name, _ in adapted.named_parameters())
        exact, ours = adapted.merge_and_unload().state_dict(), load(case, merged, "auto").state_dict()
        assert exact.keys() == ours.keys()
        for name, tensor in exact.items():
            # A router stays in float32 in memory.
            assert torch.equal(tensor.to(torch.bfloat16), ours[name].to(torch.bfloat16)), (case, name)
        changed = [name for name, tensor in ours.items() if not torch.equal(tensor.float(), before[name])]
        assert touched == len(changed) > 0, (case, touched, changed)
        held, was = (load_file(path / "model.safetensors") for path in (merged, base))
        assert held.keys() == was.keys()
        sys.stdout.write(f"\n{case}: {touched}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    {"make": make, "judge": judge}[sys.argv[1]](*sys.argv[2:])
