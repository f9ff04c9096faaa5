"""Whether each backend would load the registered datasets and keep all of them, and why not."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftbridge.adapters.problems import Tally
from ftbridge.adapters.registered.dataset import (
    ENTRY_CHANGED,
    describe_edit,
    describe_missing,
    samples_in,
    why_unread,
)
from ftbridge.adapters.registered.validate import validate
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import Entry, interpret_entry, target_entry
from ftbridge.dataset_info.names import CONVERSATIONS, MESSAGES, is_ours
from ftbridge.language import gettext as _
from ftbridge.language import joined


class Support(msgspec.Struct, frozen=True):
    """Whether a backend would load a dataset and keep all of it; "unknown" where the data is not here."""

    loads: Literal["yes", "no", "unknown"]
    reasons: tuple[str, ...] = ()


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """Whether each backend, by its name, would load a dataset; `notes` are worth knowing and keep nothing from loading.

    `ours` says that ftbridge wrote its entry in dataset_info.json.
    """

    name: str
    ours: bool
    backends: dict[str, Support]
    notes: tuple[str, ...]


def check_datasets(dataset_dir: Path, names: Iterable[str] = ()) -> list[CheckResult]:
    """Return whether the backends would load the datasets that `names` mean, or all.

    Raises InputError for an unknown name, or where dataset_info.json is damaged.
    """
    known = registry.read_entries(dataset_dir)
    chosen = dict.fromkeys(full for name in names for full in registry.resolve_name(dataset_dir, name, known))
    return [_check_entry(dataset_dir, name, known[name]) for name in chosen or known]


def _check_entry(dataset_dir: Path, name: str, raw: Any) -> CheckResult:
    entry, ours = interpret_entry(name, raw), is_ours(raw)
    notes = [_("LLaMA-Factory {note}").format(note=note) for note in entry.notes]
    targets = {backend: load_backend(backend).target for backend in plugin_names("backends")}
    if entry.remote:
        supports = dict.fromkeys(
            targets.values(), Support("unknown", (_("its data is at `{remote}`").format(remote=entry.remote),))
        )
    else:
        problems = _problems_by_target(dataset_dir, entry, raw if ours else None, notes, {*targets.values()})
        supports = {target: Support("no" if found else "yes", tuple(found)) for target, found in problems.items()}
    backends = {backend: supports[target] for backend, target in targets.items()}
    return CheckResult(name=name, ours=ours, backends=backends, notes=tuple(notes))


def _problems_by_target(
    dataset_dir: Path, entry: Entry, ours: dict[str, Any] | None, notes: list[str], targets: Collection[str]
) -> dict[str, list[str]]:
    """Return what is wrong for a backend that reads each target; `ours` is the raw entry where ftbridge wrote it.

    With the target "" a backend reads the entry as LLaMA-Factory does; with another its file, into which an entry that
    lacks it is converted. Adds to `notes`.
    """
    if not ours:
        return _by_target(targets, *_entry_problems(dataset_dir, entry, notes))
    try:
        return _problems_of_ours(dataset_dir, entry, ours, notes, targets)
    except InputError as error:  # somebody changed what we wrote
        return {target: [str(error)] for target in targets}


def _problems_of_ours(
    dataset_dir: Path, entry: Entry, raw: dict[str, Any], notes: list[str], targets: Collection[str]
) -> dict[str, list[str]]:
    own = registry.parse_entry(dataset_dir, entry.name, raw)
    notes += describe_missing(own)
    notes += [ENTRY_CHANGED] if registry.is_entry_edited(raw, own) else []
    here = {file: sha256 for file, sha256 in registry.sha256_as_written(own).items() if (dataset_dir / file).is_file()}
    changed: dict[str, int | None] = {file: None for file in here if here[file] not in {"", digest(dataset_dir / file)}}
    trusted = here.keys() - changed
    problems: list[str] = [why_unread(own)]
    special: list[str] = []
    if entry.formatting not in {CONVERSATIONS, MESSAGES}:
        problems, special = _entry_problems(dataset_dir, entry, notes, trusted, changed)
    elif MESSAGES in own.files:
        notes.append(_("it has no file that LLaMA-Factory reads by itself, with `--tokens native`"))
        messages = target_entry(MESSAGES, entry.name, own.files[MESSAGES])
        problems, special = _entry_problems(dataset_dir, messages, [], trusted, changed)
    found = _by_target(targets, problems, special)
    for target in targets & own.files.keys():
        turns = target_entry(target, entry.name, own.files[target])
        problems, special = _entry_problems(dataset_dir, turns, [], trusted, changed)
        found[target] = [*problems, *special]
    for file, samples in sorted(changed.items()):
        written = msgspec.structs.replace(own, samples=samples_in(own, file))
        notes.append(describe_edit(dataset_dir, written, file, samples))
    return found


def _by_target(targets: Iterable[str], problems: list[str], special: list[str]) -> dict[str, list[str]]:
    """Return by target what is wrong with an entry: `special` problems are none for the target ""."""
    return {target: [*problems, *special] if target else problems for target in targets}


def _entry_problems(
    dataset_dir: Path,
    entry: Entry,
    notes: list[str],
    trusted: Collection[str] = (),
    changed: dict[str, int | None] | None = None,
) -> tuple[list[str], list[str]]:
    """Return what is wrong for every backend, and what for those that read it converted alone; adds to `notes`.

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
    problems, special = [*findings.columns, *_unfit_records(findings.unfit)], _unfit_records(findings.unfit_for_xtuner)
    if entry.drawn:
        special.append(_("only LLaMA-Factory applies {drawn}").format(drawn=entry.drawn))
    if findings.empty:
        notes.append(
            counted(
                findings.empty,
                "question or answer is empty, and is trained on as it is",
                "questions or answers are empty, and are trained on as they are",
            )
        )
    if findings.unread:
        named = joined(", ", (f"`{column}`" for column in findings.unread))
        notes.append(
            _("the file has {named}, which the entry does not name, so that it is not read").format(named=named)
        )
    return problems if findings.records else [_("it holds no records")], special


def _unfit_records(records: Tally) -> list[str]:
    """Return how many records do not fit and the problem of the first, on a line; [] for none."""
    if not records.first:
        return []
    first = records.first[0]
    field = f"`{first.field}` " if first.field else ""
    return [
        _("records that do not fit: {count}; the first, {where}: {field}{reason}").format(
            count=records.count, where=first.where, field=field, reason=first.reason
        )
    ]
