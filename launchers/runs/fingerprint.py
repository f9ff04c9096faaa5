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

from ftbridge.core.console import first_few
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import sha256
from ftbridge.core.parsing.safetensors_header import INDEXES, stored_tensors, weight_map

_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.safetensors", "*.bin", "*.pt", "*.pth")
# What decides what the model computes, and which tokens it is given. README.md and the like do not.
_FILES = (
    "config.json", "tokenizer*", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json",
    "spiece.model", "chat_template*", *INDEXES,
)  # fmt: skip
PLACES, WIDTH = 4, 128  # of a tensor, the width in bytes
MOST = 4096  # places in all, from where a tensor has fewer: each may cost the disk a few milliseconds
PACKED_PLACES, END = 64, 1 << 16  # of a pickled file, whose end lists the checksum of each tensor


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json keeps of a base model.

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
        """Return twelve digits that tell these weights from others."""
        return hashlib.sha256(f"{self.tensors}{self.samples}".encode()).hexdigest()[:12]


class Changes(NamedTuple):
    """What differs in a base: its weights, in words ("" for nothing), and the names of other files that matter."""

    weights: str
    files: list[str]


class _Stretch(NamedTuple):
    """A tensor, or a file of weights that is not looked into: what it is called and is, and where its bytes lie."""

    name: str
    kind: str
    file: Path
    begin: int
    size: int
    packed: bool = False


def fingerprint(model: Path) -> Fingerprint:
    """Return the fingerprint of a model's folder; raises InputError where a file of it cannot be read."""
    return _fingerprint(model)[0]


def changes(model: Path, recorded: Fingerprint) -> Changes:
    """Return what in a model's folder is not as it was `recorded`; where its files lie, and are cut, does not matter.

    Raises InputError where a file cannot be read.
    """
    now, names = _fingerprint(model)
    weights = ""
    if now.tensors != recorded.tensors:
        files = sorted({f"`{name}`" for name, _ in now.weights.items() ^ recorded.weights.items()})
        weights = f"its tensors differ in names, dtypes or shapes{f' ({first_few(files, 3)})' if files else ''}"
    elif now.samples != recorded.samples:
        pairs = zip(names, _digits(now.samples), _digits(recorded.samples), strict=False)
        found = [f"`{name}`" for name, here, there in pairs if here != there]
        weights = f"{len(found)} of its {len(names)} tensors differ, such as {found[0]}"
    known = {name: None for name in (*recorded.files, *now.files) if name not in INDEXES}
    return Changes(weights, [name for name in known if now.files.get(name) != recorded.files.get(name)])


def _fingerprint(model: Path) -> tuple[Fingerprint, list[str]]:
    """Return the fingerprint, and the tensors' names in order."""
    try:
        weights = _weights(model)
        small = {file.name: file for pattern in _FILES for file in sorted(model.glob(pattern)) if file.is_file()}
        small |= {file.relative_to(model).as_posix(): file for file in sorted(model.rglob("*.py")) if file.is_file()}
        stretches = {each.name: each for name, file in weights.items() for each in _stretches(name, file)}
        ordered = [stretches[name] for name in sorted(stretches)]
        made = Fingerprint(
            files={name: sha256(file) for name, file in small.items() if name not in weights},
            weights={name: file.stat().st_size for name, file in weights.items()},
            tensors=hashlib.sha256("\n".join(f"{each.name} {each.kind}" for each in ordered).encode()).hexdigest(),
            samples="".join(_samples(ordered)),
        )
    except OSError as error:
        raise InputError(f"cannot read the model in `{model}`: {error}") from error
    return made, [each.name for each in ordered]


def _weights(model: Path) -> dict[str, Path]:
    """Return the files that hold the weights by name: those that an index names, or of the first kind that is there."""
    for index in INDEXES:
        with suppress(InputError):  # it is not there, or damaged
            if not (named := weight_map(model, [index])):
                continue
            return {name: model / name for name in sorted(set(named.values())) if (model / name).is_file()}
    kinds = (sorted(file for file in model.glob(kind) if file.is_file()) for kind in _WEIGHTS)
    return {file.name: file for file in next(filter(None, kinds), [])}


def _stretches(name: str, file: Path) -> Iterator[_Stretch]:
    tensors = stored_tensors(file)
    if not tensors:  # pickled, or damaged, which others tell
        size = file.stat().st_size
        yield _Stretch(name, str(size), file, 0, size, packed=True)
        return
    for tensor, stored in tensors.items():
        yield _Stretch(tensor, f"{stored.dtype} {stored.shape}", file, stored.start, stored.size)


def _samples(stretches: list[_Stretch]) -> Iterator[str]:
    places = max(1, min(PLACES, MOST // max(1, len(stretches))))
    opened: dict[Path, int] = {}
    try:
        for each in stretches:
            if each.file not in opened:
                opened[each.file] = os.open(each.file, os.O_RDONLY)
            found = hashlib.blake2b(digest_size=4)
            for offset, width in _places(each, places):
                found.update(os.pread(opened[each.file], width, offset))
            yield found.hexdigest()
    finally:
        for handle in opened.values():
            os.close(handle)


def _places(each: _Stretch, places: int) -> Iterator[tuple[int, int]]:
    """Yield offset and width of what is read of a tensor: spread evenly from its first bytes to its last ones."""
    if each.packed:
        places = PACKED_PLACES
        yield each.begin + max(0, each.size - END), END
    if each.size <= places * WIDTH:
        yield each.begin, each.size
        return
    for at in range(places):
        share = at / (places - 1) if places > 1 else 0.5
        yield each.begin + int((each.size - WIDTH) * share), WIDTH


def _digits(samples: str) -> list[str]:
    return [samples[at : at + 8] for at in range(0, len(samples), 8)]
