"""One training, as a user starts it, and its memory and speed beside the estimate."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from gpu_parts.bench import Bench, Row, gib, run_at_once, try_measuring
from gpu_parts.memory import PeakMemory
from gpu_parts.poller import Poller

from ftbridge.core.files.atomic import json_lines
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import shapes
from ftbridge.core.plugins import load_backend
from ftbridge.launchers.preflight.memory_estimate import Memory, estimate_memory
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.runs.training_log import curve_points, read_curve
from ftbridge.launchers.training.prepare import Prepared, prepare
from ftbridge.launchers.training.train import start

LOGS = {"xtuner": "output/*/vis_data/scalars.json", "llamafactory": "output/trainer_log.jsonl"}
WARM_UP = 2  # steps whose time does not count
INTERVAL = 0.02  # seconds
USABLE_SHARE = 0.9  # of the free memory, for trainings that run at the same time


class StepTimes(Poller):
    """Takes the time of each step that is logged; for a training that runs alone."""

    interval = INTERVAL

    def __init__(self, ready: Prepared) -> None:
        """Take the runs that were there before the one of `ready`."""
        super().__init__()
        self._runs, self._accumulation = ready.project.runs, ready.plan.spec.gradient_accumulation_steps
        self._backend = load_backend(ready.plan.spec.backend)
        self._before = set(self._runs.glob("*"))
        self._steps: dict[float, float] = {}

    def per_second(self) -> float | None:
        """Return the steps a second after the first ones, None where there were too few."""
        counted = [(step, when) for step, when in self._steps.items() if step >= WARM_UP]
        if len(counted) < 2:  # noqa: PLR2004
            return None
        (first, begun), (last, ended) = counted[0], counted[-1]
        return (last - first) / (ended - begun) if ended > begun else None

    def poll(self) -> None:
        """Take the time of the steps that were logged since."""
        for run in set(self._runs.glob("*")) - self._before:
            for record in self._backend.read_log(run, json_lines, self._accumulation):
                self._steps.setdefault(record["step"], time.perf_counter())


class MemoryBudget:
    """Lets trainings run at the same time as long as their estimates fit into the GPU's memory."""

    def __init__(self, size: float) -> None:
        """Begin with `size` bytes free."""
        self.size, self._taken = size, 0.0
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, size: float) -> Iterator[None]:
        """Wait until `size` bytes are free, or all, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self.size)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


def estimated_memory(ready: Prepared) -> Memory:
    """Return the pre-flight's estimate of a training's memory."""
    plan = ready.plan
    return estimate_memory(plan, shapes(plan.model), read_json(plan.model / "config.json"))


def peak_allocated(run: Run) -> int | None:
    """Return the peak of torch's allocated bytes in the first process, as the framework logged it."""
    sizes = []
    for file in run.path.glob(LOGS[run.spec.backend]):
        for line in json_lines(file):
            if "memory" in line:  # mmengine, in MiB
                sizes.append(int(line["memory"]) * 1024**2)
            elif line.get("vram_allocated"):  # LLaMA-Factory with RECORD_VRAM, in GiB to a hundredth
                sizes.append(int(line["vram_allocated"] * 1024**3))
    return max(sizes, default=None)


def result_row(run: Run, memory: Memory, seconds: float) -> Row:
    """Return the row of a training that has ended: what it took, and the estimate without CUDA's own share."""
    losses = [loss for _, loss in curve_points(read_curve(run), "loss")]
    return {
        "run": run.id,
        "dtype": str(read_json(run.path / "launch.json")["dtype"]),
        "estimate": gib(memory.total - memory.context),
        "allocated": gib(peak_allocated(run)),
        "loss": f"{losses[0]:.3f} to {losses[-1]:.3f}" if losses else "",
        "seconds": round(seconds, 1),
    }


def run_training(ready: Prepared, memory: Memory) -> Row:
    """Train, and return the row."""
    begun = time.perf_counter()
    run = start(ready, callback=lambda _record: None)
    return result_row(run, memory, time.perf_counter() - begun)


def train_alone(bench: Bench, **options: Any) -> Row:
    """Train with nothing else on the GPU; returns the row with its speed and the peak of the GPU's memory."""
    ready = prepare(**{**bench.defaults, **options})
    memory, spec = estimated_memory(ready), ready.plan.spec
    with PeakMemory(bench.gpus) as on_gpu, StepTimes(ready) as times:
        row = run_training(ready, memory)
    steps = times.per_second()
    tokens = spec.micro_batch_size * spec.gradient_accumulation_steps * spec.cutoff_length
    speed = {"tokens_per_second": steps and round(steps * tokens)}
    return row | speed | {"estimate_with_cuda": gib(memory.total), "card": gib(on_gpu.peak)}


def train_several(bench: Bench, trainings: Iterable[tuple[Row, dict[str, Any]]]) -> Iterator[Row]:
    """Train, several at a time where the GPU has room; yields a row of each as it ends."""
    free = min((gpu.free or 0 for gpu in bench.gpus), default=0) * 1024**2
    budget = MemoryBudget(USABLE_SHARE * free)

    def train(options: dict[str, Any]) -> Row:
        ready = prepare(**{**bench.defaults, **options})
        memory = estimated_memory(ready)
        with budget.reserved(budget.size if ready.plan.machine.processes > 1 else memory.total):
            return run_training(ready, memory)

    return run_at_once(
        bench.jobs, [partial(try_measuring, names, partial(train, options)) for names, options in trainings]
    )
