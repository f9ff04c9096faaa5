"""Compute the tensors that an adapter changes, slice by slice, and write them where they belong.

Runs inside the training environment: `python merge_adapter.py PLAN`, PLAN being a JSON file: `device`, `rounding`
(null, or `type` and `double` of bitsandbytes' 4-bit values and `dtype`, in which they are made) and `tensors`, each
with `name`, `dtype`, `before`, `start`, `steps` (see weights/merging/lora.py), `linear` (whether 4-bit training
rounds it), `file` and `offset` where it goes. A tensor that is read is `dtype`, `shape` and, in `parts`, the one
stretch that holds it: `file` and `start`. Prints JSON lines:
{"done": bytes} as it goes and, last, {"unchanged": [names]}, {"error": sentence}, or {"gpu_error": words} where it is
the GPU's. It ends when its stdin does, so that nothing is written for a parent that is gone.
"""

import json
import math
import mmap
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
# Of a slice: what is computed from it stays in the processor's cache; a GPU wants much at once, 64 MiB in float32.
SLICE_ITEMS = {"cpu": 1 << 18, "cuda": 1 << 24}
REPORT_SECONDS = 0.2  # between two
LEAST_ROWS = 64  # of a slice at least: a block of 4-bit values never lies in two, and thin products have other kernels


class TensorSlice(NamedTuple):
    """The rows `begin` to `end` of a tensor of the plan; `scales` are those of its 4-bit blocks."""

    tensor: dict[str, Any]
    begin: int
    end: int
    scales: torch.Tensor | None


class AdapterMerge:
    """Merges the tensors of a plan in several threads: torch lets go of the interpreter while it reads and computes."""

    def __init__(self, plan: dict[str, Any]) -> None:
        """Prepare what `plan` asks for."""
        self.device, self.rounding, self.tensors = plan["device"], plan["rounding"], plan["tensors"]
        self.slices, self.lock = self._slices(), threading.Lock()
        self.changed: set[str] = set()
        self.done, self.reported = 0, 0.0
        if self.rounding:
            self.rounding["dtype"] = DTYPES[self.rounding["dtype"]]

    def run(self) -> None:
        """Take slices until none is left."""
        torch.set_grad_enabled(False)  # a setting of each thread
        while True:
            with self.lock:
                tensor_slice = next(self.slices, None)
            if tensor_slice is None:
                return
            self._merge_slice(tensor_slice)

    def _slices(self) -> Iterator[TensorSlice]:
        for tensor in self.tensors:
            rows = tensor["start"]["shape"][0]
            needs_all = any(step["magnitude"] and step["transposed"] for step in tensor["steps"])
            height = SLICE_ITEMS[self.device] // _row_width(tensor) // LEAST_ROWS * LEAST_ROWS
            height = rows if needs_all else max(LEAST_ROWS, height)
            begins = range(0, max(1, rows // height) * height, height)  # the last takes what is left over
            ends = [*begins[1:], rows]
            double = self.rounding and self.rounding["double"] and tensor["linear"]
            scales = self._block_scales(tensor, list(zip(begins, ends, strict=True))) if double else None
            yield from (TensorSlice(tensor, begin, end, scales) for begin, end in zip(begins, ends, strict=True))

    def _merge_slice(self, tensor_slice: TensorSlice) -> None:
        tensor, begin, end, _ = tensor_slice
        start = _read_rows(tensor, "start", begin, end)
        rounded = self._round_to_4_bits(tensor_slice, start) if self.rounding and tensor["linear"] else start
        value = rounded.to(self.device, torch.float32, copy=True)
        for step in tensor["steps"]:
            value = self._apply_step(value, step, begin, end)
        result = value.to(DTYPES[tensor["dtype"]])
        extremes = torch.stack(result.aminmax())
        if not extremes.isfinite().all():
            raise ValueError(f"`{tensor['name']}` is not finite after the merge: the training has diverged")
        result = result.cpu().contiguous()
        if tensor["name"] not in self.changed and self._differs(tensor, start, result, begin):
            self.changed.add(tensor["name"])
        content = memoryview(result.view(torch.uint8).numpy()).cast("B")
        with Path(tensor["file"]).open("r+b") as file:
            file.seek(tensor["offset"] + begin * _row_width(tensor) * result.itemsize)
            file.write(content)
        with self.lock:
            self.done += len(content)
            if time.monotonic() - self.reported > REPORT_SECONDS:
                self.reported = time.monotonic()
                print_record({"done": self.done})

    def _differs(self, tensor: dict[str, Any], start: torch.Tensor, result: torch.Tensor, begin: int) -> bool:
        """Tell whether these rows of the base are another after the merge; `start` may be the adapter's."""
        if tensor["before"]["shape"] != tensor["start"]["shape"]:
            return True
        if tensor["before"] != tensor["start"]:
            start = _read_rows(tensor, "before", begin, begin + len(result))
        return not torch.equal(result, start)

    def _apply_step(self, value: torch.Tensor, step: dict[str, Any], begin: int, end: int) -> torch.Tensor:
        """Return `value`, the rows `begin` to `end` of a tensor, after a step, in PEFT's order of operations."""
        transposed = step["transposed"]
        if not step["a"]:
            return value.add_(self._load_factor(step["b"])[begin:end, None] * step["scale"])
        a, b = self._load_factor(step["a"]), self._load_factor(step["b"])
        if step["expert"]:
            number, count = step["expert"]
            b = b[:, number::count]
        product = (b @ a[:, begin:end]).T if transposed else b[begin:end] @ a
        value += product.mul_(step["scale"])
        if not step["magnitude"]:
            return value
        length = torch.linalg.norm(value.T if transposed else value, dim=1)
        magnitude = self._load_factor(step["magnitude"])
        ratio = (magnitude if transposed else magnitude[begin:end]) / length
        return (ratio.view(1, -1) if transposed else ratio.view(-1, 1)) * value

    def _load_factor(self, tensor: dict[str, Any]) -> torch.Tensor:
        [place] = tensor["parts"]
        return _read_factor(place["file"], place["start"], tensor["dtype"], tuple(tensor["shape"]), self.device)

    def _round_to_4_bits(self, tensor_slice: TensorSlice, start: torch.Tensor) -> torch.Tensor:
        """Return the values that 4-bit training computes with; it rounds linear layers, but the output's."""
        from bitsandbytes import functional

        packed, state = functional.quantize_4bit(start.to(self.rounding["dtype"]), quant_type=self.rounding["type"])
        if tensor_slice.scales is not None:
            width = _row_width(tensor_slice.tensor)
            state.absmax = tensor_slice.scales[tensor_slice.begin * width // 64 : -(-tensor_slice.end * width // 64)]
        return functional.dequantize_4bit(packed, state)

    def _block_scales(self, tensor: dict[str, Any], slices: list[tuple[int, int]]) -> torch.Tensor:
        """Return the scales of all 4-bit blocks of a tensor after they have been quantised, too."""
        from bitsandbytes import functional

        scales_of_slices = []
        for begin, end in slices:
            start = _read_rows(tensor, "start", begin, end).to(self.rounding["dtype"])
            scales_of_slices.append(functional.quantize_4bit(start, quant_type=self.rounding["type"])[1].absmax)
        scales = torch.cat(scales_of_slices)
        offset = scales.mean()
        packed, state = functional.quantize_blockwise(scales - offset, blocksize=256)
        return functional.dequantize_blockwise(packed, state).float() + offset


def _row_width(tensor: dict[str, Any]) -> int:
    """Return the number of items in a row; a bias has rows of one."""
    return math.prod(tensor["start"]["shape"][1:])


def _read_rows(tensor: dict[str, Any], which: str, begin: int, end: int) -> torch.Tensor:
    """Return the rows `begin` to `end` of what a tensor of the plan is computed from ("start"), or was ("before")."""
    width = _row_width(tensor)
    [place] = tensor[which]["parts"]
    values = _read_values(place["file"], place["start"], tensor[which]["dtype"], begin * width, (end - begin) * width)
    return values.view(end - begin, width)


@lru_cache(maxsize=6)
def _read_factor(file: str, start: int, dtype: str, shape: tuple[int, ...], device: str) -> torch.Tensor:
    """Return a tensor of an adapter in float32; it serves several slices."""
    values = _read_values(file, start, dtype, 0, math.prod(shape))
    return values.view(shape).to(device, torch.float32)


def _read_values(file: str, start: int, kind: str, begin: int, count: int) -> torch.Tensor:
    """Return items of the tensor at byte `start`, as they lie in the file's pages to save a copy; not to be written."""
    dtype = DTYPES[kind]
    start += begin * dtype.itemsize
    within = start % mmap.ALLOCATIONGRANULARITY
    with Path(file).open("rb") as opened:
        size = within + count * dtype.itemsize
        pages = mmap.mmap(opened.fileno(), size, offset=start - within, access=mmap.ACCESS_COPY)
    return torch.frombuffer(pages, dtype=dtype, count=count, offset=within)


def print_record(record: dict[str, Any]) -> None:
    """Print a line for the parent."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def end_with_parent() -> None:
    """Wait for the end of stdin, which comes when the parent is gone, and end."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Do the work of the plan."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    workers = min(4, os.cpu_count() or 1)
    merge = AdapterMerge(plan)
    try:
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(merge.run) for _ in range(workers)]:
                future.result()
    except (OSError, ValueError) as error:
        print_record({"error": str(error)})
        os._exit(1)
    except (RuntimeError, AssertionError) as error:  # torch's for a GPU: memory and all else, and one without CUDA
        if merge.device == "cpu":
            raise
        print_record({"gpu_error": " ".join(str(error).split())[:300]})
        os._exit(1)
    print_record({"unchanged": [tensor["name"] for tensor in plan["tensors"] if tensor["name"] not in merge.changed]})


if __name__ == "__main__":
    main()
