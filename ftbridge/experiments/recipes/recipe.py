"""A recipe: one experiment as a YAML file, from its data to its report."""

import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import closest, load_yaml_lines
from ftbridge.experiments.recipes.sections import STEPS, Values, check_section
from ftbridge.experiments.sweep.data import located, located_baselines, with_texts
from ftbridge.language import gettext as _
from ftbridge.language import joined

ENDINGS = (".yaml", ".yml")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment: the options of each step by their names, None for a step that is not done.

    `demo` has sections of its own, whose options are taken where the recipe is tried with a toy model. `file` is where
    it stands, "" for one that comes with ftbridge.
    """

    name: str
    title: str = ""
    file: str = ""
    convert: Values
    train: Values = {}
    sweep: Values | None = None
    export: Values | None = None
    evaluate: Values | None = None
    report: Values | None = None
    demo: dict[str, Values] = {}

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the names of the steps, in order; a sweep trains and evaluates its points itself."""
        inside = {"train", "export", "evaluate"} if self.sweep is not None else set()
        return tuple(step for step in STEPS if getattr(self, step) is not None and step not in inside)

    @property
    def sources(self) -> list[str]:
        """Return what is converted."""
        given = self.convert.get("sources", [])
        return [given] if isinstance(given, str) else list(given)


def find_recipe(name: str | os.PathLike[str]) -> Recipe:
    """Return the recipe of a file, else the one that comes with ftbridge under this name.

    Raises UsageError, with the closest name, for none, and InputError for a damaged one.
    """
    path = Path(name).expanduser()
    if path.suffix in ENDINGS or path.name != os.fspath(name) or path.is_file():
        return load_recipe(path)
    text = shipped_recipes().get(os.fspath(name))
    if text is None:
        raise UsageError(
            _("there is no recipe `{name}`{hint}").format(
                name=os.fspath(name), hint=closest(os.fspath(name), shipped_recipes())
            )
        )
    return parse_recipe(os.fspath(name), text, _("the recipe `{name}`").format(name=os.fspath(name)))


def shipped_recipes() -> dict[str, str]:
    """Return the YAML of each recipe that comes with ftbridge, by name."""
    folder = files("ftbridge.dataset_info") / "recipes"
    if not folder.is_dir():
        return {}
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in found if _is_yaml(file.name)}


def _is_yaml(name: str) -> bool:
    return name.endswith(".yaml")


def load_recipe(file: Path) -> Recipe:
    """Return the recipe in a file, whose folder its paths are relative to.

    Raises InputError, with the line, where there is none, or it is damaged or asks for what there is not.
    """
    name = re.sub(r"[^\w-]+", "-", file.stem).strip("-") or "recipe"
    recipe = parse_recipe(name, read_text(file, _("recipe")), f"`{file}`")
    folder = file.expanduser().absolute().parent
    return msgspec.structs.replace(
        recipe,
        file=str(folder / file.name),
        convert=located(recipe.convert, folder),
        train=_located_training(recipe.train, folder),
        evaluate=None if recipe.evaluate is None else located_baselines(recipe.evaluate, folder),
    )


def parse_recipe(name: str, text: str, where: str) -> Recipe:
    """Return the recipe in a YAML text; raises InputError, naming `where` it stands and the line."""
    values, lines = load_yaml_lines(text, where, 3)
    place = re.sub(r"`$", "", where)
    places = {
        key: _("{place}`, line {line}: `{text}`").format(place=place, line=line, text=key.rpartition(".")[2])
        for key, line in lines.items()
    }
    for key in values:
        if key not in Recipe.__struct_fields__ or key in {"name", "file"}:
            raise InputError(_("{place} {reason}").format(place=places[key], reason=_why_no_section(key)))
    sections = _checked_sections({key: value for key, value in values.items() if key != "title"}, where, places, "")
    for needed in ("convert", "train"):
        if needed not in sections:
            raise InputError(
                _("{where} has no section `{needed}`; {examples}").format(
                    where=where, needed=needed, examples=_EXAMPLES[needed]
                )
            )
    if not sections["convert"].get("sources"):
        raise InputError(
            _("{where} does not say what to convert; {convert}").format(where=where, convert=_EXAMPLES["convert"])
        )
    return Recipe(name=name, title=str(values.get("title") or ""), **sections)


_EXAMPLES = {
    "convert": _("as in `convert: {sources: medqa.xlsx}`"),
    "train": _("as in `train: {backend: xtuner, model: Qwen/Qwen2.5-7B-Instruct}`"),
}


def _why_no_section(key: str) -> str:
    from ftbridge.experiments.recipes.sections import options_of

    own = [f"`{name}`" for name in STEPS if key in options_of(name).__struct_fields__]
    if own:
        return _("is an option of {own}, but stands outside it; move it there").format(own=joined(_(" and "), own))
    return _("is not a section of a recipe{hint}").format(hint=closest(key, ["title", *STEPS, "demo"]))


def _checked_sections(values: Values, where: str, places: Mapping[str, str], outer: str) -> dict[str, Any]:
    """Return sections whose options are checked; those of `demo` are checked in it."""
    found: dict[str, Any] = {}
    for name, options in values.items():
        if outer and name not in STEPS:
            raise InputError(_("{place} {reason}").format(place=places[outer + name], reason=_why_no_section(name)))
        section = {} if options is None else options
        if not isinstance(section, dict) or not all(isinstance(key, str) for key in section):
            raise InputError(
                _("{place} is a section, and holds `option: value` lines").format(place=places[outer + name])
            )
        inside = f"{outer}{name}."
        if name == "demo":
            found[name] = _checked_sections(section, where, places, inside)
            continue
        own = {key.removeprefix(inside): place for key, place in places.items() if key.startswith(inside)}
        found[name] = check_section(name, section, f"{where}: `{name}`", own)
    return found


def _located_training(values: Values, folder: Path) -> Values:
    template = values.get("chat_template")
    if isinstance(template, str) and (file := folder / Path(template).expanduser()).is_file():
        return {**values, "chat_template": str(file)}
    return values


def changed_recipe(recipe: Recipe, changes: Mapping[str, Any], where: str = "`--set`") -> Recipe:
    """Return the recipe with options changed, each under SECTION.KEY; raises UsageError for what it cannot have."""
    sections: dict[str, Values] = {}
    for path, value in changes.items():
        section, dot, key = path.partition(".")
        if not dot or section not in STEPS:
            wrong = _("takes SECTION.OPTION=VALUE, as in `train.lora_rank=8`; got `{path}`").format(path=path)
            raise UsageError(
                _("{where} {wrong}{hint}").format(where=where, wrong=wrong, hint=closest(section, STEPS) if dot else "")
            )
        if path == "convert.split" and isinstance(value, int):
            raise UsageError(
                _("{where}: YAML reads a split such as 7:3 as a number; write `convert.split='\"7:3\"'`").format(
                    where=where
                )
            )
        sections.setdefault(section, {})[key] = value
    return with_sections(recipe, sections, where)


def with_sections(recipe: Recipe, sections: Mapping[str, Values], where: str) -> Recipe:
    """Return the recipe with the options of `sections` over its own; raises UsageError for what it cannot have."""
    try:
        own = {
            section: check_section(section, {**(getattr(recipe, section) or {}), **values}, f"{where}: `{section}`", {})
            for section, values in sections.items()
        }
    except InputError as error:
        raise UsageError(str(error)) from error
    if own.get("evaluate"):
        own["evaluate"] = located_baselines(own["evaluate"], Path.cwd())
    return msgspec.structs.replace(recipe, **own)


def convert_options(recipe: Recipe) -> Values:
    """Return the options of the conversion as `convert` takes them: texts behind `@` and label maps are read."""
    values = with_texts({key: value for key, value in recipe.convert.items() if key != "sources"})
    if len(recipe.sources) > 1:
        values.setdefault("name", recipe.name)
    return values


class RecipeSummary(msgspec.Struct, frozen=True):
    """A recipe that comes with ftbridge, in a line of a list."""

    name: str
    title: str
    data: str
    model: str


def summaries() -> list[RecipeSummary]:
    """Return the recipes that come with ftbridge; their options are not looked at, which keeps the list quick."""
    found = []
    for name, text in shipped_recipes().items():
        values = load_yaml_lines(text, _("the recipe `{name}`").format(name=name))[0]
        sources = values["convert"]["sources"]
        data = sources if isinstance(sources, str) else ", ".join(sources)
        found.append(RecipeSummary(name, _(str(values.get("title", ""))), data, str(values["train"].get("model", ""))))
    return found


def text_of(name: str) -> str:
    """Return the YAML of a recipe that `find_recipe` knows."""
    return shipped_recipes().get(name) or read_text(Path(name).expanduser(), _("recipe"))
