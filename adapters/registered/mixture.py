"""Several datasets, or some samples of one, as one dataset: a file in `.ftbridge/datasets`, mixed by a seed.

All who train, count, check or show a dataset take the mixture like any other. It is made anew when the content of a
part, what is taken of it, or the seed changes.
"""

import hashlib
import os
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec

from ftbridge import __version__
from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.registered.dataset import (
    Dataset,
    DatasetPart,
    files_read_by,
    record_hashes,
    resolve_dataset,
)
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.adapters.targets.sample_file import ARRAY, LINES
from ftbridge.adapters.targets.xtuner import with_flags
from ftbridge.core.console import say
from ftbridge.core.files.atomic import scratch_file
from ftbridge.core.records import DatasetEntry, EntryOptions
from ftbridge.core.train_spec import DatasetChoice, refuse_twice
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.language import gettext as _
from ftbridge.language import joined

DATASETS = Path(".ftbridge/datasets")  # in a project
MIXED = "mixed-"  # how the names of mixtures begin
FOR_LLAMAFACTORY = "sharegpt"  # the target that it is given a mixture in


def is_mixture(choices: Sequence[DatasetChoice]) -> bool:
    """Tell whether choices are more, or less, than one whole dataset."""
    return len(choices) > 1 or any(each.take is not None for each in choices)


def is_mixture_file(path: Path) -> bool:
    """Tell whether a path is that of a mixture."""
    return path.name.startswith(MIXED) and path.parent.name == DATASETS.name


def unused_mixtures(cache: Path, used: Collection[str]) -> Iterator[Path]:
    """Yield the mixtures in `cache` whose file names are not among those `used`."""
    for name, entry in sorted(registry.converted_entries(cache).items()):
        if name.startswith(MIXED):
            yield from (cache / file for file in entry.files.values() if file not in used)


def remove_mixture(path: Path) -> None:
    """Remove a mixture, the file and its entry; raises SetupError where that fails."""
    registry.remove(path.parent, [path.name.partition(".")[0]], edits=True)


def resolve_choices(
    dataset_dir: Path, choices: Sequence[DatasetChoice], target: str, cache: Path, seed: int, *, mix: bool = False
) -> Dataset:
    """Return the dataset of one or several `choices`, with hashes; what is no single whole dataset is mixed in `cache`.

    `seed` decides which samples are taken, and the order. With `mix` a single whole one is mixed, too, so that its
    entry is in `cache`. Raises InputError as `resolve_dataset` does for each, UsageError for one that is named twice,
    or has fewer samples than are asked for.
    """
    mixed = mix or is_mixture(choices)
    written = target or (FOR_LLAMAFACTORY if mixed else "")
    datasets = [record_hashes(resolve_dataset(dataset_dir, each.name, written, cache), written) for each in choices]
    if not mixed:
        return datasets[0]
    refuse_twice([each.name for each in datasets])
    parts = [
        DatasetPart(data.name, choice.samples_of(data.entry.samples), data.entry.samples)
        for data, choice in zip(datasets, choices, strict=True)
    ]
    return _mixture(datasets, parts, written, cache, seed)


def _mixture(datasets: Sequence[Dataset], parts: Sequence[DatasetPart], target: str, cache: Path, seed: int) -> Dataset:
    contents = [(*data.sha256.values(), part.samples) for data, part in zip(datasets, parts, strict=True)]
    key = hashlib.sha256(msgspec.json.encode((contents, target, seed, __version__))).hexdigest()[:16]
    name = f"{MIXED}{key}"
    own = registry.converted_entries(cache, [name]).get(name)
    file = f"{name}.{target}.jsonl"
    if not own or not (cache / file).is_file() or digest(cache / file) != own.options.sha256[target]:
        say(_("mixing {names}").format(names=joined(", ", (part.text for part in parts))))
        with scratch_file(cache / file) as out:
            _write(out, datasets, parts, target, seed)
            entry = _entry_of(datasets, parts, target, file, digest(Path(out.name)))
            registry.register(cache, {name: entry}, replace=True, files={file: out})
        own = entry
    return Dataset(
        name,
        cache,
        own,
        sha256={file: own.options.sha256[target]}
        | {key: value for data in datasets for key, value in data.sha256.items()},
        edited="; ".join(f"`{data.name}`: {data.edited}" for data in datasets if data.edited),
        parts=tuple(parts),
    )


def _entry_of(
    datasets: Sequence[Dataset], parts: Sequence[DatasetPart], target: str, file: str, sha256: str
) -> DatasetEntry:
    systems = {data.entry.system for data in datasets}
    several = len(systems) > 1 or any(data.entry.several_systems for data in datasets)
    return DatasetEntry(
        version=__version__,
        files={target: file},
        samples=sum(part.samples for part in parts),
        sources={name: sha256 for data in datasets for name, sha256 in data.entry.sources.items()},
        columns={},
        system=systems.pop() if len(systems) == 1 else "",
        several_systems=several,
        options=EntryOptions(sha256={target: sha256}),
    )


def _write(out: IO[bytes], datasets: Sequence[Dataset], parts: Sequence[DatasetPart], target: str, seed: int) -> None:
    """Write the chosen samples in random order; of them, places alone are held in memory."""
    import numpy as np

    read = [files_read_by(target, data)[1] for data in datasets]
    # In an array texts that are all dates stay texts; where a part needs that, the mixture may.
    head, between, tail = ARRAY if any(_begins_with(file, b"[") for files in read for file in files) else LINES
    encode: Callable[[Any], bytes] = msgspec.json.encode
    if target == CONVERSATIONS and any(map(_is_flagged, read)):
        encode = lambda values: with_flags(msgspec.json.encode(values))  # noqa: E731
    with TemporaryFile(dir=Path(out.name).parent) as staged:
        starts = array("Q", [0])
        for files, part in zip(read, parts, strict=True):
            chosen = np.zeros(part.total, bool)
            chosen[np.random.default_rng(seed).permutation(part.total)[: part.samples]] = True
            for values, wanted in zip(_values(files), chosen.tolist(), strict=False):
                if wanted:
                    staged.write(encode(values))
                    starts.append(staged.tell())
        staged.flush()
        order = np.random.default_rng(seed).permutation(len(starts) - 1)
        before = head
        for at in order.tolist():
            out.write(before + os.pread(staged.fileno(), starts[at + 1] - starts[at], starts[at]))
            before = between
    out.write(tail)
    out.flush()


def _values(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        for row in entry_reader.read_rows(file):
            yield row.values


def _is_flagged(files: Sequence[Path]) -> bool:
    """Tell whether the turns of XTuner's samples say whether they are trained: all of a file do, or none."""
    first = next(_values(files), {})
    return any("output_with_loss" in turn for turn in first.get("conversation", ()))


def _begins_with(file: Path, mark: bytes) -> bool:
    with file.open("rb") as content:
        return content.read(len(mark)) == mark
