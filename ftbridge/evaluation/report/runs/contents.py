"""What a report tells, in the order in which it is read, as values that a page, a workbook and a model card share."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ftbridge.core.console import say
from ftbridge.core.project import SETTINGS, Project
from ftbridge.evaluation.answers.folder import FINISHED
from ftbridge.evaluation.record import Confusion, Evaluation, Scores, Task
from ftbridge.evaluation.report.charts import (
    HeatMap,
    IntervalChart,
    Number,
    Table,
    Value,
    heat_map,
    interval_chart,
    most_confused,
)
from ftbridge.evaluation.report.runs.answers import (
    MOST,
    Answer,
    Answers,
    Asked,
    judge_of,
    read_answers,
    without_template,
)
from ftbridge.evaluation.report.runs.sources import Found, Group, Measured
from ftbridge.evaluation.report.runs.training import Trained, runs_table, trained
from ftbridge.evaluation.report.runs.verdict import (
    Verdict,
    about_questions,
    best_baseline,
    change_of,
    change_sentence,
    comparison_before,
    judge,
)
from ftbridge.evaluation.report.words import PLAIN, Words
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, utc_now

# The figures of a task that a chart shows, besides the one that it is judged by.
CHARTED = ("macro_f1", "rouge_l", "precision", "recall")
# Those that everybody is shown; all others stand under a fold.
SHOWN = ("accuracy", "macro_f1", "exact_match", "chrf", "rouge_l", "precision", "recall", "f1")
MOST_NAMES = 3  # of datasets, models and classes, in a sentence
LETTERS_OF_EXAMPLE = 300
MOST_CARDS = 3  # of models
TERMS: dict[Task, list[str]] = {
    "classification": ["accuracy", "macro_f1", "unreadable", "kappa"],
    "generation": ["text"],
    "extraction": ["entities"],
}


class Detail(NamedTuple):
    """What is behind the figures of one model: its classes, which it takes for which, and what to know of it."""

    title: str
    classes: Table | None
    heat_map: HeatMap | None
    confused: Table | None
    notes: tuple[str, ...]


class Example(NamedTuple):
    """A question with its right answer, and what all questions begin with."""

    instruction: str
    question: str
    reference: str


class Result(NamedTuple):
    """What was found on one dataset: the verdict on the first model, figures of all, and answers.

    `asked` says in a sentence what the models were asked, `checks` what is known of the questions, and `summary` is
    `figures` with those alone that need no specialist. `prompts` are the fixed ones, which no figure counts.
    """

    dataset: str
    model: str
    task: str
    asked: str
    example: Example | None
    rule: str
    answered: str
    verdict: Verdict
    checks: tuple[str, ...]
    cards: tuple[tuple[str, str, str], ...]
    charts: tuple[IntervalChart, ...]
    summary: Table
    figures: Table
    comparisons: tuple[str, ...]
    checkpoints: Table | None
    details: tuple[Detail, ...]
    answers: Answers | None
    missing: str
    prompts: Answers | None


class Contents(NamedTuple):
    """All that a report tells; `subtitle` says of which models and datasets, `unmeasured` why there is no result."""

    title: str
    subtitle: str
    made: datetime
    results: tuple[Result, ...]
    unmeasured: str
    runs: Table | None
    trained: tuple[Trained, ...]

    @property
    def terms(self) -> list[str]:
        """Return the terms that are used, which the page explains at its end."""
        used = ["interval", "chance", "token"]
        for task, terms in TERMS.items():
            used += terms if any(result.task == task for result in self.results) else []
        return [*used, "baseline"] if any(len(result.figures.rows) > 1 for result in self.results) else used

    @property
    def tables(self) -> Iterator[Table]:
        """Yield all tables, in the order of the page."""
        for result in self.results:
            yield result.figures
            if result.checkpoints:
                yield result.checkpoints
            for detail in result.details:
                yield from filter(None, (detail.classes, detail.confused))
        if self.runs:
            yield self.runs
        for each in self.trained:
            yield from filter(None, (each.settings, each.details, each.data, each.rejected, each.environment))


def contents_of(found: Found, words: Words) -> Contents:
    """Return what a report tells of runs and evaluations; raises InputError where a file of answers is damaged."""
    share = MOST // max(1, len(found.groups))
    results = tuple(_result(group, share, words) for group in found.groups)
    if not results:
        say(_("note: nothing was measured yet; `ftbridge evaluate RUN` measures, and then this report shows it"))
    return Contents(
        words("page_title" if results else "page_title_unmeasured"),
        _subtitle(found, words),
        utc_now(),
        results,
        "" if results else _unmeasured(found.runs, words),
        runs_table(found.runs, words) if len(found.runs) > 1 else None,
        tuple(
            trained(_project_of(run, found.project), run, [each.evaluation for each in _of_run(found, run.id)], words)
            for run in found.runs
        ),
    )


def _unmeasured(runs: Sequence[Run], words: Words) -> str:
    """Return what is lacking before there is something to measure by."""
    status = runs[0].status if runs else "succeeded"
    if status in {"failed", "interrupted"}:
        return words("none_yet_failed", status=status)
    answers = [file.parent for run in runs for file in sorted(run.path.glob(f"predictions*/*/{FINISHED}"))]
    datasets = [each.name for each in answers if not each.parent.name.startswith("predictions-before")]
    return words("none_yet_evaluated", datasets=_named(datasets, words)) if datasets else words("none_yet")


def _project_of(run: Run, otherwise: Project) -> Project:
    """Return the project that a run lies in: a sweep's folder is one of its own."""
    folder = run.path.parent.parent
    return Project.find(folder) if (folder / SETTINGS).is_file() else otherwise


def _subtitle(found: Found, words: Words) -> str:
    if not found.groups:
        return _named([run.id for run in found.runs], words)
    models = [each.evaluation.model.title for group in found.groups for each in group.members]
    datasets = [group.first.evaluation.dataset for group in found.groups]
    return words("page_subtitle", models=_named(models, words), datasets=_named(datasets, words))


def _named(names: Sequence[str], words: Words) -> str:
    """Return the first of some names, and how many more there are."""
    every = list(dict.fromkeys(names))
    first = words("list_separator").join(every[:MOST_NAMES])
    return words("and_more", names=first, number=len(every) - MOST_NAMES) if len(every) > MOST_NAMES else first


def _of_run(found: Found, run: str) -> Iterator[Measured]:
    for group in found.groups:
        yield from (each for each in group.members if each.run and each.run.id == run)


def _result(group: Group, most: int, words: Words) -> Result:
    first = group.first.evaluation
    verdict = judge(first, words)
    answers, missing = _answers(group, most, words)
    main = first.scores.main_figure
    rows = [*_models(group, words)]
    figures = _figures(rows, words)
    charted = [main, *(name for name in CHARTED if name in first.scores.figures and name != main)]
    return Result(
        first.dataset,
        first.model.title,
        first.scores.task,
        asked_of(first.scores, words),
        _example(answers) if answers else None,
        first.scores.rule,
        _answered(first, words),
        verdict,
        tuple(about_questions(first, answers.different if answers else None, words)),
        tuple(_cards(group, main, words)),
        tuple(
            interval_chart(
                name, [(title, kind, scores.figures[name]) for title, kind, scores in rows if name in scores.figures]
            )
            for name in charted[:2]
            if name not in PLAIN
        ),
        _figures(rows, words, SHOWN),
        figures,
        tuple(_comparisons(group, main, words)),
        _checkpoints(group, words) if group.checkpoints else None,
        tuple(_detail(each.evaluation, words) for each in group.members),
        answers,
        missing,
        _prompts(group, words),
    )


def asked_of(scores: Scores, words: Words) -> str:
    """Return what models were asked to do."""
    names = [each.name for each in scores.classes]
    return words(f"asked_{scores.task}", number=len(names), names=_named(names, words))


def _example(answers: Answers) -> Example | None:
    row = answers.example
    return Example(*map(_short, (answers.instruction, without_template(row.question), row.reference))) if row else None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LETTERS_OF_EXAMPLE else f"{text[:LETTERS_OF_EXAMPLE]} …"


def _models(group: Group, words: Words) -> Iterator[tuple[str, str, Scores]]:
    """Yield who answered, by name and kind, with the scores: the models, the first before its training, baselines."""
    several = len(group.members) > 1
    for at, each in enumerate(group.members):
        title = each.evaluation.model.title
        yield title if several else words("after"), "other" if at else "after", each.evaluation.scores
    first = group.first.evaluation
    if first.before:
        yield words("before_of", title=first.model.title) if several else words("before"), "before", first.before
    for baseline in first.baselines:
        yield words("as_baseline", name=baseline_name(baseline.name, words)), "baseline", baseline.scores


def baseline_name(name: str, words: Words) -> str:
    """Return what a baseline is called."""
    return words.known(f"baseline_{name}", name)


def _cards(group: Group, main: str, words: Words) -> Iterator[tuple[str, str, str]]:
    """Yield the numbers that are seen first: what they are of, the number, and its interval."""
    first, name = group.first.evaluation, words.name(main)
    shown = {words("card_after", figure=name): first.scores, words("card_before", figure=name): first.before}
    if len(group.members) > 1:
        shown = {each.evaluation.model.title: each.evaluation.scores for each in group.members[:MOST_CARDS]}
    for title, scores in shown.items():
        if scores:
            figure = scores.figures[main]
            interval = words("card_interval", interval=words.interval(main, figure, "interval_short"))
            yield title, words.number(main, figure.value), interval
    yield words("questions"), f"{first.scores.items:,}", first.dataset


def _figures(rows: list[tuple[str, str, Scores]], words: Words, only: Collection[str] = ()) -> Table:
    """Return the figures of models, a row each: all of them, or `only` some."""
    names = list(
        dict.fromkeys(name for _unused, _unused, scores in rows for name in scores.figures if not only or name in only)
    )
    return Table(
        "figures",
        words("main_figures" if only else "figures"),
        (words("model"), *map(words.name, names), words("questions")),
        tuple(
            (
                title,
                *(Number(name, scores.figures[name]) if name in scores.figures else None for name in names),
                scores.items,
            )
            for title, _unused, scores in rows
        ),
    )


def _answered(first: Evaluation, words: Words) -> str:
    """Return what computed the answers, how long that took, and how far another engine agrees."""
    engine = first.engine
    name = " ".join(filter(None, (engine.name, engine.version, engine.address)))
    time = words("and_time", time=words.duration(first.seconds)) if first.seconds >= 1 else ""
    told = words("answered_by", engine=name, tokens=f"{first.max_new_tokens:,}", time=time)
    if engine.same_answers is None:
        return told
    same = words("same_answers", same=f"{engine.same_answers:,}", compared=f"{engine.compared:,}")
    return words.join(told, same)


def _comparisons(group: Group, main: str, words: Words) -> Iterator[str]:
    """Yield a sentence for each pair of models on record, but for those that the verdict tells of."""
    first = group.first.evaluation
    best = best_baseline(first, main)
    simpler = {each.name for each in first.baselines}
    for pair in (*first.comparisons, *group.comparisons):
        change = change_of(pair, main, pair.first)
        if change and pair is not comparison_before(first) and not (best and pair.second == best.name):
            told = words(
                "pair_of_text" if pair.p_value is None else "pair",
                first=pair.first,
                second=words("before_in_sentence") if pair.second == "before" else baseline_name(pair.second, words),
                items=f"{pair.items:,}",
                only_first=f"{pair.only_first:,}",
                only_second=f"{pair.only_second:,}",
            )
            own = words.join(told, change_sentence(change, words))
            on_record = pair.sentence if words.language == "en" and pair.second not in simpler else ""
            yield on_record or own


def _checkpoints(group: Group, words: Words) -> Table:
    """Return the figures of the checkpoints of runs, in their order, the end last."""
    of_runs = {each.run.id for each in group.checkpoints if each.run}
    ends = [each for each in group.members if each.run and each.run.id in of_runs]
    named = ((each.evaluation.model.checkpoint, each.evaluation.scores) for each in (*group.checkpoints, *ends))
    rows = [(name or words("end"), "", scores) for name, scores in named]
    return _figures(rows, words)._replace(key="checkpoints", title=words("checkpoints"))


def _detail(found: Evaluation, words: Words) -> Detail:
    scores = found.scores
    return Detail(
        found.model.title,
        _classes(scores, words) if scores.classes else None,
        heat_map(scores.confusion, words("other_classes")) if scores.confusion else None,
        _confused(scores.confusion, words) if scores.confusion else None,
        scores.notes,
    )


def _classes(scores: Scores, words: Words) -> Table:
    names = ("precision", "recall", "f1")
    header = words("class_name"), *map(words.name, names), words("support")
    rows: list[tuple[Value, ...]] = [
        (each.name, *(Number(name, getattr(each, name)) for name in names), each.support) for each in scores.classes
    ]
    return Table("classes", words("classes"), header, tuple(rows))


def _confused(confusion: Confusion, words: Words) -> Table | None:
    mistakes = most_confused(confusion)
    rows = [(label, words("no_label") if other is None else other, count) for label, other, count in mistakes]
    header = words("reference"), words("answered_as"), words("times")
    return Table("confused", words("confused"), header, tuple(rows)) if rows else None


def _prompts(group: Group, words: Words) -> Answers | None:
    """Return the fixed prompts of the first model with its answers, those of another one, and of its base."""
    first, *others = (each.evaluation for each in group.members[:2])
    asked = first.prompts
    answers = {first.model.title if others else words("after"): {each.prompt: each.answer for each in asked}}
    answers |= {each.model.title: {every.prompt: every.answer for every in each.prompts} for each in others}
    answers[words("before")] = {each.prompt: each.before for each in asked if each.before is not None}
    answers = {title: texts for title, texts in answers.items() if texts}
    rows = tuple(
        Asked(number, each.prompt, "", tuple(_unjudged(texts.get(each.prompt)) for texts in answers.values()))
        for number, each in enumerate(asked, 1)
    )
    return Answers(tuple(answers), rows, len(rows), 0) if rows else None


def _unjudged(text: str | None) -> Answer | None:
    return None if text is None else Answer(text, right=True)


def _answers(group: Group, most: int, words: Words) -> tuple[Answers | None, str]:
    """Return the answers of two models and of the first one before its training, or why there are none to show."""
    first, *others = group.members
    titles = [each.evaluation.model.title for each in group.members] if others else [words("after")]
    files = {title: each.evaluation.predictions for title, each in list(zip(titles, group.members, strict=True))[:2]}
    files[words("before")] = first.evaluation.before_predictions
    there = {title: Path(file) for title, file in files.items() if file and Path(file).is_file()}
    if titles[0] not in there:
        return None, words("answers_gone", file=first.evaluation.predictions)
    return read_answers(there, judge_of(first.evaluation.scores), first.evaluation.limit, most), ""
