"""Small models with PEFT adapters of all kinds, and what PEFT's own merge makes of them; in the training environment.

`peft_adapters.py FOLDER`: each case gets FOLDER/CASE/{base,adapter,other,expected.safetensors}. Expected is the merge
into the float32 base, cast once to the base's dtype.
"""

import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

# Large enough that tensors are computed in several pieces, none of a round size.
QWEN = {"hidden_size": 200, "intermediate_size": 1100, "num_hidden_layers": 1, "num_attention_heads": 4}
VOCABULARY = 3001
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Case(NamedTuple):
    """An adapter's options, the dtype of the base, and what is odd about it."""

    options: dict[str, Any]
    dtype: torch.dtype = torch.bfloat16
    tied: bool = False
    gpt2: bool = False
    rows: int = VOCABULARY
    adapter_dtype: torch.dtype = torch.float32
    weight: float | None = None  # of a second adapter
    pickled: bool = False
    onto: str = ""


CASES = {
    "lora": Case({"target_modules": LINEAR}),
    "rslora": Case({"use_rslora": True, "r": 13}, torch.float16, tied=True),
    "dora": Case({"use_dora": True, "target_modules": LINEAR}, torch.float32),
    "patterns": Case(
        {"alpha_pattern": {"q_proj": 3, r"layers.0.self_attn.v_proj": 7.5}, "rank_pattern": {"v_proj": 2}}
    ),
    "saved": Case({"modules_to_save": ["embed_tokens", "lm_head", "norm"]}, pickled=True),
    "resized": Case({"modules_to_save": ["embed_tokens", "lm_head"]}, rows=3033),
    "embedding": Case({"target_modules": ["embed_tokens", "lm_head", "q_proj"]}),
    "embedding-dora": Case({"target_modules": ["embed_tokens"], "use_dora": True}),
    "bias": Case({"lora_bias": True}),
    "all-biases": Case({"bias": "all"}, adapter_dtype=torch.bfloat16),
    "gpt2": Case({"target_modules": ["c_attn", "c_proj", "c_fc"]}, gpt2=True),
    "gpt2-dora": Case({"target_modules": ["c_attn", "c_proj"], "use_dora": True}, torch.float32, gpt2=True),
    "several": Case({"target_modules": LINEAR}, weight=-0.3),
    "nf4": Case({"target_modules": LINEAR}, onto="nf4"),
    "fp4": Case({"target_modules": LINEAR}, onto="fp4"),
}


def model(case: Case, seed: int = 0) -> Any:
    """Return a model with random weights, also where they begin as zeros."""
    torch.manual_seed(seed)
    if case.gpt2:
        made = GPT2LMHeadModel(GPT2Config(n_embd=200, n_layer=1, n_head=4, vocab_size=500))
    else:
        made = Qwen2ForCausalLM(
            Qwen2Config(**QWEN, num_key_value_heads=2, vocab_size=VOCABULARY, tie_word_embeddings=case.tied)
        )
    return scatter(made, "", case)


def scatter(made: Any, part: str, case: Case) -> Any:
    """Give random values to the parameters whose names hold `part`.

    Bit for bit can be equal only what no kernel rounds in an order of its own. So the factors of a product are whole
    numbers of 1/256, and where DoRA takes lengths, those and the base of 1/4 and 1/8: float32 holds each sum of theirs
    without rounding, in any order and with fused operations or not. All else is rounded element by element.
    """
    dora = case.options.get("use_dora")
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if part not in name:
                continue
            if "lora_" in name and parameter.dim() == 2:
                most, unit = (2, 4) if dora else (31, 256)
            elif dora and "magnitude" not in name:
                most, unit = 8, 8
            else:
                parameter.normal_(std=0.05).add_(0.1 if "magnitude" in name else 0)
                continue
            parameter.copy_(torch.randint(-most, most + 1, parameter.shape) / unit)
    return made


def make(folder: Path, case: Case) -> None:
    """Write a case."""
    model(case).to(case.dtype).save_pretrained(
        folder / "base", max_shard_size="1MB", safe_serialization=not case.pickled
    )
    options = {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "task_type": "CAUSAL_LM",
        **case.options,
    }
    for number, name in enumerate(("adapter", *(["other"] if case.weight else [])), 1):
        base = load(folder / "base", case)
        made = get_peft_model(base, LoraConfig(**options))
        torch.manual_seed(number)
        for part in ("lora_", "modules_to_save", *(["bias"] if options.get("bias") else [])):
            scatter(made, part, case)
        made.to(case.adapter_dtype).save_pretrained(folder / name, safe_serialization=not case.pickled)
    merged = PeftModel.from_pretrained(load(folder / "base", case), folder / "adapter")
    names = ["default"]
    if case.weight:
        merged.load_adapter(folder / "other", "other")
        for layer in (module for module in merged.modules() if isinstance(module, LoraLayer)):
            layer.set_scale("other", case.weight)
        names.append("other")
    state = merged.merge_and_unload(adapter_names=names).state_dict()
    save_file(
        {name: tensor.to(case.dtype).contiguous().clone() for name, tensor in state.items()},
        folder / "expected.safetensors",
    )


def load(base: Path, case: Case) -> Any:
    """Return the base in float32, its vocabulary resized, or its linear layers rounded, where the case wants that."""
    made = (GPT2LMHeadModel if case.gpt2 else Qwen2ForCausalLM).from_pretrained(base, dtype=torch.float32)
    if case.rows != VOCABULARY:
        torch.manual_seed(5)
        made.resize_token_embeddings(case.rows)
    if case.onto:
        for name, weight in rounded(base, case.onto).items():
            made.get_parameter(name).data = weight
    return made


def rounded(base: Path, kind: str) -> dict[str, torch.Tensor]:
    """Return the weights that a 4-bit model computes with, loaded as both frameworks do."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=kind == "nf4")
    made = Qwen2ForCausalLM.from_pretrained(base, dtype=torch.bfloat16, quantization_config=config)
    layers = {name: layer.weight for name, layer in made.named_modules() if isinstance(layer, Linear4bit)}
    return {f"{name}.weight": dequantize_4bit(each.data, each.quant_state).float() for name, each in layers.items()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for title in sys.argv[2:] or CASES:
        make(Path(sys.argv[1]) / title, CASES[title])
