"""`ftbridge runs`: what was trained, what is being trained, and how the losses went."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ftbridge.launchers.runs.record import Run

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
    from ftbridge.core.console import aligned, print_json, result
    from ftbridge.core.project import Project
    from ftbridge.launchers.runs.record import all_runs
    from ftbridge.launchers.runs.summary import clock, summary

    project = Project.find()
    found = [summary(run) for run in all_runs(project)]
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
    result(aligned(rows) if found else f"there is no run in {project.runs} yet; start one with `ftbridge train`")


@command.command("show")
@_one
@_json
def show_command(name: str | None, as_json: bool) -> None:
    """Show one run in full: how it went, its checkpoints, its options, what ran, versions and data."""
    import msgspec

    from ftbridge.core.console import print_json, result
    from ftbridge.core.plugins import load_backend
    from ftbridge.launchers.runs.summary import summary

    run = _chosen([name] if name else [])[0]
    saved = [str(path) for path in load_backend(run.spec.backend).checkpoints(run.path)]
    full: dict[str, Any] = {
        **msgspec.json.decode(msgspec.json.encode(run)),
        **msgspec.to_builtins(summary(run)),
        "checkpoints": saved,
    }
    if as_json:
        print_json(full)
        return
    if run.base:
        full["base"] = run.base.files | {name: f"{size} bytes" for name, size in run.base.weights.items()}
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
    from ftbridge.core.console import show_log
    from ftbridge.launchers.runs.record import follow_log

    show_log(follow_log(_chosen([name] if name else [])[0], wait=wait))


@command.command("plot")
@_some
@click.option("--png", type=click.Path(path_type=Path), metavar="FILE", help="Draw a picture instead.")
def plot_command(names: tuple[str, ...], png: Path | None) -> None:
    """Draw the training and validation losses of runs, on whichever framework, in one picture."""
    from ftbridge.core.console import result
    from ftbridge.core.errors import InputError
    from ftbridge.core.project import Project
    from ftbridge.launchers.environment.venv import any_backend, interpreter
    from ftbridge.launchers.runs import text_chart
    from ftbridge.launchers.runs.png_chart import draw, picture_file
    from ftbridge.launchers.runs.training_log import curve, points

    chosen = _chosen(names)
    curves = {
        f"{title} of {run.id}": found
        for run in chosen
        for title, name in (("training", "loss"), ("validation", "validation_loss"))
        if (found := points(curve(run), name))
    }
    if not png:
        result(text_chart.text(curves))
        return
    path = picture_file(png)
    if not curves:
        raise InputError(f"no loss was logged yet in {', '.join(run.id for run in chosen)}; nothing was drawn")
    project = Project.find()
    draw(path, interpreter(project, any_backend(project, chosen[0].spec.backend)), "curves", {"curves": curves})
    result(str(path))


@command.command("compare")
@_some
@_json
def compare_command(names: tuple[str, ...], as_json: bool) -> None:
    """Show in which options, versions and data runs differ, and how their losses ended."""
    from ftbridge.core.console import aligned, print_json, result
    from ftbridge.core.errors import UsageError
    from ftbridge.launchers.runs.summary import compare

    if len(set(names)) < 2:  # noqa: PLR2004
        raise UsageError("give at least two runs to compare; `ftbridge runs list` shows them")
    runs = _chosen(names)
    rows = compare(runs)
    if as_json:
        print_json({"runs": [run.id for run in runs], "differences": rows})
        return
    result(aligned([("", *(run.id for run in runs)), *((name, *map(_cell, values)) for name, values in rows.items())]))


@command.command("stop")
@click.argument("name", metavar="RUN")
@click.option(
    "--mark-failed", "failed", is_flag=True, help="Say that a run whose status is unknown has ended; stops nothing."
)
def stop_command(name: str, failed: bool) -> None:
    """End a running RUN; what it has saved stays."""
    from ftbridge.core.console import result
    from ftbridge.launchers.runs.record import mark_failed, stop_run

    end = mark_failed if failed else stop_run
    run = end(_chosen([name])[0])
    result(f"{run.id} {run.status}")


@command.command("prune")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Remove succeeded runs, too, but the newest N.")
@click.option("--checkpoints", is_flag=True, help="Remove, too, old checkpoints of succeeded runs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune_command(keep: int | None, checkpoints: bool, yes: bool) -> None:
    """Remove the runs that failed or were interrupted, after showing them; never one that runs or may."""
    from ftbridge.core.console import aligned, result, say
    from ftbridge.core.project import Project
    from ftbridge.launchers.runs.prune import leftovers, remove
    from ftbridge.launchers.runs.record import all_runs

    gone = leftovers(all_runs(Project.find()), keep, checkpoints=checkpoints)
    if not gone:
        result("there is nothing to remove")
        return
    say(aligned([(f"{each.size:,} bytes", each.why, each.path) for each in gone]))
    total = sum(each.size for each in gone)
    if not yes:
        click.confirm(f"remove these {len(gone)} ({total:,} bytes)?", abort=True, err=True)
    result(f"removed {remove(gone):,} bytes")


def _chosen(names: tuple[str, ...] | list[str]) -> "list[Run]":
    """Return the runs that are called so, or the newest."""
    from ftbridge.core.errors import InputError
    from ftbridge.core.project import Project
    from ftbridge.launchers.runs.record import all_runs, find_run

    project = Project.find()
    if names:
        return [find_run(project, name) for name in names]
    if not (found := all_runs(project)):
        raise InputError(f"there is no run in `{project.runs}` yet; start one with `ftbridge train`")
    return found[-1:]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
