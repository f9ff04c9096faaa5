"""`ftbridge evaluate`."""

from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.figures import figures_table, prompts_table
from ftbridge.cli.options import (
    Choice,
    Command,
    answering_options,
    complete_dataset,
    complete_run_or_folder,
    dataset_dir_option,
    json_option,
    option,
    result_jsonl_option,
)
from ftbridge.cli.output import print_parts
from ftbridge.language import english, joined
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftbridge.cli.output import Rows
    from ftbridge.evaluation.evaluate import Evaluations
    from ftbridge.evaluation.record import ClassFigures, Evaluation

MOST_CLASSES = 20


@click.command(
    "evaluate", cls=Command, examples=("ftbridge evaluate --before", "ftbridge evaluate RUN OTHER --dataset medqa-test")
)
@click.argument("sources", metavar="[RUN|DIR|FILE.jsonl]...", nargs=-1, shell_complete=complete_run_or_folder)
@option(
    "--dataset", metavar="NAME", multiple=True, shell_complete=complete_dataset,
    show_default=_("the test parts of the run's datasets"), help=_("Dataset to answer; repeatable."),
)  # fmt: skip
@dataset_dir_option(_("the run's"))
@option(
    "--before", is_flag=True, help=_("Ask the model before its training as well, and compare on the same questions.")
)
@option(
    "--prompt", metavar="TEXT", multiple=True,
    help=_("Fixed prompt to ask after the dataset, of both models with --before. May be given "
        "several times."),
)  # fmt: skip
@option(
    "--also", metavar="NAME", multiple=True, shell_complete=complete_dataset,
    help=_("Dataset that the model must not get worse at. May be given several times."),
)  # fmt: skip
@option(
    "--task", type=Choice(["auto", "classification", "generation", "extraction"]), default="auto",
    help=_("What the answers are; auto is classification where the dataset has labels."),
)  # fmt: skip
@option(
    "--checkpoint", metavar="NAME", show_default="last", help=_("Checkpoint of the run: last, best, a step; or all.")
)
@option(
    "--baseline", metavar="NAME", multiple=True, show_default=_("most-frequent and tfidf"),
    help=_("What a classification is compared with: most-frequent, tfidf, bert=BASE, or none."),
)  # fmt: skip
@option("--endpoint", metavar="URL", help=_("OpenAI-compatible server that answers; its key is in OPENAI_API_KEY."))
@option("--endpoint-model", metavar="NAME", default="", show_default=_("the only one"), help=_("Model of the server."))
@option(
    "--concurrency", type=click.IntRange(1, 256), default=8, show_default=True,
    help=_("Number of questions that the server is asked at a time."),
)  # fmt: skip
@result_jsonl_option
@option("--name", metavar="NAME", show_default=_("the dataset's"), help=_("Name of the comparison of several models."))
@answering_options
@json_option
def command(sources: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Measure how good a model's answers to a dataset are: of a run (default: the last that succeeded) or a folder.

    Samples that are answered are not asked again. Of several models, the same questions tell whether one is better.
    """
    from ftbridge.core.console import print_json, say
    from ftbridge.core.errors import shell_words
    from ftbridge.evaluation.evaluate import evaluate

    found = evaluate(*sources, **options)
    if as_json:
        print_json(found)
    else:
        print_parts(_parts(found))
        runs = dict.fromkeys(each.evaluation.model.run for each in found.evaluations if each.evaluation.model.run)
        say(_("next: `{value}` writes it as a page").format(value=shell_words(["ftbridge", "report", *runs])))


def _parts(found: "Evaluations") -> "Iterator[str | Rows]":
    """Yield what is printed: a table for each dataset, what follows from it, and the files."""
    by_dataset: dict[str, list[Evaluation]] = {}
    for each in found.evaluations:
        by_dataset.setdefault(each.evaluation.dataset, []).append(each.evaluation)
    for dataset, evaluations in by_dataset.items():
        several = len(evaluations) > 1
        yield figures_table(dataset, evaluations)
        if not several:
            yield from _classes(evaluations[0])
        yield from (line for each in evaluations for line in _sentences(each, several=several))
        yield from (prompts_table(each, several=several) for each in evaluations if each.prompts)
    yield from (compared.sentence for compared in found.comparisons)
    verdicts = {"worse": _("worse than before"), "better": _("better than before")}
    yield from (
        joined(": ", (name, verdicts.get(also, _("not measurably worse than before"))))
        for name, also in found.also.items()
    )
    yield "\n".join(filter(None, (*(each.file for each in found.evaluations), found.file, *found.result_jsonl)))


def _classes(found: "Evaluation") -> "Iterator[str | Rows]":
    """Yield the table of the most frequent classes, and how many more there are; nothing where there are none."""
    classes: tuple[ClassFigures, ...] = found.scores.classes
    shown = sorted(classes, key=lambda each: -each.support)[:MOST_CLASSES]
    rows = [
        (each.name, str(each.support), *(f"{figure.value:.3f}" for figure in (each.precision, each.recall, each.f1)))
        for each in shown
    ]
    if rows:
        yield [(_("class"), _("items"), _("precision"), _("recall"), _("F1")), *rows]
    if len(classes) > len(shown):
        yield _("... and {count} more in the file").format(count=len(classes) - len(shown))


def _sentences(found: "Evaluation", *, several: bool) -> list[str]:
    title = f"{found.model.title}: " if several else ""
    of_first = (
        _("only the first {limit:,} questions were evaluated (`--limit`)").format(limit=found.limit)
        if found.limit
        else ""
    )
    of_base = (
        [_("before: {note}").format(note=note) for note in found.before.notes if "cut by" in english(note)]
        if found.before
        else []
    )
    said = [each.sentence for each in found.comparisons] + [*found.scores.notes, *of_base, of_first]
    return [f"{title}{each}" for each in said if each]
