"""Folders that are there whole, or not at all, and that never take the place of anything but our own.

What ftbridge writes says so in its ftbridge.json, by `kind` and `files` (see launchers/runs/written_files.py).
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from ftbridge.core.console import first_few
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import flock, scratch_files_of, write_json
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import gettext as _
from ftbridge.launchers.runs import written_files
from ftbridge.launchers.runs.record import Run, all_runs, base_folder, load_run
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.weights.source import ModelSource

Kind = Literal["adapter", "model", "merged"]
# What older versions wrote, whose ftbridge.json has no list; and what they took from the base as it was.
OLDER = (
    CARD, "config.json", "generation_config.json", "adapter_config.json", "adapter_model.safetensors",
    "model.safetensors", "model-?????-of-?????.safetensors", "model.safetensors.index.json", "chat_template.*",
    "tokenizer.*", "tokenizer_config.json", "tokenization_*.py", "vocab.*", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "spiece.model",
)  # fmt: skip
# What is in a run's folder besides adapters and models, which come and go as a whole.
IN_A_RUN = ("output", "tracking", "predictions")
FROM_BASE = {".json", ".py", ".jinja"}


@contextmanager
def fresh_folder(target: Path, kind: Kind) -> Iterator[Path]:
    """Yield a folder that takes the place of `target` when the block ends well, and vanishes when not.

    What stands at `target` is replaced where all of it was written by ftbridge, as the same kind of result, or where
    it is empty; else InputError. What a killed process has left behind for `target` is removed, or put back.
    """
    target = target.resolve()  # a link stays one
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        refuse_foreign(target, kind)
        with (
            tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".part") as place,
            Path(place, "lock").open("wb") as lock,
        ):
            flock(lock)
            folder, old = Path(place) / "new", Path(place) / "old"
            try:
                folder.mkdir()
                yield folder
                _write_record(folder, kind)
                if target.exists():
                    target.rename(old)
                refuse_foreign(old, kind, target)  # something may have come meanwhile
                folder.rename(target)
            finally:
                if old.exists() and not target.exists():
                    old.rename(target)
                for each in (folder, old):  # before the lock goes
                    shutil.rmtree(each, ignore_errors=True)
    except OSError as error:
        raise SetupError(
            _("cannot write `{target}`: {strerror}").format(target=target, strerror=error.strerror or error)
        ) from error
    except shutil.Error as error:
        raise SetupError(_("cannot write `{target}`: {error}").format(target=target, error=error)) from error


def refuse_foreign(folder: Path, kind: Kind, target: Path | None = None) -> None:
    """Raise InputError where `folder`, which is or was at `target`, holds what ftbridge did not write as this kind."""
    target = target or folder
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    card = folder / CARD
    if not folder.is_dir() or not card.is_file() or card.is_symlink():
        raise InputError(
            _("`{target}` exists and was not written by ftbridge; choose another folder with `--out`").format(
                target=target
            )
        )
    record = read_json(card)
    before = record.get("kind") or ("adapter" if (folder / "adapter_config.json").is_file() else None)
    if before != kind and (before or kind == "adapter"):
        what = {"adapter": _("an adapter"), "merged": _("a merged model")}.get(str(before), _("a model"))
        raise InputError(
            _("`{target}` holds {what}, which this would replace; choose another folder with `--out`").format(
                target=target, what=what
            )
        )
    if names := list(_foreign_files(folder, record)):
        raise InputError(
            _(
                "`{target}` would be replaced, and holds what ftbridge did not write: {said}; move "
                "that away, or choose another folder with `--out`"
            ).format(target=target, said=first_few(names, 5))
        )


def refuse_overlap(target: Path, source: ModelSource, base: Path, others: Iterable[Path] = ()) -> None:
    """Raise InputError where `target` is, holds or lies in what is read: the source, its base, `others`.

    So it does where the base of another run of the project would go, and in the folder of another run, which would take
    what it finds there for its own.
    """
    target = target.resolve()
    own = source.run or next(_runs_around(source.folder.resolve()), None)
    itself = _("the run itself")
    read = {itself if source.run else _("the source"): source.folder}
    read |= {_("the run's `{name}`").format(name=name): own.path / name for name in IN_A_RUN} if own else {}
    read |= {_("the base model"): base} | {_("the adapter `{path}`").format(path=path): path for path in others}
    for what, path in read.items():
        _refuse_overlap(target, path.resolve(), what, both=what != itself)
    for run in _runs_around(target):
        if not own or not _is_same_path(run.path, own.path):
            _refuse_overlap(target, run.path, _("the run `{name}`").format(name=run.path.name), both=True)
    if not target.exists():
        return
    for run in all_runs(source.project):
        for model in filter(None, {base_folder(run), run.model}):
            _refuse_overlap(
                target, Path(model).resolve(), _("the base model of the run `{id}`").format(id=run.id), both=False
            )


def refuse_inside(target: Path, read: Mapping[str, Path]) -> None:
    """Raise InputError where `target`, which is for answers, is or lies in what is read, or in what ftbridge writes.

    In a run's folder there are `predictions/NAME` for them, and folders of the user's own.
    """
    target = target.resolve()
    for folder in (target, *target.parents):
        if (folder / CARD).is_file():
            _refuse_overlap(target, folder, _("what `export` or `merge` wrote"), both=True)
    for run in _runs_around(target):
        path = target.relative_to(run.path)
        kept = path.parts[0] if path.parts else ""
        if not kept:
            _refuse_overlap(target, run.path, _("the run `{name}`").format(name=run.path.name), both=True)
        elif str(path) == "predictions" or re.fullmatch("output|tracking|(adapter|merged)(-.*)?", kept):
            _refuse_overlap(
                target,
                run.path / kept,
                _("`{kept}` of the run `{name}`").format(kept=kept, name=run.path.name),
                both=True,
            )
    for what, path in read.items():
        if _is_inside(target, path.resolve()):
            _refuse_overlap(target, path.resolve(), what, both=True)


def _refuse_overlap(target: Path, path: Path, what: str, *, both: bool) -> None:
    """Raise InputError where `path` is `target` or lies in it, or, with `both`, the other way round."""
    if (below := _is_inside(path, target)) or (both and _is_inside(target, path)):
        place = _("there") if below and _is_inside(target, path) else _("in it") if below else _("around it")
        raise InputError(
            _("`{target}` cannot be written to: {what} is {place}; choose another folder with `--out`").format(
                target=target, what=what, place=place
            )
        )


def _runs_around(target: Path) -> Iterator[Run]:
    for folder in (target, *target.parents):
        if (folder / "run.json").is_file():
            with suppress(InputError):  # it is none, or too damaged to take anything for its own
                yield load_run(folder)


def _is_same_path(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)  # by links and mounts of the same, too
    except OSError:
        return False


def _is_inside(inner: Path, outer: Path) -> bool:
    return any(each == outer or _is_same_path(each, outer) for each in (inner, *inner.parents))


def _foreign_files(folder: Path, record: dict[str, Any]) -> Iterator[str]:
    """Yield what in a folder is not as its record says."""
    if "files" in record:
        yield from written_files.unknown_files(folder, record["files"])
        return
    base = Path(str(record.get("base") or "/dev/null"))
    for path in sorted(folder.iterdir()):
        from_base = path.suffix in FROM_BASE and (base / path.name).is_file()
        known = from_base or any(fnmatchcase(path.name, pattern) for pattern in OLDER)
        if not (known and written_files.is_plain_file(path)):
            yield written_files.quoted_name(path)


def _write_record(folder: Path, kind: Kind) -> None:
    card = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    files = {name: file for name, file in written_files.files_in(folder).items() if name != CARD}
    write_json(folder / CARD, {**card, "kind": kind, "files": files})


def _remove_leftovers(target: Path) -> None:
    for left in scratch_files_of(target):
        with suppress(OSError):
            left.rmdir()  # killed when nothing was left but that
        with suppress(OSError), (left / "lock").open("rb") as lock:
            if flock(lock):
                if (left / "old").exists() and not os.path.lexists(target):  # killed between the two renames
                    (left / "old").rename(target)
                shutil.rmtree(left)
