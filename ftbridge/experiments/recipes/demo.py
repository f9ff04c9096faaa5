"""`ftbridge recipe run --demo`: the whole of a recipe with a toy model and a few rows, on the CPU."""

import os
import shutil
from collections.abc import Iterable, Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import parse_json_lines
from ftbridge.core.project import SETTINGS as SETTINGS_FILE
from ftbridge.core.project import Project, Settings
from ftbridge.core.records import ReadingOptions
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.experiments.demo import SETTINGS
from ftbridge.experiments.recipes.recipe import Recipe, with_sections
from ftbridge.experiments.recipes.sections import Values
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import any_backend, interpreter

ROWS = 60
SPLIT = "4:1"
BASE_FOLDER = "base"
# Of a training these say what the experiment is; all others are the machine's or the model's affair, and the toy's own.
_KEPT = (
    "backend method lora_rank lora_dropout rslora dora tokens learn thinking chat_template packing track seed "
    "validation_dataset quantization_bits quantization_type double_quantization"
)
_TOY = {**SETTINGS, "model": BASE_FOLDER, "epochs": 30, "micro_batch_size": 8, "cutoff_length": 512}
_KEPT_OF_EVALUATION = "task before prompt result_jsonl baseline thinking checkpoint"
_OF_EVALUATION = {"device": "cpu", "engine": "transformers", "max_new_tokens": 48}


def demo_project(around: Project, folder: Path, *, write: bool) -> Project:
    """Return the project that a demo is, made where it is not there yet, with the interpreters of the one around it.

    Raises UsageError where something else is at `folder`.
    """
    if not (folder / SETTINGS_FILE).is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                _("`{folder}` exists already and is not a demo; choose another name with `--name`").format(
                    folder=folder
                )
            )
        own = {name: {"python": str(interpreter(around, name))} for name in around.settings.backends}
        if not write:
            return Project(folder, Settings(backends=around.settings.backends))
        folder.mkdir(parents=True, exist_ok=True)
        Project(folder, Settings()).write_settings({"model": BASE_FOLDER, **({"backends": own} if own else {})})
        say(_("the demo is in {folder}, a project of its own that is kept").format(folder=folder))
    made = Project.find(folder)
    return Project(folder, Settings(backends=made.settings.backends))


def steps_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the steps of a demo, which makes its own base of the data."""
    first, *others = recipe.steps
    return (first, "base", *others)


def demo_recipe(recipe: Recipe, project: Project, *, write: bool) -> Recipe:
    """Return the recipe as its demo does it: with few rows, a toy model and short answers, then as its `demo` says.

    `project` is the demo's own; where the recipe names no framework, one that it has is taken.
    """
    small = msgspec.structs.replace(
        recipe,
        convert=_few_rows(recipe, project.folder, write=write),
        train={"backend": any_backend(project), **_chosen(recipe.train, _KEPT), **_TOY},
        sweep=None if recipe.sweep is None else _few_points(recipe.sweep),
        evaluate=None if recipe.evaluate is None else _short_evaluation(recipe.evaluate),
        report=None if recipe.report is None else _without(recipe.report, "out"),
    )
    own = {section: values for section, values in recipe.demo.items() if section != "sweep"}
    small = with_sections(small, own, "`demo`")
    if recipe.demo.get("sweep") and recipe.sweep is not None:
        small = msgspec.structs.replace(small, sweep={**_chosen(recipe.sweep, "metric"), **recipe.demo["sweep"]})
    return small


def _chosen(values: Values, names: str) -> Values:
    return {name: values[name] for name in names.split() if name in values}


def _without(values: Values, *names: str) -> Values:
    return {name: value for name, value in values.items() if name not in names}


def _few_rows(recipe: Recipe, folder: Path, *, write: bool) -> Values:
    """Return the options of the conversion, of the sample that comes with ftbridge where the data is not here."""
    values = _without(recipe.convert, "sample", "name")
    named = [source.removeprefix("preset:") for source in recipe.sources if source.startswith("preset:")]
    preset = named[0] if named else "" if all(map(os.path.exists, recipe.sources)) else str(values.get("preset", ""))
    if preset and (sample := _sample(preset, folder, write=write)):
        values = {**_without(values, *ReadingOptions.__annotations__), "sources": [str(sample)], "preset": preset}
    split = str(values.get("split") or "")
    if "=" in split or (not split and preset):
        values["split"] = SPLIT
    return {**values, "limit": ROWS}


def _sample(preset: str, folder: Path, *, write: bool) -> Path | None:
    """Return the sample of a preset in the demo's folder, copied; None where ftbridge has none."""
    for resource in (files("ftbridge.dataset_info") / "samples").iterdir():
        if resource.name.partition(".")[0] == preset:
            with as_file(resource) as file:
                if not write:
                    return file
                shutil.copyfile(file, folder / resource.name)
            return folder / resource.name
    return None


def _few_points(sweep: Values) -> Values:
    """Return a sweep of two points: the first two values of its first option, and the first seed."""
    small = {**sweep, "seeds": sweep.get("seeds", [])[:1]}
    if grid := {key: values for key, values in sweep.get("grid", {}).items() if not key.endswith("model")}:
        first, *others = grid
        values = [ROWS // 6, ROWS // 3] if first.endswith("sample") else grid[first][:2]
        small["grid"] = {first: values, **{key: grid[key][:1] for key in others}}
    elif points := sweep.get("points"):
        small["points"] = points[:2]
    elif sweep.get("random"):
        small["random"] = {**sweep["random"], "number": 2}
    return small


def _short_evaluation(values: Values) -> Values:
    found: dict[str, Any] = {**_chosen(values, _KEPT_OF_EVALUATION), **_OF_EVALUATION}
    if baselines := [each for each in values.get("baseline", []) if not each.startswith("bert=")]:
        found["baseline"] = baselines
    elif "baseline" in found:
        del found["baseline"]
    return found


def texts_of(dataset_dir: Path, parts: Iterable[str]) -> list[str]:
    """Return all texts of the parts of a dataset, of which a toy's tokens are made."""
    entries = registry.converted_entries(dataset_dir)
    found: list[str] = []
    for part in parts:
        with (dataset_dir / entries[part].files[MESSAGES]).open("rb") as lines:
            for line in parse_json_lines(lines):
                found += _texts_in(line)
    return found


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(each)
