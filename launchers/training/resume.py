"""Going on with a training: which checkpoint it starts from, and whether that one is ours.

Both frameworks' checkpoints hold pickles, which run what they hold when they are loaded. So the sha256 of each
checkpoint is noted in run.json as soon as it is whole, while the run is watched, and only a noted one is loaded
unless the user trusts it. What is noted counts where this machine has signed it.
"""

import re
import stat
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import counted, first_few, say
from ftbridge.core.errors import InputError, SetupError, UsageError, shell_words
from ftbridge.core.files.atomic import locked, read_record, sha256, sha256_of_files
from ftbridge.core.parsing.json_yaml import parse
from ftbridge.core.plugins import Backend, load_backend
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec, as_typed, option_names
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan, zero_stage
from ftbridge.launchers.environment.venv import LOCK_NAMES, NEWEST, Environment, installed_versions, interpreter
from ftbridge.launchers.runs.checkpoints import PICKLED, warn_of_unreadable
from ftbridge.launchers.runs.fingerprint import Fingerprint, base_changes
from ftbridge.launchers.runs.record import UNSIGNED, Run, all_runs, load_run, match_run, unseen_message

FileStamps = list[tuple[str, int, int]]  # path, bytes, and nanoseconds of the last change


class NotOnRecordError(InputError):
    """A checkpoint that nobody who watched has noted, and that is not loaded for that."""


class ResumePoint(msgspec.Struct, frozen=True):
    """Where a training goes on from: a checkpoint, and the run that it belongs to, None for one from elsewhere."""

    checkpoint: Path
    run: Run | None


def find_resume_point(project: Project, wanted: str, given: dict[str, Any], *, trusted: bool) -> ResumePoint:
    """Return the checkpoint that `--resume WANTED` means: `auto`, a run's id or folder, or a checkpoint's path.

    `given` are the options of the command line, which must say what the run's own say; where this machine has not
    signed those, what decides which code runs must be given again. Raises UsageError where they do not, or where the
    run cannot go on, and InputError where the checkpoint cannot be used.
    """
    path = Path(wanted).expanduser()
    if wanted == "auto":
        point = _newest_resume_point(project, trusted=trusted)
    elif (path / "run.json").is_file():
        point = _resume_point_of_run(load_run(path.absolute()), trusted=trusted)
    elif path.exists():
        point = _resume_point_at(path.absolute(), trusted=trusted)
    else:
        point = _resume_point_of_run(match_run(project, wanted), trusted=trusted)
    if point.run:
        _refuse_other_options(point.run, given)
        _require_options_again(point.run, given)
    return point


def interpreter_of(run: Run, project: Project) -> Path:
    """Return the interpreter of the training environment that a run began in, to go on with.

    Raises SetupError where it is not there, UsageError where it holds another transformers by now.
    """
    version = run.versions.get("transformers", "")
    # A run of before there were two environments says its versions alone.
    began: Environment = "transformers4" if version.startswith("4.") else NEWEST
    if run.environment in LOCK_NAMES:
        began = run.environment
    try:
        python = interpreter(project, run.spec.backend, began)
    except SetupError as error:
        raise SetupError(
            _("run `{id}` began with transformers {version}: {error}").format(id=run.id, version=version, error=error)
        ) from error
    now = installed_versions(python).get("transformers", "")
    if now.partition(".")[0] != (version or now).partition(".")[0]:
        raise UsageError(
            _(
                "run `{id}` began with transformers {version}, and `{python}` has {now}: name one "
                "with {version} in ftbridge.yaml, or train from the start"
            ).format(id=run.id, version=version, python=python, now=now)
        )
    return python


def check_resume_point(point: ResumePoint, plan: TrainPlan, argv: Sequence[str], datasets: dict[str, str]) -> None:
    """Make sure that `plan`, started by `argv` on `datasets`, can go on from the checkpoint.

    Raises UsageError where the machine differs in its processes or in DeepSpeed, InputError where data or model has
    changed.
    """
    path, run = point.checkpoint, point.run
    shards = _optimizer_shards(path)
    before = _("with DeepSpeed") if shards else _("without DeepSpeed")
    if bool(shards) != bool(plan.deepspeed):
        raise UsageError(
            _("`{path}` was saved {before}: resume {before} (`--deepspeed`), or train from the start").format(
                path=path, before=before
            )
        )
    processes = _process_count(run.launch.argv) if run else len(shards) or plan.machine.processes
    if processes != _process_count(argv):
        raise UsageError(
            _(
                "`{path}` was saved by {processes}, and {process_count} would start now: make {gpus} "
                "visible (CUDA_VISIBLE_DEVICES), or train from the start"
            ).format(
                path=path,
                processes=counted(processes, "process", "processes"),
                process_count=_process_count(argv),
                gpus=counted(processes, "GPU"),
            )
        )
    if not run:
        if not _is_resumable(path, processes, load_backend(plan.spec.backend)):
            raise InputError(
                _("`{path}` is not a complete checkpoint with the optimizer's state; name another one").format(
                    path=path
                )
            )
        return
    if plan.deepspeed and plan.zero_stage != (old := zero_stage(_read_json(run.path / "deepspeed.json"))):
        raise UsageError(
            _(
                "run `{id}` used ZeRO stage {old}, and `{deepspeed}` is stage {zero_stage} now: put "
                "the file back as it was, or train from the start"
            ).format(id=run.id, old=old, deepspeed=plan.spec.deepspeed, zero_stage=plan.zero_stage)
        )
    _refuse_other_data(run, plan, datasets)
    if run.base:
        _refuse_other_model(run, plan, run.base)


def _refuse_other_model(run: Run, plan: TrainPlan, base: Fingerprint) -> None:
    changes = base_changes(plan.model, base)
    if any(changes):
        what = changes.weights or first_few([f"`{name}`" for name in changes.files], 3)
        raise InputError(
            _(
                "the model in `{model}` is not what run `{id}` trained ({what}): put it back as it "
                "was, or train from the start"
            ).format(model=plan.model, id=run.id, what=what)
        )


def _refuse_other_data(run: Run, plan: TrainPlan, datasets: dict[str, str]) -> None:
    # A run of before there were fingerprints has noted the other backend's files, and none of the validation set.
    shared = datasets.keys() & run.datasets.keys()
    names = datasets.keys() | run.datasets.keys() if run.base else shared
    changed = sorted(name for name in names if datasets.get(name) != run.datasets.get(name))
    if changed or not shared or plan.steps != run.steps:
        named = f" ({first_few([f'`{name}`' for name in changed], 3)})" if changed else ""
        raise InputError(
            _(
                "the dataset `{dataset_text}` is not what run `{id}` trained on{named}: it was "
                "edited, or converted again. Convert the same files with the same options, or train "
                "from the start"
            ).format(dataset_text=run.spec.dataset_text, id=run.id, named=named)
        )


def claim_run(before: Run, now: Run) -> Run:
    """Save `now` with one more attempt than `before`, and return it.

    It is signed from now on, without what somebody else may have put on record. Raises UsageError where another process
    has taken the run meanwhile.
    """
    with locked(before.path / "run.json"):
        _refuse_unless_stopped(load_run(before.path))
        before.release()  # of a watcher that was killed: until the new one has its own, nobody takes the run for dead
        attempts = (*before.attempts, *now.attempts)
        checkpoints = before.checkpoints if before.signature else {}
        return msgspec.structs.replace(now, attempts=attempts, checkpoints=checkpoints).save()


class CheckpointLedger:
    """Notes the sha256 of a run's checkpoints in its run.json, each as soon as it is whole and no longer changes.

    What lay in the folder before this attempt keeps the note that it had, or none: a file that somebody put there
    is not made ours by going on.
    """

    def __init__(self, run: Run, backend: Backend) -> None:
        self.run = run
        self._backend = backend
        # Of what this process has just written: on a file system that maps users, it need not be our own number.
        self._owner = (run.path / "run.json").stat().st_uid
        self._known = {name: _file_stamps(path) for name, path in self._named_checkpoints()}
        self._seen = dict(self._known)  # at the last update; what has not changed since is whole

    def update(self, *, ended: bool = False) -> Run:
        """Note the checkpoints that are new since the last call, and return the run.

        With `ended` nothing is written any more: what has come since the last call counts as whole, too.
        """
        hashes: dict[str, str] = {}
        for name, path in self._named_checkpoints():
            with suppress(OSError):  # the framework deletes the oldest one meanwhile
                if not _is_owned_by(self._owner, path):
                    continue
                stamps = _file_stamps(path)
                if stamps == self._known.get(name):
                    if name in self.run.checkpoints:
                        hashes[name] = self.run.checkpoints[name]
                elif ended or stamps == self._seen.get(name):
                    digest = checkpoint_sha256(path)
                    if stamps == _file_stamps(path):
                        hashes[name], self._known[name] = digest, stamps
                self._seen[name] = stamps
        if hashes != self.run.checkpoints:
            self.run = msgspec.structs.replace(self.run, checkpoints=hashes)  # kept, also where it cannot be written
            self.run.save()
        return self.run

    def _named_checkpoints(self) -> list[tuple[str, Path]]:
        return [(_checkpoint_name(self.run, path), path) for path in resumable_checkpoints(self.run, self._backend)]


def _is_owned_by(owner: int, checkpoint: Path) -> bool:
    """Tell whether a checkpoint holds nothing but files and folders of `owner`: the framework makes no other."""
    return all(
        status.st_uid == owner and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))
        for status in (file.lstat() for file in (checkpoint, *checkpoint.rglob("*")))
    )


def checkpoint_sha256(checkpoint: Path) -> str:
    """Return the sha256 of a checkpoint: of the file, or of its files' names and sha256 where it is a folder."""
    if checkpoint.is_file():
        return sha256(checkpoint)
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file())
    return sha256_of_files({file.relative_to(checkpoint).as_posix(): file for file in files})


def _newest_resume_point(project: Project, *, trusted: bool) -> ResumePoint:
    for run in reversed(all_runs(project)):
        has_stopped = run.status in {"failed", "interrupted", "unknown"}
        if has_stopped and resumable_checkpoints(run, load_backend(run.spec.backend)):
            return _resume_point_of_run(run, trusted=trusted)
    raise InputError(
        _("nothing to resume: no run in `{runs}` stopped with a checkpoint; start one with `ftbridge train`").format(
            runs=project.runs
        )
    )


def _resume_point_of_run(run: Run, *, trusted: bool) -> ResumePoint:
    """Return the newest whole checkpoint of a run: the newest that is noted, unless it is trusted without."""
    _refuse_unless_stopped(run)
    checkpoints = resumable_checkpoints(run, load_backend(run.spec.backend))
    if not checkpoints:
        raise InputError(
            _(
                "run `{id}` stopped before it had saved a checkpoint (`--save-steps {save_steps}`); "
                "start it again with `ftbridge train`"
            ).format(id=run.id, save_steps=run.spec.save_steps)
        )
    noted = [path for path in checkpoints if run.signature and _checkpoint_name(run, path) in run.checkpoints]
    newest = checkpoints[-1]
    warn_of_unreadable(run, newest, checkpoints)
    chosen = newest if trusted or not noted else noted[-1]
    if chosen != newest:
        say(
            _("warning: `{newest}` is not on record in run.json: resuming from `{name}` before it").format(
                newest=newest, name=chosen.name
            )
        )
    return _check_trusted(chosen, run, trusted=trusted)


def _resume_point_at(path: Path, *, trusted: bool) -> ResumePoint:
    """Return the checkpoint at a path, with its run where it lies in one."""
    folder = path.parents[1]
    if not (folder / "run.json").is_file():
        if not trusted:
            raise UsageError(
                _(
                    "`{path}` is in no run of ftbridge, and loading a checkpoint can run code in it. If you "
                    "trust who made it, add `--trust-checkpoint`"
                ).format(path=path)
            )
        return ResumePoint(path, None)
    run = load_run(folder)
    _refuse_unless_stopped(run)
    if path not in resumable_checkpoints(run, load_backend(run.spec.backend)):
        raise InputError(
            _("`{path}` is not a complete checkpoint of run `{id}`; `--resume {id}` takes the newest one").format(
                path=path, id=run.id
            )
        )
    return _check_trusted(path, run, trusted=trusted)


def _check_trusted(path: Path, run: Run, *, trusted: bool) -> ResumePoint:
    """Return a checkpoint of a run; raises InputError where its sha256 is not the noted one, unless it is `trusted`."""
    noted = run.checkpoints.get(_checkpoint_name(run, path))
    if not trusted and (not run.signature or noted is None or noted != checkpoint_sha256(path)):
        error, why = (
            InputError,
            _("belongs to run `{id}`, whose record {unsigned}").format(id=run.id, unsigned=UNSIGNED),
        )
        if run.signature and noted is None:
            error, why = NotOnRecordError, _("is not on record in run.json")
        elif run.signature:
            why = _("has changed since run.json noted its sha256")
        raise error(
            _(
                "`{path}` {why}, and loading a checkpoint can run code in it. If you know that nobody else "
                "wrote it, add `--trust-checkpoint`"
            ).format(path=path, why=why)
        )
    return ResumePoint(path, run)


def _refuse_unless_stopped(run: Run) -> None:
    if run.status == "unknown":
        raise UsageError(unseen_message(run))
    if run.status == "running":
        raise UsageError(
            _("run `{id}` is still running (process {pid}); there is nothing to resume").format(id=run.id, pid=run.pid)
        )
    if run.status == "succeeded":
        raise UsageError(
            _("run `{id}` has succeeded: nothing is left to resume; start a new one without `--resume`").format(
                id=run.id
            )
        )


def _refuse_other_options(run: Run, given: dict[str, Any]) -> None:
    """Raise UsageError where `given` changes an option: schedule, data order and optimiser state depend on them."""
    before = msgspec.to_builtins(run.spec)
    try:
        now = msgspec.to_builtins(parse(TrainSpec, {**before, **given}, _("the training"), option_names(given)))
    except InputError as error:
        raise UsageError(str(error)) from error
    for key in (key for key, value in now.items() if value != before[key]):
        raise UsageError(
            _(
                "`--{text} {value}` is not what run `{id}` has (`{had}`): a resumed run keeps its "
                "options; leave it out, or train from the start"
            ).format(text=key.replace("_", "-"), value=as_typed(now[key]), id=run.id, had=as_typed(before[key]))
        )


def _require_options_again(run: Run, given: dict[str, Any]) -> None:
    """Raise UsageError for options that could run code or send data, and that an unsigned record alone has."""
    spec = run.spec
    options: dict[str, list[str]] = {
        "trust_remote_code": ["--trust-remote-code"] if spec.trust_remote_code else [],
        "set": [word for key, value in spec.set.items() for word in ("--set", f"{key}={value}")],
        "deepspeed": ["--deepspeed", spec.deepspeed] if spec.deepspeed.endswith(".json") else [],
        "track": ["--track", ",".join(spec.track)] if spec.track else [],
    }
    missing = [word for key, words in options.items() if key not in given for word in words]
    if missing and not run.signature:
        raise UsageError(
            _(
                "the record of run `{id}` {unsigned}, and some of its options decide which code runs. "
                "If they are what you want, add `{missing}`"
            ).format(id=run.id, unsigned=UNSIGNED, missing=shell_words(missing))
        )


def resumable_checkpoints(run: Run, backend: Backend) -> list[Path]:
    """Return the whole checkpoints that hold the optimiser's state, too, oldest first."""
    processes = _process_count(run.launch.argv)
    return [path for path in backend.checkpoints(run.path) if _is_resumable(path, processes, backend)]


def _is_resumable(path: Path, processes: int, backend: Backend) -> bool:
    """Tell whether nothing was cut off: torch writes a zip's directory last, and each process its own files."""
    pickled = [path] if path.is_file() else [file for file in path.rglob("*") if file.suffix in PICKLED]
    return backend.can_resume(path, processes) and all(file.is_file() and zipfile.is_zipfile(file) for file in pickled)


def _optimizer_shards(path: Path) -> list[Path]:
    """Return DeepSpeed's optimiser states, one of each process: XTuner's in the folder, Trainer's one below it."""
    return [*path.glob("*optim_states.pt"), *path.glob("global_step*/*optim_states.pt")]


def _process_count(argv: Sequence[str]) -> int:
    """Return how many processes a launch starts on this machine."""
    matches = (re.fullmatch(r"--nproc-per-node=(\d{1,6})", word) for word in argv)
    return next((int(match[1]) for match in matches if match), 1)


def _read_json(file: Path) -> Any:
    """Return what `file` holds, None where it is not there or not whole."""
    with suppress(InputError, ValueError, RecursionError):
        return msgspec.json.decode(read_record(file))
    return None


def _checkpoint_name(run: Run, path: Path) -> str:
    return path.relative_to(run.path).as_posix()


def _file_stamps(path: Path) -> FileStamps:
    """Return what changes when a checkpoint is written to: its files, with their sizes and times."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [(str(file), status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()]]
