"""Run one process of a training: the framework's own entry, with its real exit status.

Runs inside the training environment, alone or under torchrun (distributed.py):
`python run_backend.py SPEC.json`, where the spec holds `script` (the backend's own, see `load_script`), `arguments`
(the framework's own), `device`, `dtype`, `deepspeed` (whether it is used), `trust_remote_code`, and by the family's
prompt `bos`, the tokens that a conversation begins with, and `eos`, the one that ends an answer, or "" where the
prompt's own text does.
"""

import ctypes
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from mends import mend


def load_script(script: str) -> Any:
    """Return a backend's script as a module.

    It imports nothing of ftbridge but the files in this folder, and has

    - `prepare(spec)`, which makes this process ready for the training of a spec, before anything else is called;
    - `train(arguments)`, which trains and returns, or ends with an exit status; it tells of its steps, and may be asked
      to save and end, by step_control.py (`stoppable` in trainer_steps.py does that for transformers' Trainer);
    - `build(arguments)`, which builds tokenizer, dataset and model as `train` would, and raises where it cannot;
    - `Encoder(spec)`, which encode_samples.py describes.
    """
    module_spec = importlib.util.spec_from_file_location("backend_script", script)
    if module_spec is None or module_spec.loader is None:
        raise ImportError(f"`{script}` is no Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # by which other processes find its classes
    module_spec.loader.exec_module(module)
    return module


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies (Linux), so that nothing is left behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def read_spec() -> tuple[dict[str, Any], Any]:
    """Return the spec that the command line names and its backend's script, with this process prepared for both."""
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    die_with_parent()
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    mend(spec)
    backend = load_script(spec["script"])
    backend.prepare(spec)
    return spec, backend


if __name__ == "__main__":
    spec, backend = read_spec()
    backend.train(spec["arguments"])
