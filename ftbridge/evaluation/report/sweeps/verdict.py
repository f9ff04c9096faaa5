"""Which setting of a sweep was best, and whether its lead is more than chance, in plain sentences."""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from ftbridge.core.errors import InputError
from ftbridge.evaluation.evaluate import compare_evaluations, is_comparable
from ftbridge.evaluation.record import Evaluation, Figure
from ftbridge.evaluation.report.runs.verdict import (
    LEAST_ITEMS,
    Change,
    Kind,
    Verdict,
    beside_baselines,
    cautions,
    change_of,
    few_items,
)
from ftbridge.evaluation.report.words import PLAIN, Words, p_value, points, signed_points
from ftbridge.evaluation.sweep.record import Sweep, title_of
from ftbridge.evaluation.sweep.results import LOSSES, SweepResults, SweepRow

MANY_SETTINGS = 3  # from here on the best is among the luckier ones
MOST_NAMED = 3  # settings that are equally good, or failed
_LETTERS = 200  # of a reason


class Lead(NamedTuple):
    """How far the best setting is ahead of the second on the same `items` questions, over `pairs` of trainings.

    `ahead` counts the pairs in which it was better. `reason` says, by a key of the words, why nothing could be
    compared, and `difference` is None then.
    """

    kind: Kind
    difference: Figure | None = None
    p_value: float | None = None
    items: int = 0
    ahead: int = 0
    pairs: int = 0
    reason: str = ""


def judge(sweep: Sweep, results: SweepResults, words: Words) -> Verdict:
    """Return the verdict on a sweep."""
    metric = results.metric
    ranked = [row for row in results.rows if metric in row.figures]
    told = [_counts(sweep, results, words)]
    if not ranked:
        key = "failed" if any(row.error for row in results.rows) else "none"
        trained = sum(len(row.runs) for row in results.rows if row.status == "trained")
        told += [words("sweep_unasked", number=f"{trained:,}")] if trained else []
        return Verdict("unknown", words(f"sweep_title_{key}"), (*told, *_failures(results, words)), ())
    best = ranked[0]
    typical = typical_evaluation(best, metric)
    told.append(_best(best, results, words))
    if typical:
        told += beside_baselines(typical, metric, words)
    if (before := mean_before(best.evaluations, metric)) is not None:
        told.append(words("sweep_before", value=words.number(metric, before)))
    kind, title, about = _standing(ranked, results, words)
    told += [*about, *_failures(results, words)]
    return Verdict(kind, title, tuple(told), tuple(_cautions(ranked, typical, metric, words)))


def _standing(ranked: Sequence[SweepRow], results: SweepResults, words: Words) -> tuple[Kind, str, list[str]]:
    """Return how sure it is that the best is best, a title that says so, and sentences on the others."""
    metric, best = results.metric, ranked[0]
    tied = [row for row in ranked if math.isclose(row.figures[metric].mean, best.figures[metric].mean)]
    distant = [_range(best, ranked[-1], results, words)] if len(ranked) > max(2, len(tied)) else []
    if len(ranked) == 1:
        return "unknown", words("sweep_title_single"), []
    if len(tied) > 1:
        return "unclear", words("sweep_title_tied", number=len(tied)), [_tied(tied, results, words), *distant]
    found = lead(best, ranked[1], metric)
    title = words(f"sweep_title_{found.kind}", setting=setting_name(best, results, words))
    return found.kind, title, [_lead(ranked[1], found, results, words), *distant]


def lead(best: SweepRow, second: SweepRow, metric: str) -> Lead:
    """Return how far `best` is ahead: trainings of the same seed are compared, question by question."""
    if metric in LOSSES:
        return Lead("unknown", reason="sweep_pair_loss")
    pairs = _pairs(best, second)
    if not all(is_comparable(*pair) for pair in pairs):
        return Lead("unknown", reason="sweep_pair_questions")
    try:
        compared = [(compare_evaluations(*pair), pair[0].model.title) for pair in pairs]
    except InputError:
        return Lead("unknown", reason="sweep_pair_answers")
    changes = [change for pair, title in compared if (change := change_of(pair, metric, title))]
    if not changes:
        return Lead("unknown", reason="sweep_pair_figure")
    return _joined(changes, min(pair.items for pair, _ in compared))


def _joined(changes: Sequence[Change], items: int) -> Lead:
    """Return what several pairs of trainings say together."""
    first, several = changes[0], len(changes) > 1
    value, low, high = (fmean(getattr(each.difference, name) for each in changes) for name in ("value", "low", "high"))
    difference = Figure(value=value, low=low, high=high, items=items, method=first.difference.method)
    ahead = sum(each.difference.value > 0 for each in changes)
    kind = first.kind
    if several and low > 0 and ahead == len(changes):
        kind = "better" if items >= LEAST_ITEMS else "few"
    elif several or not ahead:
        kind = "unclear"
    return Lead(kind, difference, None if several else first.p_value, items, ahead, len(changes))


def _pairs(best: SweepRow, second: SweepRow) -> list[tuple[Evaluation, Evaluation]]:
    """Return the evaluations of two settings in pairs of the same seed, or as they come where they share none."""
    first, other = by_seed(best), by_seed(second)
    same = [(first[seed], other[seed]) for seed in first if seed in other]
    return same or [*zip(first.values(), other.values(), strict=False)]


def by_seed(row: SweepRow) -> dict[int | None, Evaluation]:
    """Return the evaluations of a setting by the seeds of their trainings."""
    seeds = {point.run: point.seed for point in row.points}
    return {seeds.get(each.model.run): each for each in row.evaluations}


def typical_evaluation(row: SweepRow, metric: str) -> Evaluation | None:
    """Return the evaluation of a setting whose figure is the median of its seeds'; None where there is none."""
    having = [each for each in row.evaluations if metric in each.scores.figures]
    return sorted(having, key=lambda each: each.scores.figures[metric].value)[len(having) // 2] if having else None


def mean_before(evaluations: Sequence[Evaluation], metric: str) -> float | None:
    """Return the mean figure of the models before their training; None where none was asked."""
    values = [
        each.before.figures[metric].value for each in evaluations if each.before and metric in each.before.figures
    ]
    return fmean(values) if values else None


def setting_name(row: SweepRow, results: SweepResults, words: Words) -> str:
    """Return the options of a setting that were varied, in words."""
    return title_of({name: row.values[name] for name in results.varied if name in row.values}) or words(
        "sweep_defaults"
    )


def first_line(text: str) -> str:
    """Return the first line of a reason, as long as a table takes it."""
    line = text.partition("\n")[0]
    return line if len(line) <= _LETTERS else f"{line[:_LETTERS]} …"


def _counts(sweep: Sweep, results: SweepResults, words: Words) -> str:
    rows = results.rows
    waiting = sum(not point.error and not point.run for point in sweep.points)
    names = words("list_separator").join(f"`{name}`" for name in sweep.varied)
    told = words(
        "sweep_counts" if names else "sweep_counts_one",
        settings=f"{len(rows):,}",
        trainings=f"{len(sweep.points):,}",
        varied=names,
    )
    return words.join(told, words("sweep_waiting", number=f"{waiting:,}") if waiting else "")


def _best(best: SweepRow, results: SweepResults, words: Words) -> str:
    metric = results.metric
    found = best.figures[metric]
    several = found.spread is not None
    told = words(
        "sweep_best_of_seeds" if several else "sweep_best",
        setting=setting_name(best, results, words),
        figure=words.name(metric),
        value=words.number(metric, found.mean),
        seeds=found.seeds,
        spread=_gap(metric, found.spread or 0, words),
    )
    if found.low is None or found.high is None or math.isnan(found.low + found.high):
        return told
    figure = Figure(value=found.mean, low=found.low, high=found.high, items=0, method="bootstrap")
    return words.join(told, words("sweep_interval", interval=words.interval(metric, figure)))


def _tied(tied: Sequence[SweepRow], results: SweepResults, words: Words) -> str:
    names = words("list_separator").join(f"`{setting_name(row, results, words)}`" for row in tied[:MOST_NAMED])
    more = len(tied) - MOST_NAMED
    return words("sweep_tied", names=words("and_more", names=names, number=more) if more > 0 else names)


def _lead(second: SweepRow, found: Lead, results: SweepResults, words: Words) -> str:
    metric = results.metric
    value = words.number(metric, second.figures[metric].mean)
    told = words("sweep_second", setting=setting_name(second, results, words), value=value)
    if found.difference is None:
        return words.join(told, words("sweep_pair_unknown", reason=words(found.reason)))
    low, high = (_signed(metric, each) for each in (found.difference.low, found.difference.high))
    p = "" if found.p_value is None else words("and_p", p=p_value(found.p_value).replace(" ", "\u00a0"))
    gap = _gap(metric, found.difference.value, words)
    by = words(f"sweep_lead_{found.kind}", gap=gap, low=low, high=high, p=p, **few_items(found.items))
    seeds = words("sweep_lead_seeds", ahead=found.ahead, pairs=found.pairs) if found.pairs > 1 else ""
    return words.join(told, by, seeds)


def _range(best: SweepRow, worst: SweepRow, results: SweepResults, words: Words) -> str:
    """Return how far the best and the worst lie apart."""
    metric = results.metric
    high, low = (row.figures[metric].mean for row in (best, worst))
    gap = _gap(metric, high - low, words)
    return words("sweep_range", setting=setting_name(worst, results, words), value=words.number(metric, low), gap=gap)


def _failures(results: SweepResults, words: Words) -> Iterator[str]:
    failed = [row for row in results.rows if row.error]
    if failed:
        reasons = [
            words("sweep_reason", setting=setting_name(row, results, words), reason=first_line(row.error))
            for row in failed[:MOST_NAMED]
        ]
        if len(failed) > MOST_NAMED:
            reasons.append(words("sweep_more_failed", number=len(failed) - MOST_NAMED))
        yield words.join(words("sweep_failed", number=f"{len(failed):,}", settings=f"{len(results.rows):,}"), *reasons)


def _cautions(ranked: Sequence[SweepRow], typical: Evaluation | None, metric: str, words: Words) -> Iterator[str]:
    if len(ranked) >= MANY_SETTINGS:
        yield words("sweep_many", settings=f"{len(ranked):,}")
    if len(ranked) > 1 and all(row.figures[metric].seeds == 1 for row in ranked):
        yield words("sweep_one_seed")
    if typical:
        yield from cautions(typical, words)


def _gap(metric: str, value: float, words: Words) -> str:
    """Return a difference of figures, without its sign."""
    return words.number(metric, abs(value)) if metric in PLAIN else words("points_of", points=points(value))


def _signed(metric: str, value: float) -> str:
    return signed_points(value) if metric not in PLAIN else f"{value:+.3f}".replace("-", "\u2212")
