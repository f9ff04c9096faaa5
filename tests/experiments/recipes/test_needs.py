"""What a training needs, in numbers and in a line."""

import os

import pytest

from ftbridge.core.errors import InputError
from ftbridge.experiments.recipes.needs import cards, needs
from ftbridge.launchers.hardware.host import GIB

from ...builders.models import write_model  # noqa: TID252
from ...fake_gpu.fake import A100, RTX4090, T4, nvidia_smi  # noqa: TID252
from ...launchers.preflight.memory_tables import memory  # noqa: TID252

SMALL, LARGE = "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct"
LORA = {"model": SMALL, "method": "lora", "backend": "llamafactory"}


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Return a function that gives this machine other cards than none."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def has(*rows):
        monkeypatch.setenv("PATH", f"{nvidia_smi(tmp_path / 'bin', *rows)}{os.pathsep}/usr/bin:/bin")

    has()
    return has


def test_memory_is_the_estimate_of_the_real_tensors(tmp_path):
    assert needs(LORA, tmp_path).memory == memory("1.5B", method="lora").total
    most = max(memory("7B", backend=each).total for each in ("xtuner", "llamafactory"))
    assert needs({"model": LARGE}, tmp_path).memory == most
    found = needs({"model": LARGE, "method": "full", "gpus": 2}, tmp_path)
    assert found.memory == memory("7B", 2, method="full", backend="xtuner").total
    assert f"{found.memory / GIB:.2g} GiB of GPU memory on each of 2 GPUs" in found.sentence


def test_time_is_operations_by_the_cards_peak(tmp_path):
    """Of a large model: 6 operations for each weight and token, at 30 % of the peak."""
    options = {"model": "Qwen/Qwen2.5-14B", "method": "lora", "epochs": 2}
    found = needs(options, tmp_path, samples=1000, tokens=1024)
    card = next(each for each in cards() if each.name == next(iter(found.seconds)))
    by_hand = 6 * 14.77e9 * 2 * 1000 * 1024 / (0.3 * card.peak * 1e12)
    assert found.seconds[card.name] == pytest.approx(by_hand, rel=0.001)
    assert needs(options, tmp_path, samples=1000, tokens=1024, points=3).seconds[card.name] == pytest.approx(
        3 * by_hand, rel=0.001
    )
    whole = needs({**options, "packing": True}, tmp_path, samples=1000, tokens=1024)
    assert whole.seconds[card.name] == pytest.approx(by_hand, rel=0.001)


def test_no_card_is_faster_than_its_kernels_are_started(tmp_path):
    found = needs({**LORA, "model": "Qwen/Qwen3-0.6B", "epochs": 1}, tmp_path, samples=1000, tokens=20)
    assert found.seconds == {"T4": pytest.approx(1000 * 28 * 0.004)}


def test_disk_holds_the_base_checkpoints_and_what_is_merged(tmp_path):
    at_the_end = {**LORA, "save_steps": 500}
    alone = needs(at_the_end, tmp_path, samples=100)
    merged = needs(at_the_end, tmp_path, samples=100, merge=True)
    weights = merged.disk - alone.disk
    assert weights == pytest.approx(2 * 1.54e9, rel=0.01)
    one = alone.disk - weights  # checkpoint: so few samples are saved once, at the end
    assert needs(at_the_end, tmp_path, samples=100, points=3).disk == weights + 3 * one
    assert needs(LORA, tmp_path, samples=100).disk == weights + 3 * one  # two, and one on its way
    here = {"model": str(write_model(tmp_path / "base")), "method": "lora", "save_steps": 500}
    assert needs(here, tmp_path, samples=100).disk < 100_000


def test_the_line_says_what_was_guessed(tmp_path):
    known = needs(LORA, tmp_path, samples=500, tokens=100).sentence
    assert known.startswith("needs about 9 GiB of GPU memory, 5.4 GiB of disk; about ")
    assert known.endswith("(arithmetic, not measured: half or twice as long is possible)")
    guessed = needs(LORA, tmp_path).sentence
    assert "for every 1,000 samples" in guessed
    assert guessed.endswith("assuming 512 tokens a sample)")
    assert 1 <= len(needs(LORA, tmp_path).seconds) <= 3


def test_this_machines_card_comes_first_or_is_too_small(tmp_path, machine):
    machine(A100.format(0))
    found = needs(LORA, tmp_path)
    assert (found.here, next(iter(found.seconds))) == ("A100", "A100")
    assert "min on this machine's A100" in found.sentence
    machine(T4.format(0))
    found = needs({"model": LARGE}, tmp_path)
    assert (found.here, found.too_small) == ("", "Tesla T4")
    assert "this machine's Tesla T4 has less; about" in found.sentence
    machine(RTX4090.format(0), RTX4090.format(1))
    assert "min on 2 x RTX 4090" in needs({**LORA, "gpus": "all"}, tmp_path).sentence


def test_what_cannot_be_told_is_not_told(tmp_path):
    assert needs({"model": "owner/unknown"}, tmp_path).sentence == (
        "memory and disk cannot be estimated before the model is downloaded"
    )
    assert "no card known here has as much" in needs({"model": "Qwen/Qwen3-32B", "method": "full"}, tmp_path).sentence
    on_cpu = needs({**LORA, "device": "cpu"}, tmp_path)
    assert (on_cpu.seconds, on_cpu.gpus) == ({}, 0)
    assert "GiB of main memory" in on_cpu.sentence
    with pytest.raises(InputError, match="did you mean `lora_rank`"):
        needs({**LORA, "lora_rang": 8}, tmp_path)
