"""`ftbridge recipe run`: the steps of a recipe one after another, each only where it is not done yet."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ftbridge.adapters.sources.locate import HUBS, PRESET, origins
from ftbridge.core.console import say
from ftbridge.core.errors import InputError, InterruptedRun, QuestionError, SetupError, UsageError
from ftbridge.core.files.atomic import locked
from ftbridge.core.parsing.json_yaml import closest, load_yaml
from ftbridge.core.project import Project, Settings
from ftbridge.dataset_info.presets import load_preset
from ftbridge.experiments.recipes import demo as toy
from ftbridge.experiments.recipes.needs import needs
from ftbridge.experiments.recipes.recipe import Recipe, changed_recipe, find_recipe
from ftbridge.experiments.recipes.steps import Book, Done, plan_step
from ftbridge.experiments.sweep.data import located_source
from ftbridge.experiments.sweep.options import SweepOptions, number_of_points
from ftbridge.experiments.sweep.sweep import MOST_POINTS
from ftbridge.language import gettext as _
from ftbridge.language import joined, ngettext

_NAME = re.compile(r"[\w-]+")
_OF_PAIRS = {"map", "role", "set", "label_map"}  # options of `convert` that are given as KEY=VALUE, again and again
_LISTS = {"sheet"}


class StepRun(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a recipe: `why` it was done, "" where it was up to date, its options, and what it `made`.

    Paths are relative to the project's folder.
    """

    name: str
    why: str
    options: dict[str, Any] = {}
    made: dict[str, Any] = {}


class RecipeRun(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a recipe, done, or with `dry_run` to be done, and the folder of the project they are done in."""

    name: str
    folder: Path
    steps: tuple[StepRun, ...]
    notes: tuple[str, ...] = ()
    dry_run: bool = False


def run_recipe(  # noqa: PLR0913 - the options of the command, all by name
    recipe: str | os.PathLike[str] | Recipe,
    *,
    backend: str | None = None,
    model: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - named as on the command line
    until: str | None = None,
    demo: bool = False,
    dry_run: bool = False,
    folder: str | os.PathLike[str] | None = None,
    parallel: bool = False,
    name: str | None = None,
    max_points: int = MOST_POINTS,
) -> RecipeRun:
    """Do the steps of a recipe that are not done yet, and return what each came to.

    `recipe` is a file, or the name of one that comes with ftbridge. `backend`, `model` and `data` take the place of
    what it says, as does `set` (values by `section.option`). It ends after the step `until`. `demo` tries it with a
    toy model on the CPU in the folder NAME-demo. With `dry_run` nothing is done or written. It works in the project
    around `folder` (default: the current one) under `name`; `parallel` and `max_points` are those of `sweep`. A step
    is done anew where its options, or what it is done on, have changed. Raises UsageError and InputError for what the
    recipe cannot be, what the steps raise, and InterruptedRun after Ctrl-C; what is done stays done.
    """
    found = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    found = replace(found, name=_checked_name(name or found.name))
    start = Path(folder).expanduser().absolute() if folder else Path.cwd()
    found = _with_data(found, data)
    around = Project.find(start)
    if demo:
        if model:
            raise UsageError(_("`--demo` makes its own toy model; leave `--model` out"))
        project = toy.demo_project(around, start / f"{found.name}-demo", write=not dry_run)
        found = toy.demo_recipe(found, project, write=not dry_run)
    else:
        project = Project(around.folder, Settings(backends=around.settings.backends))
    found = _with_changes(
        found, {"backend": backend, "model": _whole_path(os.fspath(model)) if model else None}, set or {}
    )
    steps = _steps_until(toy.steps_of(found) if demo else found.steps, until)
    book = Book(found, project, parallel=parallel, max_points=max_points)
    with contextlib.chdir(project.folder if project.folder.is_dir() else Path.cwd()):
        if dry_run:
            seen, notes = tuple(_look(book, steps)), notes_of(found, project.folder)
            return RecipeRun(name=found.name, folder=project.folder, steps=seen, notes=notes, dry_run=True)
        _refuse_without_data(found)
        with locked(book.file, patience=1):
            done = tuple(_do(book, steps))
    return RecipeRun(name=found.name, folder=project.folder, steps=done)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            _("`{name}` is not a valid name for a recipe; use letters, digits, `-`, `_` and Chinese characters").format(
                name=name
            )
        )
    return name


def _whole_path(model: str) -> str:
    """Return a model that is a folder here by its whole path, for the steps work in the project's folder."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model


def _with_data(recipe: Recipe, data: str | os.PathLike[str] | None) -> Recipe:
    """Return the recipe with other data in the place of its own, which is read in the same way."""
    sources = [located_source(each, Path.cwd()) for each in recipe.sources]
    values = {**recipe.convert, "sources": sources}
    if data is not None:
        values["sources"] = [located_source(os.fspath(data), Path.cwd())]
        origins(values["sources"])  # a name that was mistyped is told, whatever a demo would take in its place
        own = {source.removeprefix("preset:") for source in sources if source.startswith("preset:")}
        if own and not values["sources"][0].startswith("preset:"):
            values.setdefault("preset", own.pop())
            values.pop("set", None)
    return replace(recipe, convert=values)


def _with_changes(recipe: Recipe, of_training: Mapping[str, str | None], change: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the options of the command line; what those choose, a sweep does not vary."""
    chosen = {name: value for name, value in of_training.items() if value}
    recipe = changed_recipe(recipe, {f"train.{name}": value for name, value in chosen.items()})
    if recipe.sweep and (grid := recipe.sweep.get("grid")):
        ours = {key: [chosen[key.removeprefix("train.")]] for key in grid if key.removeprefix("train.") in chosen}
        recipe = replace(recipe, sweep={**recipe.sweep, "grid": {**grid, **ours}})
    return changed_recipe(recipe, change)


def _steps_until(steps: Sequence[str], until: str | None) -> list[str]:
    if until is None:
        return list(steps)
    if until not in steps:
        raise UsageError(_("this recipe has no step `{until}`{hint}").format(until=until, hint=closest(until, steps)))
    return list(steps[: steps.index(until) + 1])


def missing_data(recipe: Recipe) -> str:
    """Return where the recipe's data is to be had, where no hub has it; "" where it can be fetched or is here."""
    for source in recipe.sources:
        if source.startswith("preset:"):
            preset = load_preset(source.removeprefix("preset:"))
            if not (preset.hub or preset.settings):
                return _(
                    "the data is on no hub ({title}): get it from {source} and give it with `--data "
                    "FILE`, or see the recipe at work with `--demo`"
                ).format(title=preset.title, source=preset.source)
    return ""


def notes_of(recipe: Recipe, folder: Path, samples: int | None = None) -> tuple[str, ...]:
    """Return what is to be known before a recipe starts: whether its data is to be got, and what it needs.

    `samples` are those of its training part, where that is known, and `folder` is the project's.
    """
    found = [missing_data(recipe)]
    options = {name: value for name, value in recipe.train.items() if name != "backend"}
    if "model" in options:
        points = 1
        if recipe.sweep:
            asked = msgspec.convert(recipe.sweep, SweepOptions)
            points, samples = number_of_points(asked), _mean_samples(asked, samples)
        merges = bool((recipe.export or {}).get("merge"))
        found.append(needs(options, folder, samples=samples, merge=merges, points=points).sentence)
    return tuple(filter(None, found))


def _mean_samples(asked: SweepOptions, samples: int | None) -> int | None:
    """Return the number of samples that a point of a sweep has on the mean."""
    sizes = [*asked.grid.get("sample", []), *asked.grid.get("convert.sample", [])]
    numbers = [size for size in sizes if isinstance(size, int)]
    return sum(numbers) // len(numbers) if numbers else samples


def _refuse_without_data(recipe: Recipe) -> None:
    if lacking := missing_data(recipe):
        raise UsageError(lacking)


def _do(book: Book, steps: Sequence[str]) -> Iterator[StepRun]:
    """Do each step that is not done yet, say why, and keep it."""
    for at, step in enumerate(steps):
        with _told(step, steps[:at], book.recipe.sources):
            planned = plan_step(step, book)
            say(_("{step}: {why}").format(step=step, why=planned.why or _("up to date")))
            if planned.why and step in {"train", "sweep"}:
                _say_needs(book)
            made = planned.do() if planned.why else planned.made
        book.note(step, Done(options=planned.options, on=planned.on, made=made))
        yield StepRun(name=step, why=planned.why, options=planned.options, made=made)


def _say_needs(book: Book) -> None:
    converted = book.made("convert")
    for note in notes_of(book.recipe, book.project.folder, converted["parts"][converted["dataset"]]):
        say(note)


def _look(book: Book, steps: Sequence[str]) -> Iterator[StepRun]:
    """Yield what there is to do; what follows on a step that is still to be done cannot be looked at before."""
    first = ""
    for step in steps:
        if first:
            yield StepRun(
                name=step,
                why=_("after {first}, which comes first").format(first=first),
                options=getattr(book.recipe, step, None) or {},
            )
            continue
        if step == "convert" and missing_data(book.recipe):
            first = step
            yield StepRun(name=step, why=_("its data is not here"), options=book.recipe.convert)
            continue
        planned = plan_step(step, book)
        first = step if planned.why else ""
        yield StepRun(name=step, why=planned.why, options=planned.options, made=planned.made)


@contextlib.contextmanager
def _told(step: str, done: Sequence[str], sources: Sequence[str]) -> Iterator[None]:
    """Let what ends a step speak of the recipe: Ctrl-C of what is done, a question of the options that answer it.

    Where data cannot be fetched, what else there is to do is said.
    """
    try:
        yield
    except (KeyboardInterrupt, InterruptedRun):
        text = _("stopped in the step `{step}`; the same command goes on from there")
        if done:
            text = ngettext(
                "stopped in the step `{step}`; {done} is done, and the same command goes on from there",
                "stopped in the step `{step}`; {done} are done, and the same command goes on from there",
                len(done),
            )
        raise InterruptedRun(text.format(step=step, done=joined(_(" and "), done))) from None
    except QuestionError as error:
        if step != "convert":
            raise
        answers = {meaning: settings_of_words(words) for meaning, words in error.answers.items()}
        raise QuestionError(error.reason, answers) from error
    except (InputError, SetupError):
        if step == "convert" and any(source.startswith((*HUBS, PRESET)) for source in sources):
            say(_("note: `--data FILE` takes a file instead of the hub's data; `--demo` shows the recipe without it"))
        raise


def settings_of_words(words: Sequence[str]) -> list[str]:
    """Return options of the command `convert`, as they are typed, as `--set convert.OPTION=VALUE`."""
    values: dict[str, Any] = {}
    for at, word in enumerate(words):
        if not word.startswith("--"):
            continue
        key = word.removeprefix("--").replace("-", "_")
        value = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("--") else True
        if key in _OF_PAIRS and isinstance(value, str):
            name, _unused, text = value.partition("=")
            values.setdefault(key, {})[name] = text
        elif key in _LISTS:
            values.setdefault(key, []).append(value)
        else:
            values[key] = value
    return [word for key, value in values.items() for word in ("--set", f"convert.{key}={_as_yaml(value)}")]


def _as_yaml(value: Any) -> str:
    """Return a value in one line, a text as it is where YAML reads it as the same."""
    if isinstance(value, str):
        with contextlib.suppress(Exception):
            if load_yaml(f"x: {value}", "")["x"] == value:
                return value
    return msgspec.json.encode(value).decode()


def parse_changes(texts: Sequence[str]) -> dict[str, Any]:
    """Return what texts such as `train.lora_rank=8` change, their values read as YAML; raises UsageError for others."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(
                _("`--set` takes SECTION.OPTION=VALUE, as in `train.lora_rank=8`; got `{text}`").format(text=text)
            )
        # A split is text as it stands, and a number in base 60 to YAML.
        found[key] = (
            value
            if key == "convert.split"
            else load_yaml("value: " + value, _("`--set {text}`").format(text=text))["value"]
        )
    return found
