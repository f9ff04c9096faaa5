"""`ftbridge sweep`: the same training with other options, and which of them came out best."""

from pathlib import Path
from typing import Any

import click

from ftbridge.cli.figures import best_run, failed_points, sweep_table
from ftbridge.cli.options import (
    Group,
    PluginName,
    complete_file,
    complete_folder,
    complete_sweep,
    json_option,
    option,
    options,
)
from ftbridge.cli.output import print_parts, relative_path
from ftbridge.language import gettext as _

DEFAULT = "run"

_metric_option = option(
    "--metric", metavar="NAME", default="", show_default=_("what the task is judged by"),
    help=_("Metric that decides which point is best, such as macro_f1, chrf or loss."),
)  # fmt: skip


class SweepGroup(Group):
    """A group in which `run` may be left out: `ftbridge sweep FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before what is no command of the group."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or else `run`."""
        return super().get_command(ctx, cmd_name) or self.commands[DEFAULT]


@click.group(
    "sweep",
    cls=SweepGroup,
    short_help=_("Train with many options, and show which came out best."),
    examples=(
        "ftbridge sweep --grid sample=100,500 --grid lora_rank=8,16",
        "ftbridge sweep show --metric macro_f1",
    ),
)
def command() -> None:
    """Train and evaluate the same model with many options, and show which came out best.

    `run` may be left out: `ftbridge sweep FILE` and `ftbridge sweep --grid ...` run a sweep.
    """


@command.command(
    DEFAULT,
    short_help=_("Train and evaluate all points that are not done yet."),
    headings={
        _("Points"): "grid seeds name max_points",
        _("Common options"): "backend model",
        _("Run"): "parallel metric as_json",
    },
    examples=("ftbridge sweep run --grid lora_rank=8,16 --seeds 1,2,3", "ftbridge sweep run sweep.yaml --parallel"),
)
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(), shell_complete=complete_file)
@options(
    option(
        "--grid", multiple=True, metavar="KEY=VALUE,VALUE",
        help=_("Option of convert or train, and its values; all combinations are trained. Repeatable; train.seed "
"and convert.seed name the seed of one of them."),
    ),
    option("--seeds", default="", metavar="N,N", help=_("Train each point once with each of these seeds.")),
    option(
        "--name", default="", metavar="NAME", show_default=_("that of FILE, else the keys"),
        help=_("Name of the sweep and of its folder in sweeps/; the same name continues it."),
    ),
    option("--backend", type=PluginName("backends"), show_default=_("ftbridge.yaml's"),
        help=_("Framework that trains.")),
    option(
        "--model", metavar="BASE", shell_complete=complete_folder, show_default=_("ftbridge.yaml's"),
        help=_("Base model: a folder, or a hub's name."),
    ),
    option("--max-points", type=click.IntRange(min=1), default=200, help=_("Number of points that may be trained.")),
    option("--parallel", is_flag=True, help=_("Train one point on each GPU at a time.")),
)  # fmt: skip
@_metric_option
@json_option
@click.pass_context
def run_command(ctx: click.Context, /, file: str | None, as_json: bool, **given: Any) -> None:
    """Train and evaluate all points of a sweep that are not done yet, then show them, best first.

    FILE is a YAML with `grid`, `points` or `random`, and what all points have in common under `convert`, `train` and
    `evaluate`. Points share the conversion, the tokens and the loaded base. What fails is shown and stops no other
    point; after Ctrl-C or a crash the same command goes on.
    """
    from ftbridge.core.console import print_json, say
    from ftbridge.core.errors import FrameworkError, UsageError, shell_words
    from ftbridge.experiments.sweep.options import parse_grid, parse_seeds
    from ftbridge.experiments.sweep.sweep import sweep

    if not file and not given["grid"]:
        raise UsageError(
            _("what should vary? Give options with their values, as in `--grid lora_rank=8,16`, or a FILE")
        )
    given |= {"grid": parse_grid(given["grid"]), "seeds": parse_seeds(given["seeds"])}
    chosen = {name: value for name in ("backend", "model") if (value := given.pop(name))}
    found = sweep(file, train=chosen, **given)
    if as_json:
        print_json(found)
    else:
        print_parts(sweep_table(found))
        say(_("\nnext: `{value}` writes it as a page").format(value=shell_words(["ftbridge", "report", found.name])))
        if best := best_run(found):
            say(
                _("      `{value}` talks to the best").format(
                    value=shell_words(["ftbridge", "chat", str(relative_path(best))])
                )
            )
    if failed := failed_points(found):
        say(_("error: {failed}").format(failed=failed))
        ctx.exit(FrameworkError.exit_code)


@command.command(
    "show",
    short_help=_("Show the points of a sweep, best first."),
    examples=("ftbridge sweep show", "ftbridge sweep show sizes --metric loss --csv a.csv"),
)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_sweep)
@_metric_option
@option("--csv", type=click.Path(dir_okay=False), metavar="FILE.csv", help=_("Write the table as a CSV file as well."))
@option(
    "--xlsx", type=click.Path(dir_okay=False), metavar="FILE.xlsx", help=_("Write the table as a workbook as well.")
)
@json_option
def show_command(name: str | None, metric: str, csv: str | None, xlsx: str | None, as_json: bool) -> None:
    """Show the points of a sweep, best first; without NAME of the one that was worked on last."""
    from ftbridge.core.console import print_json, say
    from ftbridge.core.project import Project
    from ftbridge.evaluation.report.sweeps.table import sweep_rows, write_csv, write_xlsx
    from ftbridge.evaluation.sweep.record import find_sweep
    from ftbridge.evaluation.sweep.results import results_of

    found = results_of(find_sweep(Project.find(), name), metric)
    if as_json:
        print_json(found)
    else:
        print_parts(sweep_table(found))
    for file, write in ((csv, write_csv), (xlsx, write_xlsx)):
        if file:
            write(Path(file), sweep_rows(found))
            say(_("wrote {file}").format(file=file))
