"""The folder of a run, and its record in run.json."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files import write_atomic
from ftbridge.core.project import Project
from ftbridge.core.records import Launch
from ftbridge.core.spec import TrainSpec
from ftbridge.core.strict import closest

Status = Literal["running", "succeeded", "failed", "interrupted"]


class Attempt(msgspec.Struct, frozen=True):
    """One start of a run's processes: times in UTC, and the exit code once it ended."""

    started: datetime
    ended: datetime | None = None
    exit_code: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json holds: what was asked for, what ran, on which data, and how it ended.

    `model` is the local folder, `samples` and `steps` count training samples and optimiser steps, `datasets`
    maps a data file, and the source it was made from, to its sha256, `pid` is the process that watches over the run,
    `checkpoints` maps a checkpoint, relative to the folder, to its sha256 (see launchers/resume.py).
    """

    id: str
    folder: str
    status: Status
    spec: TrainSpec
    launch: Launch
    family: str
    model: str
    system: str
    samples: int
    steps: int
    versions: dict[str, str]
    datasets: dict[str, str]
    attempts: tuple[Attempt, ...]
    pid: int
    checkpoints: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """Return the run's folder."""
        return Path(self.folder)

    def save(self) -> "Run":
        """Write run.json; returns the run."""
        write_atomic(self.path / "run.json", msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        return self

    def end(self, status: Status, exit_code: int) -> "Run":
        """Return the run, saved, with its last attempt ended."""
        last = msgspec.structs.replace(self.attempts[-1], ended=now(), exit_code=exit_code)
        return msgspec.structs.replace(self, status=status, attempts=(*self.attempts[:-1], last)).save()


def now() -> datetime:
    """Return the time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def new_folder(project: Project, name: str) -> Path:
    """Make and return a folder for a new run: its time, then `name`."""
    stem = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{name}"
    for number in range(1, 1000):
        folder = project.runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise InputError(f"too many runs start in the same second in `{project.runs}`")


def load(folder: Path) -> Run:
    """Return the run in `folder`, which may have been moved; raises InputError where run.json is not whole."""
    file = folder / "run.json"
    try:
        run = msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"cannot read `{file}`: {error}") from error
    if run.status == "running" and not _alive(run.pid):
        run = msgspec.structs.replace(run, status="failed")
    return msgspec.structs.replace(run, folder=str(folder))


def all_runs(project: Project) -> list[Run]:
    """Return the runs of a project, oldest first."""
    found = [load(file.parent) for file in project.runs.glob("*/run.json")]
    return sorted(found, key=lambda run: ([attempt.started for attempt in run.attempts[:1]], run.id))


def last(project: Project) -> tuple[Run, Run | None]:
    """Return the last run that succeeded, and the newest one if that failed after it."""
    runs = all_runs(project)
    good = [run for run in runs if run.status == "succeeded"]
    if not good:
        tried = f"; `{runs[-1].id}` {runs[-1].status}" if runs else ""
        raise InputError(f"no run has succeeded in `{project.runs}` yet{tried}; start one with `ftbridge train`")
    return good[-1], runs[-1] if runs[-1].id != good[-1].id else None


def by_id(project: Project, name: str) -> Run:
    """Return the run called `name`; raises InputError naming the closest one."""
    if (project.runs / name / "run.json").is_file():
        return load(project.runs / name)
    known = [run.id for run in all_runs(project)]
    raise InputError(f"there is no run or folder `{name}`{closest(name, known) if known else '; no run was made yet'}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
