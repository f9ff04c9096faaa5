"""Whether LLaMA-Factory and XTuner would load the registered datasets and keep all of them, and why not."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftbridge.adapters.problems import Tally
from ftbridge.adapters.registered.dataset import ENTRY_CHANGED, XTUNER_ONLY, describe_edit
from ftbridge.adapters.registered.validate import validate
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.errors import InputError
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import Entry, interpret_entry, xtuner_entry
from ftbridge.dataset_info.names import CONVERSATIONS, is_ours


class Support(msgspec.Struct, frozen=True):
    """Whether a framework would load a dataset and keep all of it; "unknown" where the data is not here."""

    loads: Literal["yes", "no", "unknown"]
    reasons: tuple[str, ...] = ()


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `datasets check` says of an entry; `notes` are worth knowing and keep nothing from loading."""

    name: str
    ours: bool
    llamafactory: Support
    xtuner: Support
    notes: tuple[str, ...]


def check_datasets(dataset_dir: Path, names: Iterable[str] = ()) -> list[CheckResult]:
    """Return for each entry that `names` mean, or for all, whether both frameworks would load it.

    Raises InputError for an unknown name, or where dataset_info.json is damaged.
    """
    known = registry.read_entries(dataset_dir)
    chosen = dict.fromkeys(full for name in names for full in registry.resolve_name(dataset_dir, name, known))
    return [_check_entry(dataset_dir, name, known[name]) for name in chosen or known]


def _check_entry(dataset_dir: Path, name: str, raw: Any) -> CheckResult:
    """Return whether both frameworks would load an entry, `raw` as it stands in dataset_info.json."""
    entry, ours = interpret_entry(name, raw), is_ours(raw)
    notes = [f"LLaMA-Factory {note}" for note in entry.notes]
    if entry.remote:
        llamafactory = xtuner = Support("unknown", (f"its data is at `{entry.remote}`",))
    elif ours:
        try:
            llamafactory, xtuner = _check_converted(dataset_dir, entry, raw, notes)
        except InputError as error:  # somebody changed what we wrote
            llamafactory = xtuner = Support("no", (str(error),))
    else:
        for_both, for_xtuner = _find_problems(dataset_dir, entry, notes)
        llamafactory, xtuner = _support(for_both), _support(for_both + for_xtuner)
    return CheckResult(name=name, ours=ours, llamafactory=llamafactory, xtuner=xtuner, notes=tuple(notes))


def _check_converted(dataset_dir: Path, entry: Entry, raw: dict[str, Any], notes: list[str]) -> tuple[Support, Support]:
    """Return the support of LLaMA-Factory and of XTuner for a dataset of ours; adds to `notes`.

    A file that is as it was written is not read whole. Raises InputError for an entry that somebody has spoilt.
    """
    own = registry.parse_entry(dataset_dir, entry.name, raw)
    if registry.is_entry_edited(raw, own):
        notes.append(ENTRY_CHANGED)
    here = {file: sha256 for file, sha256 in registry.sha256_as_written(own).items() if (dataset_dir / file).is_file()}
    changed: dict[str, int | None] = {file: None for file in here if here[file] not in {"", digest(dataset_dir / file)}}
    unchanged = here.keys() - changed
    for_both: list[str] = [XTUNER_ONLY]
    for_xtuner: list[str] = []
    if entry.formatting != CONVERSATIONS:
        for_both, for_xtuner = _find_problems(dataset_dir, entry, notes, unchanged, changed)
    llamafactory, xtuner = _support(for_both), _support(for_both + for_xtuner)
    if CONVERSATIONS in own.files:
        turns = xtuner_entry(entry.name, own.files[CONVERSATIONS])
        xtuner = _support(_find_problems(dataset_dir, turns, [], unchanged, changed)[0])
    notes += [describe_edit(dataset_dir, own, file, samples) for file, samples in sorted(changed.items())]
    return llamafactory, xtuner


def _support(reasons: list[str]) -> Support:
    """Return the support of a framework, from the reasons why it would not load a dataset whole."""
    return Support("no" if reasons else "yes", tuple(reasons))


def _find_problems(
    dataset_dir: Path,
    entry: Entry,
    notes: list[str],
    trusted: Collection[str] = (),
    changed: dict[str, int | None] | None = None,
) -> tuple[list[str], list[str]]:
    """Return what is wrong for both frameworks, and what for XTuner alone; adds to `notes`.

    A file that is `trusted` is not read whole; how many records one of those `changed` holds is put there.
    """
    if entry.problems:
        return list(entry.problems), []
    try:
        findings = validate(dataset_dir, entry, trusted=entry.file_name in trusted)
    except InputError as error:
        return [str(error)], []
    if changed and entry.file_name in changed:
        changed[entry.file_name] = findings.records
    for_both = [*findings.columns, *_describe_unfit(findings.unfit)]
    for_xtuner = _describe_unfit(findings.unfit_for_xtuner)
    if entry.drawn:
        for_xtuner.append(f"only LLaMA-Factory draws {entry.drawn}")
    if findings.empty:
        notes.append(f"{findings.empty} questions or answers are empty, and are trained on as they are")
    if findings.unread:
        named = ", ".join(f"`{column}`" for column in findings.unread)
        notes.append(f"the file has {named}, which the entry does not name, so that it is not read")
    return for_both if findings.records else ["it holds no records"], for_xtuner


def _describe_unfit(records: Tally) -> list[str]:
    """Return how many records do not fit and the problem of the first, on a line; [] for none."""
    if not records.first:
        return []
    first = records.first[0]
    field = f"`{first.field}` " if first.field else ""
    return [f"records that do not fit: {records.count}; the first, {first.where}: {field}{first.reason}"]
