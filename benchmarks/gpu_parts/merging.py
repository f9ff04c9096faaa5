"""The phase of `merge`: on CUDA and on the CPU, the time of each and every value compared."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from gpu_parts.bench import GB, Bench, Row, try_measuring

import ftbridge
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.launchers.hardware.host import free_space

BLOCK = 1 << 24  # compared at a time


def merging_phase(bench: Bench) -> Iterator[Row]:
    """Merge the adapter of a run of the large model, where the disk has room for two more of it, and of the small."""
    size = sum(file.stat().st_size for file in Path("large").glob("*.safetensors"))
    enough = free_space(Path.cwd())[0] > 2.2 * size
    for model in ["large", "small"] if enough else ["small"]:
        names = {"merge": f"{model} model, {size / GB:.1f} GB" if model == "large" else "small model"}
        yield try_measuring(names, partial(_merge_on_both, bench, model))


def _merge_on_both(bench: Bench, model: str) -> Row:
    run = bench.trained_run(model, "xtuner")
    ftbridge.export(run.id)  # which is not part of the time
    folders, row = {}, Row()
    try:
        for device in ("cpu", "cuda"):
            begun = time.perf_counter()
            taken = "cpu" if bench.rehearse else device
            folders[device] = ftbridge.merge(run.id, out=f"merged-{device}", device=taken)
            row[device] = round(time.perf_counter() - begun, 1)
        return row | compare_models(folders["cpu"], folders["cuda"])
    finally:
        for device in ("cpu", "cuda"):
            shutil.rmtree(f"merged-{device}", ignore_errors=True)


def compare_models(one: Path, other: Path) -> Row:
    """Return how many values of two bfloat16 models differ, and by how many units in the last place at most."""
    values = differing = largest = 0
    for file in sorted(one.glob("*.safetensors")):
        if safetensors_header(file) != safetensors_header(other / file.name):
            return {"values": None, "differing": "other tensors"}
        with file.open("rb") as opened:
            begin = 8 + int.from_bytes(opened.read(8), "little")
        left, right = (np.memmap(path, dtype="<i2", mode="r", offset=begin) for path in (file, other / file.name))
        for at in range(0, len(left), BLOCK):
            one_part, other_part = left[at : at + BLOCK], right[at : at + BLOCK]
            if np.array_equal(one_part, other_part):
                continue
            # Next to each other, numbers of one sign are integers next to each other; those of two are far apart.
            gap = np.abs(one_part.astype(np.int32) - other_part)
            differing += int(np.count_nonzero(gap))
            largest = max(largest, int(gap.max()))
        values += len(left)
    units = "none" if not largest else f"{largest} in the last place"
    return {"values": values, "differing": differing, "largest": units}
