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

from msgspec.structs import replace

from ftbridge.adapters.convert import earlier
from ftbridge.adapters.convert.options import (
    PARTS,
    TO,
    ConvertOptions,
    Dedup,
    MaxRejected,
    OnError,
    Split,
    parse_max_rejected,
    parse_sample,
    parse_split,
)
from ftbridge.adapters.convert.plan import ConvertPlan, dataset_name, file_name, plan_conversion
from ftbridge.adapters.convert.rejects import Rejects, write_workbook
from ftbridge.adapters.convert.result import Conversion, dataset_entry, describe_conversion
from ftbridge.adapters.convert.samples.encode import Encoder
from ftbridge.adapters.convert.samples.workers import MOST_WORKERS, encode_tables
from ftbridge.adapters.convert.selection import EncodedSamples, count_not_held, drop_empty, part_files, select_samples
from ftbridge.adapters.mapping.inference.infer import MappingOptions
from ftbridge.adapters.sources.locate import origins
from ftbridge.adapters.targets.sample_file import SampleFile
from ftbridge.adapters.values import LONGEST
from ftbridge.core.console import counted, say
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.files.atomic import scratch_file, sha256
from ftbridge.core.plugins import load_target
from ftbridge.core.project import Project, State
from ftbridge.core.records import DatasetEntry, Reading, ReadingOptions
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.dataset_info.registry import (
    locked_registry,
    read_entries,
    refuse_foreign_files,
    refuse_taken_names,
    register,
)
from ftbridge.language import gettext as _
from ftbridge.language import joined, ngettext

# A field of more different values holds no classes, and they would be kept in memory.
MOST_CLASSES = 10_000


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

    The options are those of the command: `map` maps a field (instruction, thought, output and so on) to a column,
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
        raise UsageError(_("there is nothing to do: name at least one source, and one format for `to`"))
    options = ConvertOptions(
        reading=Reading.from_options(**reading),
        mapping=MappingOptions(
            map=_texts(map),
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
        settings=_texts(set),
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
    plan = plan_conversion(
        found, dataset_name(found, name), folder, options, replace=replace, dry_run=dry_run, xlsx=xlsx
    )
    done = _run_plan(plan, callback)
    if not dry_run:
        _remember(project, done, plan)
    return done


def _texts(values: Mapping[str, str | int] | None) -> dict[str, str]:
    """Return what may be given as numbers in Python, as on the command line."""
    return {key: str(value) for key, value in (values or {}).items()}


def _remember(project: Project, done: Conversion, plan: ConvertPlan) -> None:
    """Keep for `train` what was converted last."""
    folder, dataset = done.dataset_dir, done.parts[0].name
    kept = folder.relative_to(project.folder).as_posix() if folder.is_relative_to(project.folder) else str(folder)
    sources = tuple(origin.address for origin in plan.origins)
    try:
        project.remember(State(dataset=dataset, dataset_dir=kept, preset=plan.presets[0], sources=sources))
    except SetupError as error:  # it is registered all the same
        say(_("warning: {error}; `train` needs `--dataset {dataset}`").format(error=error, dataset=dataset))


def _run_plan(plan: ConvertPlan, callback: Callable[[int], object] | None) -> Conversion:
    """Convert what was planned, unless it is there already; raises as `convert` does."""
    before = earlier.registered_entries(plan)
    if earlier.is_up_to_date(plan, before) and (whole := _add_workbook(plan, before)):
        return describe_conversion(plan, whole, changed=False)
    if not plan.replace and not plan.dry_run and not read_entries(plan.dataset_dir).keys().isdisjoint(plan.names):
        refuse_taken_names(plan.dataset_dir, dict.fromkeys(plan.names, plan.sources))
    earlier.refuse_loss(plan, before, plan.names)
    edited = earlier.refuse_edited(plan, before)
    files = [file_name(name, target) for name in plan.names for target in plan.options.to]
    refuse_foreign_files(plan.dataset_dir, {**before, **dict.fromkeys(plan.names)}, files)
    if plan.dry_run:
        return _dry_run(plan, edited, callback)
    new_folder = not plan.dataset_dir.exists()
    try:
        return _write_dataset(plan, edited, callback)
    except BaseException:
        if new_folder:  # nothing was written, so nothing is left
            with suppress(OSError):
                plan.dataset_dir.rmdir()
        raise


def _add_workbook(plan: ConvertPlan, before: dict[str, DatasetEntry]) -> dict[str, DatasetEntry]:
    """Return the entries with a workbook of rejected rows where one is asked for; {} where its rows are not there."""
    options, name = next(iter(before.values())).options, plan.rejected_workbook.name
    if not plan.xlsx or plan.dry_run or not options.counts.get("rejected"):
        return before
    if name in options.rejected and plan.rejected_workbook.is_file():
        return before
    if not plan.rejected_file.is_file():
        return {}
    with plan.rejected_file.open("rb") as lines, scratch_file(plan.rejected_workbook) as file:
        write_workbook(lines, file)
        rejected = {**options.rejected, name: _sha256(file)}
        entries = {
            key: replace(entry, options=replace(entry.options, rejected=rejected)) for key, entry in before.items()
        }
        register(plan.dataset_dir, entries, files={name: file})
    return entries


def _dry_run(plan: ConvertPlan, edited: Sequence[Path], callback: Callable[[int], object] | None) -> Conversion:
    """Do all that `_write_dataset` does, but write."""
    with Path(devnull).open("r+b") as nowhere:
        staged = {target: SampleFile(nowhere, as_array=_is_array(plan, target)) for target in plan.options.to}
        encoded = _encode_rows(plan, list(staged.values()), Rejects(lambda: nowhere), callback)
    selection, counts = select_samples(plan, encoded)
    samples = {name: encoded.samples if chosen is None else len(chosen) for name, chosen in selection.items()}
    not_held = count_not_held(selection, samples, staged)
    entries = {name: dataset_entry(plan, encoded, counts, samples, name, {}, {}, not_held[name]) for name in samples}
    before = earlier.registered_entries(plan)
    earlier.refuse_loss(plan, before, entries)
    return describe_conversion(
        plan, entries, changed=True, replaced=earlier.replaced_parts(plan, before, samples), edited=edited
    )


def _write_dataset(plan: ConvertPlan, edited: Sequence[Path], callback: Callable[[int], object] | None) -> Conversion:
    """Encode the rows into scratch files, put those in their places with their entries, and return the result."""
    stamps = plan.stamps()
    with ExitStack() as stack:
        opened: dict[str, IO[bytes]] = {}

        def scratch(name: str) -> IO[bytes]:
            opened[name] = stack.enter_context(scratch_file(plan.dataset_dir / name))
            return opened[name]

        def new_file(name: str, target: str) -> SampleFile:
            return SampleFile(scratch(file_name(name, target)), as_array=_is_array(plan, target))

        staged = {target: new_file(plan.names[0], target) for target in plan.options.to}
        rejects = Rejects(partial(scratch, plan.rejected_file.name))
        encoded = _encode_rows(plan, list(staged.values()), rejects, callback)
        _flag_all(staged, encoded)
        selection, counts = select_samples(plan, encoded)
        samples = {name: encoded.samples if chosen is None else len(chosen) for name, chosen in selection.items()}
        not_held = count_not_held(selection, samples, staged)
        files = part_files(plan, selection, staged, encoded.multi_turn, new_file)
        _finish(plan, files)
        for whole in staged.values():
            if whole.file not in opened.values():  # it was copied into parts
                Path(whole.file.name).unlink()
        if plan.xlsx and rejects.rows:
            write_workbook(opened[plan.rejected_file.name], scratch(plan.rejected_workbook.name))
        if plan.stamps() != stamps:
            raise InputError(
                _("{sources} has changed while it was read; convert it again").format(
                    sources=joined(", ", plan.sources)
                )
            )
        drop_empty(files, opened, samples, not_held)
        names = (plan.rejected_file.name, plan.rejected_workbook.name)
        rejected = {name: _sha256(opened[name]) for name in names if name in opened}
        entries = {
            name: dataset_entry(plan, encoded, counts, samples, name, each, rejected, not_held[name])
            for name, each in files.items()
        }
        with locked_registry(plan.dataset_dir) as registry:
            before = earlier.registered_entries(plan)
            earlier.refuse_loss(plan, before, entries)
            registry.put(entries, drop=before.keys() - entries.keys(), replace=plan.replace, files=opened)
    return describe_conversion(
        plan, entries, changed=True, replaced=earlier.replaced_parts(plan, before, samples), edited=edited
    )


def _sha256(file: IO[bytes]) -> str:
    file.flush()
    return sha256(Path(file.name))


def _encode_rows(
    plan: ConvertPlan, files: list[SampleFile], rejects: Rejects, callback: Callable[[int], object] | None
) -> EncodedSamples:
    """Write all samples to `files`, one for each target.

    Raises InputError where more rows are wrong than may be, or no row is left, UsageError for too many classes.
    """
    options, parts = plan.options, plan.parts
    encoder = Encoder(
        mappings=tuple(each.mapping for each in plan.mappings),
        targets=options.to,
        betweens=tuple(file.between for file in files),
        indexed=plan.indexed,
        grouped=len(parts) > 1,
        classed=bool(options.mapping.stratify),
        dedup=options.dedup,
    )
    keep_rejects = options.rejects_allowed != MaxRejected(0)
    encoded = EncodedSamples()
    for table, batch in encode_tables(encoder, plan.tables, files, options.limit):
        part = plan.tables[table].part or PARTS[0]
        encoded.add(batch, part, indexed=encoder.indexed)
        for row, problems in batch.rejects:
            rejects.add(row, problems, keep=keep_rejects)
        if len(encoded.classes) > MOST_CLASSES:
            raise UsageError(
                _(
                    "`--stratify {stratify}` finds more than {most_classes:,} different values; name a "
                    "field or a column of classes"
                ).format(stratify=options.mapping.stratify, most_classes=MOST_CLASSES)
            )
        if not options.split and len(parts) > 1:
            encoded.parts += bytes([parts.index(part)]) * len(batch.multi_turn)
        if callback:
            callback(encoded.counts["read"])
    encoded.counts["rejected"] = rejects.rows
    encoded.samples = files[0].samples
    _refuse_rejects(plan, encoded, rejects)
    return encoded


def _refuse_rejects(plan: ConvertPlan, encoded: EncodedSamples, rejects: Rejects) -> None:
    """Raise InputError where more rows are wrong than may be, or none is left."""
    options, read_rows, what = plan.options, encoded.counts["read"], ", ".join(origin.name for origin in plan.origins)
    allowed = options.rejects_allowed.allowed(read_rows)
    if rejects.rows > allowed:
        more = (
            _(", more than `--max-rejected {max_rejected}` allows").format(max_rejected=options.max_rejected)
            if options.max_rejected
            else ""
        )
        raise InputError(
            _(
                "{bad:,} of {rows} of {what} cannot be used{more}; nothing was written\n\n"
                "{table}\n\n{table_notes}{remedy}"
            ).format(
                bad=rejects.rows,
                rows=counted(read_rows, "row"),
                what=what,
                more=more,
                table=rejects.problems.table(),
                table_notes=_table_notes(plan),
                remedy=rejects.remedy(),
            )
        )
    if not encoded.samples:
        if not read_rows:
            raise InputError(_("nothing to convert in {what}: it holds no rows").format(what=what))
        text = ngettext(
            "nothing to convert in {what}: its only row cannot be used\n\n{table}",
            "nothing to convert in {what}: none of its {rows:,} rows can be used\n\n{table}",
            read_rows,
        )
        raise InputError(text.format(what=what, rows=read_rows, table=rejects.problems.table()))


def _table_notes(plan: ConvertPlan) -> str:
    """Return how the tables were read, which may be what is wrong: merged cells, a guessed encoding."""
    notes = dict.fromkeys(note for table in plan.tables for note in (*table.notes, *table.late))
    return "".join(_("note: {note}\n").format(note=note) for note in list(notes)[:5])


def _finish(plan: ConvertPlan, files: Mapping[str, dict[str, SampleFile]]) -> None:
    """Bring all files to their end, while the sources' sha256 are found."""
    with ThreadPoolExecutor(MOST_WORKERS) as pool:
        sources = pool.submit(lambda: plan.sources)
        for done in [pool.submit(file.finish) for each in files.values() for file in each.values()]:
            done.result()
        sources.result()


def _is_array(plan: ConvertPlan, target: str) -> bool:
    """Tell whether a target's files are JSON arrays: those of messages are read by nobody who needs it."""
    return plan.array and target != MESSAGES


def _flag_all(staged: Mapping[str, SampleFile], encoded: EncodedSamples) -> None:
    """Let each sample say what is learned of it, in formats where all have to, once one does."""
    for target, file in staged.items() if encoded.flagged else ():
        if change := getattr(load_target(target), "with_flags", None):
            file.rewrite(change)
