"""What ftbridge adds to a training: `python benchmarks/launch.py [RUNS]`, on any machine with the training environment.

Prints the time from Enter to the framework's own process, and ftbridge's CPU time until then, the medians of RUNS in
turns: with ready tokens that are there, with `--tokens native`, and without the pre-flight. Then the whole tiny run
with `--no-preflight` against the framework's own command typed by hand with the same config, the best of RUNS.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from measure import best_of

import ftbridge
from ftbridge.core.project import Project
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.training.prepare import prepare

PYTHON = default_folder() / "bin" / "python"
SAMPLE = Path(__file__).parents[1] / "dataset_info" / "samples" / "medqa.xlsx"
OPTIONS = {"model": "base", "device": "cpu", "lora_rank": 8, "micro_batch_size": 4, "gradient_accumulation_steps": 1}
# What stops XTuner on a machine without a GPU, and with transformers 5; a user would have to mend it, too.
SITECUSTOMIZE = (
    "import torch\ntorch.cpu.is_bf16_supported = lambda *_, **__: True\n"
    "import transformers.utils\ntransformers.utils.is_safetensors_available = lambda: True\n"
)
STARTS = {
    "ready tokens": [],
    "--tokens native": ["--tokens=native"],
    "--no-preflight": ["--no-preflight"],
}
BACKENDS = ("xtuner", "llamafactory")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        shutil.copy(SAMPLE, folder)
        ftbridge.convert(SAMPLE.name, split="7:3")
        # `best_of` clears the folder `data` before each run.
        (folder / "data").rename(folder / "kept")
        base_model(folder / "base", PYTHON, ["What is aspirin for?", "Aspirin relieves pain."], hidden=64, layers=2)
        for backend in BACKENDS:
            found = {title: [] for title in STARTS}
            for _ in range(runs + 1):  # the first makes the tokens, and is not counted
                for title, extra in STARTS.items():
                    found[title].append(_seconds_until_started(backend, extra, folder))
            for title, times in found.items():
                seconds, cpu = map(statistics.median, zip(*times[1:], strict=True))
                print(f"{backend:<13} {title:<20} {seconds:.2f} s to its process, {cpu:.2f} s of CPU")
        for backend in BACKENDS:
            ours, theirs = [*_train_command(backend), "--no-preflight"], _command_by_hand(backend, folder)
            found = best_of(runs, {"ftbridge": ours, "by hand": theirs}, folder / SAMPLE.name)
            one, other = (found[title].seconds for title in ("ftbridge", "by hand"))
            print(f"{backend:<13} whole run: ftbridge {one:.2f} s, by hand {other:.2f} s, ratio {one / other:.3f}")


def _train_command(backend: str) -> list[str]:
    options = [f"--{key.replace('_', '-')}={value}" for key, value in OPTIONS.items()]
    chosen = [f"--backend={backend}", "--dataset=medqa", "--dataset-dir=kept", "--epochs=1"]
    return [sys.executable, "-m", "ftbridge", "train", *chosen, *options]


def _seconds_until_started(backend: str, extra: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds, and those of CPU, until the framework's process is there, which is ended then."""
    before = set(folder.glob("runs/*/log.txt"))
    start = time.perf_counter()
    child = subprocess.Popen([*_train_command(backend), *extra], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # The log is opened in the moment before the process is started.
    while not set(folder.glob("runs/*/log.txt")) - before:
        if child.poll() is not None:
            raise SystemExit("ftbridge ended before it started the framework")
        time.sleep(0.005)
    seconds, cpu = time.perf_counter() - start, sum(psutil.Process(child.pid).cpu_times()[:4])
    child.terminate()
    child.wait()
    return seconds, cpu


def _command_by_hand(backend: str, folder: Path) -> list[str]:
    """Write the config that ftbridge renders; returns the framework's own command for it."""
    with contextlib.chdir(folder):
        ready = prepare(backend=backend, dataset="medqa", dataset_dir="kept", epochs=1, **OPTIONS)
    run = Project.find(folder).folder / "hand" / backend
    run.mkdir(parents=True)
    for name, content in ready.launch.files.items():
        (run / Path(name).name).write_text(content.replace(str(ready.plan.run), str(run)), encoding="utf-8")
    os.environ |= ready.launch.env  # the same for both
    own = {"PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(run)}
    (run / "sitecustomize.py").write_text(SITECUSTOMIZE if backend == "xtuner" else "", encoding="utf-8")
    program = {"xtuner": "xtuner", "llamafactory": "llamafactory-cli"}[backend]
    arguments = json.loads((run / "launch.json").read_text(encoding="utf-8"))["arguments"]
    return ["env", *(f"{name}={value}" for name, value in own.items()), program, "train", *arguments]


main()
