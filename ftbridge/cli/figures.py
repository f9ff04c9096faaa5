"""Tables of figures that several commands print: models beside what they were before, and the points of a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING

from ftbridge.language import gettext as _
from ftbridge.language import joined, to_translate

if TYPE_CHECKING:
    from ftbridge.cli.output import Rows
    from ftbridge.evaluation.record import Evaluation, Figure, Scores
    from ftbridge.evaluation.sweep.results import SweepResults, SweepRow

LETTERS = 60  # of a prompt and of an answer, in the table of them
STATUSES = {"done": _("done"), "trained": _("trained"), "failed": _("failed"), "waiting": _("waiting")}
# Names of figures that are translated; the rest are the same in every language, or their keys.
NAMES = {
    "accuracy": to_translate("accuracy"),
    "answer_length": to_translate("answer length"),
    "ended": to_translate("ended by itself"),
    "exact_match": to_translate("exact match"),
    "precision": to_translate("precision"),
    "recall": to_translate("recall"),
    "reference_length": to_translate("reference length"),
    "validation_loss": to_translate("validation loss"),
    "macro_f1": "macro F1",
    "f1": "F1",
    "chrf": "chrF",
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
}


def figures_table(dataset: str, evaluations: "list[Evaluation]") -> "Rows":
    """Return the table of the figures of models, of those before them, and of baselines, a column each."""
    columns: dict[str, Scores] = {each.model.title: each.scores for each in evaluations}
    for each in evaluations:
        title = each.model.title
        simpler = [(_("before"), each.before)] if each.before else []
        for name, scores in (*simpler, *((baseline.name, baseline.scores) for baseline in each.baselines)):
            known = columns.setdefault(name, scores)  # models of one base share what they are compared with
            if known != scores:
                columns[f"{name} ({title})"] = scores
    names = list(dict.fromkeys(name for scores in columns.values() for name in scores.figures))
    rows = [
        (f"{dataset}", *columns),
        (_("items"), *(f"{scores.items:,}" for scores in columns.values())),
        *(
            (_(NAMES.get(name, name.replace("_", " "))), *(_cell(each.figures.get(name)) for each in columns.values()))
            for name in names
        ),
    ]
    if any(scores.parsed for scores in columns.values()):
        unparseable = (str(scores.parsed.get("unparseable", 0)) for scores in columns.values())
        rows.append((_("unparseable"), *unparseable))
    return rows


def _cell(figure: "Figure | None") -> str:
    if figure is None:
        return ""
    digits = 1 if figure.value > 1 else 3  # lengths, in characters
    return _("{value} ({low} to {high})").format(
        value=f"{figure.value:.{digits}f}", low=f"{figure.low:.{digits}f}", high=f"{figure.high:.{digits}f}"
    )


def prompts_table(found: "Evaluation", *, several: bool) -> "Rows":
    """Return the table of the fixed prompts with the answers, before and after, a line each."""

    def short(text: str) -> str:
        line = " ".join(text.split())
        return line if len(line) <= LETTERS else f"{line[:LETTERS]} ..."

    names = [_("before")] if any(each.before is not None for each in found.prompts) else []
    header = (_("prompt"), *names, found.model.title if several else _("after"))
    rows = [(each.prompt, *([each.before or ""] if names else []), each.answer) for each in found.prompts]
    return [header, *(tuple(map(short, row)) for row in rows)]


def sweep_table(found: "SweepResults") -> "list[str | Rows]":
    """Return the table of a sweep, and in a line each why points failed."""
    metric = (found.metric, "±", _("95 % interval")) if found.metric else ()
    loss = () if found.metric == "loss" else (_("loss"),)
    header = (_("status"), *found.varied, *metric, _("seeds"), _("samples"), *loss, _("time"))
    failed = [joined(": ", (point.title, point.error)) for row in found.rows for point in row.points if point.error]
    return [[header, *(_row(found, row) for row in found.rows)], *failed]


def best_run(found: "SweepResults") -> Path | None:
    """Return the folder of a run of the best setting of a sweep, None where nothing was measured."""
    best = next((row for row in found.rows if found.metric in row.figures and row.runs), None)
    return Path(found.folder) / "runs" / best.runs[0] if best else None


def failed_points(found: "SweepResults") -> str:
    """Return how many points of a sweep failed, and what to do, "" where none did."""
    points = [point for row in found.rows for point in row.points]
    failed = sum(bool(point.error) for point in points)
    if not failed:
        return ""
    return _("{failed} of {count} points failed, for the reasons above; the same command tries them again").format(
        failed=failed, count=len(points)
    )


def _row(found: "SweepResults", row: "SweepRow") -> tuple[str, ...]:
    from ftbridge.core.console import format_duration
    from ftbridge.evaluation.sweep.record import shown_value

    figure, loss = row.figures.get(found.metric), row.figures.get("loss")
    spread = figure.spread if figure else None
    interval = figure.low is not None if figure else False
    measured = (
        f"{figure.mean:.3f}" if figure else "",
        "" if spread is None else f"{spread:.3f}",
        _("{low:.3f} to {high:.3f}").format(low=figure.low, high=figure.high) if figure and interval else "",
    )
    return (
        STATUSES[row.status],
        *(shown_value(row.values.get(name, "-")) for name in found.varied),
        *(measured if found.metric else ()),
        str(len(row.points)),
        "" if row.training_samples is None else f"{row.training_samples:,}",
        *(() if found.metric == "loss" else (f"{loss.mean:.4f}" if loss else "",)),
        format_duration(row.seconds),
    )
