"""Runs in the training environment: print the mean loss over all trained tokens, computed with transformers and PEFT.

`python training_loss.py BASE ADAPTER ROWS`, ROWS as training_rows.py writes them; one sample at a time, no padding. In
float32, as trainings on the CPU compute: bfloat16 would be off by more than what tells two steps apart.
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

_, base, adapter, rows = sys.argv
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
total = tokens = 0
for ids, labels in json.loads(Path(rows).read_text(encoding="utf-8")):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
    wanted = torch.tensor(labels[1:])
    total += torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum").item()
    tokens += int((wanted != -100).sum())
sys.stdout.write(f"{total / tokens}\n")
