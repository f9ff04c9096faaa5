"""On a real card: kernels, a training of each framework, merge, and what an ended run leaves behind.

`make gpu` runs these; elsewhere they are skipped.
"""

import contextlib
import json
import subprocess

import pytest

import ftbridge
from ftbridge.weights.merge import merge_weights
from ftbridge.weights.tensors import index

from ..conftest import ROOT, SMALL  # noqa: TID252

pytestmark = pytest.mark.gpu
BACKENDS = ["xtuner", "llamafactory"]
PEFT = ROOT / "tests" / "weights" / "peft_adapters.py"


def test_bfloat16_kernels_of_the_card_are_exact_to_a_hundredth(kernels):
    assert kernels["product"] < 1e-2
    assert kernels["attention"] < 1e-2


def test_a_card_packs_4_bits_as_the_cpu_does(kernels):
    assert kernels["packed"] < 1e-3


def test_a_forward_in_4_bits_is_the_cpus(kernels):
    assert kernels["four_bits"] < 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_on_the_card_learns_and_its_model_answers(cards, project, backend):
    options = {**SMALL, "device": "cuda", "dataset": "medqa", "backend": backend, "epochs": 3}
    with contextlib.chdir(project):
        run = ftbridge.train(**options)
        answer = ftbridge.chat(run.id, "What is aspirin for?", device="cuda", bits=4)
    losses = [json.loads(line)["loss"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    assert answer


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_merge_on_the_card_equals_pefts_on_the_cpu_bit_for_bit(cards, training_python, tmp_path, name):
    """Of adapters whose sums float32 holds exactly, whatever their order: `lora` in bfloat16, `dora` in float32."""
    subprocess.run([training_python, PEFT, tmp_path, name], check=True, capture_output=True)
    case, new = tmp_path / name, tmp_path / "new"
    new.mkdir()
    merge_weights(training_python, case / "base", [(case / "adapter", 1.0)], new, gpus=cards[:1])
    ours, theirs = index.model_tensors(new), index.file_tensors(case / "expected.safetensors")
    assert ours.keys() == theirs.keys()
    for tensor, place in theirs.items():
        assert content(ours[tensor]) == content(place), tensor


def content(tensor):
    return b"".join(tensor.pieces())


@pytest.mark.usefixtures("gpu_parts")
def test_merge_of_a_training_differs_by_a_unit_in_the_last_place_at_most(cards, trained, in_project, tmp_path):
    """Products of any values are summed in another order there, so that a value may be rounded the other way."""
    from gpu_parts.merging import compare_models

    run = trained(backend="xtuner")
    one, other = (ftbridge.merge(run.id, out=tmp_path / device, device=device) for device in ("cpu", "cuda"))
    found = compare_models(one, other)
    assert found["values"]
    assert found["differing"] <= 1e-3 * found["values"]
    assert found["largest"] in {"none", "1 in the last place"}


@pytest.mark.usefixtures("gpu_parts")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_run_leaves_neither_memory_nor_processes(cards, project, backend):
    from gpu_parts.ending import end_training, kill_process

    options = {**SMALL, "device": "cuda", "dataset": "medqa", "backend": backend, "max_steps": 100_000}
    assert end_training(cards, project, options, kill_process)["held"] > 0
