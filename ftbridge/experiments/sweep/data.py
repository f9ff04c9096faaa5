"""The datasets of a sweep: what the points have in common is converted once."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.convert.earlier import options_of
from ftbridge.adapters.convert.options import keywords_of, parse_sample, text_or_file
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.mapping.label_map import load_label_map
from ftbridge.adapters.sources.locate import PRESET, STANDARD_INPUT
from ftbridge.core.console import say
from ftbridge.core.errors import FtbridgeError, InterruptedRun, UsageError
from ftbridge.core.project import Project
from ftbridge.dataset_info import registry
from ftbridge.experiments.sweep.options import ALL, Setting, Values
from ftbridge.language import gettext as _
from ftbridge.language import joined

DATA = "data"
TEXTS = ("system", "instruction", "input", "output")  # that may stand in a file, behind `@`


class PointData(msgspec.Struct, frozen=True):
    """What a point is trained on: a registered dataset and its folder, or the `error` for which there is none."""

    dataset: str = ""
    dataset_dir: str = ""
    error: str = ""


def base_of_conversion(project: Project, given: Values) -> Values:
    """Return the options of the conversion that all points begin from: those `given`, else the last conversion's.

    Sources are whole paths. Raises UsageError where there is no conversion to make anew.
    """
    if given:
        return with_texts(located(given, Path.cwd()))
    state = project.state()
    if not state.sources:
        raise UsageError(
            _(
                "to vary `convert` options, a sweep needs the source of the data: convert once (`ftbridge "
                "convert FILE`), or write `convert: {sources: FILE}` into a sweep file"
            )
        )
    _unused, entry = registry.find_converted((project.folder / state.dataset_dir).resolve(), state.dataset)
    options = options_of(entry)
    if options is None:
        raise UsageError(_("an older ftbridge made the last conversion; convert once more, and sweep then"))
    return {**keywords_of(options), "name": entry.options.dataset, "sources": list(state.sources)}


def located(convert: Values, folder: Path) -> Values:
    """Return the options of a conversion with whole paths: sources, texts behind `@`, and a file of labels."""
    sources = convert.get("sources", ())
    given = [sources] if isinstance(sources, str) else sources
    found = {**convert, "sources": [located_source(each, folder) for each in given]}
    for key in TEXTS:
        if str(convert.get(key) or "").startswith("@"):
            found[key] = f"@{folder / convert[key][1:]}"
    if isinstance(convert.get("label_map"), str):
        found["label_map"] = str(folder / convert["label_map"])
    return found


def with_texts(convert: Values) -> Values:
    """Return the options of a conversion as `convert` takes them: texts behind `@` and a file of labels are read."""
    found = {key: text_or_file(value) if key in TEXTS and value else value for key, value in convert.items()}
    if isinstance(found.get("label_map"), str):
        found["label_map"] = load_label_map(Path(found["label_map"]))
    return found


def located_baselines(evaluate: Values, folder: Path) -> Values:
    """Return the options of an evaluation with the whole path of an encoder in `folder`: `bert=DIR`."""
    kind = "bert="
    given = evaluate.get("baseline", ())
    found = [
        f"{kind}{folder / each.removeprefix(kind)}"
        if each.startswith(kind) and (folder / each.removeprefix(kind)).is_dir()
        else each
        for each in ([given] if isinstance(given, str) else given)
    ]
    return {**evaluate, "baseline": found} if found else evaluate


def located_source(source: str, folder: Path) -> str:
    """Return a source that names files in `folder` with its whole path; what is on a hub or made by a preset stays."""
    is_path = "://" not in source and not source.startswith(PRESET) and source not in STANDARD_INPUT
    return os.path.normpath(folder / Path(source).expanduser()) if is_path else source


def convert_shared(folder: Path, base: Values, settings: Sequence[Setting]) -> list[PointData]:
    """Convert what `settings` are trained on into `folder`, and return it for each; all sizes are made at once.

    A conversion that fails is told by its points, and fails no other.
    """
    groups: dict[str, list[int]] = {}
    for at, setting in enumerate(settings):
        own = {name: value for name, value in setting.convert.items() if name != "sample"}
        groups.setdefault(_digest({**base, "sample": None, **own}), []).append(at)
    found: dict[int, PointData] = {}
    for key, members in groups.items():
        options = {**base, **settings[members[0]].convert}
        sizes = {at: settings[at].convert.get("sample", ALL) for at in members}
        found |= _convert_group(folder / DATA / key, {**options, "sample": base.get("sample", ())}, sizes)
    return [found[at] for at in range(len(settings))]


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()[:8]


def _convert_group(folder: Path, options: Values, sizes: Mapping[int, int | str]) -> dict[int, PointData]:
    """Return the datasets of points by their numbers, which differ in the number of their training samples alone."""
    own = {*parse_sample(options.pop("sample")), *_sizes_there(folder)}
    errors: dict[int | str, str] = {}
    name = ""
    try:
        name = _converted(folder, options, own | _numbers(sizes.values()))
    except InterruptedRun:
        raise
    except FtbridgeError as error:
        errors = {size: _error_of(folder, options, size) for size in sizes.values()}
        if not any(errors.values()):  # each by itself can be made, and not all together
            errors = dict.fromkeys(errors, str(error))
        if good := [size for size, failure in errors.items() if not failure]:
            name = _converted(folder, options, own | _numbers(good))
    found = {
        size: PointData(name if size == ALL else f"{name}-{size}", str(folder), errors.get(size, ""))
        for size in sizes.values()
    }
    return {at: found[size] for at, size in sizes.items()}


def _numbers(sizes: Iterable[int | str]) -> set[int]:
    return {size for size in sizes if isinstance(size, int)}


def _converted(folder: Path, options: Values, sizes: set[int], *, dry_run: bool = False) -> str:
    """Return the name of the training part, converted with subsets of these sizes."""
    sources = options.get("sources", ())
    rest = {name: value for name, value in options.items() if name != "sources"}
    done = convert(*sources, dataset_dir=folder, sample=sorted(sizes), replace=True, dry_run=dry_run, **rest)
    if done.changed and not dry_run:
        parts = joined(", ", (f"{part.name} ({part.samples:,})" for part in done.parts))
        say(_("converted once for all points: {parts}").format(parts=parts))
    return done.parts[0].name


def _error_of(folder: Path, options: Values, size: int | str) -> str:
    """Return why a conversion with one size alone fails, "" where it does not."""
    try:
        _converted(folder, options, _numbers([size]), dry_run=True)
    except InterruptedRun:
        raise
    except FtbridgeError as error:
        return str(error)
    return ""


def _sizes_there(folder: Path) -> set[int]:
    """Return the sizes of the subsets that an earlier sweep has made, so that none is lost."""
    if not (folder / registry.FILE).is_file():
        return set()
    endings = (name.rpartition("-train-")[2] for name in registry.read_entries(folder))
    return {int(each) for each in endings if each.isdecimal()}
