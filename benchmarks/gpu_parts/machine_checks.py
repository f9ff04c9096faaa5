"""The phase of `ftbridge doctor`, and of trainings where nvcc is not to be found."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
from gpu_parts.bench import BACKENDS, Bench, Row, changed_environment, run_at_once, try_measuring

from ftbridge.core.errors import FrameworkError
from ftbridge.launchers.environment.checklist import Check


def doctor_phase(bench: Bench) -> Iterator[Row]:
    """Run the doctor as the machine is and without nvcc, then a training of each framework without."""
    without = _without_nvcc()
    yield try_measuring({"what": "doctor"}, partial(_run_doctor, {}))
    yield try_measuring({"what": "doctor without nvcc"}, partial(_run_doctor, without))
    yield from run_at_once(
        bench.jobs,
        [
            partial(try_measuring, {"what": f"{backend} without nvcc"}, partial(_run_training, bench, backend, without))
            for backend in BACKENDS
        ],
    )


def _without_nvcc() -> dict[str, str]:
    """Return what hides a toolkit from torch and DeepSpeed, which look at CUDA_HOME first, then on the path."""
    folders = [each for each in os.environ["PATH"].split(os.pathsep) if not Path(each, "nvcc").exists()]
    return {"PATH": os.pathsep.join(folders), "CUDA_HOME": "/nonexistent", "CUDA_PATH": ""}


def _run_doctor(changes: dict[str, str]) -> Row:
    begun = time.perf_counter()
    done = _run_ftbridge("doctor", "--json", **changes)
    checks = msgspec.json.decode(done.stdout, type=list[Check])
    if failed := [f"{check.name}: {check.found}" for check in checks if check.status == "failure"]:
        raise FrameworkError("; ".join(failed))
    warned = [check.name for check in checks if check.status == "warning"]
    found = f"{len(checks)} checks" + (f", warnings: {', '.join(warned)}" if warned else "")
    return {"found": found, "seconds": round(time.perf_counter() - begun, 1)}


def _run_training(bench: Bench, backend: str, changes: dict[str, str]) -> Row:
    begun = time.perf_counter()
    chosen = {**bench.defaults, "backend": backend, "max_steps": 2}
    done = _run_ftbridge("train", *(f"--{key.replace('_', '-')}={value}" for key, value in chosen.items()), **changes)
    if done.returncode:
        raise FrameworkError(done.stderr.rpartition("ftbridge: ")[2].strip() or f"exit status {done.returncode}")
    return {"found": "trained", "seconds": round(time.perf_counter() - begun, 1)}


def _run_ftbridge(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ftbridge", *arguments]
    return subprocess.run(argv, env=changed_environment(**changes), check=False, capture_output=True, text=True)
