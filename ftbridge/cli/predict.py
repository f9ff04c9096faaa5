"""`ftbridge predict`."""

from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.chat import bits_option, dtype_option
from ftbridge.cli.export import checkpoint_option

if TYPE_CHECKING:
    from ftbridge.evaluation.leakage import Leakage
    from ftbridge.evaluation.metrics import Metrics


@click.command("predict")
@click.argument("source", metavar="[RUN|FOLDER|FILE.jsonl]", required=False)
@checkpoint_option
@click.option("--dataset", metavar="NAME", help="What to answer (default: the test part of what the run learned).")
@click.option("--dataset-dir", metavar="DIR", help="The folder with dataset_info.json (default: the run's).")
@click.option("--metrics", is_flag=True, help="Exact match; with labels accuracy, precision, recall and F1.")
@click.option("--result-jsonl", is_flag=True, help="Write result.jsonl, too: messages and answers, a line each.")
@click.option("--max-new-tokens", type=click.IntRange(1, 2**31 - 1), default=512, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), help="Samples at a time (default: by their length).")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N samples alone.")
@bits_option
@dtype_option
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the model.")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where to write (default: RUN/predictions/NAME).")
@click.option("--replace", is_flag=True, help="Forget earlier answers there, and ask all samples anew.")
@click.option("--json", "as_json", is_flag=True, help="Print paths, counts and metrics as JSON.")
def command(source: str | None, as_json: bool, **options: Any) -> None:
    """Answer a dataset with the model of a run (default: the last) or of a folder.

    Answers are greedy. A command that was stopped goes on where it was. A predictions.jsonl is measured as it stands.
    """
    from ftbridge.core.console import print_json, result
    from ftbridge.evaluation.predict import predict

    found = predict(source, **options)
    if as_json:
        print_json(found)
        return
    if found.metrics:
        result(_table(found.metrics, found.leakage))
    for file in filter(None, (found.file, found.result_jsonl)):
        result(file)


def _table(found: "Metrics", leakage: "Leakage | None") -> str:
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
