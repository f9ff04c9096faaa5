"""Packed samples of a real model: none sees another."""

import json
import subprocess

import pytest

from ftbridge.launchers.process.script import SCRIPTS

COLLATE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from packed_collator import IGNORED, collate_packed
from transformers import AutoModelForCausalLM

torch.manual_seed(0)
found = {}
for attention in ("eager", "sdpa"):
    model = AutoModelForCausalLM.from_pretrained(sys.argv[2], attn_implementation=attention, dtype=torch.float32)
    model.eval()
    one, two, three = ([each + 7 * n for each in range(length)] for n, length in ((1, 9), (2, 5), (3, 12)))
    row = {"input_ids": one + two, "labels": [IGNORED, *one[1:], IGNORED, *two[1:]],
           "position_ids": [*range(9), *range(5)]}
    batch = collate_packed([row, {"input_ids": three, "labels": three}])
    logits = model(**{**batch, "labels": None}).logits
    alone = [model(input_ids=torch.tensor([ids]), use_cache=False) for ids in (one, two, three)]
    parts = [logits[0, :9], logits[0, 9:14], logits[1, :12]]
    apart = max(float((part - each.logits[0]).abs().max()) for part, each in zip(parts, alone))
    def loss(logits, labels):
        return float(torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(labels[1:]), reduction="sum"))
    summed = float(torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum", ignore_index=IGNORED))
    separate = sum(loss(each.logits[0], [IGNORED, *ids[1:]]) for each, ids in zip(alone, (one, two, three)))
    found[attention] = [apart, summed, separate, list(batch), batch["position_ids"].tolist()]
print(json.dumps(found))
"""


@pytest.mark.framework
def test_packed_samples_give_the_logits_and_the_loss_that_they_give_alone(training_python, project):
    argv = [training_python, "-c", COLLATE, SCRIPTS, project / "base"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for apart, summed, separate, keys, positions in json.loads(done.stdout.splitlines()[-1]).values():
        assert apart < 1e-4
        assert summed == pytest.approx(separate, abs=1e-4 * 24)
        assert keys == ["input_ids", "labels", "position_ids", "use_cache"]
        assert positions == [[*range(9), *range(5)], [*range(12), 0, 1]]
