"""The folder of a run, and its record in run.json."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from unicodedata import normalize

import msgspec
from msgspec import Meta

from ftbridge.core.console import counted, first_few, printable, say
from ftbridge.core.console.notebook import html_of
from ftbridge.core.errors import InputError, InterruptedRun, SetupError, UsageError
from ftbridge.core.files import signing
from ftbridge.core.files.atomic import flock, is_locked, opened_record, read_record, write_atomic, write_json
from ftbridge.core.parsing.json_yaml import closest, load_json
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.core.project import Project
from ftbridge.core.records import Launch
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import english, to_translate
from ftbridge.language import gettext as _
from ftbridge.launchers.process.child import SAVE_SECONDS
from ftbridge.launchers.process.identity import Host, is_hidden, process_start, signal_sender, this_machine
from ftbridge.launchers.runs.fingerprint import Fingerprint
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.chat_template import ChatTemplate

# What is said of a record without this machine's signature.
UNSIGNED = _("is not signed by this machine (another one or an older ftbridge wrote it, or it was changed by hand)")
SHOWN = 10  # ids of runs in a message
DATE_LETTERS, TIME_LETTERS = len("20260102"), len("20260102-030405")  # of an id, from its beginning
LONGEST_NAME = 40  # letters
RESERVED_NAMES = {"last", "best", "auto", "none"}  # which have a meaning where a run or a checkpoint is named
_NAME = re.compile(rf"[^\W_][\w-]{{0,{LONGEST_NAME - 1}}}")
_LAST = re.compile(r"last(?:~(\d{1,9}))?")
_LIKE_AN_ID = re.compile(r"[\d-]+\Z|\d{8}-\d{6}")  # or as its beginning, or its time
# Until a watcher that was asked to end is killed; it gives the framework time to save, and then 15 seconds.
STOP_SECONDS = SAVE_SECONDS + 30
PATIENCE = 2  # seconds until whoever waits for the end is told why
# A file in the folder of a running run that makes room, of this many bytes, for its end on a disk that it has filled.
# Its watcher holds a lock on it, by which the others on the same kernel, in whatever container, know that it lives.
RESERVE, RESERVE_BYTES = ".reserve", 1 << 18
_locks: dict[str, int] = {}  # file descriptors that this process holds until its end, by the run's folder
FIRST_CONTAINER = "pid:[4026531836]"  # the machine itself (PROC_PID_INIT_INO of Linux)
LAST_PID = (1 << 31) - 1  # 1 is the first process of the machine, 0 and below mean groups
Status = Literal["running", "succeeded", "failed", "interrupted", "unknown"]
_STATUSES = {
    "running": to_translate("running"),
    "succeeded": to_translate("succeeded"),
    "failed": to_translate("failed"),
    "interrupted": to_translate("interrupted"),
    "unknown": to_translate("unknown"),
    "died": to_translate("failed (died)"),
}
Time = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, lt=1 << 53)]


class Attempt(msgspec.Struct, frozen=True):
    """One start of a run's processes: times in UTC, the exit code once it ended.

    Of one that was stopped, `reason` says why, and `step` how many steps were done.
    """

    started: Time
    ended: Time | None = None
    exit_code: Annotated[int, Meta(ge=-(1 << 31), lt=1 << 32)] | None = None
    reason: str = ""
    step: Count = 0

    def __post_init__(self) -> None:
        if not all(2000 <= time.year < 2200 for time in (self.started, self.ended or self.started)):  # noqa: PLR2004
            raise ValueError(_("a time is out of range"))


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json holds: what was asked for, what ran, on which data, and how it ended.

    `name` is what the user calls it, "" for nothing.
    `model` is the local folder, `system` the system prompt that all samples share, or, where they have
    `several_systems`, that of those that brought none; `samples` and `steps` count training samples and optimiser
    steps, `trained_parameters` are trained of all `parameters` (both 0 where that is not known), `environment` is the
    training environment that it runs in, `datasets` maps a data file as it was read, and the source it was made from,
    to its sha256, `base` is the fingerprint of the model (None in runs of before there was
    one), `pid` is the process that watches over the run, `pid_started` when that began, in the kernel's ticks,
    `machine` where it runs, and `checkpoints` maps a checkpoint, relative to the folder, to its sha256 (see
    training/resume.py). `chat_template` made the tokens, where they were made once, `tokens` are their keys, and
    `agreement` tells who has those of the training samples alike.
    `signature` is this machine's, of all but itself and the folder: "" where the record has none
    yet, and None in one that was read without: it stays unsigned, whatever is written to it. The status `unknown` is
    never written: it is that of a run which is said to run, and whose process cannot be seen from here.
    """

    id: str
    name: str = ""
    folder: str
    status: Status
    spec: TrainSpec
    launch: Launch
    family: str
    model: str
    system: str
    several_systems: bool = False
    samples: Count
    steps: Count
    trained_parameters: Count = 0
    parameters: Count = 0
    versions: dict[str, str]
    environment: str = ""
    datasets: dict[str, str]
    base: Fingerprint | None = None
    attempts: Annotated[tuple[Attempt, ...], Meta(min_length=1)]
    pid: int
    pid_started: int = 0
    machine: Host = Host()
    checkpoints: dict[str, str] = {}
    chat_template: ChatTemplate | None = None
    tokens: tuple[str, ...] = ()
    agreement: Agreement | None = None
    signature: str | None = ""

    @property
    def path(self) -> Path:
        """Return the run's folder."""
        return Path(self.folder)

    def __fspath__(self) -> str:
        """Return the run's folder, so that a run itself may stand where its id or its folder may."""
        return self.folder

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the line that `runs.list` has of it, as a table."""
        from ftbridge.launchers.runs.summary import summarise_run

        return html_of(summarise_run(self))

    @property
    def died(self) -> bool:
        """Tell whether the process that watched was killed before it could write an end."""
        return self.status == "failed" and self.attempts[-1].ended is None

    def watched(self) -> "Run":
        """Return the run, saved, as running with this process watching over it."""
        pid = os.getpid()
        reserve = self.path / RESERVE
        if not reserve.exists():
            write_atomic(reserve, os.urandom(RESERVE_BYTES))  # zeros might take no room
        if self.folder not in _locks:
            lock = _locks[self.folder] = os.open(reserve, os.O_RDONLY | os.O_CLOEXEC)
            end = time.monotonic() + 1  # others look for a moment; a file system without locks has none for them either
            while not flock(lock) and time.monotonic() < end:
                time.sleep(0.01)
        watched = msgspec.structs.replace(
            self, status="running", pid=pid, pid_started=process_start(pid), machine=this_machine()
        )
        return watched.save()

    def release(self) -> None:
        """Give the run's last files the room that was kept for them; for when nothing else of it writes any more."""
        with suppress(OSError):
            (self.path / RESERVE).unlink()
        if self.folder in _locks:
            os.close(_locks.pop(self.folder))

    def save(self) -> "Run":
        """Write run.json, signed unless it came without a signature; returns the run."""
        encoded = msgspec.json.encode(self, enc_hook=english)
        signature = None if self.signature is None else signing.sign(_signed_part(encoded))
        run = msgspec.structs.replace(self, signature=signature)
        write_json(self.path / "run.json", run)
        return run

    def end(self, status: Status, exit_code: int, reason: str = "", step: int = 0) -> "Run":
        """Return the run, saved, with its last attempt ended, for a reason and after a step where it was stopped."""
        self.release()
        *earlier, last = self.attempts
        last = msgspec.structs.replace(
            last, ended=max(utc_now(), last.started), exit_code=exit_code, reason=reason, step=step
        )
        return msgspec.structs.replace(self, status=status, attempts=(*earlier, last)).save()


class _Named(msgspec.Struct):
    """What is read of a record to find a run by its name."""

    name: str = ""


class _Record(msgspec.Struct):
    """What is read of a record to tell what it leaves out."""

    spec: dict[str, Any]


def utc_now() -> datetime:
    """Return the time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def parameters_in_words(trained: int, parameters: int) -> str:
    """Return how much of a model is trained, such as `1,081,344 of 495,114,112 parameters (0.22 %)`; "" for none."""
    return (
        _("{trained:,} of {parameters:,} parameters ({text:.2f} %)").format(
            trained=trained, parameters=parameters, text=100 * trained / parameters
        )
        if parameters
        else ""
    )


def new_run_folder(project: Project, name: str) -> Path:
    """Return the folder that a new run is to have: its time, then `name`; it is not made yet."""
    return project.runs / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{name}"


def make_run_folder(wanted: Path) -> Path:
    """Make the folder of a run, and return it: `wanted`, or with a number behind it where another run took that name.

    Raises SetupError where it cannot be made, InputError where a thousand runs have that name.
    """
    for number in range(1, 1000):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise SetupError(
                _("cannot make `{folder}`: {strerror}").format(folder=folder, strerror=error.strerror or error)
            ) from error
        return folder
    raise InputError(_("too many runs start in the same second in `{parent}`").format(parent=wanted.parent))


def load_run(folder: Path) -> Run:
    """Return the run in `folder`, which may have been moved; one whose watcher is dead has failed.

    Its signature is None where it does not hold. Raises InputError where run.json is not whole.
    """
    file = folder / "run.json"
    content = read_record(file)
    run = _run_of(content, _("cannot read `{file}`").format(file=file))
    backend, known = run.spec.backend, plugin_names("backends")
    if backend not in known:
        raise InputError(
            _("cannot read `{file}`: there is no backend `{backend}` here{hint}").format(
                file=file, backend=backend, hint=closest(backend, known)
            )
        )
    signature = run.signature if run.signature and _signature_holds(content, run.signature) else None
    run = msgspec.structs.replace(run, folder=str(folder), signature=signature)
    status = _current_status(run)
    if status != run.status and read_record(file) != content:  # it came to its end while it was looked at
        return load_run(folder)
    return msgspec.structs.replace(run, status=status)


def _run_of(content: bytes, refusal: str) -> Run:
    """Return the run of a record; one that does not say how its tokens were made is of before there was a choice."""
    record = load_json(content, _Record, refusal)
    if "tokens" in record.spec:
        return load_json(content, Run, refusal)
    raw = load_json(content, dict[str, Any], refusal)
    return load_json(msgspec.json.encode(raw | {"spec": record.spec | {"tokens": "native"}}), Run, refusal)


def all_runs(project: Project) -> list[Run]:
    """Return the runs of a project, oldest first; a record that cannot be read is named and left out."""
    runs = []
    for file in project.runs.glob("*/run.json"):
        try:
            runs.append(load_run(file.parent))
        except InputError as error:
            say(_("warning: {error}; the folder is left out").format(error=error))
    runs.sort(key=lambda run: (run.attempts[0].started, run.id))
    if ahead := [run.id for run in runs if run.attempts[0].started > utc_now()]:
        say(
            _(
                "warning: by the clock `{ahead}` began in the future, and counts as newer than what is trained now"
            ).format(ahead=ahead[-1])
        )
    return runs


def find_run(project: Project, name: str, sweeps: Sequence[str] = ()) -> Run:
    """Return the run with the id `name`; raises InputError naming the closest one, or the closest of `sweeps`."""
    if (project.runs / name / "run.json").is_file():
        return load_run(project.runs / name)
    known = run_names(project)
    hint = closest(name, [*known, *filter(None, known.values()), *sweeps])
    if sweeps:
        raise InputError(_("there is no run, sweep or folder `{name}`{hint}").format(name=name, hint=hint))
    if known:
        raise InputError(_("there is no run or folder `{name}`{hint}").format(name=name, hint=hint))
    raise InputError(
        _("there is no run or folder `{name}`; no run was made yet, `ftbridge train` makes one").format(name=name)
    )


def run_names(project: Project) -> dict[str, str]:
    """Return the names of the runs of a project by their ids, "" for one without; oldest first by the id."""
    names = {}
    for file in sorted(project.runs.glob("*/run.json")):
        names[file.parent.name] = ""
        with suppress(InputError):  # of a damaged one the id is enough
            names[file.parent.name] = load_json(read_record(file), _Named, "").name
    return names


def check_name(project: Project, name: str) -> str:
    """Return the name for a new run, in the normal form of Unicode.

    Raises UsageError for one that is taken, that could mean another run, or that holds other than letters, digits,
    `-` and `_`. The name of a run that ended without a checkpoint may be used again.
    """
    name = normalize("NFC", name)
    if not _NAME.fullmatch(name):
        raise UsageError(
            _(
                "`--name {name}`: a name has letters (Chinese ones too), digits, `-` and `_`, does not begin "
                "with `-` or `_`, and is at most {most} characters long"
            ).format(name=printable(name), most=LONGEST_NAME)
        )
    if name.casefold() in RESERVED_NAMES:
        raise UsageError(_("`--name {name}` is reserved; choose another name").format(name=name))
    if _LIKE_AN_ID.match(name):
        raise UsageError(_("`--name {name}` looks like the id of a run; choose another name").format(name=name))
    for known, other in run_names(project).items():
        if known.startswith(name) or (other == name and not _left_nothing(project, known)):
            raise UsageError(
                _(
                    "`--name {name}` already refers to the run `{id}`; choose another name, or remove that run "
                    "(`ftbridge runs prune` removes those that failed or were interrupted)"
                ).format(name=name, id=known)
            )
    return name


def free_name(project: Project, name: str) -> None:
    """Take `name` from the runs that ended without a checkpoint, so that a new run can have it."""
    for known, other in run_names(project).items():
        if other == name and _left_nothing(project, known):
            msgspec.structs.replace(load_run(project.runs / known), name="").save()


def _left_nothing(project: Project, run: str) -> bool:
    """Tell whether the run of this id has ended without success and without a checkpoint."""
    try:
        found = load_run(project.runs / run)
    except InputError:
        return False
    return found.status in {"failed", "interrupted"} and not load_backend(found.spec.backend).checkpoints(found.path)


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return for each id what can be typed instead: date and time, and of the rest what no other id begins with."""
    known = list(ids)

    def is_unique(beginning: str) -> bool:
        return sum(run.startswith(beginning) for run in known) == 1

    return {
        run: next((run[:end] for end in range(TIME_LETTERS, len(run)) if is_unique(run[:end])), run) for run in known
    }


def match_run(project: Project, typed: str, sweeps: Sequence[str] = ()) -> Run:
    """Return the run that `typed` means: its id, its name, `last`, `last~1`, or the beginning of one id or its time.

    `last` is the newest, `last~1` the one before. For what somebody types: an id on record is looked up by `find_run`,
    for another run's may begin with it. Raises InputError, with those that may be meant, `sweeps` among them.
    """
    if counted_back := _LAST.fullmatch(typed):
        return _run_before(project, int(counted_back[1] or 0))
    known, wanted = run_names(project), normalize("NFC", typed)
    meant = [run for run, name in known.items() if wanted and wanted in {run, name}] or [
        run for run in known if typed and (run.startswith(typed) or _time_and_rest(run).startswith(typed))
    ]
    if len(meant) > 1 and typed not in meant:
        runs = [f"`{run}`" + (f" ({known[run]})" if known[run] else "") for run in reversed(meant)]
        raise InputError(
            _("`{typed}` may mean several runs: {runs}; type more of the id").format(
                typed=typed, runs=first_few(runs, SHOWN)
            )
        )
    return find_run(project, meant[0] if len(meant) == 1 else typed, sweeps)


def _run_before(project: Project, number: int) -> Run:
    """Return the newest run, or the one that began so many runs before it."""
    runs = all_runs(project)
    if number >= len(runs):
        raise InputError(
            _("there is no run `last~{number}`: `{folder}` has {runs}").format(
                number=number, folder=project.runs, runs=counted(len(runs), "run")
            )
            if runs
            else _("there is no run in `{folder}` yet; start one with `ftbridge train`").format(folder=project.runs)
        )
    return runs[-1 - number]


def _time_and_rest(run: str) -> str:
    """Return a run's id from its time of day on; "" for one that has no date before it."""
    date, dash, rest = run.partition("-")
    return rest if dash and len(date) == DATE_LETTERS and date.isdecimal() else ""


def stop_run(run: Run) -> Run:
    """End a running run and return it: its watcher is asked, and killed where it does not answer in time.

    It saves first, with the step that is going on; Ctrl-C meanwhile ends it without.

    No other process than the one that began the run is ever sent a signal. Raises UsageError where it is not running or
    that process cannot be seen from here, SetupError where it is another user's.
    """
    if run.status == "unknown":
        raise UsageError(unseen_message(run))
    if run.status != "running":
        raise UsageError(
            _("`{id}` is not running, its status is {status}; `ftbridge runs list` shows what runs").format(
                id=run.id, status=status_in_words(run.status)
            )
        )
    if reason := _why_not_signalled(run):
        raise UsageError(_("`{id}` runs, and {reason}").format(id=run.id, reason=reason))
    try:
        with signal_sender(run.pid, run.pid_started) as send:
            send(signal.SIGTERM)
            send(signal.SIGCONT)  # one that was halted by Ctrl-Z hears of it, too
            try:
                _wait_for_end(run, lambda: send(signal.SIGKILL))  # whose guard then ends what the framework has started
            except KeyboardInterrupt:
                send(signal.SIGTERM)
                _wait_for_end(run, lambda: send(signal.SIGKILL))
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise SetupError(
            _("`{id}` belongs to another user (process {pid}); only they can stop it").format(id=run.id, pid=run.pid)
        ) from error
    ended = load_run(run.path)
    return ended.end("interrupted", InterruptedRun.exit_code) if ended.died else ended


def _wait_for_end(run: Run, kill: Callable[[], None]) -> None:
    """Wait until a run that was asked to end does not run any more; it is killed where that takes too long."""
    begun = time.monotonic()
    is_told = False
    while load_run(run.path).status == "running":
        passed = time.monotonic() - begun
        if passed > PATIENCE and not is_told:
            is_told = True
            say(_("`{id}` saves at the end of its step, then stops; Ctrl-C stops it at once").format(id=run.id))
        if passed > STOP_SECONDS:
            kill()
        time.sleep(0.1)


def _why_not_signalled(run: Run) -> str:
    """Return why the process that a running run names is not signalled, and what to do instead; "" where it may be."""
    if run.machine.container != this_machine().container:
        return _("in another container: stop it there, or stop that container")
    if run.pid == 1:
        return _("as the first process of its container: stop the container")
    if not (1 < run.pid <= LAST_PID and run.pid_started > 0):
        return _("its record does not name the process; only whoever started it can stop it")
    if not run.signature:
        return _("its record {unsigned}: if process {pid} is the training, end it with `kill {pid}`").format(
            unsigned=UNSIGNED, pid=run.pid
        )
    return ""


def mark_failed(run: Run) -> Run:
    """Return a run of which nobody can tell whether it runs, saved, as failed; nothing is stopped.

    Raises UsageError where that can be told.
    """
    if run.status != "unknown":
        raise UsageError(
            _("`{id}` has the status {status}, which is certain; leave `--mark-failed` out").format(
                id=run.id, status=status_in_words(run.status)
            )
        )
    if not run.signature:
        say(
            _("note: the record of `{id}` {unsigned}; to resume it needs `--trust-checkpoint` from now on").format(
                id=run.id, unsigned=UNSIGNED
            )
        )
    return run.end("failed", 1)


def unseen_message(run: Run) -> str:
    """Return the message that says of a run of the status `unknown` what there is to do about it."""
    where = (
        _("on `{text}`").format(text=run.machine.name.partition(" ")[0])
        if run.machine.name
        else _("on a machine that it does not name")
    )
    return _(
        "run `{id}` was started {where} (process {pid}), and it is not known here whether it still runs. If "
        "it does, `ftbridge runs stop {id}` there stops it; if it has ended, `ftbridge runs stop {id} "
        "--mark-failed` records that, and stops nothing"
    ).format(id=run.id, where=where, pid=run.pid)


def follow_log(run: Run, *, wait: bool) -> Iterator[bytes]:
    """Yield the bytes of a run's log, and with `wait` what comes until the run ends, or is not seen from here.

    Raises InputError where the log cannot be read.
    """
    try:
        with opened_record(run.path / "log.txt") as file:
            while True:
                ended = not wait or load_run(run.path).status != "running"  # looked at before the last piece is read
                while piece := file.read(1 << 16):
                    yield piece
                if ended:
                    return
                time.sleep(0.3)
    except OSError as error:
        raise InputError(_("cannot read the log of `{id}`: {error}").format(id=run.id, error=error)) from error


def _signed_part(content: bytes) -> bytes:
    """Return the bytes of a record that are signed: each key, known to this ftbridge or not, but its folder."""
    record = msgspec.json.decode(content, type=dict[str, Any])
    signed = {key: value for key, value in record.items() if key not in {"signature", "folder"}}
    return msgspec.json.encode(signed, order="sorted")


def _signature_holds(content: bytes, signature: str) -> bool:
    try:
        return signing.is_signed(_signed_part(content), signature)
    except (ValueError, OverflowError, RecursionError):  # no record of ours is so deep, or has such numbers
        return False


def status_in_words(status: str) -> str:
    """Return a run's status, or `died`, as messages have it."""
    return _(_STATUSES.get(status, status))


def _current_status(run: Run) -> Status:
    """Return the status of a run, as far as it can be told from here."""
    if run.status != "running":
        return run.status
    here = this_machine()
    if not here.boot or run.machine.boot != here.boot:
        return "failed" if _has_restarted(here, run.machine) else "unknown"
    locked = is_locked(run.path / RESERVE)
    if locked:
        return "running"
    status = _status_by_pid(run)
    # A watcher that lives may not have locked the file yet, or may have removed it since it was opened here.
    return status if locked is None or status == "running" else "failed"


def _has_restarted(here: Host, before: Host) -> bool:
    """Tell whether this machine, and no container of it, was `before`, and has started anew: nothing of then lives."""
    has_id = " " in here.name
    is_itself = here.name == before.name and here.container == before.container == FIRST_CONTAINER
    return has_id and is_itself and bool(here.boot and before.boot)


def _status_by_pid(run: Run) -> Status:
    """Return the status that the watcher's process number tells, on a file system without locks."""
    here = this_machine()
    least = 2 if here.container == FIRST_CONTAINER else 1  # a container's first process may be a watcher
    if run.machine.container != here.container or not (least <= run.pid <= LAST_PID and run.pid_started > 0):
        return "unknown"
    started = process_start(run.pid)
    if started == run.pid_started:
        return "running"
    return "unknown" if not started and is_hidden(run.pid) else "failed"


def base_folder(run: Run) -> str:
    """Return the folder of a run's base model: in its own project, which may be moved or a copy, else as it was.

    It is "" where the record has none.
    """
    inside = run.path.absolute().parents[1] / run.spec.model
    is_inside = not Path(run.spec.model).is_absolute() and inside.is_dir()
    return str(inside.resolve()) if is_inside else run.model
