"""`ftbridge preview`: what a training would see of a dataset, encoded by the frameworks' own code."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import msgspec

from ftbridge.adapters.registered.dataset import Dataset, files_read_by, resolve_dataset
from ftbridge.core.console import first_few, say
from ftbridge.core.errors import FtbridgeError, InputError, UsageError
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info.registry import look_up
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.preflight.cutoff import looked_at
from ftbridge.launchers.preflight.markers import mark_checks
from ftbridge.launchers.preview.token_statistics import Counts, Cut, Stats, bars
from ftbridge.launchers.preview.token_statistics import stats as stats_of
from ftbridge.launchers.process.script import ask
from ftbridge.launchers.runs.png_chart import draw, picture_file
from ftbridge.launchers.training.options import choose
from ftbridge.templates import detect, families
from ftbridge.templates.families import Family

T = TypeVar("T")
IGNORED = -100  # the label of a token that is not trained
_PER_PROCESS = 5000  # samples that are worth starting a process for


class Stretch(msgspec.Struct, frozen=True):
    """A part of a sample's text that is trained, or is not."""

    text: str
    trained: bool


class Encoded(msgspec.Struct, frozen=True):
    r"""A sample as one framework trains it: what is left by the cutoff length.

    A label is the token to be learned, or -100; a token's bytes that are no whole letter are escapes such as
    `\xe4`. `length` and `answer_tokens` count the whole sample.
    """

    ids: list[int]
    labels: list[int]
    tokens: list[str]
    text: list[Stretch]
    length: int
    answer_tokens: int
    cut: Cut


class View(msgspec.Struct, frozen=True):
    """What one framework, called `title`, makes of a dataset; `stats` where they were asked for."""

    title: str
    samples: list[Encoded]
    stats: Stats | None


class Preview(msgspec.Struct, frozen=True):
    """A dataset as it would be trained; `samples` is how many it has, `views` is by backend.

    `differences` has a text for each sample: a sentence for each framework that trains it otherwise than the first.
    """

    dataset: str
    samples: int
    model: str
    family: str
    cutoff_length: int
    views: dict[str, View]
    differences: list[str]
    warnings: list[str]
    png: str | None = None

    @property
    def stats(self) -> dict[str, Stats]:
        """Return the stats by the frameworks' titles; empty where they were not asked for."""
        return {view.title: view.stats for view in self.views.values() if view.stats}


class PreviewOptions(TypedDict, total=False):
    """The options of a training that decide which tokens it sees, as TrainOptions has them."""

    model: str | os.PathLike[str]
    dataset_dir: str | os.PathLike[str]
    cutoff_length: int
    template: str | None
    trust_remote_code: bool


class _Answer(msgspec.Struct, frozen=True):
    """What the helper prints."""

    samples: list[Encoded] = []
    stats: Counts | None = None
    error: str = ""


def preview(
    dataset: str | None = None,
    *,
    backend: str | None = None,
    samples: int = 3,
    stats: bool = False,
    png: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    **options: Unpack[PreviewOptions],
) -> Preview:
    """Return the first `samples` of a dataset as all frameworks, or `backend` alone, would train them.

    `options` are those of `train` that decide the tokens. With `stats` all samples are counted, and a picture of
    their lengths is written to `png` (default: NAME-lengths.png in the current folder). Of a hub's model only the
    tokenizer and the config are fetched. Raises an FtbridgeError that says what to do where something is missing or
    does not fit.
    """
    if backend:
        load_backend(backend)
    if png and not stats:
        raise UsageError("`--png` is the picture of `--stats`; add `--stats`")
    project = Project.find(config=Path(config) if config else None)
    chosen = backend or any_backend(project)
    spec = choose(project, {**options, "dataset": dataset, "backend": chosen})
    folder = (project.folder / spec.dataset_dir).resolve()
    name, _ = look_up(folder, spec.dataset)
    picture = picture_file(png or f"{name.replace('/', '-')}-lengths.png") if stats else None
    model, family = _model(spec, project)
    wanted = [backend] if backend else [*reversed(plugin_names("backends"))]
    pythons = _usable(
        wanted, lambda each: interpreter_for(project, each, model, trust_remote_code=spec.trust_remote_code)
    )
    if spec.set:
        say(f"note: what `set` changes is not shown here: {', '.join(spec.set)}")
    cache = project.folder / ".ftbridge" / "datasets"
    data = _usable(list(pythons), lambda each: _data(each, folder, spec, family, cache))
    total = max(each.entry.samples for each in data.values())
    request = {
        "model": str(model),
        "samples": samples,
        "stats": stats,
        "cutoff_length": spec.cutoff_length,
        "trust_remote_code": spec.trust_remote_code,
        "processes": max(1, min(len(os.sched_getaffinity(0)) // len(data), total // _PER_PROCESS)),
    }
    views = _views(pythons, {each: request | _own(each, found, family) for each, found in data.items()}, spec)
    found = Preview(
        dataset=name,
        samples=total,
        model=spec.model,
        family=family.title,
        cutoff_length=spec.cutoff_length,
        views=views,
        differences=_differences(list(views.values())),
        warnings=[
            *(line for each, view in views.items() for line in _warnings(each, view, spec.cutoff_length)),
            *dict.fromkeys(line for each, own in data.items() for line in _marked(each, own, family)),
        ],
        png=str(picture) if picture else None,
    )
    if picture:
        draw(picture, pythons[next(iter(data))], "lengths", bars(found.stats, spec.cutoff_length))
    return found


def _model(spec: TrainSpec, project: Project) -> tuple[Path, Family]:
    """Return the model's folder, where its tokenizer and config are at least, and its family."""
    model = local_model(spec.model, lambda: interpreter(project, spec.backend), project.folder, weights=False)
    if not any(path for pattern in ("token*", "vocab*", "*.model") for path in model.glob(pattern)):
        raise InputError(f"`{model}` has no tokenizer; a model folder has its tokenizer.json or tokenizer.model")
    return model, families.get(spec.template) if spec.template else detect.detect(model)


def _usable(wanted: list[str], answer: Callable[[str], T]) -> dict[str, T]:
    """Return the answer for each backend; one that has none is named with the reason and left out, unless all have."""
    found: dict[str, T] = {}
    errors: dict[str, FtbridgeError] = {}
    for each in wanted:
        try:
            found[each] = answer(each)
        except FtbridgeError as error:
            errors[each] = error
    if not found:
        raise errors[wanted[0]]
    for each, reason in errors.items():
        say(f"note: {load_backend(each).title} is left out: {reason}")
    return found


def _data(backend: str, folder: Path, spec: TrainSpec, family: Family, cache: Path) -> Dataset:
    """Return what a framework would train on; raises where it has no template of the family or cannot use the data."""
    family.cell(backend)
    return resolve_dataset(folder, spec.dataset, load_backend(backend).target, cache)


def _own(backend: str, data: Dataset, family: Family) -> dict[str, Any]:
    """Return what only this framework's helper is told."""
    cell = family.cell(backend)
    return {
        "script": str(load_backend(backend).script),
        "dataset": data.name,
        "dataset_dir": str(data.folder),
        "file": str(data.folder / data.entry.files.get(load_backend(backend).target, "")),
        "template": cell.name or cell.prompt.template_dict(),
        "prompt": msgspec.to_builtins(cell.prompt),
        "bos": cell.prompt.bos,
        "eos": cell.prompt.eos,
        "enable_thinking": cell.enable_thinking,
    }


def _views(pythons: dict[str, Path], specs: dict[str, dict[str, Any]], spec: TrainSpec) -> dict[str, View]:
    """Run the scripts side by side: most of their time are the frameworks' imports."""
    titles = {each: load_backend(each).title for each in specs}
    say(f"encoding with {' and '.join(titles.values())} (10 to 20 seconds to load) ...")
    with ThreadPoolExecutor() as pool:
        lines = pool.map(lambda each: ask(pythons[each], "encode_samples", specs[each], stderr=subprocess.PIPE), specs)
        answers = {each: msgspec.json.decode(line, type=_Answer) for each, line in zip(specs, lines, strict=True)}
    for each, answer in answers.items():
        if "trust_remote_code" in answer.error or "contains custom code" in answer.error:  # transformers' words
            raise InputError(
                f"the tokenizer of `{spec.model}` comes with Python code of its own. If you trust who made it, run "
                "the command again with `--trust-remote-code`"
            )
        if answer.error:
            raise InputError(f"{titles[each]} {answer.error}")
    return {
        each: View(titles[each], answer.samples, stats_of(answer.stats, spec.cutoff_length) if answer.stats else None)
        for each, answer in answers.items()
    }


def _warnings(backend: str, view: View, cutoff: int) -> list[str]:
    """Return a sentence for each thing that keeps samples from being trained whole."""
    found = view.stats.cut if view.stats else _cut(view.samples)
    advice = f"`--cutoff-length {view.stats.longest}` cuts nothing" if view.stats else "`--stats` looks at all samples"
    start = f"with a cutoff length of {cutoff}, {view.title} cuts"
    lost = "so that it is left out" if load_backend(backend).drops_unlabelled else "so that nothing of it is trained"
    effects: dict[Cut, tuple[str, str]] = {
        "refused": (f"{view.title} leaves out", ": its loader does not read the answer as text"),
        "lost": (f"{start} the whole answer of", f", {lost}; {advice}"),
        "answer": (f"{start} a part of the answer of", f"; {advice}"),
        "question": (f"{start} what comes before the answer of", f"; {advice}"),
    }
    return [f"{before} {_numbered(found[kind])}{after}" for kind, (before, after) in effects.items() if found.get(kind)]


def _marked(backend: str, data: Dataset, family: Family) -> list[str]:
    """Return a sentence for each kind of mark in the samples that means something to a chat template."""
    with suppress(InputError):  # the framework has judged the file
        return [
            check.found
            for check in mark_checks(looked_at(*files_read_by(load_backend(backend).target, data)), family, backend)
        ]
    return []


def _cut(samples: list[Encoded]) -> dict[Cut, list[int]]:
    found: dict[Cut, list[int]] = {}
    for number, sample in enumerate(samples, 1):
        found.setdefault(sample.cut, []).append(number)
    return found


def _numbered(numbers: list[int], most: int = 10) -> str:
    if len(numbers) == 1:
        return f"sample {numbers[0]}"
    more = ", ..." if len(numbers) > most else ""
    return f"{len(numbers)} samples ({', '.join(map(str, numbers[:most]))}{more})"


def _differences(views: list[View]) -> list[str]:
    """Return what each other framework does otherwise than the first, a text for each sample."""
    first, *others = views
    if not others:
        return []
    rows = zip(*(view.samples for view in views), strict=True)
    return [
        "\n".join(
            filter(
                None,
                (_difference({first.title: one, view.title: each}) for view, each in zip(others, rest, strict=True)),
            )
        )
        for one, *rest in rows
    ]


def _difference(pair: dict[str, Encoded]) -> str:
    """Say where two frameworks' samples differ; positions count from 1."""
    (title, one), (other_title, other) = pair.items()
    if one.ids != other.ids:
        shortest = min(len(one.ids), len(other.ids))
        at = next((at for at in range(shortest) if one.ids[at] != other.ids[at]), shortest)
        mine, theirs = (repr(each.tokens[at]) if at < len(each.tokens) else "its end" for each in (one, other))
        return f"the tokens differ from position {at + 1} on: {title} has {mine}, {other_title} {theirs}"
    if one.labels == other.labels:
        return ""
    places: dict[str, list[str]] = {}
    for at, labels in enumerate(zip(one.labels, other.labels, strict=True)):
        if labels[0] != labels[1]:
            alone = title if labels[1] == IGNORED else other_title if labels[0] == IGNORED else ""
            places.setdefault(alone, []).append(f"{one.tokens[at]!r} (position {at + 1})")
    said = (
        f"{t} alone trains on {first_few(p, 5)}" if t else f"the labels differ at {first_few(p, 5)}"
        for t, p in places.items()
    )
    return f"the tokens are the same, but {'; '.join(said)}"
