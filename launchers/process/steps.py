"""How far a training has come, and how it is asked to save and end: two files in the run's folder.

launchers/scripts/step_control.py is the other end, in the training's own processes.
"""

from contextlib import suppress
from pathlib import Path

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_record, write_atomic
from ftbridge.core.parsing.json_yaml import load_json

PROGRESS, STOP = ".progress.json", ".stop"


class Progress(msgspec.Struct, frozen=True):
    """The optimiser steps that are done, parts of one too, and at which the training began.

    `stopped` tells that it has saved and ended because it was asked to.
    """

    begin: float
    step: float
    stopped: bool = False


def read_progress(run: Path) -> Progress | None:
    """Return how far the training in a run's folder has come; None before its first step, or where it tells nothing."""
    with suppress(OSError, InputError):
        return load_json(read_record(run / PROGRESS), Progress, "damaged")
    return None


def ask_to_stop(run: Path) -> None:
    """Ask the training in a run's folder to save and end with the step that is going on."""
    write_atomic(run / STOP, "")


def forget(run: Path) -> None:
    """Remove what an attempt has left in a run's folder, so that the next one begins without."""
    for name in (PROGRESS, STOP):
        with suppress(OSError):
            (run / name).unlink(missing_ok=True)
