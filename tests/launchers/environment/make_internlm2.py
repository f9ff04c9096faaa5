"""Make a tiny InternLM 2 with random weights and the code that models of it bring, which XTuner holds a copy of.

Runs in the environment with transformers 4: `python make_internlm2.py BASE OUT`, where BASE is a model folder whose
tokenizer is taken, with a bos token more.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import xtuner
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = {"bos": "<s>", "eos": "</s>", "pad": "</s>"}
base, out = map(Path, sys.argv[1:])
out.mkdir()
for name in ("configuration", "modeling"):
    shutil.copy(Path(xtuner.__file__).parent / f"_lite/modelings/internlm2/{name}_internlm2.py", out)
own = AutoTokenizer.from_pretrained(base)
own.add_special_tokens({"bos_token": "<s>", "additional_special_tokens": ["</s>"]})
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=own.backend_tokenizer, **{f"{kind}_token": token for kind, token in SPECIAL.items()}
)
tokenizer.save_pretrained(out)
config = {
    "model_type": "internlm2",
    "architectures": ["InternLM2ForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_internlm2.InternLM2Config",
        "AutoModel": "modeling_internlm2.InternLM2ForCausalLM",
        "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
    },
    "vocab_size": len(tokenizer),
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rope_theta": 1000000,
    "bos_token_id": tokenizer.bos_token_id,
    "eos_token_id": tokenizer.eos_token_id,
    "pad_token_id": tokenizer.pad_token_id,
    "bias": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.0",
}
(out / "config.json").write_text(json.dumps(config, indent=2))
torch.manual_seed(0)
loaded = AutoConfig.from_pretrained(out, trust_remote_code=True)
model = AutoModelForCausalLM.from_config(loaded, trust_remote_code=True).to(torch.bfloat16)
model.save_pretrained(out)
(out / "config.json").write_text(json.dumps(config, indent=2))
