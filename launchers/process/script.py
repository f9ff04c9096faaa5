"""Scripts of `scripts/`, run by the interpreter of a training environment."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import SetupError
from ftbridge.core.process import children
from ftbridge.core.process.json_lines import JsonLinesChild
from ftbridge.language import gettext as _
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.process.environment import inherited_variables

SCRIPTS = Path(__file__).parents[1] / "scripts"
# Environment variables of every child: they speak UTF-8, send no telemetry, and print as they go.
CHILD_ENV = {
    # Else `import deepspeed`, which XTuner and transformers' Trainer do, fails where there is a GPU and no nvcc.
    "DS_IGNORE_CUDA_DETECTION": "1",
    # LLaMA-Factory 0.9.5 allows transformers up to 5.6 and peft up to 0.20; scripts/mends.py mends what is newer.
    "DISABLE_VERSION_CHECK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MPLBACKEND": "agg",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def run_script(
    python: Path, script: str, spec: dict[str, Any], *, stderr: int | None = None, sees_gpus: bool = False
) -> str:
    """Return the last line that a script of `scripts/` prints, run by the interpreter `python` on `spec`.

    Few compute anything, so that GPUs are hidden unless it `sees_gpus`.
    Raises SetupError, with the end of what it wrote, where it fails.
    """
    argv = [str(python), str(SCRIPTS / f"{script}.py"), msgspec.json.encode(spec).decode()]
    env = {**inherited_variables(), **CHILD_ENV}
    if not sees_gpus:
        env |= devices.device_variables(())
    done = children.run(argv, stdout=subprocess.PIPE, stderr=stderr, env=env, text=True)
    lines: list[str] = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        tail = children.last_lines((done.stderr or done.stdout or "").strip().splitlines())
        raise SetupError(
            _("`{python}` could not run {script} (exit status {returncode})\n{tail}")
            .format(python=python, script=script, returncode=done.returncode, tail=tail)
            .rstrip()
        )
    return lines[-1]


def start_script(
    python: Path, script: str, *arguments: str, environment: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> JsonLinesChild:
    """Start a script in the environment of `python`, to be asked line by line; `environment` comes on top of ours."""
    argv = [str(python), str(SCRIPTS / f"{script}.py"), *arguments]
    return JsonLinesChild(argv, {**inherited_variables(), **CHILD_ENV, **environment}, pass_fds=pass_fds)
