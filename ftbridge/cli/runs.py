"""`ftbridge runs`: what was trained, what is being trained, and how the losses went."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
_some: Callable[..., Any] = click.argument("names", nargs=-1, metavar="[RUN]...")
_one: Callable[..., Any] = click.argument("name", required=False, metavar="[RUN]")


@click.group("runs", short_help="List, show, follow, plot, compare, stop and prune runs.")
def command() -> None:
    """List, show, follow, plot, compare, stop and prune runs; without a RUN, the newest is meant."""


@command.command("list")
@_json
def list_command(as_json: bool) -> None:
    """List the runs of this project, oldest first."""
    from ftbridge import runs
    from ftbridge.core.console import aligned, print_json, result
    from ftbridge.core.project import Project
    from ftbridge.launchers.runs.summary import clock

    found = runs.list()
    if as_json:
        print_json(found)
        return
    rows = [("run", "status", "backend", "model", "dataset", "steps", "loss", "started", "time")]
    for each in found:
        status = "failed (died)" if each.status == "died" else each.status
        loss = "" if each.loss is None else f"{each.loss:.4f}"
        started = f"{each.started.astimezone():%Y-%m-%d %H:%M}"
        steps = f"{each.step:g}/{each.steps}"
        rows.append(
            (each.id, status, each.backend, each.model, each.dataset, steps, loss, started, clock(each.seconds))
        )
    result(aligned(rows) if found else f"there is no run in {Project.find().runs} yet; start one with `ftbridge train`")


@command.command("show")
@_one
@_json
def show_command(name: str | None, as_json: bool) -> None:
    """Show one run in full: how it went, its checkpoints, its options, what ran, versions and data."""
    import msgspec

    from ftbridge import runs
    from ftbridge.core.console import print_json, result

    found = runs.show(name)
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
    for key, value in full.items():
        if not isinstance(value, dict | list):
            result(f"{key}: {'' if value is None else value}")
    for key, value in full.items():
        if isinstance(value, dict | list):
            items: Any = value.items() if isinstance(value, dict) else enumerate(value, 1)
            result("\n".join([f"\n{key}:", *(f"  {name}: {item}" for name, item in items)]))


@command.command("logs")
@_one
@click.option("-f", "--follow", "wait", is_flag=True, help="Go on until the run ends.")
def logs_command(name: str | None, wait: bool) -> None:
    """Print what the framework wrote."""
    from ftbridge import runs
    from ftbridge.core.console import show_log

    show_log(runs.logs(name, follow=wait))


@command.command("plot")
@_some
@click.option("--png", type=click.Path(path_type=Path), metavar="FILE", help="Draw a picture instead.")
def plot_command(names: tuple[str, ...], png: Path | None) -> None:
    """Draw the training and validation losses of runs, on whichever framework, in one picture."""
    from ftbridge import runs
    from ftbridge.core.console import result

    result(str(runs.plot(*names, png=png)) if png else runs.plot(*names))


@command.command("compare")
@_some
@_json
def compare_command(names: tuple[str, ...], as_json: bool) -> None:
    """Show in which options, versions and data runs differ, and how their losses ended."""
    from ftbridge import runs
    from ftbridge.core.console import aligned, print_json, result

    found = runs.compare(*names)
    if as_json:
        print_json(found)
        return
    rows = ((name, *map(_cell, values)) for name, values in found.differences.items())
    result(aligned([("", *found.runs), *rows]))


@command.command("stop")
@click.argument("name", metavar="RUN")
@click.option(
    "--mark-failed", "failed", is_flag=True, help="Say that a run whose status is unknown has ended; stops nothing."
)
def stop_command(name: str, failed: bool) -> None:
    """End a running RUN; what it has saved stays."""
    from ftbridge import runs
    from ftbridge.core.console import result

    run = runs.stop(name, mark_failed=failed)
    result(f"{run.id} {run.status}")


@command.command("prune")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Remove succeeded runs, too, but the newest N.")
@click.option("--checkpoints", is_flag=True, help="Remove, too, old checkpoints of succeeded runs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune_command(keep: int | None, checkpoints: bool, yes: bool) -> None:
    """Remove the runs that failed or were interrupted, after showing them; never one that runs or may."""
    from ftbridge import runs
    from ftbridge.core.console import aligned, result, say
    from ftbridge.launchers.runs.prune import remove

    gone = runs.prune(keep=keep, checkpoints=checkpoints, dry_run=True)
    if not gone:
        result("there is nothing to remove")
        return
    say(aligned([(f"{each.size:,} bytes", each.why, each.path) for each in gone]))
    total = sum(each.size for each in gone)
    if not yes:
        click.confirm(f"remove these {len(gone)} ({total:,} bytes)?", abort=True, err=True)
    result(f"removed {sum(each.size for each in remove(gone)):,} bytes")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
