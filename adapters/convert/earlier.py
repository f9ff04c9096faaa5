"""What is registered already of a dataset that is to be made, and what making it anew would take away."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ftbridge import __version__
from ftbridge.adapters.convert.options import PARTS, ConvertOptions, options_as_json, options_from_json
from ftbridge.adapters.convert.plan import ConvertPlan
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.errors import QuestionError, UsageError
from ftbridge.core.records import DatasetEntry
from ftbridge.dataset_info.registry import converted_entries, edited_files, read_entries

# Options that leave every row in the part where it is.
HARMLESS = ("to", "array", "sample", "on_error", "max_rejected")


class Replaced(msgspec.Struct, frozen=True):
    """A part or subset that was there: how many samples it had, and has now; 0 where it is no more."""

    name: str
    before: int
    after: int


def sidecars_as_json(job: ConvertPlan) -> list[Any]:
    """Return what another dataset_info.json has said of each source, for the entries; [] for nothing."""
    return list(msgspec.json.decode(msgspec.json.encode(job.sidecars))) if any(job.sidecars) else []


def registered_entries(job: ConvertPlan) -> dict[str, DatasetEntry]:
    """Return what is registered of this dataset, from this time or an earlier one."""
    every = converted_entries(job.dataset_dir).items()
    return {name: entry for name, entry in every if entry.options.dataset == job.name}


def is_up_to_date(job: ConvertPlan, entries: Mapping[str, DatasetEntry]) -> bool:
    """Tell whether `entries` are what this job makes, and all their files are there as they were written."""
    made = options_as_json(job.options), [*entries], sidecars_as_json(job)
    for entry in entries.values():
        options = entry.options
        same = (options.asked, options.names, options.beside) == made and entry.sources == job.sources
        same = same and entry.version == __version__
        kept = options.sha256
        files = {target: job.dataset_dir / file for target, file in entry.files.items()}
        if not same or not all(file.is_file() and digest(file) == kept.get(target) for target, file in files.items()):
            return False
    return bool(entries)


def refuse_loss(job: ConvertPlan, before: Mapping[str, DatasetEntry], names: Iterable[str]) -> None:
    """Raise QuestionError where making `names` takes something away, or may put other rows into what is held out.

    A model may have been measured on such a part, or will be: its rows do not get into training by the way.
    """
    made = {*names}
    gone = [name for name in before if name not in made]
    parts = [name for name in (f"{job.name}-{part}" for part in PARTS) if name in before]
    moved = [name for name in parts if name in made and _gets_other_rows(job, name, before[name])]
    formats = list(dict.fromkeys(each for entry in before.values() for each in entry.files))
    lost = [each for each in formats if each not in job.options.to]
    if job.replace or job.dry_run or not (gone or moved or lost):
        return
    would = [
        f"{what} {', '.join(f'`{name}` ({before[name].samples:,} samples)' for name in which)}"
        for what, which in (("remove", gone), ("perhaps put other rows into", moved))
        if which
    ]
    would += [f"remove the files for {' and '.join(lost)}"] if lost else []
    answers = {"replace it": ["--replace"], "keep it, and make another dataset": ["--name", _free_name(job)]}
    if lost and not (gone or moved):
        answers = {"keep them": ["--to", ",".join(dict.fromkeys([*formats, *job.options.to]))], **answers}
    held = ", and could train on rows that are held out now" if moved or f"{job.name}-{PARTS[-1]}" in gone else ""
    raise QuestionError(
        f"`{job.name}` is registered, and was made in another way: this would {' and '.join(would)}{held}", answers
    )


def refuse_edited(job: ConvertPlan, before: Mapping[str, DatasetEntry]) -> tuple[Path, ...]:
    """Return the files of the dataset that somebody has changed since; raises QuestionError where there are some.

    With `replace` they are given up, and are only returned.
    """
    changed = edited_files(job.dataset_dir, before.values())
    if changed and not (job.replace or job.dry_run):
        raise QuestionError(
            f"{', '.join(f'`{path}`' for path in changed)} was changed since it was converted, which would be lost",
            {"replace it": ["--replace"], "keep it, and make another dataset": ["--name", _free_name(job)]},
        )
    return changed


def replaced_parts(
    job: ConvertPlan, before: Mapping[str, DatasetEntry], now: Mapping[str, int]
) -> tuple[Replaced, ...]:
    """Return what is made anew of other rows or in another way, with its samples `now`, and what is no more."""
    changed = [name for name, entry in before.items() if name in now and not _same_rows(job, entry)]
    gone = [name for name in before if name not in now]
    return tuple(Replaced(name, before[name].samples, now.get(name, 0)) for name in (*changed, *gone))


def _gets_other_rows(job: ConvertPlan, name: str, entry: DatasetEntry) -> bool:
    """Tell whether a part that is held out gets other rows; of the source's own parts each keeps its rows."""
    earlier = options_of(entry)
    split_by_us = bool(job.options.split or earlier is None or earlier.split)
    return split_by_us and name != f"{job.name}-{PARTS[0]}" and not _same_rows(job, entry)


def _same_rows(job: ConvertPlan, entry: DatasetEntry) -> bool:
    """Tell whether an entry was made of the same rows, each in the part where this job puts it."""
    earlier = options_of(entry)
    if earlier is None or entry.sources != job.sources:
        return False
    kept = {name: getattr(job.options, name) for name in HARMLESS}
    return msgspec.structs.replace(earlier, **kept) == job.options


def options_of(entry: DatasetEntry) -> ConvertOptions | None:
    """Return the options that an entry was made with, None where this version does not know all of them."""
    with suppress(msgspec.ValidationError, UsageError, UnicodeError):  # the last: half an emoji, which JSON may hold
        return options_from_json(entry.options.asked)
    return None


def _free_name(job: ConvertPlan) -> str:
    """Return a name like the job's that no dataset has."""
    known = read_entries(job.dataset_dir)
    number = 2
    while any(name.startswith(f"{job.name}-{number}-") for name in known):
        number += 1
    return f"{job.name}-{number}"
