"""What a training tells of its steps while it runs, and how it is asked to save and end: two files in its folder.

The first process writes into PROGRESS how far it has come. Where STOP is there at the end of an optimiser step, all
processes save, and end. launchers/process/steps.py has the other end of it.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

PROGRESS, STOP = ".progress.json", ".stop"
EVERY = 0.5  # seconds between two reports


class StepControl:
    """Tells of the steps of one process of the training in `folder`, and whether it is to end."""

    def __init__(self, folder: Path) -> None:
        self.stopped, self._begin = False, 0.0
        self._folder, self._is_first = folder, os.environ.get("RANK", "0") == "0"
        self._reported = 0.0

    def begin(self, step: float) -> None:
        """Tell at which step the training begins: its last one where it is resumed."""
        self._begin = step
        self.report(step, surely=True)

    def report(self, step: float, *, surely: bool = False) -> None:
        """Tell how many optimiser steps are done, parts of one too; what is not `surely` told, now and then."""
        now = time.monotonic()
        if not self._is_first or (now - self._reported < EVERY and not surely):
            return
        self._reported = now
        part = self._folder / f"{PROGRESS}.part"
        progress = {"begin": self._begin, "step": step, "stopped": self.stopped}
        with suppress(OSError):  # a full disk ends no training before it has to
            part.write_text(json.dumps(progress), encoding="utf-8")
            part.replace(self._folder / PROGRESS)

    def must_stop(self) -> bool:
        """Tell whether the training is to end with this step; all processes ask together, and hear the same."""
        import torch
        from torch import distributed

        asked = (self._folder / STOP).exists()
        if distributed.is_available() and distributed.is_initialized():
            device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
            flag = torch.tensor(int(asked), device=device)
            distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
            asked = bool(flag)
        return asked
