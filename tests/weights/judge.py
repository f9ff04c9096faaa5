"""Compare what ftbridge wrote with what the frameworks' own tools make; runs in the training environment.

`judge.py BASE ADAPTER MERGED` or `judge.py --xtuner CONFIG CHECKPOINT OUT ADAPTER`.
"""

import os
import runpy
import sys
from pathlib import Path

import torch
import transformers.utils
from safetensors.torch import load_file

RANK = 8  # of the adapters


def merged_equals_peft(base: str, adapter: str, merged: str) -> None:
    """Load both with transformers; the merged weights are PEFT's of the float32 base, cast once to its dtype.

    A sum of `r` products may be off by r roundings of float32, as kernels add in orders of their own: each weight is
    one that PEFT's rounds to when it is moved by no more than that, which is another only at the edge between two.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    exact = PeftModel.from_pretrained(plain, adapter).merge_and_unload().state_dict()
    ours = AutoModelForCausalLM.from_pretrained(merged, dtype="auto").state_dict()
    changed = 0
    for name, tensor in exact.items():
        dtype = ours[name].dtype
        delta = (tensor - before[name]).abs().max()
        # The products may be larger than their sum: r times the largest sum is more than enough for them.
        slack = RANK**2 * 2**-24 * delta + 2**-23 * tensor.abs() * bool(delta)
        assert (ours[name] >= (tensor - slack).to(dtype)).all(), name
        assert (ours[name] <= (tensor + slack).to(dtype)).all(), name
        changed += bool((ours[name].float() != before[name]).any())
    assert changed == 14, changed


def equals_xtuners_own(config: str, checkpoint: str, out: str, adapter: str) -> None:
    """`xtuner convert pth_to_hf --fp32` is the judge: equal tensor for tensor.

    From a DeepSpeed folder it gathers the optimiser's weights, ours are the model's own, in float32 or bfloat16: equal
    to what the checkpoint holds, and one rounding away from theirs, which have passed through float16.
    """
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    torch.cpu.is_bf16_supported = lambda *_, **__: True
    transformers.utils.is_safetensors_available = lambda: True  # XTuner imports it, and transformers 5 has it no longer
    sys.argv = ["pth_to_hf.py", config, checkpoint, out, "--fp32"]
    runpy.run_module("xtuner.tools.model_converters.pth_to_hf", run_name="__main__")
    file = Path(out) / "adapter_model.bin"
    theirs = torch.load(file, weights_only=True) if file.exists() else load_file(file.with_suffix(".safetensors"))
    ours = load_file(f"{adapter}/adapter_model.safetensors")
    assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
    states = {}
    if Path(checkpoint).is_dir():
        states = torch.load(f"{checkpoint}/mp_rank_00_model_states.pt", weights_only=False)["module"]
    for name, tensor in theirs.items():
        if not states:
            assert torch.equal(ours[name], tensor), name
            continue
        assert torch.equal(ours[name], states["llm." + name.replace(".weight", ".default.weight")]), name
        rounding = 2**-8 if ours[name].dtype == torch.bfloat16 else 2**-11
        assert ((ours[name].float() - tensor).abs() <= tensor.abs() * rounding + 2**-24).all(), name


if __name__ == "__main__":
    if sys.argv[1] == "--xtuner":
        equals_xtuners_own(*sys.argv[2:])
    else:
        merged_equals_peft(*sys.argv[1:])
