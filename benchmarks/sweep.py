"""What a sweep costs beside its trainings: `python -P benchmarks/sweep.py [POINTS]`, with the training environment.

Trains and evaluates a few POINTS of a tiny model (4 by default), and prints the seconds of a point in which no process
of a framework ran; then how long `ftbridge sweep` takes to say that 100 points are done. Without `-P` the tokenize.py
beside this file would be taken for Python's own.
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

import ftbridge
from ftbridge.core.project import Project
from ftbridge.evaluation.sweep.record import FILE, FOLDER, Sweep, load_sweep
from ftbridge.experiments.demo import base_model
from ftbridge.experiments.training import given_options, plan_training
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.runs.record import load_run

SAMPLE = Path(__file__).parents[1] / "dataset_info" / "samples" / "medqa.xlsx"
TINY = {"backend": "llamafactory", "model": "base", "device": "cpu", "method": "lora", "lora_rank": 8, "epochs": 1}
EVALUATE = {"limit": 4, "max_new_tokens": 4}
DONE, TRIES = 100, 3


def main() -> None:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        ftbridge.convert(SAMPLE, split="7:3")
        texts = ["What is aspirin for?", "Aspirin relieves pain."]
        base_model(Path("base"), default_folder() / "bin" / "python", texts, hidden=64, layers=2)
        rates = [1e-4 * number for number in range(1, DONE + 1)]
        begun = time.monotonic()
        with _watched() as watch:
            ftbridge.sweep(grid={"learning_rate": rates[:points]}, name="done", train=TINY, evaluate=EVALUATE)
        seconds = time.monotonic() - begun
        own = (seconds - watch.seconds) / points
        print(f"{points} points: {seconds / points:.2f} s each, {own:.2f} s of them without a framework's process")
        _add_done_points(load_sweep(Path(FOLDER, "done")), rates[points:])
        print(f"{DONE} points that are done: {min(_seconds_to_say_so(rates) for _ in range(TRIES)):.2f} s to say so")


class _Watch(threading.Thread):
    """Adds up the `seconds` in which this process has children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        before = time.monotonic()
        while not self.ended.wait(0.01):
            now = time.monotonic()
            if any(each.read_text().split() for each in Path("/proc/self/task").glob("*/children")):
                self.seconds += now - before
            before = now


@contextlib.contextmanager
def _watched() -> Iterator[_Watch]:
    watch = _Watch()
    watch.start()
    yield watch
    watch.ended.set()
    watch.join()


def _add_done_points(sweep: Sweep, rates: list[float]) -> None:
    """Add points to a sweep, with copies of its first run, as if they had been trained and evaluated, too."""
    first = sweep.points[0]
    run = load_run(sweep.path / "runs" / first.run)
    with contextlib.chdir(sweep.path):
        planned = plan_training(Project.find(), given_options(run.spec))
    added = []
    for number, rate in enumerate(rates):
        spec = replace(run.spec, learning_rate=rate)
        folder = run.path.with_name(f"{run.id}-{number}")
        shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("output"))
        replace(run, id=folder.name, folder=str(folder), spec=spec).save()
        evaluation = first.evaluation.replace(run.id, folder.name)
        key = replace(planned, spec=spec).key
        added.append(replace(first, values={"learning_rate": rate}, key=key, run=folder.name, evaluation=evaluation))
    replace(sweep, points=(*sweep.points, *added)).save()


def _seconds_to_say_so(rates: list[float]) -> float:
    """Return how long the command takes, by the clock; ends where it has trained something."""
    record = Path(FOLDER, "done", FILE)
    runs = sorted(record.with_name("runs").iterdir())
    file = Path("done.yaml")
    file.write_text(f"grid: {{learning_rate: {rates}}}\ntrain: {TINY}\nevaluate: {EVALUATE}\n", encoding="utf-8")
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ftbridge", "sweep", file], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - begun
    if done.returncode or "evaluating" in done.stderr or sorted(record.with_name("runs").iterdir()) != runs:
        raise SystemExit(f"the sweep was not done:\n{done.stderr}")
    return seconds


if __name__ == "__main__":
    main()
