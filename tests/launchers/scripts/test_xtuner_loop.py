"""Both frameworks learn the same of the same tokens: losses and gradients of their first steps, side by side."""

import contextlib
import json
import statistics
import subprocess

import pytest

import ftbridge
from ftbridge.core.files.atomic import json_lines
from ftbridge.experiments.demo import base_model

STEPS = 10
LORA = {"lora_rank": 8, "lora_alpha": 16, "lora_dropout": 0.0, "lora_targets": ["q_proj", "v_proj"]}
# Writes one adapter of LoRA for both: as PEFT's folder, and as a file of XTuner's names.
ADAPTER = """
import sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
torch.manual_seed(7)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
lora = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
model = get_peft_model(model, lora)
state = {name: value for name, value in model.state_dict().items() if "lora_" in name}
for value in state.values():
    torch.nn.init.normal_(value, std=0.05)
model.save_pretrained(sys.argv[2])
torch.save({f"llm.{name}": value for name, value in state.items()}, sys.argv[3])
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, training_python):
    """Return a project with answers of very different lengths, a tiny model, and an adapter for it."""
    folder = tmp_path_factory.mktemp("parity")
    rows = [
        {"instruction": f"How much is {n}?", "output": " ".join(["so"] * (1 + n * n % 37)) + f" {n}"}
        for n in range(240)
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with contextlib.chdir(folder):
        ftbridge.convert("sums.jsonl")
        base_model(folder / "base", training_python, ["How much is so?"], hidden=64, layers=2)
    argv = [training_python, "-c", ADAPTER, folder / "base", folder / "adapter", folder / "adapter.pth"]
    subprocess.run(argv, check=True, capture_output=True)
    return folder


def measured(workplace, backend, method, accumulation, *, packing, **machine):
    """Return loss and gradient norm of each step; None for a norm that is not told, as of XTuner with DeepSpeed."""
    options = {
        "xtuner": {
            "train_dataloader.sampler.shuffle": "False",
            "default_hooks.logger.interval": "1",
            "log_processor.window_size": "1",
            **({"load_from": str(workplace / "adapter.pth")} if method == "lora" else {}),
        },
        "llamafactory": {
            "disable_shuffling": "true",
            **({"adapter_name_or_path": str(workplace / "adapter")} if method == "lora" else {}),
        },
    }
    with contextlib.chdir(workplace):
        run = ftbridge.train(
            backend=backend, model="base", dataset="sums", device="cpu", tokens="once", method=method,
            gradient_accumulation_steps=accumulation, micro_batch_size=2, max_steps=STEPS, packing=packing,
            cutoff_length=160, learning_rate=1e-3, set=options[backend],
            **(LORA if method == "lora" else {}), **machine,
        )  # fmt: skip
    if backend == "llamafactory":
        history = json.loads((run.path / "output" / "trainer_state.json").read_text())["log_history"]
        return [(each["loss"], each.get("grad_norm")) for each in history if "loss" in each]
    (file,) = (run.path / "output").glob("*/vis_data/scalars.json")
    lines = [line for line in json_lines(file) if "loss" in line]
    assert len(lines) == STEPS * accumulation
    return [
        (statistics.fmean(line["loss"] for line in step), step[-1].get("grad_norm"))
        for step in (lines[at : at + accumulation] for at in range(0, len(lines), accumulation))
    ]


def check_parity(workplace, method, accumulation, *, packing, **machine):
    xtuner, llamafactory = (
        measured(workplace, backend, method, accumulation, packing=packing, **machine)
        for backend in ("xtuner", "llamafactory")
    )
    assert len(xtuner) == len(llamafactory) == STEPS
    for ours, theirs in zip(xtuner, llamafactory, strict=True):
        norm = ours[1] if machine else pytest.approx(theirs[1], abs=1e-3)
        assert ours == (pytest.approx(theirs[0], abs=1e-4), norm)
    losses = [loss for loss, _ in xtuner]
    assert len(set(losses)) == STEPS


@pytest.mark.framework
def test_both_frameworks_learn_the_same_of_the_same_tokens(workplace):
    check_parity(workplace, "lora", 4, packing=True)


@pytest.mark.framework
@pytest.mark.parametrize("packing", [False, pytest.param(True, marks=pytest.mark.matrix)])
def test_both_frameworks_learn_the_same_on_several_processes(workplace, packing):
    check_parity(workplace, "full", 2, packing=packing, gpus=2, deepspeed="zero2")


@pytest.mark.matrix
@pytest.mark.framework
@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_both_frameworks_learn_the_same_by_all_ways(workplace, method, accumulation, packing):
    check_parity(workplace, method, accumulation, packing=packing)
