"""Merge a PEFT adapter into its base, in the base's own dtype, on the CPU.

Runs inside the training environment: `python merge_adapter.py '{"base": DIR, "adapter": DIR, "out": DIR,
"trust_remote_code": false}'`.
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Write the merged model and its tokenizer."""
    spec = json.loads(sys.argv[1])
    remote = {"trust_remote_code": spec["trust_remote_code"]}
    config = AutoConfig.from_pretrained(spec["base"], **remote)
    if getattr(config, "quantization_config", None):
        raise SystemExit(f"`{spec['base']}` is quantised; merge into the model it was made from (--model)")
    base = AutoModelForCausalLM.from_pretrained(spec["base"], dtype="auto", **remote)
    dtype = base.dtype
    merged = PeftModel.from_pretrained(base, spec["adapter"]).merge_and_unload()
    if any(not torch.isfinite(tensor).all() for tensor in merged.state_dict().values()):
        raise SystemExit("the merged weights are not finite: the training has diverged")
    merged.to(dtype).save_pretrained(spec["out"])
    AutoTokenizer.from_pretrained(spec["base"], **remote).save_pretrained(spec["out"])
    sys.stdout.write(f"\n{spec['out']}\n")


if __name__ == "__main__":
    main()
