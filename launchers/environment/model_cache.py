"""Models in the caches of Hugging Face and ModelScope on this machine, found without the network or their clients."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ftbridge.core.errors import InputError
from ftbridge.core.files.owner import refuse_unreadable
from ftbridge.core.parsing.safetensors_header import INDEXES, weight_map
from ftbridge.launchers.process import caches

_HUB_NAME = re.compile(r"(?:(?P<hub>hf|ms)://)?(?P<name>[\w.-]+/[\w.-]+)")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_SHARD = re.compile(r".+-\d{5}-of-(\d{5})\.(?:safetensors|bin)")
_OWNER_AND_NAME = re.compile(r"(?:models--)?([\w.-]+?)--([\w.-]+)")


def is_hub_name(model: str) -> bool:
    """Tell whether a text is `owner/name`, also with `hf://` or `ms://` before it, and no path."""
    return bool(_HUB_NAME.fullmatch(model)) and not model.startswith((".", "/", "~"))


def split_hub_name(model: str) -> tuple[str, str]:
    """Return the hub ("hf", "ms", or "" where it does not say) and the `owner/name` of a text that is a hub's name."""
    match = _HUB_NAME.fullmatch(model)
    return (match["hub"] or "", match["name"]) if match else ("", model)


def offline_variable() -> str:
    """Return the environment variable by which the user forbids the network, such as `HF_HUB_OFFLINE=1`; "" for none.

    Either one of Hugging Face's counts for ModelScope, which has none of its own.
    """
    values = ((name, os.environ.get(name, "")) for name in _OFFLINE)
    return next((f"{name}={value}" for name, value in values if value.upper() in {"1", "ON", "YES", "TRUE"}), "")


def cached_model(model: str, *, weights: bool = True, commit: str = "") -> Path | None:
    """Return the folder of a hub's model in the caches, None where it is in none of them.

    A bare `owner/name` is looked for in Hugging Face's, then in ModelScope's. With `weights` all of them must be there.
    Of several revisions the one called `commit` comes first, then the newest. Raises InputError where the only one may
    not be read by this user.
    """
    unreadable = None
    for folder in _candidates(model, commit):
        try:
            refuse_unreadable(folder)
        except InputError as error:
            unreadable = error
            continue
        if folder.is_dir() and _is_complete(folder, weights=weights):
            return folder.resolve()
    if unreadable:
        raise unreadable
    return None


def hub_name(model: Path) -> str:
    """Return what a folder in a cache was downloaded as: `owner/name`, `ms://owner/name` of ModelScope; else ""."""
    if model.parent.name == "snapshots":
        found = _OWNER_AND_NAME.fullmatch(model.parent.parent.name)
        hub = "" if model.parent.parent.name.startswith("models--") else "ms://"
        return f"{hub}{found[1]}/{found[2]}" if found else ""
    for root in (*cache_folders("ms"), *(parent for parent in model.parents if parent.name == "modelscope")):
        with suppress(ValueError):
            inner = [part for part in model.relative_to(root.resolve()).parts if part not in {"hub", "models"}]
            if len(inner) == 2:  # noqa: PLR2004 - owner and name
                return f"ms://{inner[0]}/{inner[1].replace('___', '.')}"
    return ""


def commit_of(model: Path) -> str:
    """Return the revision that a folder in a cache holds, "" where its path does not say."""
    return model.name if model.parent.name == "snapshots" else ""


def cache_folders(hub: str) -> list[Path]:
    """Return the caches of `hub`, both for "": where its client keeps models, and where ftbridge has moved that."""
    moved = caches.environment_variables()
    names = {"hf": ["HF_HUB_CACHE"], "ms": ["MODELSCOPE_CACHE"]}.get(hub, ["HF_HUB_CACHE", "MODELSCOPE_CACHE"])
    return [place for name in names for place in (caches.places()[name], *map(Path, filter(None, [moved.get(name)])))]


def _candidates(model: str, commit: str) -> Iterator[Path]:
    """Yield the folders that may hold a model, in the layouts of the clients' versions, those that count most first."""
    hub, name = split_hub_name(model)
    owner, _, short = name.partition("/")
    if hub != "ms":
        for cache in cache_folders("hf"):
            yield from _snapshots(cache / f"models--{owner}--{short}", commit)
    if hub != "hf":
        for cache in cache_folders("ms"):
            yield from _snapshots(cache / "models" / f"{owner}--{short}", commit)
            folders = (cache / "models", cache / "hub" / "models", cache / "hub", cache)
            yield from (folder / owner / each for folder in folders for each in (short.replace(".", "___"), short))


def _snapshots(folder: Path, commit: str) -> Iterator[Path]:
    with suppress(OSError):
        commit = commit or (folder / "refs" / "main").read_text("utf-8").strip()
    if commit:
        yield folder / "snapshots" / Path(commit).name
    with suppress(OSError):
        yield from sorted((folder / "snapshots").iterdir(), key=lambda each: -each.stat().st_mtime)


def _is_complete(folder: Path, *, weights: bool) -> bool:
    """Tell whether a cached folder has config.json, or all its weights: a download may have been stopped."""
    if not weights:
        return (folder / "config.json").is_file()
    with suppress(InputError):
        if named := {*weight_map(folder, INDEXES).values()}:
            return all((folder / file).is_file() for file in named)
    files = [file.name for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth") for file in folder.glob(pattern)]
    shards = [match for file in files if (match := _SHARD.fullmatch(file))]
    return bool(files) and all(len(shards) >= int(match[1]) for match in shards)
