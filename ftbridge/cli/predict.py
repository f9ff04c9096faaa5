"""`ftbridge predict`."""

from typing import Any

import click

from ftbridge.cli.options import (
    Command,
    answering_options,
    checkpoint_option,
    complete_dataset,
    complete_file,
    complete_folder,
    complete_run_or_folder,
    dataset_dir_option,
    json_option,
    option,
    out_option,
    result_jsonl_option,
)
from ftbridge.language import gettext as _

# Options that decide the answers, which `evaluate` has as well.
SAME_ANSWERS = {"dataset", "dataset_dir", "max_new_tokens", "thinking", "limit", "engine", "bits", "dtype", "device"}


@click.command(
    "predict",
    cls=Command,
    examples=(
        "ftbridge predict --dataset medqa-test --limit 20",
        "ftbridge predict --questions questions.xlsx --xlsx",
    ),
)
@click.argument("source", metavar="[RUN|DIR]", required=False, shell_complete=complete_run_or_folder)
@checkpoint_option
@option(
    "--model",
    metavar="MODEL",
    shell_complete=complete_folder,
    help=_("Model to ask, without a run: a folder, or a hub's name; with an adapter, its base."),
)
@option(
    "--dataset",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_dataset,
    show_default=_("the test parts of the run's datasets"),
    help=_("Dataset to answer; repeatable."),
)
@dataset_dir_option(_("the run's"))
@option(
    "--questions",
    metavar="FILE",
    type=click.Path(),
    shell_complete=complete_file,
    help=_("File of questions without answers, to answer instead: a workbook, CSV, JSON or the like."),
)
@option("--column", metavar="NAME", default="", show_default=_("detected"), help=_("Column of the questions."))
@option("--xlsx", is_flag=True, help=_("Write predictions.xlsx as well: question, reference and prediction per row."))
@result_jsonl_option
@answering_options
@out_option("RUN/predictions/NAME")
@json_option
def command(source: str | None, as_json: bool, **options: Any) -> None:
    """Answer a dataset with the model of a run (default: the last that succeeded) or of a folder.

    Answers are greedy. A command that was stopped goes on where it was. `ftbridge evaluate` answers and measures.
    """
    from ftbridge.core.console import print_json, result, say
    from ftbridge.evaluation.predict import predict

    found = predict(source, **options)
    if as_json:
        print_json(found)
        return
    for each in (found, *found.others):
        for file in filter(None, (each.file, each.xlsx, each.result_jsonl)):
            result(file)
    if found.measurable and not any(options[name] for name in ("out", "questions", "model", "checkpoint")):
        say(_("next: `{command}` measures them").format(command=_evaluate_command(source)))


def _evaluate_command(source: str | None) -> str:
    """Return the command that measures the answers, with what was typed to get them."""
    from ftbridge.core.errors import shell_words

    context, words = click.get_current_context(), ["ftbridge", "evaluate", *filter(None, [source])]
    for each in context.command.params:
        typed = context.get_parameter_source(str(each.name)) is click.core.ParameterSource.COMMANDLINE
        if typed and each.name in SAME_ANSWERS:
            value = context.params[str(each.name)]
            words += [word for one in (value if each.multiple else [value]) for word in (each.opts[0], str(one))]
    return shell_words(words)
