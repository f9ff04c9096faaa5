"""Packed samples of a real model: none sees another."""

import json
import subprocess

import pytest

import ftbridge
from ftbridge.core.files.atomic import json_lines
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
    gradients = []
    for checkpointed in (False, True):
        model.train().zero_grad()
        if checkpointed:
            model.gradient_checkpointing_enable()
        model(**batch).loss.backward()
        gradients.append([each.grad.clone() for each in model.parameters()])
    same = max(float((one - other).abs().max()) for one, other in zip(*gradients))
    found[attention] = [apart, summed, separate, same, list(batch), batch["position_ids"].tolist()]
print(json.dumps(found))
"""


@pytest.mark.framework
def test_packed_samples_give_the_logits_and_the_loss_that_they_give_alone(training_python, project):
    argv = [training_python, "-c", COLLATE, SCRIPTS, project / "base"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for apart, summed, separate, same, keys, positions in json.loads(done.stdout.splitlines()[-1]).values():
        assert apart < 1e-4
        assert summed == pytest.approx(separate, abs=1e-4 * 24)
        assert same < 1e-5  # gradients with and without checkpointing
        assert keys == ["input_ids", "labels", "position_ids", "use_cache"]
        assert positions == [[*range(9), *range(5)], [*range(12), 0, 1]]


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["llamafactory", pytest.param("xtuner", marks=pytest.mark.matrix)])
def test_packs_train_in_batches_on_two_processes_under_zero2_beside_whole_validation_samples(
    project, tmp_path, monkeypatch, backend
):
    with (tmp_path / "rows.jsonl").open("w") as file:
        for number in range(40):
            row = {"instruction": f"What is {number}?", "input": "", "output": f"It is {number}. " * (1 + number % 4)}
            file.write(json.dumps(row) + "\n")
    monkeypatch.chdir(tmp_path)
    ftbridge.convert("rows.jsonl", split="7:3")
    run = ftbridge.train(
        backend=backend,
        model=str(project / "base"),
        dataset="rows-train",
        validation_dataset="rows-test",
        device="cpu",
        gpus=2,
        deepspeed="zero2",
        tokens="once",
        packing=True,
        micro_batch_size=2,
        gradient_accumulation_steps=1,
        gradient_checkpointing=True,
        cutoff_length=256,
        epochs=4,
        lora_rank=8,
        learning_rate=1e-2,
    )
    assert run.status == "succeeded"
    metrics = [*json_lines(run.path / "metrics.jsonl")]
    losses = [record["loss"] for record in metrics if "loss" in record]
    validation = [record["validation_loss"] for record in metrics if "validation_loss" in record][-1]
    assert losses[-1] < losses[0] - 0.5
    assert losses[-1] - 0.5 < validation < losses[0]
