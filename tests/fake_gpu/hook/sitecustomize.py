"""Have torch believe in FAKE_GPUS cards of FAKE_CAPABILITY, as many of them as CUDA_VISIBLE_DEVICES names.

FAKE_CUDA_HOME is where torch's extensions find a toolkit, "" for none. With FAKE_AMP mmengine takes the CPU for a
device with mixed precision. Nothing computes on a card: there is none.
"""

import importlib.abc
import importlib.util
import os
import sys

FREE = 2**30  # bytes
CHANGED = {"torch", "torch.utils.cpp_extension", "mmengine.optim.optimizer.amp_optimizer_wrapper"}


def visible():
    """Return how many cards this process sees."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return int(os.environ["FAKE_GPUS"])
    return len([item for item in named.split(",") if item not in {"", "-1"}])


def asked_by(function):
    """Tell whether the caller of our caller is called `function`."""
    return sys._getframe(2).f_code.co_name == function


def over_gloo(init_process_group):
    """Return a function that makes every process group over gloo: NCCL wants real cards."""

    def init(*_, **options):
        return init_process_group(**{**options, "backend": "gloo", "device_id": None})

    return init


def change(module):
    """Put the fake into a module that was just imported."""
    if module.__name__ == "torch.utils.cpp_extension":
        module.CUDA_HOME = os.environ.get("FAKE_CUDA_HOME") or None
    elif module.__name__ == "torch":
        if not os.environ.get("FAKE_GPUS"):
            count = module.cuda.device_count
            # Only the helper that starts a training, which asks whether torch sees a card, is told so.
            module.cuda.device_count = lambda: visible() if asked_by("demand_gpu") else count()
            return
        capability = tuple(map(int, os.environ["FAKE_CAPABILITY"].split(".")))
        cuda = module.cuda
        cuda.is_available = lambda: visible() > 0
        cuda.device_count = visible
        cuda.get_device_capability = lambda *_, **__: capability
        cuda.is_bf16_supported = lambda *_, **__: True
        cuda.current_device = lambda: int(os.environ.get("LOCAL_RANK", "0"))
        cuda.set_device = lambda *_: None
        cuda.mem_get_info = lambda *_: (FREE, 2 * FREE)
        module.distributed.init_process_group = over_gloo(module.distributed.init_process_group)
    elif os.environ.get("FAKE_AMP"):
        module.is_cuda_available = lambda: True


class Hook(importlib.abc.MetaPathFinder):
    """Finds the modules that are changed as the others do, and changes them once they are imported."""

    def find_spec(self, name, _path=None, _target=None):
        """Return the module's own spec, with the change after its execution."""
        if name not in CHANGED:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("FAKE_GPUS") or os.environ.get("FAKE_AMP"):
    sys.meta_path.insert(0, Hook())
