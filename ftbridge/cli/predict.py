"""`ftbridge predict`."""

from typing import Any

import click

from ftbridge.cli.options import (
    Command,
    answering_options,
    checkpoint_option,
    complete_dataset,
    complete_run_or_folder,
    dataset_dir_option,
    json_option,
    option,
    out_option,
    result_jsonl_option,
)


@click.command(
    "predict", cls=Command, examples=("ftbridge predict", "ftbridge predict --dataset medqa-test --limit 20")
)
@click.argument("source", metavar="[RUN|DIR]", required=False, shell_complete=complete_run_or_folder)
@checkpoint_option
@option(
    "--dataset", metavar="NAME", shell_complete=complete_dataset, show_default="the test part of the run's dataset",
    help="Dataset to answer.",
)  # fmt: skip
@dataset_dir_option("the run's")
@result_jsonl_option
@answering_options
@out_option("RUN/predictions/NAME")
@json_option
def command(source: str | None, as_json: bool, **options: Any) -> None:
    """Answer a dataset with the model of a run (default: the last that succeeded) or of a folder.

    Answers are greedy. A command that was stopped goes on where it was. `ftbridge evaluate` answers and measures.
    """
    from ftbridge.core.console import print_json, result
    from ftbridge.evaluation.predict import predict

    found = predict(source, **options)
    if as_json:
        print_json(found)
        return
    for file in filter(None, (found.file, found.result_jsonl)):
        result(file)
