"""What was gained, and whether it is more than chance, in plain sentences."""

import math
from typing import Literal, NamedTuple

from ftbridge.evaluation.record import Baseline, Comparison, Evaluation, Figure, Scores
from ftbridge.evaluation.report.words import LEAST_P, NOTHING, Words, p_value, points, signed_points

Kind = Literal["better", "unclear", "few", "worse", "unknown"]
SURE, VERY_SURE = 0.05, 0.001
LEAST_ITEMS = 30  # of which an interval alone is believed: of fewer the bootstrap is too sure
FEW = 100  # items; below, only large differences can be seen
MANY_UNREAD = 0.05  # share of answers that are no label
_OF_ITEMS = ("accuracy", "exact_match")  # shares of items that are right, which can be counted
# By what free text is judged, the first that is there: it seldom equals its reference.


class Verdict(NamedTuple):
    """What a reader is told of an evaluation: a title, sentences, and what to mind of them.

    `kind` is unknown where nothing was compared, and few where the difference is clear, but the questions are too few
    to believe it. `gained` and `lost` count questions that were wrong before and are
    right now, and the other way round.
    """

    kind: Kind
    title: str
    sentences: tuple[str, ...]
    cautions: tuple[str, ...]
    gained: int = 0
    lost: int = 0


class Change(NamedTuple):
    """How much better a figure of the first is than that of the second, and whether that is more than chance."""

    kind: Kind
    difference: Figure
    p_value: float | None


def change_of(comparison: Comparison, figure: str, title: str) -> Change | None:
    """Return how much better the model called `title` is in a comparison; None where that has no such figure."""
    found = comparison.differences.get(figure)
    if found is None or math.isnan(found.value):
        return None
    if comparison.second == title and comparison.first != title:
        found = Figure(value=-found.value, low=-found.high, high=-found.low, items=found.items, method=found.method)
    # The test is of who was right; other figures have their interval alone.
    tested = comparison.p_value if figure in _OF_ITEMS else None
    sure = not found.low <= 0 <= found.high if tested is None else tested < SURE
    kind: Kind = ("better" if found.value > 0 else "worse") if sure else "unclear"
    return Change("few" if sure and tested is None and found.items < LEAST_ITEMS else kind, found, tested)


def comparison_before(evaluation: Evaluation) -> Comparison | None:
    """Return how the model differs from the one before its training; None where that was not asked."""
    return evaluation.comparisons[-1] if evaluation.before and evaluation.comparisons else None


def judge(evaluation: Evaluation, words: Words) -> Verdict:
    """Return the verdict on an evaluation."""
    scores, figure = evaluation.scores, evaluation.scores.main_figure
    sentences = [_level(scores, figure, words)]
    pair = comparison_before(evaluation)
    change = change_of(pair, figure, evaluation.model.title) if pair else None
    kind: Kind = change.kind if change else "unknown"
    gained = lost = 0
    if evaluation.before and pair and change:
        p = "" if change.p_value is None else _p_in_words(change.p_value, words)
        before = _before(evaluation.before, figure, words)
        sentences.append(words.join(before, change_sentence(change, words), p))
    else:
        sentences.append(words("not_asked_before"))
    sentences += beside_baselines(evaluation, figure, words)
    if pair and change and pair.p_value is not None:
        gained, lost = _only_right(pair, evaluation.model.title)
        sentences.append(words("who_was_right", gained=f"{gained:,}", lost=f"{lost:,}"))
    told = tuple(sentences), tuple(cautions(evaluation, words))
    was_trained_on = evaluation.leakage and evaluation.leakage.trained
    title = "title_better_on_trained" if kind == "better" and was_trained_on else f"title_{kind}"
    return Verdict("unclear" if was_trained_on and kind == "better" else kind, words(title), *told, gained, lost)


def about_questions(evaluation: Evaluation, different: int | None, words: Words) -> list[str]:
    """Return that the test questions were kept apart from the training, where they were, and how many are different."""
    leak, items, found = evaluation.leakage, evaluation.scores.items, []
    if leak and leak.trained == 0:
        found.append(words("leak_none", questions=f"{leak.questions:,}"))
    if different is not None and different < items:
        found.append(words("repeated", different=f"{different:,}", questions=f"{items:,}"))
    return found


def change_sentence(change: Change, words: Words) -> str:
    """Return a change with its interval, and whether chance explains it."""
    key = f"change_{change.kind}"
    if change.kind in {"better", "worse"} and change.p_value is not None and change.p_value < VERY_SURE:
        key += "_surely"
    direction = words("points_up" if change.difference.value > 0 else "points_down")
    return words(key, direction=direction, **few_items(change.difference.items), **_difference(change, words))


def few_items(items: int) -> dict[str, str]:
    """Return how many questions there are and how many are needed, for the words on too few."""
    return {"items": f"{items:,}", "least": f"{LEAST_ITEMS}"}


def _difference(change: Change, words: Words) -> dict[str, str]:
    found = change.difference
    signed = {"difference": found.value, "low": found.low, "high": found.high}
    p = "" if change.p_value is None else words("and_p", p=p_value(change.p_value).replace(" ", "\u00a0"))
    return {name: signed_points(value) for name, value in signed.items()} | {"points": points(found.value), "p": p}


def _p_in_words(p: float, words: Words) -> str:
    """Return what a p-value means: in how many of so many tests chance alone does as much."""
    if p < LEAST_P:
        return words("p_means_less")
    of = 100 if p >= 0.01 else 10_000  # noqa: PLR2004 - so that it is a whole number
    return words("p_means", number=f"{p * of:.0f}", of=f"{of:,}")


def cautions(evaluation: Evaluation, words: Words) -> list[str]:
    """Return what a reader has to mind of the figures."""
    scores, leak, found = evaluation.scores, evaluation.leakage, []
    items = f"{scores.items:,}"
    if leak is None:
        found.append(words("leak_unasked"))
    elif leak.trained is None:
        found.append(words("leak_unknown", reason=leak.reason.rstrip(".") or NOTHING))
    elif leak.trained:
        found.append(words("leak", trained=f"{leak.trained:,}", questions=f"{leak.questions:,}"))
    if evaluation.limit:
        found.append(words("limited", limit=f"{evaluation.limit:,}"))
    if cut := evaluation.cut_answers or scores.finish.get("length", 0):
        found.append(words("cut", cut=f"{cut:,}", items=items, tokens=evaluation.max_new_tokens))
    if evaluation.before and (cut := evaluation.before.finish.get("length", 0)):
        found.append(words("cut_before", cut=f"{cut:,}", items=f"{evaluation.before.items:,}"))
    if long := scores.finish.get("too_long", 0):
        found.append(words("too_long", number=f"{long:,}"))
    unread = scores.parsed.get("unparseable", 0)
    if unread > MANY_UNREAD * scores.items:
        key = "unread_entities" if scores.task == "extraction" else "unread"
        found.append(words(key, number=f"{unread:,}", items=items))
    if scores.items < FEW:
        found.append(words("few", items=items))
    return found + (_of_classes(scores, words) if scores.task == "classification" else [])


def _of_classes(scores: Scores, words: Words) -> list[str]:
    by_support = {
        key: [each.name for each in scores.classes if each.support == support]
        for key, support in (("never", 0), ("single", 1))
    }
    return [words(key, names=_some(names, words)) for key, names in by_support.items() if names]


def _level(scores: Scores, figure: str, words: Words) -> str:
    found = scores.figures[figure]
    right = f"{round(found.value * found.items):,}" if found.items else "0"
    return words(
        f"level_{figure}" if figure in (*_OF_ITEMS, "chrf") else "level",
        right=right,
        items=f"{scores.items:,}",
        figure=words.name(figure),
        value=words.number(figure, found.value),
        interval=words.interval(figure, found),
    )


def _before(before: Scores, figure: str, words: Words) -> str:
    found = before.figures[figure]
    key = "before_right" if figure in _OF_ITEMS else "before_level"
    right = f"{round(found.value * found.items):,}"
    return words(key, right=right, value=words.number(figure, found.value))


def _only_right(pair: Comparison, title: str) -> tuple[int, int]:
    """Return how many questions only the model called `title` has right, and how many only the other one."""
    return (pair.only_first, pair.only_second) if pair.first == title else (pair.only_second, pair.only_first)


def best_baseline(evaluation: Evaluation, figure: str) -> Baseline | None:
    """Return the best of what is simpler."""
    having = [each for each in evaluation.baselines if figure in each.scores.figures]
    return max(having, key=lambda each: each.scores.figures[figure].value, default=None)


def beside_baselines(evaluation: Evaluation, figure: str, words: Words) -> list[str]:
    """Return how the model stands beside the best of what is simpler; nothing where there is none."""
    best = best_baseline(evaluation, figure)
    if not best:
        return []
    own, other = evaluation.scores.figures[figure], best.scores.figures[figure]
    pair = next(
        (each for each in evaluation.comparisons if {evaluation.model.title, best.name} == {each.first, each.second}),
        None,
    )
    change = change_of(pair, figure, evaluation.model.title) if pair else None
    if change:
        kind = change.kind
    else:  # intervals that do not meet are further apart than chance takes them
        kind = "better" if own.low > other.high else "worse" if own.high < other.low else "unclear"
    name = words.known(f"baseline_{best.name}", best.name)
    told = [words(f"baseline_is_{kind}", name=name, value=words.number(figure, other.value))]
    if change:
        told.append(words("baseline_by", **_difference(change, words)))
    if pair and pair.p_value is not None:
        mine, its = _only_right(pair, evaluation.model.title)
        told.append(words("baseline_right", mine=f"{mine:,}", its=f"{its:,}"))
    return [words.join(*told)]


def _some(names: list[str], words: Words, most: int = 3) -> str:
    shown = words("list_separator").join(names[:most])
    return shown if len(names) <= most else words("and_more", names=shown, number=len(names) - most)
