"""`ftbridge runs`: what was trained, what is being trained, and how the losses went."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import Group, complete_run, json_option, option, yes_option
from ftbridge.cli.output import can_show, confirm

if TYPE_CHECKING:
    from ftbridge.launchers.runs.record import Run

_runs_argument = click.argument("names", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
_run_argument = click.argument("name", required=False, metavar="[RUN]", shell_complete=complete_run)


@click.group(
    "runs",
    cls=Group,
    short_help="List, show, follow, plot, compare, stop and prune runs.",
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
    from ftbridge.core.console import format_duration, print_json, result
    from ftbridge.core.project import Project

    found = runs.list()
    if as_json:
        print_json(found)
        return
    rows = [("run", "status", "backend", "model", "dataset", "steps", "loss", "evaluated", "started", "time")]
    for each in found:
        status = "failed (died)" if each.status == "died" else each.status
        loss = "" if each.loss is None else f"{each.loss:.4f}"
        started = f"{each.started.astimezone():%Y-%m-%d %H:%M}"
        steps = f"{each.step}/{each.steps}"
        time = format_duration(each.seconds)
        figures = ", ".join(f"{value:.3f} {name}" for name, value in [*each.evaluations.items()][:1])
        rows.append((each.id, status, each.backend, each.model, each.dataset, steps, loss, figures, started, time))
    result(table(rows) if found else f"there is no run in {Project.find().runs} yet; start one with `ftbridge train`")


@command.command(
    "show", short_help="Show one run in full.", examples=("ftbridge runs show", "ftbridge runs show --json")
)
@_run_argument
@json_option
def show_command(name: str | None, as_json: bool) -> None:
    """Show one run in full: how it went, its checkpoints, its options, what ran, versions and data."""
    import msgspec

    from ftbridge import runs
    from ftbridge.core.console import print_json, result
    from ftbridge.launchers.runs.record import parameters_in_words

    found = runs.show(_named_or_newest(name))
    full: dict[str, Any] = {
        **msgspec.json.decode(msgspec.json.encode(found.run)),
        **msgspec.to_builtins(found.summary),
        "checkpoints": [str(path) for path in found.checkpoints],
    }
    if as_json:
        print_json(full)
        return
    if base := found.run.base:
        full["base"] = base.files | {name: f"{size} bytes" for name, size in base.weights.items()}
    full["trained_parameters"] = parameters_in_words(found.run.trained_parameters, full.pop("parameters"))
    if agreement := found.run.agreement:
        full["agreement"] = str(agreement)
    for key, value in full.items():
        if not isinstance(value, dict | list):
            result(f"{key}: {'' if value is None else value}")
    for key, value in full.items():
        if isinstance(value, dict | list):
            items: Any = value.items() if isinstance(value, dict) else enumerate(value, 1)
            result("\n".join([f"\n{key}:", *(f"  {name}: {item}" for name, item in items)]))


@command.command("logs", examples=("ftbridge runs logs", "ftbridge runs logs --follow"))
@_run_argument
@option("-f", "--follow", "wait", is_flag=True, help="Go on printing until the run ends.")
def logs_command(name: str | None, wait: bool) -> None:
    """Print what the framework wrote."""
    from ftbridge import runs
    from ftbridge.core.console import show_log

    show_log(runs.logs(_named_or_newest(name), follow=wait))


@command.command(
    "plot",
    short_help="Draw the losses of runs in one picture.",
    examples=("ftbridge runs plot", "ftbridge runs plot --png loss.png"),
)
@_runs_argument
@option("--png", type=click.Path(path_type=Path), metavar="FILE", help="Draw a picture, in place of text.")
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
    short_help="Show in what runs differ.",
    examples=("ftbridge runs compare RUN OTHER", "ftbridge runs compare RUN OTHER --json"),
)
@click.argument("names", nargs=-1, metavar="RUN RUN...", shell_complete=complete_run)
@json_option
def compare_command(names: tuple[str, ...], as_json: bool) -> None:
    """Show in which options, versions and data runs differ, and how their losses ended."""
    from ftbridge import runs
    from ftbridge.core.console import print_json, result

    found = runs.compare(*names)
    if as_json:
        print_json(found)
        return
    rows = ((name, *map(_cell_text, values)) for name, values in found.differences.items())
    result(table([("", *found.runs), *rows]))
    for compared in found.evaluations:
        result(f"\n{compared.sentence}")


@command.command(
    "stop",
    short_help="End a running run; what it has saved stays.",
    examples=("ftbridge runs stop", "ftbridge runs stop RUN --mark-failed"),
)
@_run_argument
@option(
    "--mark-failed", "failed", is_flag=True, help="Record that a run whose status is unknown has ended; stops nothing."
)
@json_option
def stop_command(name: str | None, failed: bool, as_json: bool) -> None:
    """End a running RUN, or the only one that runs; what it has saved stays."""
    from ftbridge import runs
    from ftbridge.core.console import print_json, result

    run = runs.stop(name, mark_failed=failed)
    if as_json:
        print_json({"id": run.id, "status": run.status})
    else:
        result(f"{run.id} {run.status}")


@command.command(
    "prune",
    short_help="Remove runs that failed or were interrupted, and tokens of no run.",
    examples=("ftbridge runs prune", "ftbridge runs prune --keep 5 --checkpoints"),
)
@option("--keep", type=click.IntRange(1), help="Also remove succeeded runs, but the newest N.")
@option("--checkpoints", is_flag=True, help="Also remove the checkpoints of succeeded runs, but the last and the best.")
@yes_option
@json_option
def prune_command(keep: int | None, checkpoints: bool, yes: bool, as_json: bool) -> None:
    """Remove the runs that failed or were interrupted, and ready tokens that no run uses, after showing them.

    Never one that runs or may.
    """
    from ftbridge import runs
    from ftbridge.core.console import aligned, print_json, result, say
    from ftbridge.launchers.runs.prune import remove_leftovers

    gone = runs.prune(keep=keep, checkpoints=checkpoints, dry_run=True)
    if gone:
        say(aligned([(f"{each.size:,} bytes", each.why, each.path) for each in gone]))
        if not yes:
            confirm(f"remove these? (items: {len(gone)}, bytes: {sum(each.size for each in gone):,})")
        gone = remove_leftovers(gone)
    size = sum(each.size for each in gone)
    if as_json:
        print_json({"removed": gone, "bytes": size})
    else:
        result(f"removed {size:,} bytes" if gone else "there is nothing to remove")


def _named_or_newest(name: str | None) -> "Run":
    """Return the run that is called so, or the newest, which is said."""
    from ftbridge import runs
    from ftbridge.core.console import say

    run = runs.get(name)
    if name is None:
        say(f"using {run.id}, the newest run")
    return run


def _cell_text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
