"""One training, as a user starts it, and what it took beside what the estimate said."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from gpu_parts.bench import Bench, Row, at_once, attempt, gib
from gpu_parts.looking import Looking
from gpu_parts.memory import Watch

from ftbridge.core.files.atomic import json_lines
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import shapes
from ftbridge.core.plugins import load_backend
from ftbridge.launchers.preflight.memory_estimate import Memory, estimate_memory
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.runs.training_log import curve, points
from ftbridge.launchers.training.prepare import Prepared, prepare
from ftbridge.launchers.training.train import start

LOGS = {"xtuner": "output/*/vis_data/scalars.json", "llamafactory": "output/trainer_log.jsonl"}
WARM_UP = 2  # steps whose time does not count
LOOK = 0.02  # seconds
ROOM = 0.9  # of the free memory, for trainings that run at the same time


class Stamps(Looking):
    """Notes when each step that is logged comes; for a training that runs alone."""

    every = LOOK

    def __init__(self, ready: Prepared) -> None:
        """Prepare to look for the run that is made of `ready`."""
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

    def look(self) -> None:
        """Note the steps that have come since."""
        for run in set(self._runs.glob("*")) - self._before:
            for record in self._backend.progress(run, json_lines, self._accumulation):
                self._steps.setdefault(record["step"], time.perf_counter())


class Room:
    """Lets trainings run at the same time as long as what the estimate says of them fits into the card."""

    def __init__(self, size: float) -> None:
        """Begin with `size` bytes free."""
        self.size, self._taken = size, 0.0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: float) -> Iterator[None]:
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


def expected(ready: Prepared) -> Memory:
    """Return what the pre-flight expects of a training."""
    plan = ready.plan
    return estimate_memory(plan, shapes(plan.model), read_json(plan.model / "config.json"))


def allocated(run: Run) -> int | None:
    """Return the most bytes that torch had handed out in the first process, as the framework logged it."""
    sizes = []
    for file in run.path.glob(LOGS[run.spec.backend]):
        for line in json_lines(file):
            if "memory" in line:  # mmengine, in MiB
                sizes.append(int(line["memory"]) * 1024**2)
            elif line.get("vram_allocated"):  # LLaMA-Factory with RECORD_VRAM, in GiB to a hundredth
                sizes.append(int(line["vram_allocated"] * 1024**3))
    return max(sizes, default=None)


def taken(run: Run, memory: Memory, seconds: float) -> Row:
    """Return what a training that has ended took, beside the estimate without CUDA's own share."""
    losses = [loss for _, loss in points(curve(run), "loss")]
    return {
        "run": run.id,
        "dtype": str(read_json(run.path / "launch.json")["dtype"]),
        "estimate": gib(memory.total - memory.context),
        "allocated": gib(allocated(run)),
        "loss": f"{losses[0]:.3f} to {losses[-1]:.3f}" if losses else "",
        "seconds": round(seconds, 1),
    }


def measured(ready: Prepared, memory: Memory) -> Row:
    """Train, and return what it took."""
    begun = time.perf_counter()
    run = start(ready, callback=lambda _record: None)
    return taken(run, memory, time.perf_counter() - begun)


def alone(bench: Bench, **options: Any) -> Row:
    """Train with nothing else on the card; returns speed and the card's own peak as well."""
    ready = prepare(**{**bench.defaults, **options})
    memory, spec = expected(ready), ready.plan.spec
    with Watch(bench.cards) as watch, Stamps(ready) as stamps:
        row = measured(ready, memory)
    steps = stamps.per_second()
    tokens = spec.micro_batch_size * spec.gradient_accumulation_steps * spec.cutoff_length
    speed = {"tokens_per_second": steps and round(steps * tokens)}
    return row | speed | {"estimate_with_cuda": gib(memory.total), "card": gib(watch.peak)}


def several(bench: Bench, trainings: Iterable[tuple[Row, dict[str, Any]]]) -> Iterator[Row]:
    """Train, several at a time where the card has room; yields a row of each as it ends."""
    free = min((card.free or 0 for card in bench.cards), default=0) * 1024**2
    room = Room(ROOM * free)

    def train(options: dict[str, Any]) -> Row:
        ready = prepare(**{**bench.defaults, **options})
        memory = expected(ready)
        with room.taken(room.size if ready.plan.machine.processes > 1 else memory.total):
            return measured(ready, memory)

    return at_once(bench.jobs, [partial(attempt, names, partial(train, options)) for names, options in trainings])
