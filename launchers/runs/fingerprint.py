"""What tells a base model from another one of the same shape, in a fraction of a second and without loading it.

A few hundred bytes of each tensor are read, by the headers of its safetensors files; pickled weights are never
unpickled, and sampled as files. So another training's weights are seen, and a change of single numbers need not be.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftbridge.core.console import counted, first_few
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import sha256
from ftbridge.core.parsing.safetensors_header import INDEXES, stored_tensors, weight_map
from ftbridge.language import gettext as _

_WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin", "*.safetensors", "*.bin", "*.pt", "*.pth")
# What decides what the model computes, and which tokens it is given. README.md and the like do not.
_FILE_PATTERNS = (
    "config.json", "tokenizer*", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json",
    "spiece.model", "chat_template*", *INDEXES,
)  # fmt: skip
# What is read of the weights.
PLACES_PER_TENSOR, PLACE_BYTES = 4, 128
MOST_PLACES = 4096  # in all, from where a tensor has fewer: each may cost the disk a few milliseconds
PLACES_PER_PICKLE, PICKLE_END_BYTES = 64, 1 << 16  # the end of a pickled file lists the checksum of each tensor


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """Hashes that tell a base model from another one, as run.json keeps them.

    `files` maps its small files to their sha256, `weights` those with weights to their bytes. `tensors` is the sha256
    of the tensors' names, dtypes and shapes, and `samples` has eight hexadecimal digits for each, by the order of
    their names; a pickled file counts as one tensor.
    """

    files: dict[str, str]
    weights: dict[str, int]
    tensors: str
    samples: str

    @property
    def short(self) -> str:
        """Return twelve hexadecimal digits that tell these weights from others."""
        return hashlib.sha256(f"{self.tensors}{self.samples}".encode()).hexdigest()[:12]


class BaseChanges(NamedTuple):
    """What differs in a base model: its weights, in words ("" for nothing), and the names of its other files."""

    weights: str
    files: list[str]


class _WeightRange(NamedTuple):
    """The bytes of a tensor, or of a pickled file of weights; `kind` is its dtype and shape, or the file's size."""

    name: str
    kind: str
    file: Path
    start: int
    size: int
    pickled: bool = False


def fingerprint(model: Path) -> Fingerprint:
    """Return the fingerprint of a model's folder; raises InputError where a file of it cannot be read."""
    return _fingerprint(model)[0]


def base_changes(model: Path, recorded: Fingerprint) -> BaseChanges:
    """Return what in a model's folder is not as it was `recorded`; where its files lie, and are cut, does not matter.

    Raises InputError where a file cannot be read.
    """
    now, names = _fingerprint(model)
    weights = ""
    if now.tensors != recorded.tensors:
        files = sorted({f"`{name}`" for name, _ in now.weights.items() ^ recorded.weights.items()})
        weights = _("its tensors differ in names, dtypes or shapes{files}").format(
            files=f" ({first_few(files, 3)})" if files else ""
        )
    elif now.samples != recorded.samples:
        digests = zip(names, _split_digests(now.samples), _split_digests(recorded.samples), strict=False)
        changed = [f"`{name}`" for name, digest, before in digests if digest != before]
        weights = _("{count} of its {tensors}, such as {changed}").format(
            count=len(changed),
            tensors=counted(len(names), "tensor differs", "tensors differ"),
            changed=changed[0],
        )
    others = {name: None for name in (*recorded.files, *now.files) if name not in INDEXES}
    return BaseChanges(weights, [name for name in others if now.files.get(name) != recorded.files.get(name)])


def _fingerprint(model: Path) -> tuple[Fingerprint, list[str]]:
    """Return the fingerprint, and the tensors' names in order."""
    try:
        weights = _weight_files(model)
        others = [file for pattern in _FILE_PATTERNS for file in sorted(model.glob(pattern))]
        files = {file.relative_to(model).as_posix(): file for file in [*others, *sorted(model.rglob("*.py"))]}
        ranges = {each.name: each for name, file in weights.items() for each in _weight_ranges(name, file)}
        ordered = [ranges[name] for name in sorted(ranges)]
        result = Fingerprint(
            files={name: sha256(file) for name, file in files.items() if file.is_file() and name not in weights},
            weights={name: file.stat().st_size for name, file in weights.items()},
            tensors=hashlib.sha256("\n".join(f"{each.name} {each.kind}" for each in ordered).encode()).hexdigest(),
            samples="".join(_tensor_digests(ordered)),
        )
    except OSError as error:
        raise InputError(_("cannot read the model in `{model}`: {error}").format(model=model, error=error)) from error
    return result, [each.name for each in ordered]


def _weight_files(model: Path) -> dict[str, Path]:
    """Return the files that hold the weights by name: those that an index names, or of the first kind that is there."""
    for index in INDEXES:
        with suppress(InputError):  # it is not there, or damaged
            files_by_tensor = weight_map(model, [index])
            if files_by_tensor:
                return {
                    name: model / name for name in sorted(set(files_by_tensor.values())) if (model / name).is_file()
                }
    kinds = (sorted(file for file in model.glob(kind) if file.is_file()) for kind in _WEIGHT_PATTERNS)
    return {file.name: file for file in next(filter(None, kinds), [])}


def _weight_ranges(name: str, file: Path) -> Iterator[_WeightRange]:
    """Yield the tensors of a safetensors file; any other file is one range."""
    tensors = stored_tensors(file)
    if not tensors:  # pickled, or damaged, which others tell
        size = file.stat().st_size
        yield _WeightRange(name, str(size), file, 0, size, pickled=True)
        return
    for tensor, stored in tensors.items():
        yield _WeightRange(tensor, f"{stored.dtype} {stored.shape}", file, stored.start, stored.size)


def _tensor_digests(ranges: list[_WeightRange]) -> Iterator[str]:
    """Yield eight hexadecimal digits for each tensor: the BLAKE2 of a few of its bytes."""
    places = max(1, min(PLACES_PER_TENSOR, MOST_PLACES // max(1, len(ranges))))
    descriptors: dict[Path, int] = {}
    try:
        for each in ranges:
            if each.file not in descriptors:
                descriptors[each.file] = os.open(each.file, os.O_RDONLY)
            digest = hashlib.blake2b(digest_size=4)
            for offset, width in _sampled_places(each, places):
                digest.update(os.pread(descriptors[each.file], width, offset))
            yield digest.hexdigest()
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _sampled_places(weights: _WeightRange, places: int) -> Iterator[tuple[int, int]]:
    """Yield offset and width of what is read of a tensor: spread evenly from its first bytes to its last ones."""
    if weights.pickled:
        places = PLACES_PER_PICKLE
        yield weights.start + max(0, weights.size - PICKLE_END_BYTES), PICKLE_END_BYTES
    if weights.size <= places * PLACE_BYTES:
        yield weights.start, weights.size
        return
    for number in range(places):
        share = number / (places - 1) if places > 1 else 0.5
        yield weights.start + int((weights.size - PLACE_BYTES) * share), PLACE_BYTES


def _split_digests(samples: str) -> list[str]:
    return [samples[start : start + 8] for start in range(0, len(samples), 8)]
