"""What is registered already of a dataset that is to be made, and what making it anew would take away."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ftbridge import __version__
from ftbridge.adapters.convert.options import PARTS, ConvertOptions, options_as_json, options_from_json
from ftbridge.adapters.convert.plan import ConvertPlan
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.console import counted
from ftbridge.core.errors import QuestionError, UsageError
from ftbridge.core.records import DatasetEntry
from ftbridge.dataset_info.registry import converted_entries, edited_files, read_entries
from ftbridge.language import gettext as _
from ftbridge.language import joined

# Options that leave every row in the part where it is.
HARMLESS = ("to", "array", "sample", "on_error", "max_rejected")


class Replaced(msgspec.Struct, frozen=True):
    """A part or subset that was there: how many samples it had, and has now; 0 where it is no more."""

    name: str
    before: int
    after: int


class _Loss(msgspec.Struct, frozen=True):
    """What a conversion would take away: entries that are `gone`, held-out parts with other rows, and formats."""

    gone: list[str]
    other_rows: list[str]
    formats: list[str]

    def __bool__(self) -> bool:
        return bool(self.gone or self.other_rows or self.formats)


def sidecars_as_json(plan: ConvertPlan) -> list[Any]:
    """Return what another dataset_info.json has said of each source, for the entries; [] for nothing."""
    return list(msgspec.json.decode(msgspec.json.encode(plan.sidecars))) if any(plan.sidecars) else []


def registered_entries(plan: ConvertPlan) -> dict[str, DatasetEntry]:
    """Return what is registered of this dataset, from this time or an earlier one."""
    every = converted_entries(plan.dataset_dir).items()
    return {name: entry for name, entry in every if entry.options.dataset == plan.name}


def is_up_to_date(plan: ConvertPlan, entries: Mapping[str, DatasetEntry]) -> bool:
    """Tell whether `entries` are what this plan makes, and all their files are there as they were written."""
    asked = options_as_json(plan.options), [*entries], sidecars_as_json(plan), __version__
    return bool(entries) and all(
        (entry.options.asked, entry.options.names, entry.options.beside, entry.version) == asked
        and entry.sources == plan.sources
        and _has_its_files(plan.dataset_dir, entry)
        for entry in entries.values()
    )


def _has_its_files(dataset_dir: Path, entry: DatasetEntry) -> bool:
    files = {target: dataset_dir / file for target, file in entry.files.items()}
    return all(file.is_file() and digest(file) == entry.options.sha256.get(target) for target, file in files.items())


def refuse_loss(plan: ConvertPlan, before: Mapping[str, DatasetEntry], names: Iterable[str]) -> None:
    """Raise QuestionError where making `names` takes something away, or may put other rows into what is held out.

    A model may have been measured on such a part, or will be: its rows do not get into training by the way.
    """
    if plan.replace or plan.dry_run:
        return
    loss = _find_loss(plan, before, {*names})
    if not loss:
        return
    answers = _replace_or_rename(plan)
    if not loss.gone and not loss.other_rows:
        answers = {_("keep them"): ["--to", ",".join(dict.fromkeys([*_formats(before), *plan.options.to]))], **answers}
    raise QuestionError(_describe_loss(plan, before, loss), answers)


def _find_loss(plan: ConvertPlan, before: Mapping[str, DatasetEntry], made: Collection[str]) -> _Loss:
    held_out = [name for name in (f"{plan.name}-{part}" for part in PARTS[1:]) if name in before and name in made]
    return _Loss(
        gone=[name for name in before if name not in made],
        other_rows=[name for name in held_out if _may_get_other_rows(plan, before[name])],
        formats=[each for each in _formats(before) if each not in plan.options.to],
    )


def _formats(entries: Mapping[str, DatasetEntry]) -> list[str]:
    """Return the targets that entries have files of."""
    return list(dict.fromkeys(target for entry in entries.values() for target in entry.files))


def _describe_loss(plan: ConvertPlan, before: Mapping[str, DatasetEntry], loss: _Loss) -> str:
    def listed(names: list[str]) -> str:
        return joined(", ", (f"`{name}` ({counted(before[name].samples, 'sample')})" for name in names))

    would = []
    if loss.gone:
        would.append(_("remove {listed}").format(listed=listed(loss.gone)))
    if loss.other_rows:
        would.append(_("perhaps put other rows into {listed}").format(listed=listed(loss.other_rows)))
    if loss.formats:
        would.append(_("remove the files for {formats}").format(formats=joined(_(" and "), loss.formats)))
    test_goes = f"{plan.name}-{PARTS[-1]}" in loss.gone
    held_out = _(", and its held-out rows could become training rows") if loss.other_rows or test_goes else ""
    return _("`{name}` is registered already, from other options or data: this would {would}{held_out}").format(
        name=plan.name, would=joined(_(" and "), would), held_out=held_out
    )


def _replace_or_rename(plan: ConvertPlan) -> dict[str, list[str]]:
    """Return the two answers to the question whether a dataset is to be replaced."""
    return {_("replace it"): ["--replace"], _("keep it, and make another dataset"): ["--name", _free_name(plan)]}


def refuse_edited(plan: ConvertPlan, before: Mapping[str, DatasetEntry]) -> tuple[Path, ...]:
    """Return the files of the dataset that somebody has changed since; raises QuestionError where there are some.

    With `replace` they are given up, and are only returned.
    """
    changed = edited_files(plan.dataset_dir, before.values())
    if changed and not (plan.replace or plan.dry_run):
        raise QuestionError(
            _("{changed} was changed since it was converted, which would be lost").format(
                changed=joined(", ", (f"`{path}`" for path in changed))
            ),
            _replace_or_rename(plan),
        )
    return changed


def replaced_parts(
    plan: ConvertPlan, before: Mapping[str, DatasetEntry], now: Mapping[str, int]
) -> tuple[Replaced, ...]:
    """Return what is made anew of other rows or in another way, with its samples `now`, and what is no more."""
    changed = [name for name, entry in before.items() if name in now and not _same_rows(plan, entry)]
    gone = [name for name in before if name not in now]
    return tuple(Replaced(name, before[name].samples, now.get(name, 0)) for name in (*changed, *gone))


def _may_get_other_rows(plan: ConvertPlan, entry: DatasetEntry) -> bool:
    """Tell whether a part may get other rows; of the source's own parts, then and now, each keeps its rows."""
    earlier = options_of(entry)
    split_by_us = plan.options.split or earlier is None or earlier.split
    return bool(split_by_us) and not _same_rows(plan, entry)


def _same_rows(plan: ConvertPlan, entry: DatasetEntry) -> bool:
    """Tell whether an entry was made of the same rows, each in the part where this plan puts it."""
    earlier = options_of(entry)
    if earlier is None or entry.sources != plan.sources:
        return False
    kept = {name: getattr(plan.options, name) for name in HARMLESS}
    return msgspec.structs.replace(earlier, **kept) == plan.options


def options_of(entry: DatasetEntry) -> ConvertOptions | None:
    """Return the options that an entry was made with, None where this version does not know all of them."""
    with suppress(msgspec.ValidationError, UsageError, UnicodeError):  # the last: half an emoji, which JSON may hold
        return options_from_json(entry.options.asked)
    return None


def _free_name(plan: ConvertPlan) -> str:
    """Return a name like the plan's that no dataset has."""
    known = read_entries(plan.dataset_dir)
    number = 2
    while any(name.startswith(f"{plan.name}-{number}-") for name in known):
        number += 1
    return f"{plan.name}-{number}"
