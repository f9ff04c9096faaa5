"""`ftbridge report`."""

from typing import Any

import click

from ftbridge.cli.options import Choice, Command, complete_run_or_sweep, json_option, option
from ftbridge.language import gettext as _


@click.command(
    "report",
    cls=Command,
    examples=("ftbridge report", "ftbridge report RUN OTHER --language zh --xlsx report.xlsx"),
)
@click.argument("sources", nargs=-1, metavar="[RUN|SWEEP|DIR|FILE]...", shell_complete=complete_run_or_sweep)
@option(
    "--out", type=click.Path(dir_okay=False), metavar="FILE.html",
    show_default=_("report.html of the run or the sweep, or of the project for several"), help=_("Page to write."),
)  # fmt: skip
@option(
    "--language", type=Choice(["auto", "en", "zh"]), default="auto",
    help=_("Language of the report; auto: the locale's."),
)  # fmt: skip
@option(
    "--xlsx", type=click.Path(dir_okay=False), metavar="FILE.xlsx", help=_("Write the tables as a workbook as well.")
)
@option(
    "--markdown", type=click.Path(dir_okay=False), metavar="FILE.md",
    help=_("Write the figures for a model card as well."),
)  # fmt: skip
@json_option
def command(sources: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write what was gained as one HTML file that opens without a network: for runs, folders or evaluation.json files.

    By default for the last run that succeeded. Several are shown side by side, and compared where they answered the
    same questions. A SWEEP has a report of its own, which says which setting was best.
    """
    from ftbridge.core.console import print_json, result
    from ftbridge.evaluation.report.report import report

    for name in ("xlsx", "markdown"):
        options[name] = options[name] or False
    made = report(*sources, **options)
    if as_json:
        print_json(made)
        return
    for file in filter(None, (made.html, made.xlsx, made.markdown)):
        result(str(file))
