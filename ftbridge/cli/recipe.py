"""`ftbridge recipe`: a whole experiment in one file, run, listed, shown and made."""

import os
from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.figures import best_run, failed_points, figures_table, prompts_table, sweep_table
from ftbridge.cli.options import (
    Choice,
    Group,
    PluginName,
    complete_file,
    complete_folder,
    complete_preset,
    completer_of,
    json_option,
    option,
    options,
)
from ftbridge.cli.output import print_parts
from ftbridge.language import english, joined
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftbridge.cli.output import Rows
    from ftbridge.evaluation.sweep.results import SweepResults
    from ftbridge.experiments.recipes.init import Purpose
    from ftbridge.experiments.recipes.run import RecipeRun

STEPS = _("convert, train, export, evaluate or report; sweep where there is one")
PURPOSES = ("classify", "answer", "role-play", "extract", "sizes")
_WIDTH = 60  # letters of a value in a dry run
_COLUMNS = 80


def _recipe_names(_ctx: click.Context) -> list[str]:
    from ftbridge.experiments.recipes.recipe import shipped_recipes

    return list(shipped_recipes())


complete_recipe = completer_of(_recipe_names, "file")


@click.group(
    "recipe",
    cls=Group,
    short_help=_("Run, list, show and make recipes: a whole experiment in one file."),
    examples=("ftbridge recipe run medqa --demo", "ftbridge recipe init --preset fudan-news"),
)
def command() -> None:
    """Run, list, show and make recipes: a whole experiment in one file, from its data to its report."""


@command.command(
    "run",
    short_help=_("Do the steps of a recipe that are not done yet."),
    headings={
        _("What is changed"): "backend model data set name",
        _("How it runs"): "demo until dry_run parallel max_points as_json",
    },
    examples=("ftbridge recipe run medqa --demo", "ftbridge recipe run my.yaml --set train.lora_rank=16"),
)
@click.argument("recipe", metavar="NAME|FILE", shell_complete=complete_recipe)
@options(
    option("--backend", type=PluginName("backends"), show_default=_("the recipe's"), help=_("Framework that trains.")),
    option(
        "--model", metavar="BASE", shell_complete=complete_folder, show_default=_("the recipe's"),
        help=_("Base model: a folder, or a hub's name."),
    ),
    option(
        "--data", metavar="SOURCE", shell_complete=complete_file, show_default=_("the recipe's"),
        help=_("Data to convert instead of the recipe's: a file, folder or a hub's address."),
    ),
    option(
        "--set", multiple=True, metavar="SECTION.OPTION=VALUE",
        help=_("Any option of the recipe, as in `train.lora_rank=16`, with a value as in YAML; "
        "repeatable."),
    ),
    option(
        "--name", metavar="NAME", show_default=_("the recipe's"),
        help=_("Name under which progress is recorded; a new name starts over."),
    ),
    option(
        "--demo", is_flag=True,
        help=_("Try it in a new folder NAME-demo: a toy model, at most 60 rows, on the CPU, in "
        "minutes."),
    ),
    option("--until", metavar="STEP", help=_("Last step to do: {steps}.").format(steps=STEPS)),
    option("--dry-run", is_flag=True, help=_("Say what would be done and why, and do nothing.")),
    option("--parallel", is_flag=True, help=_("Train one point of a sweep on each GPU at a time.")),
    option("--max-points", type=click.IntRange(min=1), default=200, help=_("Number of points a sweep may have.")),
)  # fmt: skip
@json_option
@click.pass_context
def run_command(ctx: click.Context, /, recipe: str, as_json: bool, **given: Any) -> None:
    """Do all steps of a recipe: a FILE, or the NAME of one that comes with ftbridge.

    What is up to date is left as it is, so the same command goes on after Ctrl-C or a crash; stderr says of each
    step why it is done. Of ftbridge.yaml only `backends` is read.
    """
    from ftbridge.core.console import print_json, result, say
    from ftbridge.core.errors import FrameworkError
    from ftbridge.experiments.recipes.run import parse_changes, run_recipe

    done = run_recipe(recipe, **given | {"set": parse_changes(given["set"])})
    if as_json:
        print_json(done)
    elif done.dry_run:
        result(_steps_to_do(done))
    else:
        print_parts(filter(None, _found(done)))
        _say_next(done)
    if (swept := _swept(done)) and (failed := failed_points(swept)):
        say(_("error: {failed}").format(failed=failed))
        ctx.exit(FrameworkError.exit_code)


def _steps_to_do(planned: "RecipeRun") -> str:
    from ftbridge.adapters.values import shorten
    from ftbridge.core.console import aligned
    from ftbridge.experiments.recipes.steps import shown

    lines = []
    for step in planned.steps:
        lines.append(_("{name}: {why}").format(name=step.name, why=step.why or _("up to date")))
        if step.why and step.options:
            rows = [("", name, shorten(shown(value), _WIDTH)) for name, value in step.options.items()]
            lines.append(aligned(rows))
    return "\n".join([*lines, *planned.notes])


def _found(done: "RecipeRun") -> "Iterator[str | Rows]":
    """Yield what the steps have made, the figures of what was evaluated, and the report's files."""
    from ftbridge.cli.output import relative_path

    made = {step.name: step.made for step in done.steps}
    yield [(_("step"), _("made")), *((name, _made(each)) for name, each in made.items() if name != "report")]
    yield from _figures(done, made)
    yield "\n".join(str(relative_path(done.folder / file)) for file in made.get("report", {}).values())


def _figures(done: "RecipeRun", made: dict[str, dict[str, Any]]) -> "Iterator[str | Rows]":
    """Yield the table of a sweep, or that of a model, of the one before it and of baselines, and what follows."""
    from ftbridge.evaluation.record import load_evaluation

    if swept := _swept(done):
        yield from sweep_table(swept)
        return
    files: list[str] = made.get("evaluate", {}).get("evaluations", [])
    found = [load_evaluation(done.folder / file) for file in files]
    yield from (figures_table(each.dataset, [each]) for each in found)
    yield from (prompts_table(each, several=False) for each in found if each.prompts)
    yield from (pair.sentence for each in found for pair in each.comparisons)


def _made(made: dict[str, Any]) -> str:
    """Return what a step has made, in a few words."""
    parts = made.get("parts")
    if parts:
        return joined(", ", (f"{name} ({samples:,})" for name, samples in parts.items()))
    values = (value if isinstance(value, list) else [value] for value in made.values())
    return joined(", ", (str(each) for every in values for each in every))


def _say_next(done: "RecipeRun") -> None:
    """Say where all of it lies, and what to do with it."""
    from pathlib import Path

    from ftbridge.core.console import say
    from ftbridge.core.errors import shell_words

    names = [step.name for step in done.steps]
    if names[-1] in {"convert", "base"}:
        return
    say(_("\nnext:"))
    if done.folder != Path.cwd():
        say(f"  cd {shell_words([str(done.folder)])}")
    swept = _swept(done)
    if swept is None:
        say("  ftbridge chat")
        return
    say("  ftbridge sweep show")
    if best := best_run(swept):
        say(_("  {value}").format(value=shell_words(["ftbridge", "chat", os.path.relpath(best, done.folder)])))


def _swept(done: "RecipeRun") -> "SweepResults | None":
    """Return what the sweep of a recipe has found, None where it has none."""
    from ftbridge.evaluation.sweep.record import load_sweep
    from ftbridge.evaluation.sweep.results import results_of

    made = next((step.made for step in done.steps if step.name == "sweep"), {})
    return results_of(load_sweep(done.folder / made["sweep"])) if made and not done.dry_run else None


@command.command("list", examples=("ftbridge recipe list", "ftbridge recipe list --json"))
@json_option
def list_command(as_json: bool) -> None:
    """List the recipes that come with ftbridge."""
    import re
    import sys

    from ftbridge.core.console import is_terminal, print_json, result, terminal_size
    from ftbridge.core.console.wrapping import wrap
    from ftbridge.experiments.recipes.recipe import summaries

    found = summaries()
    if as_json:
        print_json(found)
        return
    column = max(len(each.name) for each in found) + 2
    width = min(_COLUMNS, terminal_size()[0]) if is_terminal(sys.stdout) else _COLUMNS
    for each in found:
        data = re.sub(r"^\w+:(//)?|[:@].*", "", each.data)  # without the hub, and which part of its data
        facts = each.title.removesuffix("."), joined(_(", "), (data, each.model))
        lines = [line for fact in facts for line in wrap(fact, width - column)]
        result("\n".join(f"{'' if at else each.name:{column}}{line}" for at, line in enumerate(lines)))


@command.command(
    "show",
    short_help=_("Show a recipe."),
    examples=("ftbridge recipe show medqa", "ftbridge recipe show my.yaml --json"),
)
@click.argument("recipe", metavar="NAME|FILE", shell_complete=complete_recipe)
@json_option
def show_command(recipe: str, as_json: bool) -> None:
    """Show a recipe, a FILE or the NAME of one that comes with ftbridge, and what it needs."""
    import msgspec

    from ftbridge.core.console import print_json, result, say
    from ftbridge.core.project import Project
    from ftbridge.experiments.recipes.recipe import find_recipe, text_of
    from ftbridge.experiments.recipes.run import notes_of

    found = find_recipe(recipe)
    notes = notes_of(found, Project.find().folder)
    if as_json:
        print_json({**msgspec.to_builtins(found, enc_hook=english), "steps": found.steps, "notes": notes})
        return
    result(text_of(recipe).rstrip("\n"))
    for note in notes:
        say(note)


@command.command(
    "init",
    short_help=_("Write a commented recipe for your own data."),
    examples=("ftbridge recipe init", "ftbridge recipe init --data faq.xlsx --for answer"),
)
@options(
    option(
        "--data", default="", metavar="SOURCE", shell_complete=complete_file, show_default=_("asked"),
        help=_("Data to convert: a file, a folder or a hub's address."),
    ),
    option(
        "--preset", default="", metavar="NAME", shell_complete=complete_preset,
        help=_("Well-known dataset: used in place of --data, or as the format in which --data is read."),
    ),
    option(
        "--model", default="", metavar="BASE", shell_complete=complete_folder,
        show_default=_("asked, or what goes with the preset"), help=_("Base model: a folder, or a hub's name."),
    ),
    option(
        "--for", "purpose", type=Choice(PURPOSES), metavar="PURPOSE",
        show_default=_("asked, or what the preset is for"),
        help=_("What the model is for: {purposes}.").format(purposes=joined(", ", PURPOSES)),
    ),
    option("--out", metavar="FILE", show_default=_("NAME.yaml of the data"), help=_("File to write; it must be new.")),
)  # fmt: skip
@json_option
def init_command(data: str, preset: str, model: str, purpose: "Purpose | None", out: str | None, as_json: bool) -> None:
    """Write a commented recipe; on a terminal what is not given is asked: which data, which model, what for."""
    from ftbridge.core.console import print_json, result, say
    from ftbridge.core.errors import shell_words
    from ftbridge.experiments.recipes.init import write_recipe

    if not preset and _is_asked():
        data, preset, model, purpose = _ask(data, model, purpose)
    file = write_recipe(data=data, preset=preset, model=model, purpose=purpose, out=out)
    if as_json:
        print_json({"file": file})
        return
    result(str(file))
    say(
        _("next: `{value}` says what it does").format(
            value=shell_words(["ftbridge", "recipe", "run", str(file), "--dry-run"])
        )
    )


def _is_asked() -> bool:
    import sys

    from ftbridge.core.console import is_terminal

    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def _ask(data: str, model: str, purpose: "Purpose | None") -> "tuple[str, str, str, Purpose | None]":
    """Return data, preset, model and purpose, those that are not given as answered on the terminal."""
    from ftbridge.core.console import say
    from ftbridge.dataset_info.presets import load_preset, presets
    from ftbridge.experiments.recipes import init

    preset = ""
    if not data:
        say(_("Well-known datasets: {presets}").format(presets=joined(", ", presets())))
        question = _("Which data (a file, a hub's address, or one of these)")
        data = str(click.prompt(question, prompt_suffix=_(": "), err=True)).strip()
    if init.is_preset(data):
        data, preset = "", data
    if not model:
        usual = load_preset(preset).model if preset else init.MODEL
        model = str(click.prompt(_("Which model"), default=usual, prompt_suffix=_(": "), err=True)).strip()
    if not purpose:
        names = [*init.PURPOSES]
        usual_purpose = init.purpose_of_preset(preset) if preset else "answer"
        for number, (name, meaning) in enumerate(init.PURPOSES.items(), 1):
            say(_("  {number}  {name}: {meaning}").format(number=number, name=name, meaning=meaning))
        chosen = click.IntRange(1, len(names))
        default = names.index(usual_purpose) + 1
        purpose = names[click.prompt(_("What for"), type=chosen, default=default, prompt_suffix=_(": "), err=True) - 1]
    return data, preset, model, purpose
