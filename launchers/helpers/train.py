"""Run one process of a training: XTuner's or LLaMA-Factory's own entry, with its real exit status.

Runs inside the training environment, alone or under `python -m torch.distributed.run`:
`python train.py SPEC.json`, where the spec holds `backend`, `arguments` (the framework's own), `device`, `dtype`,
`deepspeed` (whether it is used), `trust_remote_code`, and `bos`, tokens to begin with where XTuner's own rule does not
give them.
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


def demand_gpu() -> None:
    """End where torch sees no GPU: a framework might train on the CPU, and nobody would know."""
    import torch

    if not torch.cuda.device_count():
        sys.exit("No CUDA GPUs are available: torch sees none of the cards that this training was given")


def ask_torch_for_free_memory() -> None:
    """Let DeepSpeed ask torch how much of a GPU is free: it reads CUDA_VISIBLE_DEVICES as numbers, to ask NVML itself.

    ZeRO-1 and 2 ask (deepspeed/accelerator/cuda_accelerator.py, 0.19.4), and would end where cards have uuids there.
    """
    import torch
    from deepspeed.accelerator.cuda_accelerator import CUDA_Accelerator

    def available_memory(_accelerator: Any, device_index: int | None = None) -> int:
        return int(torch.cuda.mem_get_info(device_index)[0])

    CUDA_Accelerator.available_memory = available_memory


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


def keep_to_config() -> None:
    """Have XTuner build the model that the config says, with the attention that transformers gives it.

    Where flash-attn can be imported, xtuner/model/sft.py changes attention and dtype of the config, and
    xtuner/model/modules/dispatch puts a forward of its own in place, which needs a process group. Under ZeRO-3 the
    first sets a dtype of its own for a quantised model.
    """
    import xtuner.model.modules.dispatch
    from xtuner.model import SupervisedFinetune

    def unchanged(cfg: Any, *_: Any) -> Any:
        return cfg

    xtuner.model.modules.dispatch.dispatch_attn_forward = lambda _model: None
    SupervisedFinetune._prepare_for_flash_attn = staticmethod(unchanged)  # noqa: SLF001
    SupervisedFinetune._prepare_for_qlora_zero3 = staticmethod(unchanged)  # noqa: SLF001


def load_in_float32() -> None:
    """Have LLaMA-Factory load a model in float32, which it has no option for: it takes the dtype of config.json.

    That is also the dtype in which quantised layers compute.
    """
    import torch
    from llamafactory.model import loader, patcher

    load_config = loader.load_config

    def in_float32(*arguments: Any, **options: Any) -> Any:
        config = load_config(*arguments, **options)
        config.torch_dtype = torch.float32
        return config

    loader.load_config = in_float32
    patcher.infer_optim_dtype = lambda **_: torch.float32


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
    else:
        demand_gpu()
        if spec["deepspeed"]:
            ask_torch_for_free_memory()
    if spec["backend"] == "xtuner":
        skip_pauses()
        keep_to_config()
        if not spec["trust_remote_code"]:
            forbid_remote_code()
        if spec["bos"]:
            give_bos(spec["bos"])
    elif spec["dtype"] == "float32":
        load_in_float32()
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
