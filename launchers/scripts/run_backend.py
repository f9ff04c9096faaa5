"""Run one process of a training: XTuner's or LLaMA-Factory's own entry, with its real exit status.

Runs inside the training environment, alone or under torchrun (distributed.py):
`python run_backend.py SPEC.json`, where the spec holds `backend`, `arguments` (the framework's own), `device`, `dtype`,
`deepspeed` (whether it is used), `trust_remote_code`, and for XTuner `bos`, the tokens that a conversation begins with,
and `eos`, the one that ends an answer, or "" where the prompt's own text does.
"""

import ctypes
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

from mends import mend


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies (Linux), so that nothing is left behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def read_spec() -> dict[str, Any]:
    """Return the spec that the command line names, with this process prepared for its framework."""
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    die_with_parent()
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    mend(spec)
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
