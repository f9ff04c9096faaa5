"""The journal beside dataset_info.json: files and their entries take their places together, or not at all.

New files first get names of their own. Then one rename of dataset_info.json, whose entries name those, decides: before
it the old datasets are whole and registered, after it the new ones, for LLaMA-Factory as well. At last the files get
their right names, and so do the entries. `.dataset_info.json.journal`, which is there meanwhile, says how:

    {"entries": {"faq-train": {...}}, "drop": ["faq-test"], "removes": ["faq-test.alpaca.jsonl"],
     "moves": {".faq-train.alpaca.jsonl.1a2b3c4d.staged.jsonl": "faq-train.alpaca.jsonl"},
     "sha256": {"faq-test.alpaca.jsonl": "5f70..."}, "signature": "c3ab..."}

Whoever finds the journal of a killed process finishes its work, or undoes it where nothing was decided yet. It may have
come along with the folder, so it is signed, and no file goes that has changed since.
"""

import hmac
import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, SetupError, shell_words
from ftbridge.core.files.atomic import (
    LARGEST_TEXT,
    opened_record,
    put_in_place,
    remove_scratch_files,
    sha256,
    write_atomic,
)
from ftbridge.core.files.signing import sign
from ftbridge.dataset_info.json_text import insert_entries, remove_entries
from ftbridge.dataset_info.names import REGISTRY, STAGED, all_files_named, final_name, may_be_ours
from ftbridge.language import gettext as _

FILE = f".{REGISTRY}.journal"
EMPTY = "{}\n"


class Journal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be: `entries` are put in, those in `drop` go; `moves` maps staged files to their names.

    `removes` are the files of the datasets that were there, as far as none takes their places; `sha256` is that of
    each file which goes, and `fresh` says that there was no dataset_info.json.
    """

    entries: dict[str, Any]
    drop: list[str]
    moves: dict[str, str]
    removes: list[str]
    sha256: dict[str, str] = {}
    fresh: bool = False
    signature: str = ""

    def signed(self) -> "Journal":
        """Return the same with this user's signature for it, "" where there can be no key."""
        plain = msgspec.structs.replace(self, signature="")
        return msgspec.structs.replace(self, signature=sign(msgspec.json.encode(plain), consequence=""))

    def staged_entries(self) -> dict[str, Any]:
        """Return the entries as they are while their files have staged names."""
        names = {name: staged for staged, name in self.moves.items()}
        return {key: _with_file_names(raw, names) for key, raw in self.entries.items()}

    def decided(self, known: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the entries that `known` has while their files have staged names, and those that it has at last."""
        staged = self.staged_entries()
        return (
            {key: raw for key, raw in self.entries.items() if known.get(key) == staged[key]},
            {key: raw for key, raw in self.entries.items() if known.get(key) == raw},
        )


def is_unfinished(dataset_dir: Path, text: str) -> bool:
    """Tell whether a conversion is at work, or was killed at it, by the `text` of dataset_info.json as well."""
    return STAGED in text or has_journal(dataset_dir)


def has_journal(dataset_dir: Path) -> bool:
    """Tell whether there is a journal in the folder."""
    return os.path.lexists(dataset_dir / FILE)


def commit(
    dataset_dir: Path,
    registry: Path,
    text: str,
    *,
    entries: Mapping[str, Any],
    drop: list[str],
    files: Mapping[str, IO[bytes]],
    removes: list[str],
) -> None:
    """Put scratch `files` in their places by their names, and `entries` into the registry, in one step.

    `text` is what stands in the registry, whose lock is held. Raises OSError or SetupError where the disk is full, with
    all as it was. Once it is decided, what is left to do is left to the next command where there is no room for it,
    with a warning.
    """
    if not (files or removes):
        write_atomic(registry, insert_entries(remove_entries(text, drop), entries))
        return
    moves = {f".{name}.{os.urandom(4).hex()}{STAGED}": name for name in files}
    there = [name for name in (*files, *removes) if (dataset_dir / name).is_file()]
    journal = Journal(
        entries=dict(entries),
        drop=drop,
        moves=moves,
        removes=removes,
        sha256={name: sha256(dataset_dir / name) for name in there},
        fresh=not registry.exists(),
    ).signed()
    try:
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
        write_atomic(dataset_dir / FILE, msgspec.json.encode(journal))
        if journal.fresh:  # so that staged files without one are known to have lost it
            write_atomic(registry, text)
        for staged, name in moves.items():
            put_in_place(files[name], dataset_dir / staged)
        _sync_folder(dataset_dir)
        text = insert_entries(remove_entries(text, drop), journal.staged_entries())
        write_atomic(registry, text)
    except BaseException:
        with suppress(Exception):
            recover(dataset_dir, registry)
        raise
    try:
        _finish(dataset_dir, registry, text, journal)
    except (OSError, SetupError) as error:
        say(
            _(
                "warning: {error}; all datasets are registered; the next command will give the files in "
                "`{dataset_dir}` their final names"
            ).format(error=error, dataset_dir=dataset_dir)
        )
    except BaseException:
        with suppress(Exception):
            recover(dataset_dir, registry)
        raise


def drop_without_journal(dataset_dir: Path, registry: Path, text: str, entries: list[str], files: list[str]) -> None:
    """Take `entries` out where there is no room for a journal: their `files` go first, which makes some.

    Killed in between, it leaves entries without files, to be taken out again. Raises OSError or SetupError.
    """
    journal = _read_journal(dataset_dir)
    if journal and any(journal.decided(json.loads(text))):
        files = files + [name for name in journal.removes if _is_unchanged(dataset_dir / name, journal)]
    for name in files:
        (dataset_dir / name).unlink(missing_ok=True)
    write_atomic(registry, remove_entries(text, entries))
    with suppress(OSError, SetupError):
        recover(dataset_dir, registry)


def recover(dataset_dir: Path, registry: Path) -> None:
    """Finish or undo what a killed process has begun; the registry's lock is held.

    Raises InputError for a journal that is none of ours, and for one whose registry is gone, OSError or SetupError
    where the folder cannot be written.
    """
    if not (journal := _read_journal(dataset_dir)):
        return
    left = [name for name in journal.moves if (dataset_dir / name).exists()]
    if left and not registry.exists():  # moved without the files whose names begin with a dot
        raise InputError(
            _(
                "`{registry}` is gone, and `{left}` beside it is a file of its datasets; put `{registry}` "
                "back, or move all that `ls -A {value}` shows into its folder; nothing was moved or deleted"
            ).format(registry=registry, left=left[0], value=shell_words([str(dataset_dir)]))
        )
    _finish(dataset_dir, registry, read_text_of(registry), journal)


def _read_journal(dataset_dir: Path) -> Journal | None:
    """Return the journal in a folder, None for none; raises InputError for one that is none of ours."""
    file = dataset_dir / FILE
    try:
        with opened_record(file, LARGEST_TEXT) as opened:
            journal = msgspec.json.decode(opened.read(), type=Journal)
        _refuse_forged(journal)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            _(
                "`{file}` was not written by ftbridge, or is damaged ({error}); delete that file; nothing "
                "else was touched"
            ).format(file=file, error=error)
        ) from error
    return journal


def read_text_of(registry: Path) -> str:
    """Return the text of dataset_info.json, where there is none that of an empty one; raises InputError."""
    try:
        with opened_record(registry, LARGEST_TEXT) as file:
            return file.read().decode()
    except FileNotFoundError:
        return EMPTY
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            _("cannot read `{registry}`: {error}; LLaMA-Factory needs it as UTF-8 text").format(
                registry=registry, error=error
            )
        ) from error


def _finish(dataset_dir: Path, registry: Path, text: str, journal: Journal) -> None:
    """Finish what the journal says, or undo it where the registry's `text` has none of its entries, and delete it."""
    known = json.loads(text)
    if not isinstance(known, dict):
        return
    decided, done = journal.decided(known)
    wanted = all_files_named(decided | done)
    moves = {dataset_dir / staged: dataset_dir / name for staged, name in journal.moves.items() if name in wanted}
    moves = {staged: path for staged, path in moves.items() if staged.exists()}
    for staged, path in moves.items():
        _refuse_changed(staged, path, journal)
    if decided:
        _link_in_place(moves)
        _sync_folder(dataset_dir)
        write_atomic(registry, insert_entries(text, decided))
    for staged, path in moves.items():
        staged.replace(path)  # which does nothing where both are one file
    replaced = bool(decided) or (not known.keys() & journal.drop and done == journal.entries)
    for name in _files_to_delete(dataset_dir, journal, all_files_named(known) | wanted, replaced=replaced):
        (dataset_dir / name).unlink(missing_ok=True)
    for name in journal.moves.values():
        remove_scratch_files(dataset_dir / name)
    if journal.fresh and text == EMPTY:
        registry.unlink(missing_ok=True)
    (dataset_dir / FILE).unlink()


def _files_to_delete(dataset_dir: Path, journal: Journal, named: Collection[str], *, replaced: bool) -> list[str]:
    """Return the files that go: staged ones, and, where the old dataset was `replaced`, those of that one.

    An entry may have been taken out since: no file stays that is no one's, as none of the `named` ones is.
    """
    names = [
        name for staged, name in journal.moves.items() if name not in named and _is_same_file(dataset_dir, staged, name)
    ]
    names += journal.moves
    if replaced:
        names += [name for name in journal.removes if _is_unchanged(dataset_dir / name, journal)]
    return names


def _is_same_file(folder: Path, one: str, other: str) -> bool:
    first, second = folder / one, folder / other
    return first.exists() and second.exists() and first.samefile(second)


def _is_unchanged(path: Path, journal: Journal) -> bool:
    """Tell whether a file that is to go is the one that was meant; say so where it is another."""
    if not path.is_file():
        return False
    same = sha256(path) == journal.sha256.get(path.name)
    if not same:
        say(_("`{path}` was kept: it was changed after it was marked for removal").format(path=path))
    return same


def _refuse_changed(staged: Path, path: Path, journal: Journal) -> None:
    """Raise SetupError where `path` is neither the file that `staged` replaces nor that one itself."""
    if not os.path.lexists(path) or (path.exists() and path.samefile(staged)):
        return
    if not path.is_file() or sha256(path) != journal.sha256.get(path.name):
        raise SetupError(
            _("`{path}` was changed while a conversion was about to replace it; move it away").format(path=path)
        )


def _link_in_place(moves: Mapping[Path, Path]) -> None:
    """Let staged files stand at their places as well, each in one step, where there are hard links and room for them.

    Without them, as on FAT, the files are renamed once the registry has their entries.
    """
    with suppress(OSError):
        for staged, path in moves.items():
            if path.exists() and path.samefile(staged):  # renaming that would do nothing
                continue
            second = staged.with_suffix(".part")
            second.unlink(missing_ok=True)
            second.hardlink_to(staged)
            second.replace(path)


def _with_file_names(raw: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return an entry of ours whose files are called as `names` says."""
    files = {target: names.get(name, name) for target, name in raw["ftbridge"]["files"].items()}
    file_name = names.get(raw["file_name"], raw["file_name"])
    return {**raw, "file_name": file_name, "ftbridge": {**raw["ftbridge"], "files": files}}


def _refuse_forged(journal: Journal) -> None:
    """Raise ValueError where a journal, which may have come along with the folder, reaches for what is not ours.

    Where there can be no key, so that no journal is signed, what a file must be to go is all that holds it off.
    """
    if (own := journal.signed().signature) and not hmac.compare_digest(own.encode(), journal.signature.encode()):
        raise ValueError(_("it has no signature made by you on this machine"))
    for staged, name in journal.moves.items():
        if final_name(staged) != name:
            raise ValueError(_("`{staged}` is not a staged file").format(staged=staged))
    for name in (*journal.moves.values(), *journal.removes):
        if not may_be_ours(name):
            raise ValueError(_("`{name}` is not a file of a dataset").format(name=name))
    try:
        journal.staged_entries()
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(_("an entry was not written by ftbridge")) from error


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk before what is done next."""
    with suppress(OSError):  # not everywhere
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
