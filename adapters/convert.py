"""From a file of questions and answers to datasets of both frameworks.

Rows are streamed: a source yields them, the mapping makes samples of them, the targets' lines go to files
that take their places together, with their entries in dataset_info.json, when all of them are written.
"""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path

import msgspec

from ftbridge import __version__
from ftbridge.adapters.checks import Rejects
from ftbridge.adapters.job import PARTS, Job, OnError, Options, dataset_name, digest, prepare
from ftbridge.adapters.split import parse_split, parts
from ftbridge.adapters.values import BadValueError
from ftbridge.adapters.write import SampleFile, with_history_early
from ftbridge.core import plugins
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files import atomic_file
from ftbridge.core.plugins import Target
from ftbridge.core.project import Project, State
from ftbridge.core.records import DatasetEntry
from ftbridge.dataset_info.registry import ours, refuse_taken, registering

TARGETS = ("xtuner", "alpaca")


class Counts(msgspec.Struct, frozen=True):
    """Rows by what became of them; `empty` rows are neither read nor rejected."""

    read: int = 0
    written: int = 0
    rejected: int = 0
    empty: int = 0


class Part(msgspec.Struct, frozen=True):
    """One part of a dataset: its name for `--dataset`, its files, and the number of samples."""

    name: str
    samples: int
    files: dict[str, Path]


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversion made; `changed` is False where all of it was there already.

    `columns` maps a field to the column it was read from, `left_out` are the others, `rejected_file` holds
    the rows that were left out with `on_error="skip"`.
    """

    name: str
    source: Path
    dataset_dir: Path
    sheet: str
    preset: str
    system: str
    columns: dict[str, str]
    left_out: tuple[str, ...]
    parts: tuple[Part, ...]
    counts: Counts
    rejected_file: Path | None
    changed: bool


def convert(  # noqa: PLR0913 - the options of the command, all by name
    source: str | Path,
    *,
    name: str | None = None,
    sheet: str | None = None,
    map: Mapping[str, str] | None = None,  # noqa: A002 - named as on the command line
    system: str | None = None,
    split: str | None = None,
    seed: int = 42,
    shuffle: bool = True,
    array: bool = False,
    on_error: OnError = "stop",
    replace: bool = False,
    dataset_dir: str | Path | None = None,
) -> Conversion:
    """Convert `source` into files of both frameworks and register them as `<name>-train` (and `<name>-test`).

    `map` maps a field (system, instruction, input, output, history) to a column; `split` is as in "7:3".
    Nothing is written where a row is wrong, unless `on_error` is "skip". Raises UsageError for options that
    do not fit, InputError for a source that cannot be used or a name that is taken.
    """
    path, project = Path(source), Project.find()
    if on_error not in {"stop", "skip"}:
        raise UsageError(f"`--on-error` takes `stop` or `skip`; got `{on_error}`")
    if split is not None:
        parse_split(split)
    options = Options(
        sheet=sheet,
        map=dict(map or {}),
        system=system,
        split=split,
        seed=seed if split and shuffle else None,
        shuffle=shuffle or not split,
        array=array,
        on_error=on_error,
    )
    folder = project.folder / "data" if dataset_dir is None else Path(dataset_dir).absolute()
    job = prepare(path, dataset_name(path, name), folder, options, replace=replace)
    done = _earlier(job) or _convert(job)
    inside = folder.is_relative_to(project.folder)
    kept = folder.relative_to(project.folder).as_posix() if inside else str(folder)
    project.remember(State(dataset=f"{job.name}-train", dataset_dir=kept, preset=job.preset))
    return done


def _earlier(job: Job) -> Conversion | None:
    """Return what an earlier run of the same job made, where all of it is still there."""
    entries = ours(job.dataset_dir, (f"{job.name}-{part}" for part in PARTS))
    if list(entries) != job.names:
        return None
    asked = msgspec.to_builtins(job.options)
    for entry in entries.values():
        files = {key: job.dataset_dir / file for key, file in entry.files.items()}
        same = entry.version == __version__ and entry.options.get("asked") == asked
        if not same or [*entry.sources.values()] != [job.digest]:
            return None
        if not all(
            path.is_file() and digest(path) == entry.options.get("sha256", {}).get(key) for key, path in files.items()
        ):
            return None
    counts = msgspec.convert(entries[job.names[0]].options.get("counts", {}), Counts)
    return _conversion(job, entries, counts, changed=False)


def _convert(job: Job) -> Conversion:
    if not job.replace:
        refuse_taken(job.dataset_dir, dict.fromkeys(job.names, job.sources))
    new_folder = not job.dataset_dir.exists()
    try:
        return _write(job)
    except BaseException:
        if new_folder:  # nothing was written, so nothing is left
            with suppress(OSError):
                job.dataset_dir.rmdir()
        raise


def _write(job: Job) -> Conversion:
    targets: dict[str, Target] = {key: plugins.load("targets", key) for key in TARGETS}
    with ExitStack() as stack:
        files = {
            part: {
                key: SampleFile(
                    stack.enter_context(atomic_file(job.dataset_dir / _file(job, part, target))),
                    as_array=job.options.array,
                )
                for key, target in targets.items()
            }
            for part in job.parts
        }
        rejects = Rejects(lambda: stack.enter_context(atomic_file(job.rejected_file)))
        if job.options.split or "history" in job.mapping.columns:
            staged = {
                key: SampleFile(stack.enter_context(tempfile.TemporaryFile(dir=job.dataset_dir))) for key in targets
            }
            counts = _stream(job, targets, staged, rejects)
            _copy(job, staged, files)
        else:  # the order is the source's, so nothing has to wait for the last row
            counts = _stream(job, targets, files["train"], rejects)
        entries = {f"{job.name}-{part}": _entry(job, targets, part, files[part], counts) for part in files}
        stale = ours(job.dataset_dir, (f"{job.name}-{part}" for part in PARTS if part not in files))
        with registering(job.dataset_dir, entries, drop=stale, replace=job.replace):
            stack.close()
            gone = [file for entry in stale.values() for file in entry.files.values()]
            gone += [] if counts.rejected else [job.rejected_file.name]
            for file in gone:
                (job.dataset_dir / file).unlink(missing_ok=True)
    return _conversion(job, entries, counts, changed=True)


def _stream(job: Job, targets: dict[str, Target], files: dict[str, SampleFile], rejects: Rejects) -> Counts:
    """Write all samples to `files`; raises InputError where wrong rows stop it, or no row is left."""
    encoders = [(target.encode, files[key].add) for key, target in targets.items()]
    conversation, stop = job.mapping.conversation, job.options.on_error == "stop"
    read = empty = 0
    for row in chain.from_iterable(piece.rows() for piece in job.table.pieces):
        if not row.values and not row.error:
            empty += 1
            continue
        read += 1
        try:
            sample = conversation(row)
            lines = [encode(sample) for encode, _ in encoders]
        except (BadValueError, UnicodeEncodeError):
            rejects.add(row, job.mapping.problems(row), keep=not stop)
            continue
        for (_, add), line in zip(encoders, lines, strict=True):
            add(line, marked=len(sample.turns) > 1)
    if rejects.rows and stop:
        raise InputError(
            f"{rejects.rows} of {read} rows of `{job.source}` cannot be used; nothing was written\n\n"
            f"{rejects.table()}\n\nMend them, or go on without them: --on-error skip"
        )
    if rejects.rows == read:
        reason = f"none of its {read} rows can be used\n\n{rejects.table()}" if read else "it holds no rows"
        raise InputError(f"nothing to convert in `{job.source}`: {reason}")
    return Counts(read, read - rejects.rows, rejects.rows, empty)


def _copy(job: Job, staged: dict[str, SampleFile], files: dict[str, dict[str, SampleFile]]) -> None:
    """Copy the staged samples into the files of their parts."""
    for samples in staged.values():
        samples.finish()
    options = job.options
    orders = parts(len(staged["alpaca"]), options.split, options.seed or 0, shuffle=options.shuffle)
    for part, order in orders.items():
        loadable = order if options.array else with_history_early(order, staged["alpaca"])
        for key, file in files[part].items():
            for sample in staged[key].read(loadable):
                file.add(sample)


def _file(job: Job, part: str, target: Target) -> str:
    return f"{job.name}-{part}.{target.suffix}"


def _entry(
    job: Job, targets: dict[str, Target], part: str, files: dict[str, SampleFile], counts: Counts
) -> DatasetEntry:
    return DatasetEntry(
        version=__version__,
        samples=len(files["alpaca"]),
        sources=job.sources,
        columns=job.mapping.columns,
        options={
            "asked": msgspec.to_builtins(job.options),
            "counts": msgspec.to_builtins(counts),
            "sha256": {key: file.finish() for key, file in files.items()},
            "sheet": job.table.sheet,
        },
        preset=job.preset,
        system=job.mapping.system,
        files={key: _file(job, part, target) for key, target in targets.items()},
    )


def _conversion(job: Job, entries: Mapping[str, DatasetEntry], counts: Counts, *, changed: bool) -> Conversion:
    used = job.mapping.columns.values()
    return Conversion(
        name=job.name,
        source=job.source,
        dataset_dir=job.dataset_dir,
        sheet=job.table.sheet,
        preset=job.preset,
        system=job.mapping.system,
        columns=job.mapping.columns,
        left_out=tuple(column for column in job.table.columns if column not in used),
        parts=tuple(
            Part(name, entry.samples, {key: job.dataset_dir / file for key, file in entry.files.items()})
            for name, entry in entries.items()
        ),
        counts=counts,
        rejected_file=job.rejected_file if counts.rejected else None,
        changed=changed,
    )
