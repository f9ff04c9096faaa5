"""Compute the tensors that an adapter changes, piece by piece, and write them where they belong.

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
# Of a piece: what is computed from it stays in the processor's cache; a GPU wants much at once, 64 MiB in float32.
ITEMS = {"cpu": 1 << 18, "cuda": 1 << 24}
EVERY = 0.2  # seconds between reports
ROWS = 64  # of a piece at least: a block of 4-bit values never lies in two, and thin products have other kernels


class Piece(NamedTuple):
    """The rows `begin` to `end` of a tensor of the plan; `scales` are those of its 4-bit blocks."""

    tensor: dict[str, Any]
    begin: int
    end: int
    scales: torch.Tensor | None


class Merge:
    """The work of a plan, for several threads: torch lets go of the interpreter while it reads and computes."""

    def __init__(self, plan: dict[str, Any]) -> None:
        """Prepare the pieces."""
        self.device, self.rounding, self.tensors = plan["device"], plan["rounding"], plan["tensors"]
        self.pieces, self.lock = self._pieces(), threading.Lock()
        self.changed: set[str] = set()
        self.done, self.reported = 0, 0.0
        if self.rounding:
            self.rounding["dtype"] = DTYPES[self.rounding["dtype"]]

    def run(self) -> None:
        """Take pieces until none is left."""
        torch.set_grad_enabled(False)  # a setting of each thread
        while True:
            with self.lock:
                piece = next(self.pieces, None)
            if piece is None:
                return
            self._compute(piece)

    def _pieces(self) -> Iterator[Piece]:
        for tensor in self.tensors:
            rows = tensor["start"]["shape"][0]
            whole = any(step["magnitude"] and step["transposed"] for step in tensor["steps"])
            height = rows if whole else max(ROWS, ITEMS[self.device] // _width(tensor) // ROWS * ROWS)
            begins = range(0, max(1, rows // height) * height, height)  # the last takes what is left over
            ends = [*begins[1:], rows]
            double = self.rounding and self.rounding["double"] and tensor["linear"]
            scales = self._scales(tensor, list(zip(begins, ends, strict=True))) if double else None
            yield from (Piece(tensor, begin, end, scales) for begin, end in zip(begins, ends, strict=True))

    def _compute(self, piece: Piece) -> None:
        tensor, begin, end, _ = piece
        start = _rows(tensor, "start", begin, end)
        rounded = self._rounded(piece, start) if self.rounding and tensor["linear"] else start
        value = rounded.to(self.device, torch.float32, copy=True)
        for step in tensor["steps"]:
            value = self._add(value, step, begin, end)
        result = value.to(DTYPES[tensor["dtype"]])
        extremes = torch.stack(result.aminmax())
        if not extremes.isfinite().all():
            raise ValueError(f"`{tensor['name']}` is not finite after the merge: the training has diverged")
        result = result.cpu().contiguous()
        if tensor["name"] not in self.changed and self._differs(tensor, start, result, begin):
            self.changed.add(tensor["name"])
        content = memoryview(result.view(torch.uint8).numpy()).cast("B")
        with Path(tensor["file"]).open("r+b") as file:
            file.seek(tensor["offset"] + begin * _width(tensor) * result.itemsize)
            file.write(content)
        with self.lock:
            self.done += len(content)
            if time.monotonic() - self.reported > EVERY:
                self.reported = time.monotonic()
                report({"done": self.done})

    def _differs(self, tensor: dict[str, Any], start: torch.Tensor, result: torch.Tensor, begin: int) -> bool:
        """Tell whether these rows of the base are another after the merge; `start` may be the adapter's."""
        if tensor["before"]["shape"] != tensor["start"]["shape"]:
            return True
        own = tensor["before"] == tensor["start"]
        return not torch.equal(result, start if own else _rows(tensor, "before", begin, begin + len(result)))

    def _add(self, value: torch.Tensor, step: dict[str, Any], begin: int, end: int) -> torch.Tensor:
        """Return `value`, the rows `begin` to `end` of a tensor, after a step, in PEFT's order of operations."""
        transposed = step["transposed"]
        if not step["a"]:
            return value.add_(self._factor(step["b"])[begin:end, None] * step["scale"])
        a, b = self._factor(step["a"]), self._factor(step["b"])
        if step["expert"]:
            number, count = step["expert"]
            b = b[:, number::count]
        product = (b @ a[:, begin:end]).T if transposed else b[begin:end] @ a
        value += product.mul_(step["scale"])
        if not step["magnitude"]:
            return value
        length = torch.linalg.norm(value.T if transposed else value, dim=1)
        magnitude = self._factor(step["magnitude"])
        ratio = (magnitude if transposed else magnitude[begin:end]) / length
        return (ratio.view(1, -1) if transposed else ratio.view(-1, 1)) * value

    def _factor(self, tensor: dict[str, Any]) -> torch.Tensor:
        [place] = tensor["parts"]
        return _factor(place["file"], place["start"], tensor["dtype"], tuple(tensor["shape"]), self.device)

    def _rounded(self, piece: Piece, start: torch.Tensor) -> torch.Tensor:
        """Return the values that 4-bit training computes with; it rounds linear layers, but the output's."""
        from bitsandbytes import functional

        packed, state = functional.quantize_4bit(start.to(self.rounding["dtype"]), quant_type=self.rounding["type"])
        if piece.scales is not None:
            width = _width(piece.tensor)
            state.absmax = piece.scales[piece.begin * width // 64 : -(-piece.end * width // 64)]
        return functional.dequantize_4bit(packed, state)

    def _scales(self, tensor: dict[str, Any], pieces: list[tuple[int, int]]) -> torch.Tensor:
        """Return the scales of all 4-bit blocks of a tensor after they have been quantised, too."""
        from bitsandbytes import functional

        made = []
        for begin, end in pieces:
            start = _rows(tensor, "start", begin, end).to(self.rounding["dtype"])
            made.append(functional.quantize_4bit(start, quant_type=self.rounding["type"])[1].absmax)
        scales = torch.cat(made)
        offset = scales.mean()
        packed, state = functional.quantize_blockwise(scales - offset, blocksize=256)
        return functional.dequantize_blockwise(packed, state).float() + offset


def _width(tensor: dict[str, Any]) -> int:
    """Return the items of a row; a bias has rows of one."""
    return math.prod(tensor["start"]["shape"][1:])


def _rows(tensor: dict[str, Any], which: str, begin: int, end: int) -> torch.Tensor:
    width = _width(tensor)
    [place] = tensor[which]["parts"]
    values = _read(place["file"], place["start"], tensor[which]["dtype"], begin * width, (end - begin) * width)
    return values.view(end - begin, width)


@lru_cache(maxsize=6)
def _factor(file: str, start: int, dtype: str, shape: tuple[int, ...], device: str) -> torch.Tensor:
    """Return a tensor of an adapter in float32; it serves several pieces."""
    values = _read(file, start, dtype, 0, math.prod(shape))
    return values.view(shape).to(device, torch.float32)


def _read(file: str, start: int, kind: str, begin: int, count: int) -> torch.Tensor:
    """Return items of the tensor at byte `start`, as they lie in the file's pages to save a copy; not to be written."""
    dtype = DTYPES[kind]
    start += begin * dtype.itemsize
    within = start % mmap.ALLOCATIONGRANULARITY
    with Path(file).open("rb") as opened:
        size = within + count * dtype.itemsize
        pages = mmap.mmap(opened.fileno(), size, offset=start - within, access=mmap.ACCESS_COPY)
    return torch.frombuffer(pages, dtype=dtype, count=count, offset=within)


def report(record: dict[str, Any]) -> None:
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
    merge = Merge(plan)
    try:
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(merge.run) for _ in range(workers)]:
                future.result()
    except (OSError, ValueError) as error:
        report({"error": str(error)})
        os._exit(1)
    except (RuntimeError, AssertionError) as error:  # torch's for a GPU: memory and all else, and one without CUDA
        if merge.device == "cpu":
            raise
        report({"gpu_error": " ".join(str(error).split())[:300]})
        os._exit(1)
    report({"unchanged": [tensor["name"] for tensor in plan["tensors"] if tensor["name"] not in merge.changed]})


if __name__ == "__main__":
    main()
