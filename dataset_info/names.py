"""Which files an entry of dataset_info.json names, and which of them are ours."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REGISTRY = "dataset_info.json"
# The target, and the formatting of its entries, that holds whole conversations, which LLaMA-Factory does not read.
CONVERSATIONS = "xtuner"
# The target that holds messages, of which tokens are made once for all frameworks.
MESSAGES = "messages"
# How the names end that files have on their way; LLaMA-Factory tells the type of a file by its last ending.
STAGED = ".staged.jsonl"
VALID_NAME = re.compile(r"\w[\w.-]*")  # of a dataset
_PART_NAME = re.compile(r"(.+)-(?:train|validation|test)(?:-\d+)?", re.DOTALL)
_STAGED_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8}" + re.escape(STAGED), re.DOTALL)


def may_be_ours(name: str) -> bool:
    """Tell whether a file of a dataset may have this name; others are never written or deleted."""
    return bool(final_name(name)) or (Path(name).name == name and not name.startswith(".") and name != REGISTRY)


def final_name(name: str) -> str:
    """Return the name that a file on its way is to have, "" for one that is on none."""
    found = _STAGED_NAME.fullmatch(name)
    return found[1] if found and may_be_ours(found[1]) else ""


def is_ours(raw: Any) -> bool:
    """Tell whether ftbridge made an entry."""
    return isinstance(raw, dict) and isinstance(raw.get("ftbridge"), dict)


def dataset_names(names: Iterable[str]) -> set[str]:
    """Return the names of the datasets that these are parts of."""
    return {match[1] for match in map(_PART_NAME.fullmatch, names) if match}


def all_files_named(known: Mapping[str, Any]) -> set[str]:
    """Return all files that entries name."""
    return {each for raw in known.values() for each in files_named(raw)}


def files_named(raw: Any) -> set[str]:
    """Return the files that an entry names, those of rejected rows as well.

    One on its way has two names: that which it has, and that which it is to have.
    """
    if not isinstance(raw, dict):
        return set()
    own = raw["ftbridge"] if is_ours(raw) else {}
    options = own["options"] if isinstance(own.get("options"), dict) else {}
    files = [raw.get("file_name")]
    files += own["files"].values() if isinstance(own.get("files"), dict) else ()
    files += options["rejected"] if isinstance(options.get("rejected"), dict) else ()
    found = {each for each in files if isinstance(each, str)}
    return found | {*map(final_name, found)} - {""}
