"""The steps of a recipe: what each is decided by, whether it is done already, and how it is done."""

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ftbridge import __version__
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.convert.plan import dataset_name
from ftbridge.adapters.sources.locate import origins
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.console import first_few, say
from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import read_text, sha256, write_json
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.core.project import SETTINGS, Project
from ftbridge.dataset_info import registry
from ftbridge.evaluation.answers.folder import OtherAnswersError
from ftbridge.evaluation.evaluate import evaluate
from ftbridge.evaluation.record import test_part
from ftbridge.evaluation.report.report import report
from ftbridge.evaluation.sweep.record import load_sweep, shown_value
from ftbridge.experiments.demo import base_model
from ftbridge.experiments.recipes.demo import BASE_FOLDER, texts_of
from ftbridge.experiments.recipes.recipe import Recipe, convert_options
from ftbridge.experiments.recipes.sections import Values
from ftbridge.experiments.sweep.options import SweepFile, settings_of
from ftbridge.experiments.sweep.sweep import run_sweep
from ftbridge.experiments.training import base_digest, data_digests, plan_training, prepare_planned, write_interpreters
from ftbridge.language import gettext as _
from ftbridge.language import joined, to_translate
from ftbridge.launchers.environment.venv import interpreter
from ftbridge.launchers.runs.record import Run, find_run, status_in_words
from ftbridge.launchers.training.options import resolve_train_spec
from ftbridge.launchers.training.train import start
from ftbridge.weights.export import export
from ftbridge.weights.merge import merge, parse_size

NOT_YET = _("not done before")
_REASONS = 4  # that a message names


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was done: its `options`, the digest of each thing that it was done `on`, and what it `made`."""

    options: Values = {}
    on: dict[str, str] = {}
    made: dict[str, Any] = {}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What .ftbridge/recipes/NAME.json keeps: the steps that were done, and the run of each training by its key."""

    steps: dict[str, Done] = {}
    trainings: dict[str, str] = {}


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A step before it is done: `why` it is, "" where what it makes (`made`) is there already, and how to `do` it."""

    why: str
    options: Values
    on: dict[str, str]
    made: dict[str, Any]
    do: Callable[[], dict[str, Any]]


class Book:
    """A recipe at work in a project, with what was done of it, which is written after each step."""

    def __init__(self, recipe: Recipe, project: Project, *, parallel: bool, max_points: int) -> None:
        """Read what was done; raises InputError where that is damaged."""
        self.recipe, self.project = recipe, project
        self.parallel, self.max_points = parallel, max_points
        self.data = project.folder / "data"
        self.file = project.folder / ".ftbridge" / "recipes" / f"{recipe.name}.json"
        self.state = State()
        if self.file.is_file():
            refusal = _("`{file}` is damaged; delete it, and the recipe checks again what is left to do").format(
                file=self.file
            )
            self.state = load_json(read_text(self.file, _("state of the recipe")), State, refusal)

    def made(self, step: str) -> dict[str, Any]:
        """Return what a step that was done has made."""
        return self.state.steps[step].made

    def note(self, step: str, done: Done) -> None:
        """Keep that a step was done."""
        if self.state.steps.get(step) != done:
            self._write(steps={**self.state.steps, step: done})

    def note_training(self, key: str, run: str) -> None:
        """Keep which run does a training."""
        self._write(trainings={**self.state.trainings, key: run})

    def _write(self, **changes: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        write_json(self.file, self.state)

    def run(self) -> Run:
        """Return the run that was trained."""
        return find_run(self.project, self.made("train")["run"])

    def data_digest(self) -> str:
        """Return one sha256 of all files of the dataset."""
        files = [sorted(data_digests(self.data, part).items()) for part in self.made("convert")["parts"]]
        return hashlib.sha256(msgspec.json.encode(files)).hexdigest()


def plan_step(step: str, book: Book) -> Planned:
    """Return what there is to do in a step, whose earlier ones are done; raises an FtbridgeError where it cannot be."""
    return _PLANS[step](book)


def _planned(
    book: Book, step: str, options: Values, on: Mapping[str, str], missing: Callable[[dict[str, Any]], str], do: Any
) -> Planned:
    """Return a step that is done where its options or what it is done on differ, or what it has made is `missing`."""
    before = book.state.steps.get(step)
    options = msgspec.json.decode(msgspec.json.encode(options))  # as they are kept
    why = NOT_YET if before is None else _difference(before, options, on) or missing(before.made)
    return Planned(why=why, options=options, on=dict(on), made=before.made if before and not why else {}, do=do)


def _difference(before: Done, options: Values, on: Mapping[str, str]) -> str:
    """Return what makes a step another one than `before`, in words; "" where it is the same."""
    reasons = []
    for name in {**options, **before.options}:
        old, new = before.options.get(name), options.get(name)
        if old != new:
            reasons.append(_("{name} was {old} and is {new}").format(name=name, old=shown(old), new=shown(new)))
    reasons += [
        _("{name} has changed").format(name=_(name))
        for name in {**on, **before.on}
        if before.on.get(name) != on.get(name)
    ]
    return first_few(reasons, _REASONS)


def shown(value: Any) -> str:
    """Return a value of an option as a message has it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) or _("not given")
    return _("not given") if value in (None, "", []) else shown_value(value)


def _gone(*paths: Path) -> str:
    """Return which of the paths is not there any more, in words; "" where all are."""
    return next((_("`{path}` is gone").format(path=path) for path in paths if not path.exists()), "")


def _plan_conversion(book: Book) -> Planned:
    options = convert_options(book.recipe)
    found = origins(book.recipe.sources)

    def do() -> dict[str, Any]:
        before = book.state.steps.get("convert")
        name = dataset_name(found, options.get("name"))
        # Nobody else's dataset is replaced, nor what was edited.
        own = bool(before and before.made["name"] == name and not _lost_dataset(book, before.made))
        done = convert(*book.recipe.sources, **{"replace": own, **options, "dataset_dir": book.data})
        parts = {part.name: part.samples for part in done.parts}
        say(
            _("converted: {items}").format(
                items=joined(", ", (f"{part} ({samples:,})" for part, samples in parts.items()))
            )
        )
        return {"name": done.name, "dataset": done.parts[0].name, "parts": parts}

    kept = {name: value for name, value in options.items() if name != "replace"}
    kept |= {"sources": [origin.name for origin in found], "ftbridge": __version__}
    on = {origin.name: digest(origin.path) for origin in found if origin.path}
    return _planned(book, "convert", kept, on, partial(_lost_dataset, book), do)


def _lost_dataset(book: Book, made: dict[str, Any]) -> str:
    """Return what is not as it was made of the dataset, in words; "" where all is."""
    known = registry.converted_entries(book.data) if book.data.is_dir() else {}
    lost = [part for part in made["parts"] if part not in known]
    edited = registry.edited_files(book.data, [known[part] for part in made["parts"] if part in known])
    lost += [file.name for file in edited]
    return _("{lost} is gone, or was changed").format(lost=lost[0]) if lost else ""


def _training_options(book: Book) -> Values:
    return {**book.recipe.train, "dataset": book.made("convert")["dataset"], "dataset_dir": str(book.data)}


def _refuse_without_test_part(book: Book) -> None:
    """Raise UsageError where there will be no questions to evaluate by, before anything is trained."""
    wanted = book.recipe.evaluate
    if wanted is None or wanted.get("dataset"):
        return
    part = test_part(book.made("convert")["dataset"])
    if part not in book.made("convert")["parts"]:
        raise UsageError(
            _(
                "`evaluate` asks the questions of a test part, and the conversion makes no `{part}`: "
                'give it one with `split: "7:3"` under `convert`, or name a dataset under `evaluate`'
            ).format(part=part)
        )


def _base_here(book: Book, model: str, backend: str) -> dict[str, str]:
    """Return what tells a base in a folder from another; one of a hub is taken as it was."""
    is_folder = (book.project.folder / Path(model).expanduser()).is_dir()
    return {to_translate("the base model"): base_digest(book.project, model, backend)} if is_folder else {}


def _plan_training(book: Book) -> Planned:
    _refuse_without_test_part(book)
    options = _training_options(book)
    spec = resolve_train_spec(book.project, options)
    shown = {key: value for key, value in msgspec.to_builtins(spec).items() if key not in {"dataset", "dataset_dir"}}
    on = {to_translate("the data"): book.data_digest(), **_base_here(book, spec.model, spec.backend)}

    def missing(made: dict[str, Any]) -> str:
        run = made["run"]
        if not (book.project.runs / run / "run.json").is_file():
            return _("the run {run} is gone").format(run=run)
        status = find_run(book.project, run).status
        return (
            ""
            if status == "succeeded"
            else _("the run {run} did not finish ({status})").format(run=run, status=status_in_words(status))
        )

    def do() -> dict[str, Any]:
        planned = plan_training(book.project, options)
        before = _run_of(book, planned.key)
        if before and before.status == "succeeded":
            say(_("run {id} has done this training already").format(id=before.id))
            return {"run": before.id}
        if before and before.status == "running":
            raise UsageError(
                _(
                    "run `{id}` is doing this training right now: wait for it to end (`ftbridge runs logs "
                    "--follow`), and the same command goes on"
                ).format(id=before.id)
            )
        settings = book.project.folder / ".ftbridge" / "recipes" / SETTINGS
        ready = prepare_planned(planned, before, config=write_interpreters(book.project, settings))
        book.note_training(planned.key, ready.plan.run.name)
        run = start(ready)
        book.note_training(planned.key, run.id)
        return {"run": run.id}

    return _planned(book, "train", shown, on, missing, do)


def _run_of(book: Book, key: str) -> Run | None:
    """Return the run that does, or has done, the training of this key, None where there is none."""
    run = book.state.trainings.get(key, "")
    return find_run(book.project, run) if run and (book.project.runs / run / "run.json").is_file() else None


def _plan_sweep(book: Book) -> Planned:
    _refuse_without_test_part(book)
    own = book.recipe.sweep or {}
    asked = msgspec.convert({**own, "name": book.recipe.name}, SweepFile)
    converts = any(each.convert for each in settings_of(asked))
    training = {**_training_options(book), **({"dataset": ""} if converts else {})}
    conversion = {"sources": book.recipe.sources, **convert_options(book.recipe)} if converts else {}
    asked = msgspec.structs.replace(asked, convert=conversion, train=training, evaluate=book.recipe.evaluate or {})
    shown = {**own, **book.recipe.train, **(book.recipe.evaluate or {})}
    model, backend = (str(book.recipe.train.get(name, "")) for name in ("model", "backend"))
    on = {
        to_translate("the data"): book.data_digest(),
        **(_base_here(book, model, backend) if model and backend else {}),
    }

    def missing(made: dict[str, Any]) -> str:
        if lost := _gone(book.project.folder / made["sweep"] / "sweep.json"):
            return lost
        points = load_sweep(book.project.folder / made["sweep"]).points
        left = sum(not point.evaluation for point in points)
        return _("{left} of {count} points are not done").format(left=left, count=len(points)) if left else ""

    def do() -> dict[str, Any]:
        done = run_sweep(book.project, asked, parallel=book.parallel, max_points=book.max_points)
        return {"sweep": _relative(book, done.folder)}

    return _planned(book, "sweep", shown, on, missing, do)


def _relative(book: Book, path: str | os.PathLike[str]) -> str:
    """Return a path as it is kept: relative to the project, which may move."""
    return os.path.relpath(path, book.project.folder)


def _plan_export(book: Book) -> Planned:
    run, options = book.run(), book.recipe.export or {}
    merges = options.get("merge", False) and run.spec.method != "full"

    def missing(made: dict[str, Any]) -> str:
        return _gone(*(book.project.folder / path for path in made.values()))

    def do() -> dict[str, Any]:
        checkpoint = options.get("checkpoint")
        made = {"adapter": _relative(book, export(run.path, checkpoint=checkpoint))}
        if merges:
            how = {name: options[name] for name in options if name not in {"checkpoint", "merge"}}
            if "shard_size" in how:
                how["shard_size"] = parse_size(str(how["shard_size"]))
            made["merged"] = _relative(book, merge(run.path, checkpoint=checkpoint, **how))
        return made

    return _planned(book, "export", options, {to_translate("the training"): run.id}, missing, do)


def _plan_evaluation(book: Book) -> Planned:
    run, options = book.run(), book.recipe.evaluate or {}
    asked = [options.get("dataset") or test_part(run.spec.datasets[0].name), *options.get("also", ())]
    questions = [sorted(data_digests(book.data, name).items()) for name in asked]
    digest_of_all = hashlib.sha256(msgspec.json.encode(questions)).hexdigest()

    def missing(made: dict[str, Any]) -> str:
        return _gone(*(book.project.folder / file for file in made["evaluations"]))

    def do() -> dict[str, Any]:
        try:
            done = evaluate(run.path, dataset_dir=book.data, **options)
        except OtherAnswersError:  # to other options, of an earlier time
            done = evaluate(run.path, dataset_dir=book.data, **{**options, "replace": True})
        return {"evaluations": [_relative(book, each.file) for each in done.evaluations]}

    on = {to_translate("the training"): run.id, to_translate("the test data"): digest_of_all}
    return _planned(book, "evaluate", {**options, "ftbridge": __version__}, on, missing, do)


def _plan_report(book: Book) -> Planned:
    options = book.recipe.report or {}
    folder = book.project.folder
    if book.recipe.sweep is not None:
        source = folder / book.made("sweep")["sweep"]
        on = {to_translate("the sweep"): sha256(source / "sweep.json")}
    else:
        run = book.run()
        source, on = run.path, {to_translate("the training"): run.id}
        if book.recipe.evaluate is not None:
            on |= {f"`{file}`": sha256(folder / file) for file in book.made("evaluate")["evaluations"]}

    def missing(made: dict[str, Any]) -> str:
        return _gone(*(folder / file for file in made.values()))

    def do() -> dict[str, Any]:
        done = msgspec.structs.asdict(report(source, **options))
        return {kind: _relative(book, file) for kind, file in done.items() if file}

    return _planned(book, "report", {**options, "ftbridge": __version__}, on, missing, do)


def _plan_base(book: Book) -> Planned:
    """Return the making of a toy base, for a demo, of the data's own texts."""
    folder = book.project.folder / BASE_FOLDER

    def missing(_made: dict[str, Any]) -> str:
        return _gone(folder / "config.json")

    def do() -> dict[str, Any]:
        say(_("making a small base model with random weights (Qwen2, 3 million parameters) ..."))
        backend = book.recipe.train["backend"]
        base_model(folder, interpreter(book.project, backend), texts_of(book.data, book.made("convert")["parts"]))
        return {"model": BASE_FOLDER}

    return _planned(book, "base", {}, {to_translate("the data"): book.data_digest()}, missing, do)


_PLANS: dict[str, Callable[[Book], Planned]] = {
    "convert": _plan_conversion,
    "base": _plan_base,
    "train": _plan_training,
    "sweep": _plan_sweep,
    "export": _plan_export,
    "evaluate": _plan_evaluation,
    "report": _plan_report,
}
