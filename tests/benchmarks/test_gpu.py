"""benchmarks/gpu.py where there is no card: it says so, its phases end, and a rehearsal runs each of them."""

import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.preflight.preflight import preflight_checks
from ftbridge.launchers.training.prepare import prepare
from ftbridge.weights.tensors import safetensors

from ..conftest import ROOT  # noqa: TID252
from ..fake_gpu import fake  # noqa: TID252
from ..gpu.compared import compared  # noqa: TID252

CARD = Gpu("NVIDIA H100 80GB HBM3", 81559, 9.0, "570.86.15", 81000, "GPU-h100-0")


def measure(folder, *options, **env):
    """Run the script as a user does; returns what became of the process, and its results."""
    argv = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--out", folder / "found", *options]
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"} | env
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    file = folder / "found" / "results.json"
    return done, json.loads(file.read_text()) if file.exists() else None


@pytest.mark.slow
def test_measuring_without_a_card_ends_with_a_sentence(tmp_path):
    done, results = measure(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 4
    assert done.stderr.startswith("No GPU can be used here, so nothing was measured: ")
    assert "Traceback" not in done.stderr
    assert results is None
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"), [((), "no place for results"), (("--rehearse",), "a rehearsal measures nothing")]
)
def test_a_page_that_cannot_take_results_is_refused_at_the_start(tmp_path, options, said):
    (tmp_path / "page.md").write_text("# A page\n")
    done, results = measure(tmp_path, "--docs", tmp_path / "page.md", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert results is None


@pytest.mark.framework
def test_a_phase_that_takes_too_long_is_ended_with_all_it_started(tmp_path, training_python):
    done, results = measure(tmp_path, "--rehearse", "--phase", "merge", "--seconds", "7")
    assert done.returncode == 1, done.stderr
    found = {name: phase["status"] for name, phase in results["phases"].items()}
    assert found == {"models": "ended after its 7 s", "merge": "not begun: the time is up"}
    there = subprocess.run(["pgrep", "--full", tmp_path], capture_output=True, text=True, check=False).stdout
    assert not there


@pytest.mark.framework
def test_a_phase_that_fails_keeps_no_other_from_its_turn(tmp_path, training_python):
    """With a driver and a torch that believe in a card which is not there."""
    env = fake.gpus(tmp_path / "driver", fake.H100.format(0))
    done, results = measure(tmp_path, "--phase", "merge", "--phase", "ended", **env)
    assert done.returncode == 1, done.stderr
    assert results["machine"]["cards"] == "1 x NVIDIA H100 80GB HBM3"
    assert results["machine"]["shape"].endswith("small 0.5B")
    phases = results["phases"]
    assert phases["models"]["status"] == "2 of 2 failed"
    assert phases["models"]["rows"][0]["result"].startswith("failed: no weights could be made on cuda: ")
    assert phases["ended"]["status"] == "4 of 4 failed"
    assert "failed" in phases["merge"]["status"]
    assert "### What a run that is ended leaves behind" in (tmp_path / "found" / "table.md").read_text()


@pytest.mark.framework
def test_rehearsal_of_one_phase_succeeds_on_the_cpu(tmp_path, training_python):
    done, results = measure(tmp_path, "--rehearse", "--phase", "merge")
    assert done.returncode == 0, done.stdout + done.stderr
    assert results["machine"]["cards"] == "none (a rehearsal, no measurement)"
    rows = results["phases"]["merge"]["rows"]
    assert [row["differing"] for row in rows] == [0, 0]
    assert all(row["values"] > 100_000 for row in rows)
    assert not (tmp_path / "found" / "project").exists()


@pytest.mark.framework
def test_every_training_of_a_card_passes_the_pre_flight(project, training_python, tmp_path, monkeypatch, gpu_parts):
    from gpu_parts.bench import BACKENDS, Bench
    from gpu_parts.phases import ON_A_GPU, ON_SEVERAL_GPUS, VARIANTS

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake.nvidia_smi(tmp_path, *(fake.H100.format(number) for number in range(2)))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(project)
    # The sample has no validation part.
    fixed = {**Bench(out=tmp_path).defaults, "dataset": "medqa", "model": "base"}
    for title, options in (VARIANTS | ON_A_GPU | ON_SEVERAL_GPUS).items():
        for backend in BACKENDS:
            validation = {"validation_dataset": "medqa-test"} if "validation_steps" in options else {}
            ready = prepare(**{**fixed, **options, **validation, "backend": backend})
            assert ready.plan.machine.device == "cuda"
            assert ready.plan.machine.processes == (2 if "gpus" in options else 1)
            checks = preflight_checks(ready.plan, ready.python, project / "runs")
            assert not [check for check in checks if check.status == "failure"], (title, backend)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_rehearsal_of_all_phases_succeeds_on_the_cpu(tmp_path, training_python):
    done, results = measure(tmp_path, "--rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: phase["status"] for name, phase in results["phases"].items()} == dict.fromkeys(
        ("models", "doctor", "qlora", "merge", "answers", "ended", "variants", "lengths"), "done"
    )
    assert all(row["tokens_per_second"] > 0 for row in results["phases"]["qlora"]["rows"])


@pytest.mark.framework
def test_comparisons_of_the_card_tests_hold_on_the_cpu(training_python):
    found = compared(training_python, "cpu", {"CUDA_VISIBLE_DEVICES": ""})
    assert found["product"] < 1e-2
    assert found["attention"] < 1e-2
    assert (found["packed"], found["four_bits"]) == (0, 0)


@pytest.mark.usefixtures("gpu_parts")
def test_peak_memory_is_counted_above_what_was_used_before(tmp_path, monkeypatch):
    from gpu_parts.memory import MIB, PeakMemory, used_memory

    program = fake.nvidia_smi(tmp_path) / "nvidia-smi"

    def uses(size):
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\necho 'GPU-other, 70000'\necho '{CARD.uuid}, {size}'\n")
        new.chmod(0o755)
        new.rename(program)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    uses(500)
    with PeakMemory([CARD]) as memory:
        uses(9500)
        end = time.monotonic() + 10
        while memory.peak != 9000 * MIB:
            assert time.monotonic() < end
        uses(700)
        assert used_memory([CARD]) == 700 * MIB
    assert memory.peak == 9000 * MIB
    uses("[N/A]")
    assert used_memory([CARD]) is None
    assert PeakMemory([CARD]).peak is None


@pytest.mark.usefixtures("gpu_parts")
def test_values_are_compared_by_units_in_the_last_place(tmp_path):
    from gpu_parts.merging import compare_models

    for name, bits in {"one": [0x3F80, 0x3F80, 0xBF80, 0], "other": [0x3F80, 0x3F81, 0xBF7D, 0]}.items():
        (tmp_path / name).mkdir()
        content = np.array(bits, dtype="<u2").tobytes()
        safetensors.write(tmp_path / name / "model.safetensors", [("weight", "BF16", (4,), [content])])
    found = compare_models(tmp_path / "one", tmp_path / "other")
    assert found == {"values": 4, "differing": 2, "largest": "3 in the last place"}


@pytest.mark.usefixtures("gpu_parts")
def test_trainings_wait_for_room_on_the_card():
    from gpu_parts.trainings import MemoryBudget

    room, order = MemoryBudget(10), []

    def train(name, size):
        with room.reserved(size):
            order.append(name)

    with room.reserved(6):
        large = threading.Thread(target=train, args=("large", 50))
        large.start()
        with room.reserved(4):
            order.append("beside")
        large.join(0.2)
        assert order == ["beside"]
    large.join(10)
    assert order == ["beside", "large"]


@pytest.mark.usefixtures("gpu_parts")
def test_results_take_the_place_of_what_a_page_has():
    from gpu_parts.phases import PHASES
    from gpu_parts.tables import insert_results, results_as_markdown

    rows = [{"what": "SIGKILL", "framework": "xtuner", "held": 3.5, "left": 0.0, "seconds": 1.2, "result": "ok"}]
    phases = {"ended": {"status": "done", "seconds": 61.0, "rows": rows}}
    machine = {"cards": "1 x A", "packages": {"torch": "2.10.0"}}
    text = results_as_markdown({"machine": machine, "phases": phases}, PHASES)
    assert "cards 1 x A" in text
    assert "| what | framework | held, GiB | left, GiB | gone after, s | result |" in text
    assert "| SIGKILL | XTuner | 3.5 | 0.0 | 1.2 | ok |" in text
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    new = insert_results(page, text)
    assert text.strip() in new
    assert insert_results(new, "none") == insert_results(page, "none")
    with pytest.raises(ValueError, match="no place for results"):
        insert_results("a page", text)


@pytest.mark.parametrize("arguments", [[], ["unpack"]])
def test_offline_script_without_arguments_prints_its_usage(arguments):
    script = ROOT / "benchmarks" / "gpu_offline.sh"
    done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "benchmarks/gpu_offline.sh pack" in done.stderr
