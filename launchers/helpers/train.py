"""Run one process of a training: XTuner's or LLaMA-Factory's own entry, with its real exit status.

Runs inside the training environment, alone or under `python -m torch.distributed.run`:
`python train.py SPEC.json`, where the spec holds `backend`, `arguments` (the framework's own), `device`,
`trust_remote_code`, and `bos`, tokens to begin with where XTuner's own rule does not give them.
"""

import ctypes
import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies (Linux), so that nothing is left behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def allow_cpu() -> None:
    """Mend what stops XTuner, mmengine and DeepSpeed on a machine without a GPU."""
    import torch
    import torch.distributed

    # xtuner/model/sft.py asks the device module, which has no such function for the CPU.
    torch.cpu.is_bf16_supported = lambda *_, **__: True
    # mmengine's init_dist calls this in every multi-process run.
    torch.cuda.set_device = lambda *_, **__: None
    # DeepSpeed 0.19.4 waits for the last of several gathers alone, which says nothing of the others over gloo: ZeRO-3
    # then now and then trains on memory that is not filled yet, and the loss is nan (DeepSpeed pull request 8539).
    for name in ("all_gather", "all_gather_into_tensor"):
        setattr(torch.distributed, name, _waited(getattr(torch.distributed, name)))


def _waited(gather: Callable[..., Any]) -> Callable[..., Any]:
    """Return `gather` such that it comes back only when it is done."""

    def wait(*arguments: Any, **options: Any) -> Any:
        work = gather(*arguments, **options)
        if work is not None:
            work.wait()
        return work

    return wait


def skip_pauses() -> None:
    """Leave out the two seconds that mmengine sleeps after each epoch, for the sake of worker processes.

    Our configs have none (num_workers=0); on a small dataset the pause is most of the training's time.
    """
    import types

    import mmengine.runner.loops

    mmengine.runner.loops.time = types.SimpleNamespace(sleep=lambda _seconds: None)


def forbid_remote_code() -> None:
    """Override xtuner/model/sft.py, which asks for trust_remote_code=True whatever the config says."""
    import xtuner.model.sft
    from transformers import AutoConfig

    class LocalConfig(AutoConfig):
        @classmethod
        def from_pretrained(cls, *args: Any, **options: Any) -> Any:
            return AutoConfig.from_pretrained(*args, **{**options, "trust_remote_code": False})

    xtuner.model.sft.AutoConfig = LocalConfig


def give_bos(tokens: list[str]) -> None:
    """Put `tokens` before each conversation, where XTuner's own rule fails or gives others."""
    import xtuner.dataset.utils

    def bos_and_eos(tokenizer: Any) -> tuple[list[int], int]:
        return tokenizer.convert_tokens_to_ids(tokens), tokenizer.eos_token_id

    xtuner.dataset.utils.get_bos_eos_token_ids = bos_and_eos


def read_spec() -> dict[str, Any]:
    """Return the spec that the command line names, with this process prepared for its framework."""
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    die_with_parent()
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    if spec["device"] == "cpu":
        allow_cpu()
    if spec["backend"] == "xtuner":
        skip_pauses()
        if not spec["trust_remote_code"]:
            forbid_remote_code()
        if spec["bos"]:
            give_bos(spec["bos"])
    return spec


def main() -> None:
    """Run the framework named by the spec."""
    spec = read_spec()
    if spec["backend"] == "xtuner":
        launcher = ["--launcher", "pytorch"] if "LOCAL_RANK" in os.environ else []
        sys.argv = ["train.py", *spec["arguments"], *launcher]
        runpy.run_module("xtuner.tools.train", run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["llamafactory-cli", *spec["arguments"]]
        from llamafactory.train.tuner import run_exp

        run_exp()


if __name__ == "__main__":
    main()
