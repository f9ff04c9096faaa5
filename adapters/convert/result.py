"""What a conversion made: the entries that are registered, and all of it for whoever asked."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from ftbridge import __version__
from ftbridge.adapters.convert.earlier import Replaced, sidecars_as_json
from ftbridge.adapters.convert.options import PARTS, options_as_json
from ftbridge.adapters.convert.plan import ConvertPlan, file_name
from ftbridge.adapters.convert.samples.remarks import Remarks, describe_remarks, no_place_for
from ftbridge.adapters.convert.selection import Counts, EncodedSamples
from ftbridge.adapters.mapping.inference.suggestions import column_suggestion, command_options
from ftbridge.adapters.targets.sample_file import SampleFile
from ftbridge.adapters.values import decode_raw, shorten
from ftbridge.core.console.notebook import ShownAsTable
from ftbridge.core.errors import shell_words
from ftbridge.core.records import Conversation, DatasetEntry, EntryOptions, Turn
from ftbridge.language import gettext as _

SAMPLES_SHOWN = 3
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Part(msgspec.Struct, frozen=True):
    """One part of a dataset: its name for `--dataset`, its files, and the number of samples."""

    name: str
    samples: int
    files: dict[str, Path]


class TableRead(msgspec.Struct, frozen=True, kw_only=True):
    """How one table was read: `columns` maps a field to the column it was read from, `left_out` are the others.

    `templates` are the fields of `columns` that have a template there, and `labels` the texts that stand for values of
    the answer. `why` explains the choice, and `first` are the first samples.
    """

    file: str
    sheet: str
    part: str
    preset: str
    shape: str
    columns: dict[str, str]
    left_out: tuple[str, ...]
    system: str
    notes: tuple[str, ...]
    why: tuple[str, ...]
    first: tuple[Conversation, ...]
    templates: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class Conversion(ShownAsTable, msgspec.Struct, frozen=True, kw_only=True):
    """What a conversion made; `changed` is False where all of it was there already.

    `rejected_file` holds the rows that were left out with `on_error="skip"` or `max_rejected`, and so does
    `rejected_workbook` with `xlsx`. `system` is the system prompt that goes with the training part: what all its
    samples share, or, with `several_systems`, the one for those that bring none. `notes` are on the whole dataset;
    `replaced` are parts and subsets that were there before, `edited` files of theirs that somebody had changed. With
    `dry_run` nothing of it was written.
    """

    name: str
    dataset_dir: Path
    tables: tuple[TableRead, ...]
    parts: tuple[Part, ...]
    counts: Counts
    rejected_file: Path | None
    rejected_workbook: Path | None
    changed: bool
    system: str = ""
    several_systems: bool = False
    notes: tuple[str, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    edited: tuple[Path, ...] = ()
    dry_run: bool = False


def dataset_entry(
    plan: ConvertPlan,
    encoded: EncodedSamples,
    counts: Counts,
    samples: Mapping[str, int],
    name: str,
    files: Mapping[str, SampleFile],
    rejected: Mapping[str, str],
    not_held: dict[str, int],
) -> DatasetEntry:
    """Return what is registered of one of the parts and subsets, which have so many `samples`.

    `rejected` are the files of rejected rows, with their sha256, `not_held` the numbers of samples that targets cannot
    hold.
    """
    of_part = {f"{plan.name}-{part}": remarks for part, remarks in encoded.remarks.items()}
    systems = of_part.get(name, encoded.remarks.get(PARTS[0], Remarks())).systems
    of_all = Remarks()
    for remarks in encoded.remarks.values():
        of_all.add_all(remarks)
    return DatasetEntry(
        version=__version__,
        files={
            target: file_name(name, target) for target in plan.options.to if not_held.get(target, 0) < samples[name]
        },
        samples=samples[name],
        sources={} if plan.dry_run else plan.sources,
        columns=plan.mappings[0].columns,
        options=EntryOptions(
            dataset=plan.name,
            asked=options_as_json(plan.options),
            names=[*samples],
            beside=sidecars_as_json(plan),
            counts=msgspec.to_builtins(counts),
            sha256={target: file.sha256 for target, file in files.items()},
            rejected=dict(rejected),
            sheets=[table.sheet for table in plan.tables if table.sheet],
            not_held=not_held,
            no_place_for={target: what for target, what in no_place_for(of_all.found).items() if target in not_held},
            notes=describe_remarks(of_all.found, plan.mappings[0].columns.get("system", "")),
        ),
        preset=plan.presets[0],
        system=min(systems) if len(systems) == 1 else plan.mappings[0].mapping.system,
        several_systems=len(systems) > 1,
    )


def describe_conversion(
    plan: ConvertPlan,
    entries: Mapping[str, DatasetEntry],
    *,
    changed: bool,
    replaced: tuple[Replaced, ...] = (),
    edited: Sequence[Path] = (),
) -> Conversion:
    """Return the result of a conversion, of whose parts and subsets the `entries` are registered, or would be."""
    first = next(iter(entries.values()))
    counts = msgspec.convert(first.options.counts, Counts)
    rejected = counts.rejected and not plan.dry_run
    workbook = plan.rejected_workbook
    has_workbook = workbook.name in first.options.rejected and workbook.is_file()
    return Conversion(
        name=plan.name,
        dataset_dir=plan.dataset_dir,
        tables=tuple(_table_read(plan, at, entries) for at in range(len(plan.tables))),
        parts=tuple(
            Part(name, entry.samples, {target: plan.dataset_dir / file for target, file in entry.files.items()})
            for name, entry in entries.items()
        ),
        counts=counts,
        rejected_file=plan.rejected_file if rejected else None,
        rejected_workbook=workbook if rejected and has_workbook else None,
        changed=changed,
        system=first.system,
        several_systems=first.several_systems,
        notes=tuple(first.options.notes),
        replaced=replaced,
        edited=tuple(edited),
        dry_run=plan.dry_run,
    )


def _table_read(plan: ConvertPlan, at: int, entries: Mapping[str, DatasetEntry]) -> TableRead:
    """Return how the table at place `at` was read, with its first samples."""
    table, read_as = plan.tables[at], plan.mappings[at]
    notes = (*table.notes, *table.late)
    if table.part and (name := f"{plan.name}-{table.part}") not in entries:
        notes += (
            _(
                "no row is left for `{name}` after removing duplicates or applying `--limit`, so it is not written"
            ).format(name=name),
        )
    first = tuple(map(_decode_texts, islice(plan.first_samples(at), SAMPLES_SHOWN)))
    answers = [shorten(sample.turns[-1].output) for sample in first]
    if read_as.shape == "text and label" and answers and all(map(NUMBER.fullmatch, answers)):
        names = " ".join(_("--label-map {answer}=TEXT").format(answer=answer) for answer in dict.fromkeys(answers))
        notes += (_("the answers are numbers; give them names with `{names}`").format(names=names),)
    if (thought := read_as.columns.get("thought")) and not plan.options.mapping.map:
        others = {field: column for field, column in read_as.mapping.columns.items() if field != "thought"}
        without = shell_words(command_options(column_suggestion(others))) or "--map"
        notes += (
            _("`{thought}` is read as the thought before each answer; without it: `{without}`").format(
                thought=shorten(thought), without=without
            ),
        )
    return TableRead(
        file=table.file,
        sheet=table.sheet,
        part=table.part,
        preset=plan.presets[at],
        shape=read_as.shape,
        columns=read_as.columns,
        left_out=read_as.left_out,
        system=read_as.mapping.system,
        notes=notes,
        why=read_as.why,
        first=first,
        templates=read_as.templates,
        labels=read_as.labels,
    )


def _decode_texts(sample: Conversation) -> Conversation:
    """Return a sample of which no text stands as in JSON any more."""
    turns = []
    for turn in sample.turns:
        question, extra, answer = map(decode_raw, (turn.instruction, turn.input, turn.output))
        beside = turn.beside and msgspec.structs.replace(turn.beside, thought=decode_raw(turn.beside.thought))
        turns.append(Turn(question, extra, answer, beside))
    return msgspec.structs.replace(sample, system=decode_raw(sample.system), turns=tuple(turns))
