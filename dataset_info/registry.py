"""dataset_info.json, the list of datasets that LLaMA-Factory and ftbridge both read.

An entry of ours is spliced into the text, so that every byte of other entries stays as it is:

    "medqa-train": {"file_name": "medqa-train.alpaca.jsonl", "formatting": "alpaca",
                    "columns": {"prompt": "instruction", ...}, "ftbridge": {...}}

The columns are those of the target that wrote the file. LLaMA-Factory reads dataset_info.json in the locale's
encoding, so ours is ASCII, and reads named keys only, so the key `ftbridge` is ours alone.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftbridge.core import plugins
from ftbridge.core.errors import InputError
from ftbridge.core.files import locked, write_atomic
from ftbridge.core.records import DatasetEntry
from ftbridge.core.strict import closest, parse

FILE = "dataset_info.json"
# The ends of the names of a dataset's files of rejected rows.
REJECTED = (".rejected.jsonl", ".rejected.xlsx")
_part = re.compile(r"(.+)-(?:train|validation|test)(?:-\d+)?", re.DOTALL)
_blank = re.compile(r"[ \t\r\n]*")


class Span(NamedTuple):
    """Where an entry stands in the text: from the quote of its key to the end of its value."""

    key: int
    value: int
    end: int


class _Wish(msgspec.Struct, frozen=True):
    label_map: dict[str, str] | None = None


class _Asked(msgspec.Struct, frozen=True):
    wish: _Wish = _Wish()


class _Options(msgspec.Struct):
    """Those of an entry's options that are looked at, which somebody may have changed to anything."""

    dataset: str = ""
    asked: _Asked = _Asked()
    counts: dict[str, int] = {}
    sha256: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class Removed(msgspec.Struct, frozen=True):
    """What was taken out: names of entries, and files that were deleted."""

    entries: tuple[str, ...]
    files: tuple[Path, ...]


def look_up(dataset_dir: Path, name: str) -> tuple[str, Any]:
    """Return a dataset's full name and its entry as it stands; `medqa` means `medqa-train` where it is no entry.

    Raises InputError, with the closest name, where there is none.
    """
    known = read(dataset_dir)
    full = name if name in known else f"{name}-train"
    if full not in known:
        raise InputError(_unknown(dataset_dir, name, known))
    return full, known[full]


def find(dataset_dir: Path, name: str) -> tuple[str, DatasetEntry]:
    """Return the full name and the entry of a dataset of ours; `medqa` means `medqa-train` where it is no entry.

    Raises InputError, with the closest name, where there is none, or where it is not one of ours.
    """
    full, raw = look_up(dataset_dir, name)
    if not is_ours(raw):
        how = "by an older version; convert its source again"
        if not _made_here(raw):
            how = "by somebody else; convert its file under a name of its own"
        raise InputError(f"the dataset `{full}` in `{dataset_dir / FILE}` was made {how}")
    return full, entry_of(dataset_dir, full, raw)


def read(dataset_dir: Path) -> dict[str, Any]:
    """Return all entries as they stand, {} where there is no file; raises InputError where it is damaged."""
    return _parsed(dataset_dir / FILE, _text(dataset_dir / FILE))


def ours(dataset_dir: Path, names: Iterable[str] | None = None) -> dict[str, DatasetEntry]:
    """Return those of `names`, or of all, that are registered and were made by ftbridge."""
    known = read(dataset_dir)
    wanted = known if names is None else names
    return {name: entry_of(dataset_dir, name, known[name]) for name in wanted if is_ours(known.get(name))}


def written(dataset_dir: Path) -> set[str]:
    """Return the names of the files that ftbridge wrote into a folder; none where it has no whole registry of ours."""
    known: dict[str, Any] = {}
    with suppress(InputError):
        known = read(dataset_dir)
    made = {name: raw for name, raw in known.items() if _made_here(raw)}
    own = {FILE, *(f"{base}{end}" for base in _bases(made) for end in REJECTED)}
    return own.union(*map(_files, made.values())) if made else set()


def refuse_taken(dataset_dir: Path, sources: Mapping[str, dict[str, str]]) -> None:
    """Raise InputError where a name is registered with other sources (sha256 by name) than these."""
    _refuse_taken(dataset_dir, read(dataset_dir), sources)


def register(dataset_dir: Path, entries: Mapping[str, DatasetEntry], *, replace: bool = False) -> None:
    """Put `entries` in, in one step; raises InputError for a name that another source has taken."""
    with registering(dataset_dir, entries, replace=replace):
        pass


@contextmanager
def registering(
    dataset_dir: Path, entries: Mapping[str, DatasetEntry], *, drop: Iterable[str] = (), replace: bool = False
) -> Iterator[None]:
    """Hold the registry's lock while the block moves files into place, then put `entries` in.

    Entries of the same names, and those to `drop`, are taken out first: nothing that a failed block leaves
    behind looks like a finished dataset. Raises InputError for a name that another source has taken.
    """
    file = (dataset_dir / FILE).resolve()  # a link stays one
    with locked(file):
        text = _text(file)
        known = _parsed(file, text)
        drop = [name for name in drop if name in known]
        if not replace:
            _refuse_taken(dataset_dir, known, {name: entry.sources for name, entry in entries.items()})
        kept = removed(text, [name for name in (*entries, *drop) if name in known])
        if kept != text:
            write_atomic(file, kept)
        yield
        added = {name: _raw(entry) for name, entry in entries.items()}
        write_atomic(file, spliced(removed(text, drop), added))


def remove(dataset_dir: Path, names: Iterable[str]) -> Removed:
    """Take datasets out: the entry, or all parts and samples that `NAME` made, and the files that only they name.

    Of an entry that is not ours, which must be named exactly, the files stay. Raises InputError for an unknown
    name, and takes nothing out then.
    """
    file = (dataset_dir / FILE).resolve()
    if not file.exists():
        raise InputError(f"there is no dataset to remove: `{file}` is not there")
    with locked(file):
        text = _text(file)
        known = _parsed(file, text)
        chosen = list(dict.fromkeys(full for name in names for full in meant(dataset_dir, name, known)))
        write_atomic(file, removed(text, chosen))
        left = known.keys() - chosen
        candidates = {each for name in chosen for each in _files(known[name]) if _made_here(known[name])}
        candidates |= {f"{base}{end}" for base in _bases(chosen) - _bases(left) for end in REJECTED}
        candidates -= {each for name in left for each in _files(known[name])}
        # A name with a folder in it is none that we wrote.
        files = sorted(dataset_dir / each for each in candidates if Path(each).name == each)
        files = [each for each in files if each.is_file()]
        for each in files:
            each.unlink()
    return Removed(tuple(chosen), tuple(files))


def spliced(text: str, entries: Mapping[str, Any]) -> str:
    """Return the JSON object `text` with `entries` put in, or in place of those of the same name."""
    for name, value in entries.items():
        spans = _spans(text)
        start = text.index("{") + 1
        before = text[start : next(iter(spans.values())).key] if spans else "\n  "
        dumped = json.dumps(value)
        if "\n" in before:  # laid out as the others are
            dumped = json.dumps(value, indent=before.rpartition("\n")[2]).replace("\n", before)
        if name in spans:
            text = text[: spans[name].value] + dumped + text[spans[name].end :]
        elif spans:
            end = max(span.end for span in spans.values())
            text = f"{text[:end]},{before or ' '}{json.dumps(name)}: {dumped}{text[end:]}"
        else:
            text = f"{text[:start]}{before}{json.dumps(name)}: {dumped}\n{text[start:].lstrip()}"
    return text


def removed(text: str, names: Iterable[str]) -> str:
    """Return the JSON object `text` without `names`, every other byte as it was."""
    for name in names:
        spans = _spans(text)
        order = list(spans)
        at = order.index(name)
        if at + 1 < len(order):
            text = text[: spans[name].key] + text[spans[order[at + 1]].key :]
        else:
            start = spans[order[at - 1]].end if at else spans[name].key
            text = text[:start] + text[spans[name].end :]
    return text


def _spans(text: str) -> dict[str, Span]:
    """Return where each entry stands, in order; `text` is known to be one JSON object."""
    return dict(_keys(text))


def _keys(text: str) -> list[tuple[str, Span]]:
    decoder = json.JSONDecoder()
    spans = []
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        key, colon = decoder.raw_decode(text, at)
        value = _skip(text, _skip(text, colon) + 1)
        end = decoder.raw_decode(text, value)[1]
        spans.append((key, Span(at, value, end)))
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return spans


def _skip(text: str, at: int) -> int:
    match = _blank.match(text, at)
    return match.end() if match else at


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        return "{}\n"
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read `{file}`: {error}; LLaMA-Factory needs it as UTF-8 text") from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        known = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"`{file}` is not valid JSON ({error}); mend it or move it away") from error
    if not isinstance(known, dict):
        raise InputError(f"`{file}` holds no JSON object of datasets; mend it or move it away")
    if twice := [name for name, count in Counter(name for name, _ in _keys(text)).items() if count > 1]:
        raise InputError(f"`{file}` names the dataset `{twice[0]}` twice; leave one of them out")
    return known


def is_ours(raw: Any) -> bool:
    """Tell whether an entry was made by ftbridge, and not by its version 0.1.0, whose entries had no `files`."""
    return _made_here(raw) and not {"xtuner", "alpaca"} & raw["ftbridge"].keys()


def _made_here(raw: Any) -> bool:
    return isinstance(raw, dict) and isinstance(raw.get("ftbridge"), dict)


def is_edited(raw: dict[str, Any], own: DatasetEntry) -> bool:
    """Tell whether somebody has changed how the entry `raw` of ours is read: its file, columns, or anything else."""
    if not own.files.keys() <= set(plugins.names("targets")):
        return False  # the package that wrote it is not here
    return _theirs(raw) != _read_as(own)


def digest(raw: Any) -> str:
    """Return the sha256 of how an entry is read: of all but what is ours alone."""
    return hashlib.sha256(json.dumps(_theirs(raw), sort_keys=True).encode()).hexdigest()


def entry_of(dataset_dir: Path, name: str, raw: dict[str, Any]) -> DatasetEntry:
    """Return what an entry of ours says; raises InputError where somebody has changed it to what we do not write."""
    where = f"the entry `{name}` in `{dataset_dir / FILE}`"
    entry = parse(DatasetEntry, raw["ftbridge"], where)
    looked_at = {key: entry.options[key] for key in _Options.__struct_fields__ if key in entry.options}
    parse(_Options, looked_at, f"{where}, `options`")
    return entry


def _theirs(raw: dict[str, Any]) -> dict[str, Any]:
    """Return what LLaMA-Factory looks at in an entry."""
    return {key: value for key, value in raw.items() if key != "ftbridge"}


def _raw(entry: DatasetEntry) -> dict[str, Any]:
    return {**_read_as(entry), "ftbridge": msgspec.to_builtins(entry)}


def _read_as(entry: DatasetEntry) -> dict[str, Any]:
    """Return what LLaMA-Factory is told of an entry."""
    keys = {name: plugins.target(name).entry for name in sorted(entry.files)}
    readable = [name for name in keys if keys[name] is not None]  # alpaca before sharegpt
    # A format that LLaMA-Factory does not know, it refuses by its name: "Dataset converter xtuner not found".
    chosen = readable[0] if readable else min(keys)
    return {"file_name": entry.files[chosen], **(keys[chosen] or {"formatting": chosen})}


def meant(dataset_dir: Path, name: str, known: dict[str, Any]) -> list[str]:
    """Return the entries that `name` means: itself, or all parts of ours that a conversion of that name made.

    Raises InputError, with the closest name, where there is none.
    """
    parts = [key for key, raw in known.items() if _bases([key]) == {name} and _made_here(raw)]
    if name not in known and not parts:
        raise InputError(_unknown(dataset_dir, name, known))
    return [name] if name in known else parts


def _bases(names: Iterable[str]) -> set[str]:
    """Return the names of the datasets that these are parts of."""
    return {match[1] for match in map(_part.fullmatch, names) if match}


def _files(raw: Any) -> set[str]:
    """Return all files that an entry names."""
    if not isinstance(raw, dict):
        return set()
    own = raw["ftbridge"] if _made_here(raw) else {}
    named = [raw.get("file_name"), own.get("xtuner"), own.get("alpaca")]
    named += own["files"].values() if isinstance(own.get("files"), dict) else ()
    return {each for each in named if isinstance(each, str)}


def _unknown(dataset_dir: Path, name: str, known: dict[str, Any]) -> str:
    hint = closest(name, known) if known else "; none is registered yet"
    return (
        f"there is no dataset `{name}` in `{dataset_dir / FILE}`{hint} "
        f"(`ftbridge convert FILE --name {name}` makes one)"
    )


def _refuse_taken(dataset_dir: Path, known: dict[str, Any], sources: Mapping[str, dict[str, str]]) -> None:
    for name in sources.keys() & known.keys():
        old = known[name]["ftbridge"].get("sources") if _made_here(known[name]) else None
        old = old if isinstance(old, dict) else {"a file that ftbridge did not convert": ""}
        if {str(digest) for digest in old.values()} != set(sources[name].values()):
            raise InputError(
                f"the dataset `{name}` in `{dataset_dir / FILE}` comes from another source "
                f"({', '.join(old)}, or an earlier version of it); choose another `--name`, or put this in "
                f"its place with `--replace`"
            )
