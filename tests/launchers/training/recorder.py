"""Put on PYTHONPATH as sitecustomize.py: each rank of a training writes what it was given, and may be made to fail.

RECORD names a folder for `rank-N.json`: world size, 4-bit modules, the samples of the first batches. CRASH_AT is
the optimiser step, counted from the process's start, at which it raises; with KILL it is killed as by `kill -9`.
"""

import gc
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if "LOCAL_RANK" in os.environ or "CRASH_AT" in os.environ:
    import torch
    from torch.utils.data import DataLoader

    if "RECORD" in os.environ:
        plain = DataLoader.__iter__
        samples: list[str] = []

        def recorded(self):
            for batch in plain(self):
                data = batch.get("data", batch)
                samples.extend(
                    str(row[mask.bool()].tolist())
                    for row, mask in zip(data["input_ids"], data["attention_mask"], strict=True)
                )
                record = {
                    "world_size": torch.distributed.get_world_size(),
                    "modules_4bit": sum(
                        type(each).__name__ == "Linear4bit" and type(each).__module__.startswith("bitsandbytes")
                        for each in gc.get_objects()
                    ),
                    "samples": samples,
                }
                file = Path(os.environ["RECORD"]) / f"rank-{os.environ['RANK']}.json"
                file.write_text(json.dumps(record), encoding="utf-8")
                yield batch

        DataLoader.__iter__ = recorded

    if "CRASH_AT" in os.environ:
        step, taken = torch.optim.AdamW.step, [0]

        def crashing(self, *args, **options):
            taken[0] += 1
            if taken[0] == int(os.environ["CRASH_AT"]):
                if "KILL" in os.environ:
                    # LLaMA-Factory logs the last step in a thread, which may not have come to it on a busy machine.
                    for each in gc.get_objects():
                        if isinstance(each, ThreadPoolExecutor):
                            each.shutdown()
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("made to crash")
            return step(self, *args, **options)

        torch.optim.AdamW.step = crashing
