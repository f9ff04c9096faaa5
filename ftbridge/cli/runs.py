"""`ftbridge runs`: what was trained, what is being trained, and how the losses went."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import Group, complete_run, json_option, option, yes_option
from ftbridge.cli.output import can_show, confirm, print_facts, print_table, relative_path
from ftbridge.language import english, joined
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from ftbridge.launchers.runs.record import Run
    from ftbridge.launchers.runs.summary import RunSummary
    from ftbridge.runs import RunDetails

OPTIONAL = (
    _("dataset"),
    _("model"),
    _("backend"),
    _("started"),
    _("id"),
)  # columns of the list where there is room for them

_runs_argument = click.argument("names", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
_run_argument = click.argument("name", required=False, metavar="[RUN]", shell_complete=complete_run)


@click.group(
    "runs",
    cls=Group,
    short_help=_("List, show, follow, plot, compare, stop and prune runs."),
    examples=("ftbridge runs list", "ftbridge runs logs --follow"),
)
def command() -> None:
    """List, show, follow, plot, compare, stop and prune runs.

    Without a RUN, show, logs and plot take the newest, and stop the only one that runs; compare takes two or more.
    """


@command.command("list", examples=("ftbridge runs list", "ftbridge runs list --json"))
@json_option
def list_command(as_json: bool) -> None:
    """List the runs of this project, oldest first."""
    from ftbridge import runs
    from ftbridge.core.console import print_json, result, say
    from ftbridge.core.project import Project

    found = runs.list()
    if as_json:
        print_json(found)
    elif found:
        print_table(_run_rows(found), optional=(_("time"), _("method"), *OPTIONAL))
        for each in found:
            if "--detach" in each.reason:  # its terminal has closed, where nobody could read why it ended
                say(_("{id}: {text}").format(id=each.id, text=_(each.reason)))
    else:
        result(
            _("there is no run in `{folder}` yet; start one with `ftbridge train`").format(folder=Project.find().runs)
        )


@command.command(
    "show", short_help=_("Show one run in full."), examples=("ftbridge runs show", "ftbridge runs show --json")
)
@_run_argument
@json_option
def show_command(name: str | None, as_json: bool) -> None:
    """Show one run: how it went, what it was trained with, and where its files are; --json has all of its record."""
    import msgspec

    from ftbridge import runs
    from ftbridge.core.console import print_json

    found = runs.show(_named_or_newest(name))
    if as_json:
        summary = msgspec.to_builtins(found.summary, enc_hook=english)
        print_json(
            {
                **msgspec.json.decode(msgspec.json.encode(found.run, enc_hook=english)),
                **summary,
                "checkpoints": [str(path) for path in found.checkpoints],
            }
        )
        return
    for title, facts in _facts_of_run(found).items():
        print_facts(title, facts)


@command.command("logs", examples=("ftbridge runs logs", "ftbridge runs logs --follow"))
@_run_argument
@option("-f", "--follow", "wait", is_flag=True, help=_("Keep printing until the run ends."))
def logs_command(name: str | None, wait: bool) -> None:
    """Print what the framework wrote."""
    from ftbridge import runs
    from ftbridge.core.console import show_log

    show_log(runs.logs(_named_or_newest(name), follow=wait))


@command.command(
    "plot",
    short_help=_("Plot the losses of runs in one picture."),
    examples=("ftbridge runs plot", "ftbridge runs plot --png loss.png"),
)
@_runs_argument
@option("--png", type=click.Path(path_type=Path), metavar="FILE", help=_("Write a picture instead of text."))
def plot_command(names: tuple[str, ...], png: Path | None) -> None:
    """Draw the training and validation losses of runs, on whichever framework, in one picture."""
    from ftbridge import runs
    from ftbridge.core.console import result, rich_console

    chosen = names or (_named_or_newest(None),)
    if png:
        result(str(runs.plot(*chosen, png=png)))
        return
    found, console = runs.plot(*chosen), rich_console()
    if console.color_system and not console.no_color and can_show("⣿│└─"):
        console.print(found.coloured(), soft_wrap=True)
    else:
        result(found)


@command.command(
    "compare",
    short_help=_("Show how runs differ."),
    examples=("ftbridge runs compare RUN OTHER", "ftbridge runs compare RUN OTHER --json"),
)
@click.argument("names", nargs=-1, metavar="RUN RUN...", shell_complete=complete_run)
@json_option
def compare_command(names: tuple[str, ...], as_json: bool) -> None:
    """Show how runs differ in options, versions and data, and how their losses and metrics ended."""
    from ftbridge import runs
    from ftbridge.core.console import print_json, result
    from ftbridge.launchers.runs import record

    found = runs.compare(*names)
    if as_json:
        print_json(found)
        return
    called = {run.id: run.name for run in map(runs.get, found.runs)}
    short = record.short_ids(called)
    rows = (
        (_title_of_difference(name), *(_cell_text(name, value) for value in values))
        for name, values in found.differences.items()
    )
    print_table([("", *(called[run] or short[run] for run in found.runs)), *rows])
    for compared in found.evaluations:
        result(f"\n{compared.sentence}")


@command.command(
    "stop",
    short_help=_("Stop a running run; what it has saved is kept."),
    examples=("ftbridge runs stop", "ftbridge runs stop RUN --mark-failed"),
)
@_run_argument
@option(
    "--mark-failed",
    "failed",
    is_flag=True,
    help=_("Record that a run whose status is unknown has ended; stops nothing."),
)
@json_option
def stop_command(name: str | None, failed: bool, as_json: bool) -> None:
    """End a running RUN, or the only one that runs; what it has saved stays."""
    from ftbridge import runs
    from ftbridge.core.console import print_json, result
    from ftbridge.launchers.runs.record import status_in_words

    run = runs.stop(name, mark_failed=failed)
    if as_json:
        print_json({"id": run.id, "status": run.status})
    else:
        result(joined(" ", (run.id, status_in_words(run.status))))


@command.command(
    "prune",
    short_help=_("Remove runs that failed or were interrupted, and data that no run uses."),
    examples=("ftbridge runs prune", "ftbridge runs prune --keep 5 --checkpoints"),
)
@option("--keep", type=click.IntRange(1), help=_("Also remove succeeded runs, except the newest N."))
@option(
    "--checkpoints",
    is_flag=True,
    help=_("Also remove the checkpoints of succeeded runs, except the last and the best."),
)
@yes_option
@json_option
def prune_command(keep: int | None, checkpoints: bool, yes: bool, as_json: bool) -> None:
    """Remove the runs that failed or were interrupted, after showing them, and never one that runs or may.

    Ready tokens and mixtures that no run uses go, too.
    """
    from ftbridge import runs
    from ftbridge.core.console import counted, natural_size, print_json, result
    from ftbridge.launchers.runs.prune import remove_leftovers

    gone = runs.prune(keep=keep, checkpoints=checkpoints, dry_run=True)
    if gone:
        rows = [(natural_size(each.size), _(each.why), str(relative_path(Path(each.path)))) for each in gone]
        print_table([(_("size"), _("status"), _("path")), *rows], stderr=True)
        if not yes:
            room = natural_size(sum(each.size for each in gone))
            confirm(_("remove {items}, {size}?").format(items=counted(len(gone), "item"), size=room))
        gone = remove_leftovers(gone)
    size = sum(each.size for each in gone)
    if as_json:
        print_json({"removed": gone, "bytes": size})
    else:
        result(_("removed {size}").format(size=natural_size(size)) if gone else _("there is nothing to remove"))


def _named_or_newest(name: str | None) -> "Run":
    """Return the run that is called so, or the newest, which is said."""
    from ftbridge import runs
    from ftbridge.core.console import say

    run = runs.get(name)
    if name is None:
        say(_("using {id}, the newest run").format(id=run.id))
    return run


def _run_rows(found: "list[RunSummary]") -> "list[tuple[str, ...]]":
    """Return the table of runs; each is called by its name, or by as much of its id as can be typed."""
    from ftbridge.core.console import format_duration
    from ftbridge.launchers.runs.record import short_ids, status_in_words

    short = short_ids(each.id for each in found)
    # What a model is judged by first, such as `accuracy on medqa-test`.
    figures = [next(iter(each.evaluations.items()), ("", 0.0)) for each in found]
    kinds = {name.partition(" on ")[0]: None for name, _value in figures if name}
    measured = [next(iter(kinds)) if len(kinds) == 1 else _("metrics")] if kinds else []
    rows = [(_("run"), _("status"), _("method"), _("rate"), _("steps"), _("loss"), *measured, _("time"), *OPTIONAL)]
    for each, (figure, value) in zip(found, figures, strict=True):
        kind = "" if len(kinds) == 1 else f" {figure.partition(' on ')[0]}"
        row = (
            each.name or short[each.id],
            status_in_words(each.status),
            each.method,
            f"{each.learning_rate:g}",
            f"{each.step}/{each.steps}",
            _loss_text(each.loss),
            *([f"{value:.3f}{kind}" if figure else ""] if measured else []),
            format_duration(each.seconds),
        )
        started = f"{each.started.astimezone():%Y-%m-%d %H:%M}"
        rows.append((*row, each.dataset, each.model, each.backend, started, each.id))
    return rows


def _facts_of_run(found: "RunDetails") -> dict[str, dict[str, str]]:
    """Return what is shown of a run, by titles."""
    from ftbridge.core.plugins import load_backend

    run, summary = found.run, found.summary
    several = {_("attempts"): str(len(run.attempts))} if len(run.attempts) > 1 else {}
    data = {
        _("backend"): load_backend(run.spec.backend).title,
        _("model"): summary.model,
        _("dataset"): _("{dataset} ({samples:,} samples)").format(dataset=summary.dataset, samples=run.samples),
        _("system prompt"): run.system,
        **_options_given(run),
        _("versions"): ", ".join(map(" ".join, run.versions.items())),
    }
    title = f"{run.id} ({run.name})" if run.name else run.id
    return {title: _how_it_went(found) | several, _("trained with"): data, _("files"): _files_of_run(found)}


def _how_it_went(found: "RunDetails") -> dict[str, str]:
    from ftbridge.core.console import natural_duration
    from ftbridge.core.errors import shell_words
    from ftbridge.core.plugins import load_backend
    from ftbridge.launchers.runs.record import parameters_in_words, status_in_words, unseen_message
    from ftbridge.launchers.training.resume import resumable_checkpoints

    run, summary = found.run, found.summary
    lowest, validation = _loss_text(summary.lowest_loss), _loss_text(summary.validation_loss)
    return {
        _("status"): status_in_words(summary.status),
        _("reason"): _(summary.reason)
        if summary.reason
        else unseen_message(run)
        if summary.status == "unknown"
        else "",
        _("to go on"): f"`{shell_words(['ftbridge', 'train', '--resume', run.id])}`"
        if run.status in {"failed", "interrupted"} and resumable_checkpoints(run, load_backend(run.spec.backend))
        else "",
        _("started"): f"{summary.started.astimezone():%Y-%m-%d %H:%M}",
        _("time"): natural_duration(summary.seconds),
        _("steps"): f"{summary.step}/{summary.steps}",
        _("loss"): lowest
        and _("{loss_text} (lowest {lowest})").format(loss_text=_loss_text(summary.loss), lowest=lowest),
        _("validation loss"): validation
        and _("{validation} (lowest {loss_text})").format(
            validation=validation, loss_text=_loss_text(summary.lowest_validation_loss)
        ),
        **{_figure_in_words(name): f"{value:.3f}" for name, value in summary.evaluations.items()},
        _("trained"): parameters_in_words(run.trained_parameters, run.parameters),
        _("tokens"): str(run.agreement or ""),
    }


def _figure_in_words(name: str) -> str:
    """Return the name of a figure, such as `accuracy on medqa-test`, in the user's language."""
    figure, _on, where = name.partition(" on ")
    where, _by, engine = where.partition(" by ")
    dataset, _at, checkpoint = where.partition(" at ")
    text = _("{figure} on {dataset}").format(figure=_(figure), dataset=dataset) if dataset else name
    text += _(" at {checkpoint}").format(checkpoint=checkpoint) if checkpoint else ""
    return text + (_(" by {name}").format(name=engine) if engine else "")


def _options_given(run: "Run") -> dict[str, str]:
    """Return the options of a run that are not as they are by default, and the learning rate, as they are typed."""
    from ftbridge.core.train_spec import defaults

    shown = {"--method": run.spec.method, "--learning-rate": f"{run.spec.learning_rate:g}"}
    for name, default in {**defaults(), "set": {}}.items():
        value: Any = getattr(run.spec, name)
        if value != default and name != "dataset_dir":
            shown.setdefault(f"--{name.replace('_', '-')}", _option_text(value))
    return shown


def _option_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _files_of_run(found: "RunDetails") -> dict[str, str]:
    """Return where the files of a run are, seen from here."""
    run = found.run
    last = found.checkpoints[-1] if found.checkpoints else None
    saved = [_("{name} (last)").format(name=path.name) if path == last else path.name for path in found.checkpoints]
    if found.best:
        saved.append(_("{name} (lowest validation loss)").format(name=found.best.name))
    inside = {_("log"): "log.txt", _("adapter"): "adapter", _("merged model"): "merged", _("report"): "report.html"}
    there = {name: run.path / file for name, file in inside.items() if (run.path / file).exists()}
    return {
        _("folder"): str(relative_path(run.path)),
        **{name: str(relative_path(path)) for name, path in there.items()},
        **_tracker_records(run),
        _("checkpoints"): joined(", ", saved),
    }


def _tracker_records(run: "Run") -> dict[str, str]:
    """Return where the records of trackers are, and the command that shows each."""
    from ftbridge.core.errors import SetupError
    from ftbridge.core.project import Project
    from ftbridge.launchers.backends.trackers import tracker_records, viewer
    from ftbridge.launchers.environment.venv import interpreter

    shown = {}
    for name, folder in tracker_records(run.path).items():
        shown[name] = str(relative_path(folder))
        with suppress(SetupError):
            if command := viewer(name, folder, interpreter(Project.find(), run.spec.backend)):
                shown[name] = _("{folder}; to look at it: `{command}`").format(folder=shown[name], command=command)
    return shown


def _loss_text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


# What a comparison shows under other titles than in JSON, besides options.
COMPARED = {
    "dataset": _("dataset"),
    "model": _("model"),
    "backend": _("backend"),
    "weights of the model": _("weights of the model"),
    "samples": _("samples"),
    "steps": _("steps"),
    "trained parameters": _("trained parameters"),
    "status": _("status"),
    "step": _("last step"),
    "loss": _("loss"),
    "lowest_loss": _("lowest loss"),
    "validation_loss": _("validation loss"),
    "lowest_validation_loss": _("lowest validation loss"),
    "seconds": _("time"),
}


def _title_of_difference(name: str) -> str:
    """Return what a row of a comparison is called: an option as it is typed, anything else in the user's language."""
    from ftbridge.core.train_spec import TrainSpec

    if name in COMPARED:
        return COMPARED[name]
    if name in TrainSpec.__struct_fields__:
        return f"--{name.replace('_', '-')}"
    if name.startswith("sha256 of "):
        return _("sha256 of the data")
    kind, _of, package = name.partition("version of ")
    return _("version of {package}").format(package=package) if package and not kind else _figure_in_words(name)


def _cell_text(name: str, value: Any) -> str:
    """Return a value of a comparison, of the row of this name in JSON, as it is shown."""
    from ftbridge.core.console import natural_duration
    from ftbridge.core.train_spec import TrainSpec
    from ftbridge.launchers.runs.record import status_in_words

    if value is None:
        return ""
    if name == "status":
        return status_in_words(value)
    if name == "seconds":
        return natural_duration(value)
    if name in TrainSpec.__struct_fields__:  # as it is typed
        return _option_text(tuple(value) if isinstance(value, list) else value)
    return _loss_text(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
