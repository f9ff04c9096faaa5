"""One forward of XTuner's model on the CPU, where it believes that flash-attn is there; runs in its environment.

`flash_attention.py FOLDER` prints, for a tiny model of each class, a line: FORWARD, the class, the attention that
computes, the dtype of the weights after a config that says float32, and whether the loss is finite.
"""

import sys
from pathlib import Path

import torch
from mends import allow_newer_transformers, keep_to_config
from mmengine.config import ConfigDict
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config

sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
allow_newer_transformers()
keep_to_config()

from xtuner.model import sft  # noqa: E402
from xtuner.model.modules import dispatch  # noqa: E402

dispatch.SUPPORT_FLASH2 = sft.SUPPORT_FLASH2 = True
for kind in (Qwen2Config, LlamaConfig, MistralConfig):
    folder = Path(sys.argv[1], kind.model_type)
    AutoModelForCausalLM.from_config(kind(**sizes)).to(torch.bfloat16).save_pretrained(folder)
    llm = ConfigDict(
        type=AutoModelForCausalLM.from_pretrained,
        pretrained_model_name_or_path=str(folder),
        torch_dtype=torch.float32,
        attn_implementation=None,
    )
    model = sft.SupervisedFinetune(llm=llm, use_activation_checkpointing=False)
    ids = torch.arange(1, 13).view(1, 12)
    loss = model(data={"input_ids": ids, "labels": ids}, mode="loss")["loss"]
    attention = model.llm.config._attn_implementation
    dtype = next(model.parameters()).dtype
    sys.stdout.write(f"FORWARD {kind.model_type} {attention} {dtype} {bool(torch.isfinite(loss))}\n")
