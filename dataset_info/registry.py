"""dataset_info.json, the list of datasets that LLaMA-Factory and ftbridge both read.

An entry of ours is spliced into the text, so that every byte of other entries stays as it is:

    "medqa-train": {"file_name": "medqa-train.alpaca.jsonl", "formatting": "alpaca",
                    "columns": {"prompt": "instruction", ...}, "ftbridge": {...}}

The columns are those of the target that wrote the file. LLaMA-Factory reads dataset_info.json in the locale's
encoding, so ours is ASCII, and reads named keys only, so the key `ftbridge` is ours alone.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from ftbridge.core.errors import InputError, QuestionError, SetupError
from ftbridge.core.files.atomic import locked, sha256
from ftbridge.core.parsing.json_yaml import closest, nearest, parse
from ftbridge.core.plugins import load_target, plugin_names
from ftbridge.core.records import DatasetEntry
from ftbridge.dataset_info import journal
from ftbridge.dataset_info.json_text import entry_spans
from ftbridge.dataset_info.names import (
    REGISTRY,
    VALID_NAME,
    all_files_named,
    dataset_names,
    files_named,
    is_ours,
    may_be_ours,
)
from ftbridge.language import english, joined
from ftbridge.language import gettext as _

FILE = REGISTRY
# The registries whose locks this process holds: what is pending there has been tried.
_held: set[Path] = set()


class Removed(msgspec.Struct, frozen=True):
    """What was taken out: names of entries, files that were deleted, and which of these somebody had `edited`."""

    entries: tuple[str, ...]
    files: tuple[Path, ...]
    edited: tuple[Path, ...] = ()


def look_up(dataset_dir: Path, name: str) -> tuple[str, Any]:
    """Return a dataset's full name and its entry as it stands; `medqa` means `medqa-train` where it is no entry.

    Raises InputError, with the closest name, where there is none.
    """
    known = read_entries(dataset_dir)
    full = name if name in known else f"{name}-train"
    if full not in known:
        raise InputError(_unknown_dataset(dataset_dir, name, known))
    return full, known[full]


def validation_part(name: str) -> str:
    """Return the name of the validation part that a conversion makes beside a training part."""
    return f"{name.removesuffix('-train')}-validation"


def find_converted(dataset_dir: Path, name: str) -> tuple[str, DatasetEntry]:
    """Return the full name and the entry of a dataset of ours; `medqa` means `medqa-train` where it is no entry.

    Raises InputError, with the closest name, where there is none, or where it is not one of ours.
    """
    full, raw = look_up(dataset_dir, name)
    if not is_ours(raw):
        raise InputError(
            _(
                "the dataset `{full}` in `{file}` was made by somebody else; convert its file under a name of its own"
            ).format(full=full, file=dataset_dir / FILE)
        )
    return full, parse_entry(dataset_dir, full, raw)


def read_entries(dataset_dir: Path) -> dict[str, Any]:
    """Return all entries as they stand, {} where there is no file; raises InputError where it is damaged.

    What a killed conversion has begun is finished or undone first, where the folder can be written.
    """
    file = dataset_dir / FILE
    text = journal.read_text_of(file)
    if journal.is_unfinished(dataset_dir, text):
        whole = file.resolve()
        if whole not in _held and journal.has_journal(dataset_dir):
            with suppress(OSError, SetupError), locked(whole):
                journal.recover(dataset_dir, whole)
        text = journal.read_text_of(file)
    return _parse_entries(file, text)


def converted_entries(dataset_dir: Path, names: Iterable[str] | None = None) -> dict[str, DatasetEntry]:
    """Return the entries that ftbridge made, parsed, of all names or of `names`; raises InputError for a spoilt one."""
    known = read_entries(dataset_dir)
    wanted = known if names is None else names
    return {name: parse_entry(dataset_dir, name, known[name]) for name in wanted if is_ours(known.get(name))}


def _readable_entries(dataset_dir: Path, entries: Mapping[str, Any]) -> list[DatasetEntry]:
    """Return the entries that ftbridge wrote, parsed; those that cannot be read are left out."""
    ours = {name: raw for name, raw in entries.items() if is_ours(raw)}
    parsed = []
    for name, raw in ours.items():
        with suppress(InputError):
            parsed.append(parse_entry(dataset_dir, name, raw))
    return parsed


def files_written(dataset_dir: Path) -> set[str]:
    """Return the names of the files that ftbridge wrote into a folder; none where it has no whole registry of ours."""
    known: dict[str, Any] = {}
    with suppress(InputError):
        known = read_entries(dataset_dir)
    made = {name: raw for name, raw in known.items() if is_ours(raw)}
    return {FILE, *all_files_named(made)} if made else set()


def refuse_taken_names(dataset_dir: Path, sources: Mapping[str, dict[str, str]]) -> None:
    """Raise InputError where a name is registered with other sources (sha256 by name) than these."""
    _refuse_names_taken(dataset_dir, read_entries(dataset_dir), sources)


def refuse_foreign_files(dataset_dir: Path, names: Iterable[str], files: Iterable[str]) -> None:
    """Raise InputError where a file of such a name is there, and none of the datasets `names` has it."""
    _refuse_files_of_others(dataset_dir, read_entries(dataset_dir), names, files)


def register(
    dataset_dir: Path,
    entries: Mapping[str, DatasetEntry],
    *,
    replace: bool = False,
    files: Mapping[str, IO[bytes]] | None = None,
) -> None:
    """Put `entries` in, and scratch `files` in their places by their names, all in one step.

    Raises InputError for a name that another source has taken, and for a file that is there and not of `entries`.
    """
    with locked_registry(dataset_dir) as registry:
        registry.put(entries, replace=replace, files=files or {})


class Registry:
    """The registry of a folder while its lock is held: `known` are its entries, in its `text`."""

    def __init__(self, dataset_dir: Path, pending: Exception | None = None) -> None:
        """Read it; `pending` is why what was begun before is not finished."""
        self._folder, self.pending = dataset_dir, pending
        self._file = (dataset_dir / FILE).resolve()  # a link stays one
        self.text = journal.read_text_of(self._file)
        self.known = _parse_entries(self._file, self.text)

    def put(
        self,
        entries: Mapping[str, DatasetEntry],
        *,
        drop: Iterable[str] = (),
        replace: bool = False,
        files: Mapping[str, IO[bytes]],
    ) -> None:
        """Put `entries` and `files` in, as `register` does, and take out the entries to `drop`, at the end of it all.

        The files that either have had, and that have no place any more, are deleted.
        """
        if self.pending:
            raise SetupError(_write_error(self._file, self.pending)) from self.pending
        drop = [name for name in drop if name in self.known]
        if not replace:
            _refuse_names_taken(self._folder, self.known, {name: entry.sources for name, entry in entries.items()})
        before, left = _refuse_files_of_others(self._folder, self.known, (*entries, *drop), files)
        raw = {name: _entry_as_json(entry) for name, entry in entries.items()}
        removes = _files_of_ours(before) - files.keys() - all_files_named({**left, **raw})
        journal.commit(
            self._folder, self._file, self.text, entries=raw, drop=drop, files=files, removes=sorted(removes)
        )


@contextmanager
def locked_registry(dataset_dir: Path) -> Iterator[Registry]:
    """Hold the registry's lock for the block, which sees it as it is, and may change it.

    What a killed conversion has begun is finished or undone first; where that is not possible, nothing is put in.
    """
    file = (dataset_dir / FILE).resolve()
    with locked(file):
        pending: Exception | None = None
        try:
            journal.recover(dataset_dir, file)
        except (OSError, SetupError) as error:
            pending = error
        _held.add(file)
        try:
            yield Registry(dataset_dir, pending)
        finally:
            _held.discard(file)


def _write_error(file: Path, error: Exception) -> str:
    """Return the message for an error that kept the registry from being written."""
    return (
        _("cannot write `{file}`: {strerror}").format(file=file, strerror=error.strerror or error)
        if isinstance(error, OSError)
        else str(error)
    )


def sha256_as_written(own: DatasetEntry) -> dict[str, str]:
    """Return the sha256 that the files of an entry of ours had when they were written, "" where it is not known."""
    return {file: own.options.sha256.get(target, "") for target, file in own.files.items()}


def edited_files(dataset_dir: Path, entries: Iterable[DatasetEntry]) -> tuple[Path, ...]:
    """Return the files of datasets, those of rejected rows too, that somebody has changed since they were written."""
    written = {
        dataset_dir / file: then
        for entry in entries
        for file, then in {**sha256_as_written(entry), **entry.options.rejected}.items()
    }
    return tuple(path for path, then in written.items() if then and path.is_file() and sha256(path) != then)


def remove(dataset_dir: Path, names: Iterable[str], *, edits: bool = False) -> Removed:
    """Take datasets out: the entry, or all parts and samples that `NAME` made, and the files that only they name.

    Of an entry that is not ours, which must be named exactly, the files stay. Raises InputError for an unknown
    name, QuestionError for a file that somebody has changed, unless `edits` go as well, and takes nothing out then.
    """
    file = _registry_to_remove_from(dataset_dir)
    with locked_registry(dataset_dir) as registry:
        # What waits for room has the old files' names, and the new ones' sha256.
        removed = _find_removed(dataset_dir, names, registry.known, find_edits=not registry.pending)
        if removed.edited and not edits:
            raise QuestionError(
                _("{edited} was changed since it was converted, which would be lost").format(
                    edited=joined(", ", (f"`{file}`" for file in removed.edited))
                ),
                {_("remove it anyway"): ["--yes"]},
            )
        entries, removes = list(removed.entries), [file.name for file in removed.files]
        try:
            if registry.pending:
                raise registry.pending
            journal.commit(dataset_dir, file, registry.text, entries={}, drop=entries, files={}, removes=removes)
        except (OSError, SetupError):  # a disk that is full, and removing is to make room
            try:
                journal.drop_without_journal(dataset_dir, file, registry.text, entries, removes)
            except OSError as error:
                raise SetupError(_write_error(file, error)) from error
    return removed


def would_remove(dataset_dir: Path, names: Iterable[str]) -> Removed:
    """Return what `remove` would take out; raises InputError for an unknown name."""
    _registry_to_remove_from(dataset_dir)
    return _find_removed(dataset_dir, names, read_entries(dataset_dir))


def _registry_to_remove_from(dataset_dir: Path) -> Path:
    file = (dataset_dir / FILE).resolve()
    if not file.exists():
        raise InputError(_("there is no dataset to remove: `{file}` is not there").format(file=file))
    return file


def _find_removed(
    dataset_dir: Path, names: Iterable[str], known: dict[str, Any], *, find_edits: bool = True
) -> Removed:
    """Return what goes with `names`; files that somebody has changed are named only with `find_edits`."""
    chosen = list(dict.fromkeys(full for name in names for full in resolve_name(dataset_dir, name, known)))
    left = {name: raw for name, raw in known.items() if name not in chosen}
    candidates = _files_of_ours({name: known[name] for name in chosen}) - all_files_named(left)
    files = [file for file in (dataset_dir / name for name in sorted(candidates)) if file.is_file()]
    own = _readable_entries(dataset_dir, {name: known[name] for name in chosen})
    changed = [file for file in edited_files(dataset_dir, own) if file in files] if find_edits else []
    return Removed(tuple(chosen), tuple(files), tuple(changed))


def _parse_entries(file: Path, text: str) -> dict[str, Any]:
    try:
        known = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            _("`{file}` is not valid JSON ({error}); fix it or move it away").format(file=file, error=error)
        ) from error
    if not isinstance(known, dict):
        raise InputError(_("`{file}` holds no JSON object of datasets; fix it or move it away").format(file=file))
    if twice := [name for name, count in Counter(name for name, _unused in entry_spans(text)).items() if count > 1]:
        raise InputError(
            _("`{file}` names the dataset `{twice}` twice; leave one of them out").format(file=file, twice=twice[0])
        )
    return known


def is_entry_edited(raw: dict[str, Any], own: DatasetEntry) -> bool:
    """Tell whether somebody has changed how the entry `raw` of ours is read: its file, columns, or anything else."""
    if not own.files.keys() <= set(plugin_names("targets")):
        return False  # the package that wrote it is not here
    return _without_ours(raw) != _llamafactory_keys(own)


def entry_digest(raw: Any) -> str:
    """Return the sha256 of how an entry is read: of all but what is ours alone."""
    return hashlib.sha256(json.dumps(_without_ours(raw), sort_keys=True).encode()).hexdigest()


def parse_entry(dataset_dir: Path, name: str, raw: dict[str, Any]) -> DatasetEntry:
    """Return what an entry of ours says; raises InputError where somebody has changed it to what we do not write."""
    return parse(
        DatasetEntry, raw["ftbridge"], _("the entry `{name}` in `{file}`").format(name=name, file=dataset_dir / FILE)
    )


def _without_ours(raw: dict[str, Any]) -> dict[str, Any]:
    """Return what LLaMA-Factory looks at in an entry."""
    return {key: value for key, value in raw.items() if key != "ftbridge"}


def _entry_as_json(entry: DatasetEntry) -> dict[str, Any]:
    return {**_llamafactory_keys(entry), "ftbridge": msgspec.to_builtins(entry, enc_hook=english)}


def _llamafactory_keys(entry: DatasetEntry) -> dict[str, Any]:
    """Return what LLaMA-Factory is told of an entry."""
    keys = {name: load_target(name).entry for name in sorted(entry.files)}
    readable = [name for name in keys if keys[name] is not None]  # alpaca before sharegpt
    # A format that LLaMA-Factory does not know, it refuses by its name: "Dataset converter xtuner not found".
    chosen = readable[0] if readable else max(keys)  # xtuner before messages
    return {"file_name": entry.files[chosen], **(keys[chosen] or {"formatting": chosen})}


def resolve_name(dataset_dir: Path, name: str, known: dict[str, Any]) -> list[str]:
    """Return the entries that `name` means: itself, or all parts of ours that a conversion of that name made.

    Raises InputError, with the closest name, where there is none.
    """
    parts = [key for key, raw in known.items() if dataset_names([key]) == {name} and is_ours(raw)]
    if name not in known and not parts:
        raise InputError(_unknown_dataset(dataset_dir, name, known))
    return [name] if name in known else parts


def _files_of_ours(known: Mapping[str, Any]) -> set[str]:
    """Return the files that ftbridge wrote for entries: a name with a folder in it is none of them."""
    return set(filter(may_be_ours, all_files_named({name: raw for name, raw in known.items() if is_ours(raw)})))


def _unknown_dataset(dataset_dir: Path, name: str, known: dict[str, Any]) -> str:
    hint = nearest(name, {*known, *dataset_names(key for key, raw in known.items() if is_ours(raw))}) or closest(
        name, known
    )
    said = _("there is no dataset `{name}` in `{file}`{hint}").format(
        name=name, file=dataset_dir / FILE, hint=hint if known else _("; no dataset is registered yet")
    )
    if VALID_NAME.fullmatch(name):
        said += _(" (`ftbridge convert FILE --name {name}` makes one)").format(name=name)
    return said


def _refuse_names_taken(dataset_dir: Path, known: dict[str, Any], sources: Mapping[str, dict[str, str]]) -> None:
    for name in sources.keys() & known.keys():
        old = known[name]["ftbridge"].get("sources") if is_ours(known[name]) else None
        old = old if isinstance(old, dict) else {_("a file that ftbridge did not convert"): ""}
        if {str(sha256) for sha256 in old.values()} != set(sources[name].values()):
            raise InputError(
                _(
                    "the dataset `{name}` in `{file}` comes from another source ({old}, or an earlier "
                    "version of it); choose another `--name`, or replace it with `--replace`"
                ).format(name=name, file=dataset_dir / FILE, old=joined(", ", old))
            )


def _refuse_files_of_others(
    dataset_dir: Path, known: dict[str, Any], names: Iterable[str], files: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries `names`, as far as there are such, and all others."""
    before = {name: known[name] for name in names if name in known}
    left = {name: raw for name, raw in known.items() if name not in before}
    own, others = all_files_named(before), all_files_named(left)
    for file in files:
        path = dataset_dir / file
        if file in others:
            owner = next(name for name, raw in left.items() if file in files_named(raw))
            raise InputError(
                _("`{path}` belongs to the dataset `{owner}`; choose another `--name`").format(path=path, owner=owner)
            )
        if os.path.lexists(path) and (file not in own or path.is_dir()):
            raise InputError(
                _(
                    "`{path}` exists already and belongs to no dataset in `{file}` that this would replace; "
                    "move it away, or choose another `--name`"
                ).format(path=path, file=dataset_dir / FILE)
            )
    return before, left
