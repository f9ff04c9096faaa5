"""What a device computes beside the CPU, as JSON; runs in the training environment: `kernels.py DEVICE`."""

import json
import sys
import tempfile

import torch


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the length of the difference over that of `other`."""
    one, other = one.double().cpu(), other.double().cpu()
    return float(torch.linalg.norm(one - other) / torch.linalg.norm(other))


def product(device: str) -> float:
    """Return how far a product in bfloat16 is from that of the same values in float64."""
    left, right = torch.randn(512, 1024).bfloat16(), torch.randn(1024, 512).bfloat16()
    return apart(left.to(device) @ right.to(device), left.double() @ right.double())


def attention(device: str) -> float:
    """Return how far attention in bfloat16 with fewer key-value heads is from that in float64."""
    query, key, value = (torch.randn(1, heads, 256, 64).bfloat16() for heads in (8, 2, 2))
    options = {"is_causal": True, "enable_gqa": True}
    attend = torch.nn.functional.scaled_dot_product_attention
    found = attend(*(each.to(device) for each in (query, key, value)), **options)
    return apart(found, attend(query.double(), key.double(), value.double(), **options))


def packed(device: str) -> float:
    """Return the share of bytes in which a matrix in 4 bits differs from the one that the CPU packs."""
    from bitsandbytes import functional

    weight = torch.randn(1024, 1024).bfloat16()
    here, there = (functional.quantize_4bit(weight.to(each), quant_type="nf4")[0].cpu() for each in ("cpu", device))
    return float((here != there).double().mean())


def four_bits(device: str) -> float:
    """Return how far a model in 4 bits is from the same one on the CPU, by the logits in float32."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Qwen2Config

    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": 512}
    config = Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2)
    ids, found = torch.arange(1, 65).view(1, 64), []
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        bits = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
        for each in ("cpu", device):
            model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=bits, device_map=each)
            with torch.inference_mode():
                found.append(model(ids.to(each)).logits)
    return apart(found[1], found[0])


if __name__ == "__main__":
    torch.manual_seed(0)
    found = {each.__name__: each(sys.argv[1]) for each in (product, attention, packed, four_bits)}
    sys.stdout.write(f"\n{json.dumps(found)}\n")
