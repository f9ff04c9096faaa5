"""`ftbridge datasets`: what is registered, whether it would load, and away with it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ftbridge.adapters.registered.check import CheckResult

Command = Callable[..., None]


def _options(function: Command) -> Command:
    folder = click.option(
        "--dataset-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Folder with dataset_info.json (default: the last conversion's, else data), such as LLaMA-Factory's data.",
    )
    return folder(click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(function))


@click.group("datasets", short_help="List, show, check and remove registered datasets.")
def command() -> None:
    """List, show, check and remove the datasets in dataset_info.json, ours and others."""


@command.command("list")
@_options
def list_command(dataset_dir: Path | None, as_json: bool) -> None:
    """List the registered datasets; a blank in the column `samples` marks those that ftbridge did not make."""
    from ftbridge.core.console import aligned, print_json, result
    from ftbridge.dataset_info.listing import summaries

    found = summaries(_folder(dataset_dir))
    if as_json:
        print_json(found)
        return
    rows = [("name", "samples", "formats", "source", "preset", "written")]
    for each in found:
        samples = "" if each.samples is None else str(each.samples)
        rows.append((each.name, samples, ", ".join(each.formats), each.source, each.preset, each.made))
    result(aligned(rows) if found else _none_yet(dataset_dir))


@command.command("show")
@click.argument("name")
@click.option("-n", "count", type=click.IntRange(0), default=1, show_default=True, help="How many samples to show.")
@_options
def show_command(name: str, count: int, dataset_dir: Path | None, as_json: bool) -> None:
    """Show what is known of the dataset NAME, and its first samples."""
    import json

    from ftbridge.adapters.registered.validate import first_samples
    from ftbridge.core.console import print_json, result
    from ftbridge.dataset_info.entries import interpret
    from ftbridge.dataset_info.registry import look_up

    folder = _folder(dataset_dir)
    full, raw = look_up(folder, name)
    if as_json:
        print_json({"name": full, "entry": raw, "samples": first_samples(folder, interpret(full, raw), count)})
        return
    result(f"{full}, in {folder}\n{json.dumps(raw, indent=2, ensure_ascii=False)}")
    for sample in first_samples(folder, interpret(full, raw), count):
        result(f"\n{sample.source}")
        said = [("system", sample.system)] if sample.system else []
        said += [pair for turn in sample.turns for pair in (("user", turn.user), ("assistant", turn.output))]
        for role, text in said:
            result(f"{role}: {text!s}", data=True)


@command.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_options
def check_command(names: tuple[str, ...], dataset_dir: Path | None, as_json: bool) -> None:
    """Tell whether LLaMA-Factory and XTuner would load each dataset whole, and why not; ends with 3 where not."""
    from ftbridge.adapters.registered.check import check_datasets
    from ftbridge.core.console import print_json, result
    from ftbridge.core.errors import InputError

    verdicts = check_datasets(_folder(dataset_dir), names)
    if as_json:
        print_json(verdicts)
    elif not verdicts:
        result(_none_yet(dataset_dir))
    for verdict in () if as_json else verdicts:
        result(_verdict(verdict))
    failed = [each for each in verdicts if "no" in (each.llamafactory.loads, each.xtuner.loads)]
    if failed:
        raise InputError(f"{len(failed)} of {len(verdicts)} datasets would not load whole; the reasons stand above")


@command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Remove files, too, that were changed since they were converted.")
@_options
def remove_command(names: tuple[str, ...], yes: bool, dataset_dir: Path | None, as_json: bool) -> None:
    """Remove datasets: all parts of NAME with their files, or the one part that is called NAME.

    Of a dataset that ftbridge did not make, only the entry goes, and its files stay.
    """
    from ftbridge.core.console import print_json, result
    from ftbridge.dataset_info.registry import remove

    removed = remove(_folder(dataset_dir), names, edits=yes)
    if as_json:
        print_json(removed)
        return
    for name in removed.entries:
        result(f"removed the dataset {name}")
    for file in removed.files:
        result(f"removed {file}")


def _folder(dataset_dir: Path | None) -> Path:
    """Return the folder that is meant: as `ftbridge train` finds it."""
    from ftbridge.core.project import Project

    if dataset_dir:
        return dataset_dir.absolute()
    project = Project.find()
    return project.folder / str(project.settings.train.get("dataset_dir") or project.state().dataset_dir or "data")


def _none_yet(dataset_dir: Path | None) -> str:
    return f"there is no dataset in {_folder(dataset_dir)} yet"


def _verdict(verdict: "CheckResult") -> str:
    lines = [verdict.name if verdict.ours else f"{verdict.name} (not made by ftbridge)"]
    for title, answer in (("LLaMA-Factory", verdict.llamafactory), ("XTuner", verdict.xtuner)):
        lines.append(f"  {title + ':':<15} {': '.join((answer.loads, *answer.reasons[:1]))}")
        lines += [f"  {'':<20}{reason}" for reason in answer.reasons[1:]]
    return "\n".join([*lines, *(f"  note: {note}" for note in verdict.notes)])
