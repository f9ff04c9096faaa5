"""Shared by all phases: folders, the models that are trained, and rows of results."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import FtbridgeError
from ftbridge.core.project import Project
from ftbridge.launchers.environment.venv import interpreter
from ftbridge.launchers.hardware import devices, host
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.runs.record import Run, all_runs
from ftbridge.launchers.training.train import train

BACKENDS = ("xtuner", "llamafactory")
GB, GIB = 1000**3, 1024**3
Row = dict[str, Any]


class Shape(msgspec.Struct, frozen=True):
    """Sizes of a Qwen2.5: as in its config.json, then its billions of values, and the GB of a GPU that QLoRA takes.

    The last is the larger of both frameworks' in docs/memory.md.
    """

    hidden: int
    layers: int
    intermediate: int
    heads: int
    key_values: int
    vocabulary: int
    tied: bool
    billions: float
    memory: float


SHAPES = {
    "7B": Shape(3584, 28, 18944, 28, 4, 152064, False, 7.62, 18.5),
    "3B": Shape(2048, 36, 11008, 16, 2, 151936, True, 3.09, 11.3),
    "1.5B": Shape(1536, 28, 8960, 12, 2, 151936, True, 1.54, 8.8),
    "0.5B": Shape(896, 24, 4864, 14, 2, 151936, True, 0.49, 6.6),
}
TINY = Shape(64, 2, 128, 4, 2, 700, False, 0.0, 0.0)
INDEX = "model.safetensors.index.json"  # of a model, written last
# Times the model's size: the model itself, what `merge` makes of it twice, and checkpoints.
DISK_FACTOR = 3.5
MOST_CHARACTERS = 500  # of an error


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a call; `out` is the folder of the results."""

    out: Path
    rehearse: bool = False
    small: bool = False

    @property
    def project(self) -> Path:
        """Return the folder that holds models, data and runs, in which the phases stand."""
        return self.out / "project"

    @property
    def device(self) -> str:
        """Return the device to compute on."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def gpus(self) -> list[Gpu]:
        """Return the GPUs, none in a rehearsal; raises SetupError where there should be some."""
        return devices.usable_gpus(self.device)

    @property
    def jobs(self) -> int:
        """Return how many trainings may run at a time: each keeps about three cores busy while it imports."""
        return 1 if self.rehearse else max(1, min(5, host.cores() // 3))

    @property
    def shapes(self) -> dict[str, str]:
        """Return the shapes of the models `large` and `small`: those that are there, else what there is room for."""
        if self.rehearse:
            return {"large": "tiny", "small": "tiny"}
        return {
            "large": self._existing_shape("large") or ("0.5B" if self.small else self._largest_fitting_shape()),
            "small": "0.5B",
        }

    def _largest_fitting_shape(self) -> str:
        memory = min((gpu.free or 0) for gpu in self.gpus) * 1024**2 / GB
        disk = shutil.disk_usage(self.out).free / GB
        for name, shape in SHAPES.items():
            if shape.memory <= 0.9 * memory and DISK_FACTOR * 2 * shape.billions <= disk:
                return name
        return "0.5B"

    def _existing_shape(self, model: str) -> str:
        if not (self.project / model / INDEX).exists():
            return ""
        sizes = json.loads((self.project / model / "config.json").read_text(encoding="utf-8"))
        return next((name for name, shape in SHAPES.items() if shape.hidden == sizes["hidden_size"]), "")

    @property
    def defaults(self) -> dict[str, Any]:
        """Return what all trainings have in common; nothing is validated unless it is asked for."""
        sizes = {"cutoff_length": 32, "max_steps": 4} if self.rehearse else {"cutoff_length": 512, "max_steps": 8}
        fixed = {"dataset": "talk", "gradient_accumulation_steps": 1, "validation_dataset": "none"}
        return {"model": "small", "device": self.device, **fixed, **sizes}

    def interpreter(self, backend: str = BACKENDS[0]) -> Path:
        """Return the interpreter that has `backend`."""
        return interpreter(Project.find(self.project), backend)

    def trained_run(self, model: str, backend: str) -> Run:
        """Return a run of `backend` on `model` with an adapter: the last one, else a short one made now."""
        folder = (self.project / model).resolve()
        for run in reversed(all_runs(Project.find())):
            fits = run.status == "succeeded" and run.spec.method != "full" and run.spec.backend == backend
            if fits and Path(run.model) == folder:
                return run
        return train(**{**self.defaults, "model": model, "backend": backend}, callback=lambda _record: None)


def run_at_once(jobs: int, tasks: Iterable[Callable[[], Row]]) -> Iterator[Row]:
    """Run so many `tasks` at a time; yields the row of each as it ends."""
    with ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(task) for task in tasks]):
            yield future.result()


def try_measuring(names: Row, task: Callable[[], Row]) -> Row:
    """Return `names` with the row that `task` returns, or with the sentence of the FtbridgeError that it raises."""
    try:
        return {**names, **task(), "result": "ok"}
    except FtbridgeError as error:
        text = " ".join(str(error).split())
        # The reason may be at the end, in the log's last lines.
        if len(text) >= MOST_CHARACTERS:
            text = f"{text[:250]} ... {text[-250:]}"
        return {**names, "result": f"failed: {text}"}


def gib(size: float | None) -> float | None:
    """Return bytes in GiB, to a hundredth."""
    return None if size is None else round(size / GIB, 2)


def changed_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment with `changes`."""
    return {**os.environ, **changes}
