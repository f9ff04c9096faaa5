"""`ftbridge predict`."""

from typing import Any

import click

from ftbridge.cli.options import (
    Command,
    bits_option,
    checkpoint_option,
    complete_dataset,
    complete_run_or_folder,
    dataset_dir_option,
    device_option,
    dtype_option,
    engine_option,
    json_option,
    max_new_tokens_option,
    option,
    out_option,
    thinking_option,
    trust_option,
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
@option("--result-jsonl", is_flag=True, help="Write result.jsonl as well: messages and answer of a sample per line.")
@max_new_tokens_option
@thinking_option
@option("--batch-size", type=click.IntRange(1), show_default="by the samples' length", help="Samples per batch.")
@option("--limit", type=click.IntRange(1), help="Number of samples to answer, from the first.")
@engine_option
@bits_option
@dtype_option
@device_option
@trust_option
@out_option("RUN/predictions/NAME")
@option("--replace", is_flag=True, help="Answer all samples anew, also those that were answered before.")
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
