"""`ftbridge datasets`: list, show, check and remove registered datasets."""

from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import (
    Group,
    complete_dataset,
    dataset_dir_option,
    json_option,
    option,
    options,
    yes_option,
)
from ftbridge.cli.output import confirm, print_facts, print_table, relative_path
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from pathlib import Path

    from ftbridge.adapters.registered.check import CheckResult
    from ftbridge.core.records import DatasetEntry
    from ftbridge.datasets import DatasetDetails

_dataset_options = options(dataset_dir_option(_("the last conversion's, else data")), json_option)
_names_argument = click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_dataset)


@click.group(
    "datasets",
    cls=Group,
    short_help=_("List, show, check and remove registered datasets."),
    examples=("ftbridge datasets list", "ftbridge datasets show medqa"),
)
def command() -> None:
    """List, show, check and remove the datasets in dataset_info.json, ours and others."""


@command.command(
    "list",
    short_help=_("List the registered datasets."),
    examples=("ftbridge datasets list", "ftbridge datasets list --json"),
)
@_dataset_options
def list_command(dataset_dir: str | None, as_json: bool) -> None:
    """List the registered datasets; a blank in the column `samples` marks those that ftbridge did not make."""
    from ftbridge import datasets
    from ftbridge.core.console import print_json, result

    found = datasets.list(dataset_dir=dataset_dir)
    if as_json:
        print_json(found)
        return
    rows = [(_("name"), _("samples"), _("formats"), _("source"), _("preset"), _("written"))]
    for each in found:
        samples = "" if each.samples is None else f"{each.samples:,}"
        rows.append((each.name, samples, joined(", ", each.formats), each.source, each.preset, each.made))
    if found:
        print_table(rows, optional=(_("source"), _("preset"), _("written")))
    else:
        result(_no_datasets_yet(dataset_dir))


@command.command(
    "show",
    short_help=_("Show a dataset and its first samples."),
    examples=("ftbridge datasets show medqa", "ftbridge datasets show medqa-test -n 5"),
)
@click.argument("name", metavar="NAME", shell_complete=complete_dataset)
@option("-n", "--samples", type=click.IntRange(0), default=1, help=_("Number of samples to show."))
@_dataset_options
def show_command(name: str, samples: int, dataset_dir: str | None, as_json: bool) -> None:
    """Show how the dataset NAME was made, and its first samples; --json has its whole entry."""
    from ftbridge import datasets
    from ftbridge.core.console import print_json, result

    if as_json:
        print_json(datasets.show(name, samples=samples, dataset_dir=dataset_dir))
        return
    found = datasets.show(name, samples=0, dataset_dir=dataset_dir)  # shown also where its samples cannot be read
    where = datasets.folder(dataset_dir)
    print_facts(_("{name}, in {folder}").format(name=found.name, folder=relative_path(where)), _facts(found, where))
    for note in found.notes:
        result(_("note: {note}").format(note=note))
    for sample in datasets.show(found.name, samples=samples, dataset_dir=dataset_dir).samples:
        result(f"\n{sample.source}")
        said = [("system", sample.system)] if sample.system else []
        said += [pair for turn in sample.turns for pair in (("user", turn.user), ("assistant", turn.output))]
        for role, text in said:
            result(f"{role}: {text!s}", data=True)


@command.command(
    "check",
    short_help=_("Check whether the frameworks would load them."),
    examples=("ftbridge datasets check", "ftbridge datasets check medqa"),
)
@_names_argument
@_dataset_options
def check_command(names: tuple[str, ...], dataset_dir: str | None, as_json: bool) -> None:
    """Check whether each framework would load each dataset, and why not; exits with 3 if any would not load."""
    from ftbridge import datasets
    from ftbridge.core.console import counted, print_json, result
    from ftbridge.core.errors import InputError

    checked = datasets.check(*names, dataset_dir=dataset_dir)
    if as_json:
        print_json(checked)
    else:
        result("\n".join(map(_check_lines, checked)) if checked else _no_datasets_yet(dataset_dir))
    failed = [each for each in checked if any(support.loads == "no" for support in each.backends.values())]
    if failed:
        raise InputError(
            _("{count} of {datasets} cannot be loaded completely; the reasons are above").format(
                count=len(failed), datasets=counted(len(checked), "dataset")
            )
        )


@command.command(
    "remove",
    short_help=_("Remove datasets with their files."),
    examples=("ftbridge datasets remove medqa", "ftbridge datasets remove medqa --yes"),
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_dataset)
@yes_option
@_dataset_options
def remove_command(names: tuple[str, ...], yes: bool, dataset_dir: str | None, as_json: bool) -> None:
    """Remove datasets, after showing them: all parts of NAME with their files, or the one part called NAME.

    Of a dataset that ftbridge did not make, only the entry is removed; its files stay.
    """
    from ftbridge import datasets
    from ftbridge.core.console import print_json, result, say
    from ftbridge.dataset_info.registry import would_remove

    if not yes:
        going = would_remove(datasets.folder(dataset_dir), names)
        for name in going.entries:
            say(_("the dataset {name}").format(name=name))
        for file in going.files:
            say(
                _("{file}{edited}").format(
                    file=relative_path(file),
                    edited=_(", which was changed since it was converted") if file in going.edited else "",
                )
            )
        confirm(
            _("remove these? (datasets: {count}, files: {files_count})").format(
                count=len(going.entries), files_count=len(going.files)
            )
        )
        yes = bool(going.edited)  # what is changed from now on is asked about again
    removed = datasets.remove(*names, edits=yes, dataset_dir=dataset_dir)
    if as_json:
        print_json(removed)
        return
    for name in removed.entries:
        result(_("removed the dataset {name}").format(name=name))
    for file in removed.files:
        result(_("removed {file}").format(file=relative_path(file)))


def _facts(found: "DatasetDetails", folder: "Path") -> dict[str, str]:
    """Return what is shown of a dataset: how it was made, or, where ftbridge did not make it, its entry."""
    import json

    from ftbridge.core.errors import InputError
    from ftbridge.dataset_info.listing import summaries
    from ftbridge.dataset_info.names import is_ours
    from ftbridge.dataset_info.registry import parse_entry

    if not is_ours(found.entry):
        raw = found.entry if isinstance(found.entry, dict) else {"entry": found.entry}
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in raw.items()}
    try:
        own = parse_entry(folder, found.name, found.entry)
    except InputError as error:
        return {_("damaged"): str(error)}
    return {
        _("samples"): f"{own.samples:,}",
        _("source"): joined(", ", own.sources),
        _("sheets"): joined(", ", own.options.sheets),
        _("preset"): own.preset,
        _("columns"): joined(", ", (f"{field}: {column}" for field, column in own.columns.items())),
        _("system prompt"): _system_prompt(own),
        **_options_given(own.options.asked),
        _("parts"): joined(", ", own.options.names),
        _("written"): next(each.made for each in summaries(folder) if each.name == found.name),
        _("files"): joined(", ", (str(relative_path(folder / file)) for file in own.files.values())),
    }


def _system_prompt(entry: "DatasetEntry") -> str:
    """Return the system prompt of a dataset, or that its conversations have several."""
    if not entry.several_systems:
        return entry.system
    return _("several; else: {prompt}").format(prompt=entry.system) if entry.system else _("several, or none")


def _options_given(asked: dict[str, Any]) -> dict[str, str]:
    """Return the options of a conversion that say which samples are where, as they are typed."""
    names = ("split", "seed") if asked.get("split") else ()
    values = {name: asked.get(name) for name in (*names, "sample", "dedup", "limit")}
    return {f"--{name}": str(value).strip("[]") for name, value in values.items() if value}


LOADS = {"yes": _("loads"), "no": _("does not load"), "unknown": _("unknown")}


def _no_datasets_yet(dataset_dir: str | None) -> str:
    from ftbridge import datasets
    from ftbridge.core.errors import shell_words

    there = f" {shell_words(['--dataset-dir', dataset_dir])}" if dataset_dir else ""
    return _("there is no dataset in {folder} yet; make one with `ftbridge convert FILE{there}`").format(
        folder=datasets.folder(dataset_dir), there=there
    )


def _check_lines(checked: "CheckResult") -> str:
    """Return what was found of a dataset: its name, a line for each framework, and notes."""
    from ftbridge.core.plugins import load_backend

    lines = [checked.name if checked.ours else _("{name} (not made by ftbridge)").format(name=checked.name)]
    for backend, support in checked.backends.items():
        title = f"{load_backend(backend).title + _(':'):<15}"
        lines.append(f"  {title} {joined(': ', (LOADS[support.loads], *support.reasons[:1]))}")
        lines += [f"  {'':<20}{reason}" for reason in support.reasons[1:]]
    return "\n".join([*lines, *(_("  note: {note}").format(note=note) for note in checked.notes)])
