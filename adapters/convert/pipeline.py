"""From files of questions and answers to datasets of both frameworks.

Rows are streamed: sources yield them, mappings make samples of them, and the targets' lines go to scratch files. Where
they are not split, those are the dataset; else they are copied into their parts. All files take their places
together with their entries in dataset_info.json.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from os import PathLike, devnull, fspath
from pathlib import Path
from typing import IO, Unpack

import msgspec
from msgspec.structs import replace

from ftbridge import __version__
from ftbridge.adapters.convert import earlier
from ftbridge.adapters.convert.options import (
    PARTS,
    TO,
    ConvertOptions,
    Dedup,
    MaxRejected,
    OnError,
    Split,
    options_as_json,
    parse_max_rejected,
    parse_sample,
    parse_split,
)
from ftbridge.adapters.convert.plan import ConvertPlan, dataset_name, plan_conversion
from ftbridge.adapters.convert.rejects import Rejects, write_workbook
from ftbridge.adapters.convert.result import Conversion, describe_conversion
from ftbridge.adapters.convert.samples.encode import Encoder
from ftbridge.adapters.convert.samples.remarks import Remarks, describe_remarks
from ftbridge.adapters.convert.samples.workers import MOST_WORKERS, encode_tables
from ftbridge.adapters.convert.selection import Counts, EncodedSamples, part_files, select_samples
from ftbridge.adapters.mapping.inference.infer import MappingOptions
from ftbridge.adapters.sources.locate import origins
from ftbridge.adapters.targets.sample_file import SampleFile
from ftbridge.adapters.values import LONGEST
from ftbridge.core.console import say
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.files.atomic import scratch_file, sha256
from ftbridge.core.plugins import load_target
from ftbridge.core.project import Project, State
from ftbridge.core.records import DatasetEntry, EntryOptions, Reading, ReadingOptions
from ftbridge.dataset_info.registry import (
    locked_registry,
    read_entries,
    refuse_foreign_files,
    refuse_taken_names,
    register,
)

# A field of more different values holds no classes, and they would be kept in memory.
CLASSES = 10_000


def convert(  # noqa: PLR0913 - the options of the command, all by name
    *sources: str | PathLike[str],
    name: str | None = None,
    map: Mapping[str, str | int] | None = None,  # noqa: A002 - named as on the command line
    system: str | None = None,
    instruction: str | None = None,
    input: str | None = None,  # noqa: A002 - named as on the command line
    output: str | None = None,
    role: Mapping[str, str] | None = None,
    label_map: Mapping[str | int, str] | None = None,
    strip: bool = False,
    max_characters: int | None = None,
    preset: str = "",
    set: Mapping[str, str | int] | None = None,  # noqa: A002 - named as on the command line
    split: str | Split | None = None,
    stratify: str = "",
    seed: int = 42,
    shuffle: bool = True,
    sample: str | int | Sequence[int] = (),
    dedup: Dedup | None = None,
    limit: int | None = None,
    to: str | Sequence[str] = TO,
    array: bool = False,
    on_error: OnError = "stop",
    max_rejected: str | int | MaxRejected = "",
    xlsx: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    dataset_dir: str | PathLike[str] | None = None,
    callback: Callable[[int], object] | None = None,
    **reading: Unpack[ReadingOptions],
) -> Conversion:
    """Convert `sources` into files of both frameworks and register them as `<name>-train` and so on.

    The options are those of the command: `map` maps a field (system, instruction, input, output, history) to a column,
    `instruction`, `input` and `output` are Jinja templates over the columns, `role` maps the names of who speaks to
    user, assistant or system, `label_map` maps answers to text, `set` the settings of a preset that makes its rows to
    values, `split` is as in "7:3" or a Split, `sample` holds the sizes of nested subsets, and `reading` says how the
    sources are read: `sheet`, `header_row`, `encoding` and so on, as ReadingOptions lists them.
    `callback` is called with the number of rows read so far. Nothing is written where a row is wrong, unless
    `on_error` is "skip" or `max_rejected` allows it (`xlsx` writes such rows as a workbook too), and nothing at all
    with `dry_run`, which reads and checks all the same. Raises UsageError for options that do not fit, InputError for
    a source that cannot be used or a name that is taken, and QuestionError where, without `replace`, a part of the
    dataset would be lost.
    """
    project = Project.find()
    if not sources or not to:
        raise UsageError("there is nothing to do: name at least one source, and one format for `to`")
    options = ConvertOptions(
        reading=Reading.from_options(**reading),
        mapping=MappingOptions(
            map={field: str(column) for field, column in (map or {}).items()},
            system=system,
            instruction=instruction,
            input=input,
            output=output,
            role=dict(role or {}),
            label_map={str(label): text for label, text in (label_map or {}).items()},
            stratify=stratify,
            strip=strip,
            max_characters=LONGEST if max_characters is None else max_characters,
        ),
        preset=preset,
        settings={key: str(value) for key, value in (set or {}).items()},
        split=None if split is None else parse_split(split),
        seed=seed if shuffle else None,
        sample=parse_sample(sample),
        dedup=dedup,
        limit=limit,
        to=tuple(dict.fromkeys((to,) if isinstance(to, str) else to)),
        array=array,
        on_error=on_error,
        max_rejected=None if max_rejected == "" else parse_max_rejected(max_rejected),
    ).checked()
    folder = project.folder / "data" if dataset_dir is None else Path(dataset_dir).absolute()
    found = origins([fspath(source) for source in sources])
    job = plan_conversion(
        found, dataset_name(found, name), folder, options, replace=replace, dry_run=dry_run, xlsx=xlsx
    )
    done = _run_plan(job, callback)
    if dry_run:
        return done
    inside = folder.is_relative_to(project.folder)
    kept = folder.relative_to(project.folder).as_posix() if inside else str(folder)
    try:
        project.remember(State(dataset=done.parts[0].name, dataset_dir=kept, preset=job.presets[0]))
    except SetupError as error:  # it is registered all the same
        say(f"warning: {error}; `train` needs `--dataset {done.parts[0].name}`")
    return done


def _run_plan(job: ConvertPlan, callback: Callable[[int], object] | None) -> Conversion:
    before = earlier.registered_entries(job)
    if earlier.is_up_to_date(job, before) and (whole := _add_workbook(job, before)):
        return describe_conversion(job, whole, changed=False)
    if not job.replace and not job.dry_run and not read_entries(job.dataset_dir).keys().isdisjoint(job.names):
        refuse_taken_names(job.dataset_dir, dict.fromkeys(job.names, job.sources))
    earlier.refuse_loss(job, before, job.names)
    edited = earlier.refuse_edited(job, before)
    files = [_file_name(name, target) for name in job.names for target in job.options.to]
    refuse_foreign_files(job.dataset_dir, {**before, **dict.fromkeys(job.names)}, files)
    if job.dry_run:
        return _dry_run(job, edited, callback)
    new_folder = not job.dataset_dir.exists()
    try:
        return _write_dataset(job, edited, callback)
    except BaseException:
        if new_folder:  # nothing was written, so nothing is left
            with suppress(OSError):
                job.dataset_dir.rmdir()
        raise


def _add_workbook(job: ConvertPlan, before: dict[str, DatasetEntry]) -> dict[str, DatasetEntry]:
    """Return the entries with a workbook of rejected rows where one is asked for; {} where its rows are not there."""
    options, name = next(iter(before.values())).options, job.rejected_workbook.name
    if not job.xlsx or job.dry_run or not options.counts.get("rejected"):
        return before
    if name in options.rejected and job.rejected_workbook.is_file():
        return before
    if not job.rejected_file.is_file():
        return {}
    with job.rejected_file.open("rb") as lines, scratch_file(job.rejected_workbook) as file:
        write_workbook(lines, file)
        rejected = {**options.rejected, name: _sha256(file)}
        entries = {
            key: replace(entry, options=replace(entry.options, rejected=rejected)) for key, entry in before.items()
        }
        register(job.dataset_dir, entries, files={name: file})
    return entries


def _dry_run(job: ConvertPlan, edited: Sequence[Path], callback: Callable[[int], object] | None) -> Conversion:
    """Do all but write."""
    with Path(devnull).open("r+b") as nowhere:
        staged = {target: SampleFile(nowhere, as_array=job.array) for target in job.options.to}
        made = _encode_rows(job, list(staged.values()), Rejects(lambda: nowhere), callback)
    selection, counts = select_samples(job, made)
    samples = {name: made.samples if chosen is None else len(chosen) for name, chosen in selection.items()}
    entries = {name: _dataset_entry(job, made, counts, samples, name, {}, {}) for name in samples}
    before = earlier.registered_entries(job)
    earlier.refuse_loss(job, before, entries)
    return describe_conversion(
        job, entries, changed=True, replaced=earlier.replaced_parts(job, before, samples), edited=edited
    )


def _write_dataset(job: ConvertPlan, edited: Sequence[Path], callback: Callable[[int], object] | None) -> Conversion:
    stamps = job.stamps()
    with ExitStack() as stack:
        opened: dict[str, IO[bytes]] = {}

        def scratch(name: str) -> IO[bytes]:
            opened[name] = stack.enter_context(scratch_file(job.dataset_dir / name))
            return opened[name]

        def new_file(name: str, target: str) -> SampleFile:
            return SampleFile(scratch(_file_name(name, target)), as_array=job.array)

        staged = {target: new_file(job.names[0], target) for target in job.options.to}
        rejects = Rejects(partial(scratch, job.rejected_file.name))
        made = _encode_rows(job, list(staged.values()), rejects, callback)
        selection, counts = select_samples(job, made)
        files = part_files(job, selection, staged, made.marks, new_file)
        with ThreadPoolExecutor(MOST_WORKERS) as pool:
            sources = pool.submit(lambda: job.sources)
            for done in [pool.submit(file.finish) for each in files.values() for file in each.values()]:
                done.result()
            sources.result()
        for whole in staged.values():
            if whole.file not in opened.values():  # it was copied into parts
                Path(whole.file.name).unlink()
        if job.xlsx and rejects.rows:
            write_workbook(opened[job.rejected_file.name], scratch(job.rejected_workbook.name))
        if job.stamps() != stamps:
            raise InputError(f"{', '.join(job.sources)} has changed while it was read; convert it again")
        samples = {name: next(iter(each.values())).samples for name, each in files.items()}
        names = (job.rejected_file.name, job.rejected_workbook.name)
        rejected = {name: _sha256(opened[name]) for name in names if name in opened}
        entries = {
            name: _dataset_entry(job, made, counts, samples, name, each, rejected) for name, each in files.items()
        }
        with locked_registry(job.dataset_dir) as registry:
            before = earlier.registered_entries(job)
            earlier.refuse_loss(job, before, entries)
            registry.put(entries, drop=before.keys() - entries.keys(), replace=job.replace, files=opened)
    return describe_conversion(
        job, entries, changed=True, replaced=earlier.replaced_parts(job, before, samples), edited=edited
    )


def _sha256(file: IO[bytes]) -> str:
    file.flush()
    return sha256(Path(file.name))


def _encode_rows(
    job: ConvertPlan, files: list[SampleFile], rejects: Rejects, callback: Callable[[int], object] | None
) -> EncodedSamples:
    """Write all samples to `files`; raises InputError where wrong rows stop it, or no row is left."""
    options, parts = job.options, job.parts
    maker = Encoder(
        mappings=tuple(choice.mapping for choice in job.choices),
        targets=options.to,
        between=files[0].between,
        indexed=job.indexed,
        grouped=len(parts) > 1,
        classed=bool(options.mapping.stratify),
        dedup=options.dedup,
    )
    codes: dict[int, int] = {}
    made = EncodedSamples()
    for table, batch in encode_tables(maker, job.tables, files, options.limit):
        for name in made.counts:
            made.counts[name] += getattr(batch, name)
        for row, problems in batch.rejects:
            rejects.add(row, problems, keep=options.tolerated != MaxRejected(0))
        if maker.indexed:
            made.marks += batch.marks
        part = job.tables[table].part or PARTS[0]
        made.remarks.setdefault(part, Remarks()).add(batch.remarks)
        made.questions += batch.questions
        made.wholes += batch.wholes
        made.labels.extend(codes.setdefault(hash(label), len(codes)) for label in batch.labels)
        if len(codes) > CLASSES:
            raise UsageError(
                f"`--stratify {options.mapping.stratify}` finds more than {CLASSES:,} different values; name a field "
                "or a column of classes"
            )
        if not options.split and len(parts) > 1:
            made.parts += bytes([parts.index(part)]) * len(batch.marks)
        if callback:
            callback(made.counts["read"])
    made.counts["rejected"] = rejects.rows
    made.samples = files[0].samples
    _refuse_rejects(job, made, rejects)
    return made


def _refuse_rejects(job: ConvertPlan, made: EncodedSamples, rejects: Rejects) -> None:
    """Raise InputError where more rows are wrong than may be, or none is left."""
    options, read_rows, what = job.options, made.counts["read"], ", ".join(origin.name for origin in job.origins)
    allowed = options.tolerated.of(read_rows)
    if rejects.rows > allowed:
        more = f", more than `--max-rejected {options.max_rejected}` allows" if options.max_rejected else ""
        raise InputError(
            f"{rejects.rows} of {read_rows} rows of {what} cannot be used{more}; nothing was written\n\n"
            f"{rejects.problems.table()}\n\n{_table_notes(job)}Mend them, or go on without them: --on-error skip"
        )
    if not made.samples:
        none = f"none of its {read_rows} rows can be used\n\n{rejects.problems.table()}"
        raise InputError(f"nothing to convert in {what}: {none if read_rows else 'it holds no rows'}")


def _table_notes(job: ConvertPlan) -> str:
    """Return how the tables were read, which may be what is wrong: merged cells, a guessed encoding."""
    notes = dict.fromkeys(note for table in job.tables for note in (*table.notes, *table.late))
    return "".join(f"note: {note}\n" for note in list(notes)[:5])


def _file_name(name: str, target: str) -> str:
    return f"{name}.{load_target(target).suffix}"


def _dataset_entry(
    job: ConvertPlan,
    made: EncodedSamples,
    counts: Counts,
    samples: Mapping[str, int],
    name: str,
    files: Mapping[str, SampleFile],
    rejected: Mapping[str, str],
) -> DatasetEntry:
    """Return what is registered of one of the parts and subsets, which have so many `samples`.

    `rejected` are the files of rejected rows, with their sha256.
    """
    own = {part: remarks for part, remarks in made.remarks.items() if name == f"{job.name}-{part}"}
    systems = next(iter(own.values()), made.remarks.get(PARTS[0], Remarks())).systems
    every = Remarks()
    for remarks in made.remarks.values():
        every.add(remarks)
    return DatasetEntry(
        version=__version__,
        files={target: _file_name(name, target) for target in job.options.to},
        samples=samples[name],
        sources={} if job.dry_run else job.sources,
        columns=job.choices[0].columns,
        options=EntryOptions(
            dataset=job.name,
            asked=options_as_json(job.options),
            names=[*samples],
            beside=earlier.sidecars_as_json(job),
            counts=msgspec.to_builtins(counts),
            sha256={target: file.sha256 for target, file in files.items()},
            rejected=dict(rejected),
            sheets=[table.sheet for table in job.tables if table.sheet],
            notes=describe_remarks(every.found, job.choices[0].columns.get("system", "")),
        ),
        preset=job.presets[0],
        system=min(systems) if len(systems) == 1 else job.choices[0].mapping.system,
        several_systems=len(systems) > 1,
    )
