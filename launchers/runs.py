"""The folder of a run, and its record in run.json."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, InterruptedRun, SetupError, UsageError
from ftbridge.core.files import write_atomic, write_json
from ftbridge.core.project import Project
from ftbridge.core.records import Launch
from ftbridge.core.spec import TrainSpec
from ftbridge.core.strict import closest

PATIENCE = 30  # seconds until a watcher that was asked to end is killed; it gives the framework 15
# A file in the folder of a running run that makes room, of this many bytes, for its end on a disk that it has filled.
RESERVE, ROOM = ".reserve", 1 << 18
Status = Literal["running", "succeeded", "failed", "interrupted"]


class Attempt(msgspec.Struct, frozen=True):
    """One start of a run's processes: times in UTC, and the exit code once it ended."""

    started: datetime
    ended: datetime | None = None
    exit_code: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json holds: what was asked for, what ran, on which data, and how it ended.

    `model` is the local folder, `system` the system prompt that all samples share, or, where they have
    `several_systems`, that of those that brought none; `samples` and `steps` count training samples and optimiser
    steps, `environment` is the training environment that it runs in, `datasets` maps a data file, and the source it was
    made from, to its sha256, `pid` is the process that watches over the run, `pid_started` when that began, in the
    kernel's ticks (0: not known), and `checkpoints` maps a checkpoint, relative to the folder, to its sha256 (see
    launchers/resume.py).
    """

    id: str
    folder: str
    status: Status
    spec: TrainSpec
    launch: Launch
    family: str
    model: str
    system: str
    several_systems: bool = False
    samples: int
    steps: int
    versions: dict[str, str]
    environment: str = ""
    datasets: dict[str, str]
    attempts: tuple[Attempt, ...]
    pid: int
    pid_started: int = 0
    checkpoints: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """Return the run's folder."""
        return Path(self.folder)

    @property
    def died(self) -> bool:
        """Tell whether the process that watched was killed before it could write an end."""
        return self.status == "failed" and self.attempts[-1].ended is None

    def watched(self) -> "Run":
        """Return the run, saved, as running with this process watching over it."""
        me = os.getpid()
        reserve = self.path / RESERVE
        if not reserve.exists():
            write_atomic(reserve, os.urandom(ROOM))  # zeros might take no room
        return msgspec.structs.replace(self, status="running", pid=me, pid_started=_started(me)).save()

    def release(self) -> None:
        """Give the run's last files the room that was kept for them; for when nothing else of it writes any more."""
        with suppress(OSError):
            (self.path / RESERVE).unlink()

    def save(self) -> "Run":
        """Write run.json; returns the run."""
        write_json(self.path / "run.json", self)
        return self

    def end(self, status: Status, exit_code: int) -> "Run":
        """Return the run, saved, with its last attempt ended."""
        self.release()
        last = msgspec.structs.replace(
            self.attempts[-1], ended=max(now(), self.attempts[-1].started), exit_code=exit_code
        )
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
        except OSError as error:
            raise SetupError(f"cannot make `{folder}`: {error.strerror or error}") from error
        return folder
    raise InputError(f"too many runs start in the same second in `{project.runs}`")


def load(folder: Path) -> Run:
    """Return the run in `folder`, which may have been moved; one whose watcher is dead has failed.

    Raises InputError where run.json is not whole.
    """
    file = folder / "run.json"
    try:
        run = msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"cannot read `{file}`: {error}") from error
    if run.status == "running" and not _alive(run):
        run = msgspec.structs.replace(run, status="failed")
    return msgspec.structs.replace(run, folder=str(folder))


def all_runs(project: Project) -> list[Run]:
    """Return the runs of a project, oldest first; a record that cannot be read is named and left out."""
    found = []
    for file in project.runs.glob("*/run.json"):
        try:
            found.append(load(file.parent))
        except InputError as error:
            say(f"warning: {error}; the folder is left out")
    found.sort(key=lambda run: ([attempt.started for attempt in run.attempts[:1]], run.id))
    if ahead := [run.id for run in found if run.attempts and run.attempts[0].started > now()]:
        say(f"warning: by the clock `{ahead[-1]}` began in the future, and counts as newer than what is trained now")
    return found


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


def stop(run: Run) -> Run:
    """End a running run and return it: its watcher is asked, and killed where it does not answer in time.

    Raises UsageError where it is not running, SetupError where it is another user's.
    """
    if run.status != "running":
        raise UsageError(f"`{run.id}` is not running: it has {run.status}; `ftbridge runs list` shows what runs")
    try:
        os.kill(run.pid, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while load(run.path).status == "running":
            if time.monotonic() > end:
                os.kill(run.pid, signal.SIGKILL)  # whose guard then ends what the framework has started
            time.sleep(0.1)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise SetupError(f"`{run.id}` belongs to another user (process {run.pid}); only they can stop it") from error
    ended = load(run.path)
    return ended.end("interrupted", InterruptedRun.exit_code) if ended.died else ended


def follow(run: Run, *, wait: bool) -> Iterator[bytes]:
    """Yield the log of `run` in pieces, and with `wait` what comes until the run ends."""
    try:
        with (run.path / "log.txt").open("rb") as file:
            while True:
                ended = not wait or load(run.path).status != "running"  # looked at before the last piece is read
                while piece := file.read(1 << 16):
                    yield piece
                if ended:
                    return
                time.sleep(0.3)
    except OSError as error:
        raise InputError(f"cannot read the log of `{run.id}`: {error}") from error


def _alive(run: Run) -> bool:
    """Tell whether the process that watches is there, and no other one that got its number later."""
    try:
        os.kill(run.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not run.pid_started or _started(run.pid) == run.pid_started


def _started(pid: int) -> int:
    """Return when a process began, in ticks since the machine's start; 0 where it has ended, or without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "XZ" else int(fields[19])
