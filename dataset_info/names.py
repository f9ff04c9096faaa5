"""Which files an entry of dataset_info.json names, and which of them are ours."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REGISTRY = "dataset_info.json"
# The target, and the formatting of its entries, that holds whole conversations, which LLaMA-Factory does not read.
CONVERSATIONS = "xtuner"
# How the names end that files have on their way; LLaMA-Factory tells the type of a file by its last ending.
STAGED = ".staged.jsonl"
# The ends of the names of a dataset's files of rejected rows.
REJECTED = (".rejected.jsonl", ".rejected.xlsx")
_part = re.compile(r"(.+)-(?:train|validation|test)(?:-\d+)?", re.DOTALL)
_staged = re.compile(r"\.(.+)\.[0-9a-f]{8}" + re.escape(STAGED), re.DOTALL)


def is_own(name: str) -> bool:
    """Tell whether a file of a dataset may have this name; others are never written or deleted."""
    return bool(settled(name)) or (Path(name).name == name and not name.startswith(".") and name != REGISTRY)


def settled(name: str) -> str:
    """Return the name that a file on its way is to have, "" for one that is on none."""
    found = _staged.fullmatch(name)
    return found[1] if found and is_own(found[1]) else ""


def is_made_here(raw: Any) -> bool:
    """Tell whether any version of ftbridge made an entry."""
    return isinstance(raw, dict) and isinstance(raw.get("ftbridge"), dict)


def bases(names: Iterable[str]) -> set[str]:
    """Return the names of the datasets that these are parts of."""
    return {match[1] for match in map(_part.fullmatch, names) if match}


def all_named(known: Mapping[str, Any]) -> set[str]:
    """Return all files that entries name."""
    return {each for name, raw in known.items() for each in named(name, raw)}


def named(name: str, raw: Any) -> set[str]:
    """Return the files that an entry names, those of rejected rows as well.

    One on its way has two names: that which it has, and that which it is to have.
    """
    if not isinstance(raw, dict):
        return set()
    own = raw["ftbridge"] if is_made_here(raw) else {}
    options = own.get("options")
    counts, rejected = (options.get("counts"), options.get("rejected")) if isinstance(options, dict) else (None, None)
    files = [raw.get("file_name"), own.get(CONVERSATIONS), own.get("alpaca")]
    files += own["files"].values() if isinstance(own.get("files"), dict) else ()
    if isinstance(rejected, dict):
        files += rejected
    elif own and not (isinstance(counts, dict) and counts.get("rejected") == 0):  # by an older version
        files += [f"{base}{end}" for base in bases([name]) for end in REJECTED]
    found = {each for each in files if isinstance(each, str)}
    return found | {*map(settled, found)} - {""}
