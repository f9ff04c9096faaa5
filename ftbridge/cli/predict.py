"""`ftbridge predict`."""

from typing import TYPE_CHECKING, Any

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
    json_option,
    max_new_tokens_option,
    option,
    out_option,
    thinking_option,
    trust_option,
)

if TYPE_CHECKING:
    from ftbridge.evaluation.answers.leakage import Leakage
    from ftbridge.evaluation.scoring.labels import Metrics


@click.command(
    "predict", cls=Command, examples=("ftbridge predict --metrics", "ftbridge predict --dataset medqa-test --limit 20")
)
@click.argument("source", metavar="[RUN|DIR|FILE.jsonl]", required=False, shell_complete=complete_run_or_folder)
@checkpoint_option
@option(
    "--dataset", metavar="NAME", shell_complete=complete_dataset, show_default="the test part of the run's dataset",
    help="Dataset to answer.",
)  # fmt: skip
@dataset_dir_option("the run's")
@option("--metrics", is_flag=True, help="Measure exact match; with labels accuracy, precision, recall and F1, too.")
@option("--result-jsonl", is_flag=True, help="Write result.jsonl as well: messages and answer of a sample per line.")
@max_new_tokens_option
@thinking_option
@option("--batch-size", type=click.IntRange(1), show_default="by the samples' length", help="Samples per batch.")
@option("--limit", type=click.IntRange(1), help="Number of samples to answer, from the first.")
@bits_option
@dtype_option
@device_option
@trust_option
@out_option("RUN/predictions/NAME")
@option("--replace", is_flag=True, help="Answer all samples anew, also those that were answered before.")
@json_option
def command(source: str | None, as_json: bool, **options: Any) -> None:
    """Answer a dataset with the model of a run (default: the last that succeeded) or of a folder.

    Answers are greedy. A command that was stopped goes on where it was. A predictions.jsonl is measured as it stands.
    """
    from ftbridge.core.console import print_json, result
    from ftbridge.evaluation.predict import predict

    found = predict(source, **options)
    if as_json:
        print_json(found)
        return
    if found.metrics:
        result(_metrics_table(found.metrics, found.leakage))
    for file in filter(None, (found.file, found.result_jsonl)):
        result(file)


def _metrics_table(found: "Metrics", leakage: "Leakage | None") -> str:
    from ftbridge.core.console import aligned

    rows = [
        ("samples", str(found.samples)),
        *((f"ended by {how}", str(number)) for how, number in found.finish.items()),
        ("exact match", f"{found.exact_match:.4f}"),
    ]
    if labels := found.labels:
        rows += [
            ("accuracy", f"{labels.accuracy:.4f}"),
            *((f"{labels.average} {name}", f"{getattr(labels, name):.4f}") for name in ("precision", "recall", "f1")),
            *((f"{how} answers", str(number)) for how, number in labels.parsed.items()),
            ("labels", f"{len(labels.labels)}, from {labels.origin}"),
        ]
    if leakage:
        known = "cannot be told" if leakage.trained is None else f"{leakage.trained:,} of {leakage.questions:,}"
        rows.append(("questions trained on", known))
    return aligned(rows)
