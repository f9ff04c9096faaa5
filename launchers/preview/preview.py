"""`ftbridge preview`: the tokens and labels of a dataset's samples, encoded by the frameworks' own code."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack

import msgspec

from ftbridge.adapters.registered.dataset import Dataset, files_read_by
from ftbridge.adapters.registered.mixture import DATASETS, resolve_choices
from ftbridge.core.console import first_few, say
from ftbridge.core.errors import FtbridgeError, InputError, UsageError
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info.registry import look_up
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends.other_configs.reading import find_project
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import any_backend
from ftbridge.launchers.preflight.cutoff import spread_samples
from ftbridge.launchers.preflight.markers import mark_checks
from ftbridge.launchers.preflight.tokens import token_checks
from ftbridge.launchers.preview.html import preview_html
from ftbridge.launchers.preview.token_statistics import (
    Cut,
    TokenCounts,
    TokenStatistics,
    histogram_bars,
    summarize_counts,
)
from ftbridge.launchers.preview.tokenize import SharedOptions, model_with_tokenizer, tokens_as_trained
from ftbridge.launchers.process.script import run_script
from ftbridge.launchers.runs.charts.picture import draw_picture, picture_file
from ftbridge.launchers.training.options import resolve_train_spec
from ftbridge.launchers.training.tokens import frameworks, with_possible_tokens
from ftbridge.templates.detect import detect_family
from ftbridge.templates.families import Family, get_family
from ftbridge.tokens.ready import Counts

T = TypeVar("T")
IGNORED = -100  # the label of a token that is not trained on
_PER_PROCESS = 5000  # samples that make a process worth its start


class Stretch(msgspec.Struct, frozen=True):
    """A part of a sample's text that is trained on, or is not."""

    text: str
    trained: bool


class EncodedSample(msgspec.Struct, frozen=True):
    r"""A sample as one framework trains it: the token ids and labels that the cutoff length leaves.

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


class BackendView(msgspec.Struct, frozen=True):
    """The samples of a dataset as one framework, called `title`, encodes them; `stats` where they were asked for."""

    title: str
    samples: list[EncodedSample]
    stats: TokenStatistics | None


class Preview(msgspec.Struct, frozen=True):
    """A dataset as it would be trained; `samples` is how many it has, `views` is by backend.

    `differences` has a text for each sample: a sentence for each framework that trains it otherwise than the first.
    Of ready tokens, which all frameworks train alike, there is one view, `once`; `counts` says what came of all
    conversations, and `family` by which chat template.
    """

    dataset: str
    samples: int
    model: str
    family: str
    cutoff_length: int
    views: dict[str, BackendView]
    differences: list[str]
    warnings: list[str]
    png: str | None = None
    counts: Counts | None = None

    @property
    def stats(self) -> dict[str, TokenStatistics]:
        """Return the stats by the frameworks' titles; empty where they were not asked for."""
        return {view.title: view.stats for view in self.views.values() if view.stats}

    def draw(self, path: Path, python: Path) -> None:
        """Write the histogram of all lengths to a file, drawn by the matplotlib of `python`."""
        title = f"{self.dataset}, {Path(self.model).name if Path(self.model).is_absolute() else self.model}"
        draw_picture(path, python, "lengths", histogram_bars(self.stats, self.cutoff_length, title))

    def _repr_html_(self) -> str:
        """Return the samples for a notebook, what is learned in green, and the histogram."""
        return preview_html(self)


class PreviewOptions(SharedOptions, total=False):
    """The options of a training that decide which tokens it sees, as TrainOptions has them."""

    tokens: Literal["once", "native"]
    template: str | None


class _ScriptAnswer(msgspec.Struct, frozen=True):
    """What encode_samples.py prints."""

    samples: list[EncodedSample] = []
    stats: TokenCounts | None = None
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
    """Return the first `samples` of a dataset as all backends, or `backend` alone, would encode them for a training.

    `options` are those of `train` that decide the tokens. With `stats` all samples are counted, and a picture of
    their lengths is written to `png` (default: NAME-lengths.png in the current folder). Of a hub's model only the
    tokenizer and the config are fetched. Raises an FtbridgeError that says what to do where something is missing or
    does not fit.
    """
    if backend:
        load_backend(backend)
    if png and not stats:
        raise UsageError(_("`--png` is the picture of `--stats`; add `--stats`"))
    project = find_project(config, backend)
    spec = resolve_train_spec(project, {**options, "dataset": dataset, "backend": backend or any_backend(project)})
    folder = (project.folder / spec.dataset_dir).resolve()
    name = "+".join(look_up(folder, each.name)[0] for each in spec.datasets)
    picture = picture_file(png or f"{name.replace('/', '-')}-lengths.png") if stats else None
    model = model_with_tokenizer(spec, project)
    spec = with_possible_tokens(spec, model, load_backend(backend) if backend else None)
    if spec.tokens == "once":
        return _preview_of_tokens(spec, project, backend, samples, picture)
    family = get_family(spec.template) if spec.template else detect_family(model)
    wanted = [backend] if backend else [*reversed(plugin_names("backends"))]
    pythons = _by_usable_backend(
        wanted, lambda each: interpreter_for(project, each, model, trust_remote_code=spec.trust_remote_code)
    )
    if spec.set:
        say(_("note: the preview does not show what `set` changes: {set}").format(set=joined(", ", spec.set)))
    cache = project.folder / DATASETS
    datasets = _by_usable_backend(list(pythons), lambda each: _training_dataset(each, folder, spec, family, cache))
    total = max(each.entry.samples for each in datasets.values())
    first = next(iter(datasets.values()))
    request = {
        "model": str(model),
        "samples": samples,
        "stats": stats,
        "cutoff_length": spec.cutoff_length,
        "trust_remote_code": spec.trust_remote_code,
        "processes": max(1, min(len(os.sched_getaffinity(0)) // len(datasets), total // _PER_PROCESS)),
    }
    views = _encode_samples(
        pythons, {each: request | _backend_request(each, data, family) for each, data in datasets.items()}, spec
    )
    found = Preview(
        dataset=first.title,
        samples=total,
        model=spec.model,
        family=family.title,
        cutoff_length=spec.cutoff_length,
        views=views,
        differences=_differences(list(views.values())),
        warnings=[*_cutoff_warnings(views, spec.cutoff_length), *_mark_warnings(datasets, family)],
        png=str(picture) if picture else None,
    )
    if picture:
        found.draw(picture, pythons[next(iter(datasets))])
    return found


def _preview_of_tokens(
    spec: TrainSpec, project: Project, backend: str | None, samples: int, picture: Path | None
) -> Preview:
    """Return the preview of ready tokens, made where they are not there, and the picture of all lengths drawn."""
    made = tokens_as_trained(msgspec.structs.replace(spec, validation_dataset="none", early_stopping=None), project)
    template, counts = made.template, made.tokens.counts
    request = {
        "model": str(made.model),
        "trust_remote_code": spec.trust_remote_code,
        "folder": str(made.tokens.folder),
        "samples": samples,
        "stats": picture is not None,
    }
    line = run_script(made.python, "show_tokens", request, stderr=subprocess.PIPE)
    answer = msgspec.json.decode(line, type=_ScriptAnswer)
    title = joined(_(" and "), frameworks(backend))
    stats = summarize_counts(answer.stats, spec.cutoff_length) if answer.stats else None
    checks = [each for each in token_checks(spec, counts) if each.status != "ok"]
    found = Preview(
        dataset=made.data.title,
        samples=counts.samples,
        model=spec.model,
        family=_("{origin}, thinking {thinking}").format(origin=template.origin, thinking=template.thinking)
        if template.thinking
        else template.origin,
        cutoff_length=spec.cutoff_length,
        views={"once": BackendView(title, answer.samples, stats)},
        differences=[],
        warnings=[joined("; ", (check.found, check.remedy)) for check in checks],
        png=str(picture) if picture else None,
        counts=counts,
    )
    if picture:
        found.draw(picture, made.python)
    return found


def _by_usable_backend(backends: list[str], value_of: Callable[[str], T]) -> dict[str, T]:
    """Return `value_of` each backend; one for which it raises an FtbridgeError is left out with a note.

    Raises the first one's error where none is left.
    """
    found: dict[str, T] = {}
    errors: dict[str, FtbridgeError] = {}
    for each in backends:
        try:
            found[each] = value_of(each)
        except FtbridgeError as error:
            errors[each] = error
    if not found:
        raise errors[backends[0]]
    for each, reason in errors.items():
        say(_("note: {title} is skipped: {reason}").format(title=load_backend(each).title, reason=reason))
    return found


def _training_dataset(backend: str, folder: Path, spec: TrainSpec, family: Family, cache: Path) -> Dataset:
    """Return the dataset as a backend's training reads it.

    Raises UsageError where the backend has no template of the family, InputError where it cannot use the data.
    """
    family.cell(backend)
    return resolve_choices(folder, spec.datasets, load_backend(backend).target, cache, spec.seed)


def _backend_request(backend: str, data: Dataset, family: Family) -> dict[str, Any]:
    """Return what encode_samples.py is given for a backend to choose from: the dataset's file, the family's cell."""
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


def _encode_samples(
    pythons: dict[str, Path], requests: dict[str, dict[str, Any]], spec: TrainSpec
) -> dict[str, BackendView]:
    """Return what each backend makes of the dataset; raises InputError where one cannot encode it.

    The scripts run side by side: most of their time are the frameworks' imports.
    """
    titles = {each: load_backend(each).title for each in requests}
    say(_("encoding with {values} (10 to 20 seconds to load) ...").format(values=joined(_(" and "), titles.values())))
    with ThreadPoolExecutor() as pool:
        lines = pool.map(
            lambda each: run_script(pythons[each], "encode_samples", requests[each], stderr=subprocess.PIPE), requests
        )
        answers = dict(zip(requests, map(msgspec.json.Decoder(_ScriptAnswer).decode, lines), strict=True))
    views = {}
    for each, answer in answers.items():
        if "trust_remote_code" in answer.error or "contains custom code" in answer.error:  # transformers' words
            raise InputError(
                _(
                    "the tokenizer of `{model}` comes with Python code of its own. If you trust who made "
                    "it, run the command again with `--trust-remote-code`"
                ).format(model=spec.model)
            )
        if answer.error:
            raise InputError(_("{title} {error}").format(title=titles[each], error=answer.error))
        stats = summarize_counts(answer.stats, spec.cutoff_length) if answer.stats else None
        views[each] = BackendView(titles[each], answer.samples, stats)
    return views


def _cutoff_warnings(views: dict[str, BackendView], cutoff: int) -> list[str]:
    """Return a sentence for each thing that keeps samples from being trained whole."""
    return [warning for backend, view in views.items() for warning in _warnings_of_view(backend, view, cutoff)]


def _warnings_of_view(backend: str, view: BackendView, cutoff: int) -> list[str]:
    found = view.stats.cut if view.stats else _numbers_by_cut(view.samples)
    advice = (
        _("`--cutoff-length {longest}` truncates nothing").format(longest=view.stats.longest)
        if view.stats
        else _("`--stats` counts all samples")
    )
    lost = (
        _(
            "with a cutoff length of {cutoff}, {title} truncates the whole answer of {samples}, so that it is skipped; "
            "{advice}"
        )
        if load_backend(backend).drops_unlabelled
        else _(
            "with a cutoff length of {cutoff}, {title} truncates the whole answer of {samples}, so that nothing of it "
            "is trained; {advice}"
        )
    )
    effects: dict[Cut, str] = {
        "refused": _("{title} skips {samples}: its loader does not read the answer as text"),
        "lost": lost,
        "answer": _("with a cutoff length of {cutoff}, {title} truncates a part of the answer of {samples}; {advice}"),
        "question": _(
            "with a cutoff length of {cutoff}, {title} truncates what comes before the answer of {samples}; {advice}"
        ),
    }
    return [
        text.format(cutoff=cutoff, title=view.title, samples=_sample_numbers(found[kind]), advice=advice)
        for kind, text in effects.items()
        if found.get(kind)
    ]


def _mark_warnings(datasets: dict[str, Dataset], family: Family) -> list[str]:
    """Return a sentence for each kind of mark in the samples that means something to a chat template."""
    found = []
    for backend, data in datasets.items():
        with suppress(InputError):  # the framework has judged the file
            samples = spread_samples(*files_read_by(load_backend(backend).target, data))
            found += [check.found for check in mark_checks(samples, family, backend)]
    return list(dict.fromkeys(found))


def _numbers_by_cut(samples: list[EncodedSample]) -> dict[Cut, list[int]]:
    found: dict[Cut, list[int]] = {}
    for number, sample in enumerate(samples, 1):
        found.setdefault(sample.cut, []).append(number)
    return found


def _sample_numbers(numbers: list[int], most: int = 10) -> str:
    """Return the numbers of samples in words: "sample 2", or how many there are and the first of them."""
    if len(numbers) == 1:
        return _("sample {number}").format(number=numbers[0])
    more = ", ..." if len(numbers) > most else ""
    return _("{count} samples ({map}{more})").format(
        count=len(numbers), map=joined(", ", map(str, numbers[:most])), more=more
    )


def _differences(views: list[BackendView]) -> list[str]:
    """Return what each other framework does otherwise than the first, a text for each sample."""
    first, *others = views
    if not others:
        return []
    texts = []
    for number, sample in enumerate(first.samples):
        pairs = [{first.title: sample, view.title: view.samples[number]} for view in others]
        texts.append("\n".join(filter(None, map(_difference, pairs))))
    return texts


def _difference(pair: dict[str, EncodedSample]) -> str:
    """Return a sentence on where two frameworks' samples differ, by their titles; "" where they do not."""
    one, other = pair.values()
    if one.ids != other.ids:
        return _token_difference(pair)
    return _label_difference(pair) if one.labels != other.labels else ""


def _token_difference(pair: dict[str, EncodedSample]) -> str:
    """Return the first position, from 1, at which two samples have not the same token."""
    (title, one), (other_title, other) = pair.items()
    shortest = min(len(one.ids), len(other.ids))
    at = next((at for at in range(shortest) if one.ids[at] != other.ids[at]), shortest)
    mine, theirs = (repr(each.tokens[at]) if at < len(each.tokens) else _("its end") for each in (one, other))
    return _("the tokens differ from position {at} on: {title} has {mine}, {other_title} {theirs}").format(
        at=at + 1, title=title, mine=mine, other_title=other_title, theirs=theirs
    )


def _label_difference(pair: dict[str, EncodedSample]) -> str:
    """Return which tokens, the same in both samples, are trained on by one framework alone or to another label."""
    (title, one), (other_title, other) = pair.items()
    places: dict[str, list[str]] = {}
    for position, (token, label, other_label) in enumerate(zip(one.tokens, one.labels, other.labels, strict=True), 1):
        if label == other_label:
            continue
        if other_label == IGNORED:
            kind = _("{title} alone trains on").format(title=title)
        elif label == IGNORED:
            kind = _("{other_title} alone trains on").format(other_title=other_title)
        else:
            kind = _("the labels differ at")
        places.setdefault(kind, []).append(_("{token!r} (position {position})").format(token=token, position=position))
    return _("the tokens are the same, but {items}").format(
        items=joined("; ", (f"{kind} {first_few(each, 5)}" for kind, each in places.items()))
    )
