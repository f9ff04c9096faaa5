"""Which files of a folder or a repository are data, and of which config and split, as `datasets` tells it.

The README.md may say so in its front matter (`configs:` with `data_files:`); else `data/train-00000-of-00002.parquet`,
else the names of folders, else those of files: `train`, `validation`, `test` and their like between other letters.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ftbridge.adapters.sources.columnar.class_labels import Labels, labels_in_card
from ftbridge.adapters.sources.compression import unpacked_name
from ftbridge.adapters.sources.split_names import KEYWORDS, split_in_name
from ftbridge.adapters.sources.workbook.package import WORKBOOK_SUFFIXES
from ftbridge.core.console import first_few
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import sha256, sha256_of_files
from ftbridge.core.parsing.json_yaml import load_yaml, validation_reason
from ftbridge.dataset_info import registry
from ftbridge.language import gettext as _
from ftbridge.language import joined

# How many files a message names.
NAMES_SHOWN = 5
BINARY_SUFFIXES = {".arrow", ".feather", ".ipc", ".parquet", *WORKBOOK_SUFFIXES}
TEXT_SUFFIXES = {".csv", ".json", ".jsonl", ".ndjson", ".tab", ".tsv"}
# What describes data; the first six as in `datasets`, configuration.json of ModelScope.
NOT_DATA = {
    *("config.json", "configuration.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json"),
    *("state.json", "dummy_data.zip"),
}
SHARD = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
# The files of each split.
Splits = dict[str, list[str]]
# Patterns of files as `data_files:` holds them, also by split.
DataFiles = str | list[str | dict[str, Any]] | dict[str, str | list[str]]


class Config(msgspec.Struct):
    """An entry of `configs:`."""

    config_name: str = "default"
    data_files: DataFiles | None = None
    data_dir: str | None = None
    default: bool = False


class DatasetInfo(msgspec.Struct):
    """An entry of `dataset_info:`."""

    config_name: str = "default"
    features: list[dict[str, Any]] = []


class DatasetCard(msgspec.Struct):
    """The front matter of a README.md."""

    configs: list[Config] | None = None
    dataset_info: DatasetInfo | list[DatasetInfo] | None = None

    def labels(self, config: str) -> Labels:
        """Return the names of the class labels of a config."""
        infos = self.dataset_info if isinstance(self.dataset_info, list) else [self.dataset_info or DatasetInfo()]
        return labels_in_card(
            next((info.features for info in infos if info.config_name == config or len(infos) == 1), [])
        )

    def default(self) -> str:
        """Return the config that is taken where none is asked for."""
        return next((config.config_name for config in self.configs or [] if config.default), "default")


def read_dataset_card(folder: Path) -> tuple[DatasetCard, tuple[str, ...]]:
    """Return the front matter of the README.md in `folder`, and a note for the user where it is broken."""
    file = folder / "README.md"
    if not file.is_file():
        return DatasetCard(), ()
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        found = re.match(r"---\s*\n(.*?)\n---", text.read(1 << 20), re.DOTALL)
    try:
        return msgspec.convert(load_yaml(found[1], "it") if found else {}, DatasetCard, strict=False), ()
    except (InputError, msgspec.ValidationError, RecursionError) as error:
        return DatasetCard(), (
            _("the front matter of README.md is ignored, as it is broken: {split}").format(
                split=joined(" ", validation_reason(str(error)).split())
            ),
        )


def data_files(names: Iterable[str]) -> list[str]:
    """Return the data files among `names`, which are relative to their folder, in natural order."""
    found = []
    for name in names:
        path = PurePosixPath(name)
        unpacked = unpacked_name(path)
        known = TEXT_SUFFIXES | BINARY_SUFFIXES if unpacked == path else TEXT_SUFFIXES
        hidden = path.is_absolute() or any(part.startswith((".", "__", "~$")) for part in path.parts)
        if not hidden and path.name not in NOT_DATA and unpacked.suffix.lower() in known:
            found.append(name)
    return sorted(found, key=_natural_key)


def configs(names: Iterable[str], card: DatasetCard) -> dict[str, Splits]:
    """Return the data files by config and split; a config that nothing names is "", and so is a split."""
    files = data_files(names)
    declared = [config for config in card.configs or [] if config.data_files or config.data_dir]
    found = {config.config_name: _declared_splits(config, files) for config in declared} or {"": splits_by_name(files)}
    return {config: those for config, those in found.items() if any(those.values())}


def choose_name(found: Collection[str], wanted: str, default: str) -> str | None:
    """Return which config or split of `found` is meant: `wanted`, else the only one, else the `default`; None for none.

    One without a name is the default.
    """
    key = wanted or (next(iter(found)) if len(found) == 1 else default)
    key = "" if key == default and key not in found else key
    return key if key in found else None


def splits_by_name(files: list[str]) -> Splits:
    """Return `files` by split as their names tell it, all under "" where no name does."""
    shards = [(match[1], file) for file in files if (match := SHARD.fullmatch(file))]
    by_folder = [(split_in_name(str(PurePosixPath(file).parent)), file) for file in files]
    by_name = [(split_in_name(PurePosixPath(file).name), file) for file in files]
    for found in (shards, by_folder, by_name):
        if any(split for split, _unused in found):
            return _group_by_split((split, file) for split, file in found if split)
    return {"": files} if files else {}


def _declared_splits(config: Config, files: list[str]) -> Splits:
    """Return the files of a config by split, as its `data_dir` and `data_files` say."""
    base = PurePosixPath(config.data_dir or "")
    inside = {
        str(PurePosixPath(file).relative_to(base)): file for file in files if PurePosixPath(file).is_relative_to(base)
    }
    found = _splits_by_patterns(config.data_files, list(inside)) if config.data_files else splits_by_name(list(inside))
    return {split: [inside[name] for name in names] for split, names in found.items()}


def _splits_by_patterns(patterns: DataFiles, files: list[str]) -> Splits:
    """Return the files that fit the patterns of each split; patterns without a split are of train."""
    if isinstance(patterns, dict):
        return {split: _matching_files(wanted, files) for split, wanted in patterns.items()}
    found: Splits = {}
    for entry in [patterns] if isinstance(patterns, str) else patterns:
        split, wanted = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        found.setdefault(str(split), []).extend(_matching_files(wanted, files))
    return found


def _matching_files(patterns: Any, files: Iterable[str]) -> list[str]:
    patterns = patterns if isinstance(patterns, list) else [patterns]
    wanted = [PurePosixPath(str(pattern)).parts for pattern in patterns]
    return [file for file in files if any(_path_matches(pattern, PurePosixPath(file).parts) for pattern in wanted)]


@lru_cache(1 << 14)
def _path_matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Tell whether the parts of a path match those of a pattern; `**` stands for any number of them."""
    if not pattern or not path:
        return not path and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _path_matches(pattern[1:], path) or _path_matches(pattern, path[1:])
    return fnmatchcase(path[0], pattern[0]) and _path_matches(pattern[1:], path[1:])


def _group_by_split(pairs: Iterable[tuple[str, str]]) -> Splits:
    found: Splits = {}
    for split, file in sorted(pairs, key=lambda pair: [*KEYWORDS, pair[0]].index(pair[0])):
        found.setdefault(split, []).append(file)
    return found


def _natural_key(name: str) -> list[Any]:
    return [int(piece) if piece.isascii() and piece.isdigit() else piece for piece in re.split("([0-9]+)", name)]


def digest(path: Path) -> str:
    """Return the sha256 of a file, or of all files in a folder that `files_below` names, with their names."""
    try:
        if not path.is_dir():
            return sha256(path)
        names = sorted(name for name in files_below(path) if (path / name).is_file())
        return sha256_of_files({name: path / name for name in names})
    except OSError as error:
        raise InputError(
            _("`{path}` cannot be read: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error


def files_below(path: Path) -> Iterator[str]:
    """Yield the files below a folder by their relative names; what is hidden, and what ftbridge wrote, is left out."""
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        own = registry.files_written(Path(folder))
        shown = [name for name in files if name not in own and not name.startswith(".")]
        yield from (Path(folder, name).relative_to(path).as_posix() for name in shown)


def other_files_message(names: Iterable[str]) -> str:
    """Return what else is there, for a message."""
    shown = sorted(name for name in names if not PurePosixPath(name).name.startswith("."))
    if not shown:
        return _("; it is empty, or holds only what ftbridge wrote")
    scripts = _("; dataset scripts are not run") if any(name.endswith(".py") for name in shown) else ""
    return f": {first_few([f'`{name}`' for name in shown], NAMES_SHOWN)}{scripts}"


def left_out_notes(names: Iterable[str], configs: dict[str, Splits]) -> tuple[str, ...]:
    """Return a note on data files that are of no split."""
    used = {file for splits in configs.values() for files in splits.values() for file in files}
    left = [name for name in data_files(names) if name not in used]
    return (
        (_("skipped files that belong to no split: {left}").format(left=first_few(left, NAMES_SHOWN)),) if left else ()
    )
