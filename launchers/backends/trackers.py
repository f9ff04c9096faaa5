"""Trackers of experiments: TensorBoard, SwanLab and Weights & Biases, the same for both frameworks.

They are configured by their own environment variables; keys stay in the user's environment and are never written.
"""

import os
import re
from pathlib import Path

from ftbridge.adapters.registered.dataset import file_stem
from ftbridge.core.errors import SetupError, shell_words
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.venv import default_folder, environment_of, installed_versions, pinned_versions


def tracker_folder(plan: TrainPlan, tracker: str) -> str:
    """Return the path of the folder inside the run's that `tracker` writes to."""
    return str(plan.run / "tracking" / tracker)


def tracker_records(run: Path) -> dict[str, Path]:
    """Return the folders that trackers have written in a run's folder, by the tracker's name."""
    return {folder.name: folder for folder in sorted((run / "tracking").glob("*/"))}


def viewer(tracker: str, record: Path, python: Path) -> str:
    """Return the command with which the interpreter's environment shows a tracker's local record, "" for none."""
    options = {"swanlab": ["swanlab", "watch"], "tensorboard": ["tensorboard", "--logdir"]}.get(tracker)
    return shell_words([str(python.parent / options[0]), *options[1:], str(record)]) if options else ""


def project_name(plan: TrainPlan) -> str:
    """Return the project that a run counts to: its training set's name, or `ftbridge` where SwanLab would refuse it."""
    name = file_stem(plan.dataset, plan.parts)
    return name if re.fullmatch(r"[A-Za-z0-9_.+-]{1,100}", name) else "ftbridge"


def environment_variables(plan: TrainPlan) -> dict[str, str]:
    """Return the environment variables of a run's trackers; without a key in our own environment they stay offline."""
    env: dict[str, str] = {}
    if "tensorboard" in plan.spec.track:
        env["TENSORBOARD_LOGGING_DIR"] = tracker_folder(plan, "tensorboard")  # transformers 5 has no option for it
    if "wandb" in plan.spec.track:
        env |= {
            "WANDB_DIR": tracker_folder(plan, "wandb"),
            "WANDB_MODE": "online" if os.environ.get("WANDB_API_KEY") else "offline",
            "WANDB_PROJECT": project_name(plan),
            "WANDB_NAME": plan.run.name,
        }
    if "swanlab" in plan.spec.track:
        env |= {
            "SWANLAB_LOGDIR": tracker_folder(plan, "swanlab"),
            "SWANLAB_MODE": swanlab_mode(),
            "SWANLAB_PROJ_NAME": project_name(plan),
            "SWANLAB_EXP_NAME": plan.run.name,
        }
    return env


def swanlab_mode() -> str:
    """Return `cloud` with a key in the environment, else `local`, which needs no account."""
    return "cloud" if os.environ.get("SWANLAB_API_KEY") else "local"


def check_installed(python: Path, trackers: tuple[str, ...]) -> None:
    """Raise SetupError for a tracker that the environment of `python` lacks."""
    installed = installed_versions(python) if trackers else {}
    for name in trackers:
        if name not in installed:
            version = pinned_versions(environment_of(installed))[name]
            is_ours = python.is_relative_to(default_folder())
            own = shell_words(["uv", "pip", "install", "--python", str(python), f"{name}=={version}"])
            command = "ftbridge setup" if is_ours else own
            raise SetupError(
                _("`--track {name}` needs the package {name}, which `{python}` lacks; install it: `{command}`").format(
                    name=name, python=python, command=command
                )
            )
