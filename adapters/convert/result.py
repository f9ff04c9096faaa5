"""What a conversion made, and how it read its tables, for whoever asked for it."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec
from msgspec.structs import replace as altered

from ftbridge.adapters.convert.earlier import Replaced
from ftbridge.adapters.convert.plan import ConvertPlan
from ftbridge.adapters.convert.selection import Counts
from ftbridge.adapters.values import decode_raw, shorten
from ftbridge.core.records import Conversation, DatasetEntry, Turn

SAMPLES_SHOWN = 3
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Part(msgspec.Struct, frozen=True):
    """One part of a dataset: its name for `--dataset`, its files, and the number of samples."""

    name: str
    samples: int
    files: dict[str, Path]


class TableRead(msgspec.Struct, frozen=True, kw_only=True):
    """How one table was read: `columns` maps a field to the column it was read from, `left_out` are the others.

    `why` explains the choice, and `first` are the first samples.
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


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
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


def conversion(
    job: ConvertPlan,
    entries: Mapping[str, DatasetEntry],
    *,
    changed: bool,
    replaced: tuple[Replaced, ...] = (),
    edited: Sequence[Path] = (),
) -> Conversion:
    """Return what the `entries` of a dataset, which are registered or would be, tell of its conversion."""
    first = next(iter(entries.values()))
    counts = msgspec.convert(first.options.counts, Counts)
    rejected = counts.rejected and not job.dry_run
    workbook = job.rejected_workbook
    has_workbook = workbook.name in first.options.rejected and workbook.is_file()
    return Conversion(
        name=job.name,
        dataset_dir=job.dataset_dir,
        tables=tuple(_table_read(job, at, entries) for at in range(len(job.tables))),
        parts=tuple(
            Part(name, entry.samples, {target: job.dataset_dir / file for target, file in entry.files.items()})
            for name, entry in entries.items()
        ),
        counts=counts,
        rejected_file=job.rejected_file if rejected else None,
        rejected_workbook=workbook if rejected and has_workbook else None,
        changed=changed,
        system=first.system,
        several_systems=first.several_systems,
        notes=tuple(first.options.notes),
        replaced=replaced,
        edited=tuple(edited),
        dry_run=job.dry_run,
    )


def _table_read(job: ConvertPlan, at: int, entries: Mapping[str, DatasetEntry]) -> TableRead:
    table, choice = job.tables[at], job.choices[at]
    notes = (*table.notes, *table.late)
    if table.part and (name := f"{job.name}-{table.part}") not in entries:
        notes += (f"none of its rows is left, so that there is no `{name}`",)
    first = tuple(map(_decoded, islice(job.first_samples(at), SAMPLES_SHOWN)))
    answers = [shorten(sample.turns[-1].output) for sample in first]
    if choice.shape == "text and label" and answers and all(map(NUMBER.fullmatch, answers)):
        names = " ".join(f"--label-map {answer}=TEXT" for answer in dict.fromkeys(answers))
        notes += (f"the answers are numbers; `{names}` and so on gives them names",)
    return TableRead(
        file=table.file,
        sheet=table.sheet,
        part=table.part,
        preset=job.presets[at],
        shape=choice.shape,
        columns=choice.columns,
        left_out=choice.left_out,
        system=choice.mapping.system,
        notes=notes,
        why=choice.why,
        first=first,
    )


def _decoded(sample: Conversation) -> Conversation:
    """Return a sample of which no text stands as in JSON any more."""
    turns = tuple(Turn(*map(decode_raw, (turn.instruction, turn.input, turn.output))) for turn in sample.turns)
    return altered(sample, system=decode_raw(sample.system), turns=turns)
