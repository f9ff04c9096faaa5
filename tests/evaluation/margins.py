"""Runs in the training environment: print how certain a model is of its greedy answers, computed in float32.

`python margins.py SPEC`, SPEC as JSON with `base`, `adapter`, `template` (a chat template's text), `prompts` (lists of
messages) and `max_new_tokens`. For each prompt, the least distance between the two likeliest tokens of a step, as a
share of the larger one's logit.
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

spec = json.loads(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(spec["base"])
base = AutoModelForCausalLM.from_pretrained(spec["base"], dtype=torch.float32)
model = PeftModel.from_pretrained(base, spec["adapter"]).eval()
found = []
for messages in spec["prompts"]:
    inputs = tokenizer.apply_chat_template(
        messages, chat_template=spec["template"], add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    with torch.inference_mode():
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=spec["max_new_tokens"],
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    best = [logits[0].topk(2).values for logits in output.logits]
    found.append(min(float((first - second) / first.abs()) for first, second in best))
sys.stdout.write(json.dumps(found) + "\n")
