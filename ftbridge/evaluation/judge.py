"""Answers judged: their scores, those of baselines and of the model before, and how they differ, as evaluation.json."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import msgspec
from msgspec.structs import replace

from ftbridge import __version__
from ftbridge.core.console import say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import atomic_file, sha256
from ftbridge.dialogue.chat import source_of, without_thought
from ftbridge.evaluation.answers.asking import Plan, dataset_to_answer, place_in_run
from ftbridge.evaluation.answers.engines.endpoint import Endpoint
from ftbridge.evaluation.answers.fingerprint import fingerprint
from ftbridge.evaluation.answers.folder import (
    FINISHED,
    SETTINGS,
    UNFINISHED,
    Prediction,
    Settings,
    read_predictions,
    settings_in,
)
from ftbridge.evaluation.answers.leakage import find_leakage, run_behind, said
from ftbridge.evaluation.answers.prompts import prompts_in
from ftbridge.evaluation.answers.questions import Question, file_of, questions_of
from ftbridge.evaluation.answers.training_data import training_data
from ftbridge.evaluation.baselines.baselines import BaselineAnswers, Choice, run_baselines
from ftbridge.evaluation.record import (
    FILE,
    Baseline,
    Engine,
    Evaluation,
    Leakage,
    Model,
    Prompted,
    Scores,
    Task,
    load_evaluation,
)
from ftbridge.evaluation.scoring.rows import paired
from ftbridge.evaluation.scoring.score import Row, Rows, compare, find_task, known_labels, score
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, utc_now
from ftbridge.weights.source import ModelSource


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How answers are judged; the baselines were `chosen` where the user has named them.

    With `whole_titles` runs are called by their whole ids, as where two began in the same second. `trained` keeps the
    baselines that are trained, and the files of their answers, for other runs of the same training set.
    """

    task: Task | Literal["auto"]
    baselines: tuple[Choice, ...]
    chosen: bool
    whole_titles: bool = False
    trained: dict[tuple[object, ...], list[tuple[Baseline, Path]]] = msgspec.field(default_factory=dict)


class Written(msgspec.Struct, frozen=True):
    """An evaluation, and the `file` that keeps it."""

    file: str
    evaluation: Evaluation


class _Questions:
    """The questions of a plan, read anew by each loop over them."""

    def __init__(self, planned: Plan) -> None:
        self._planned = planned

    def __iter__(self) -> Iterator[Question]:
        return self._planned.questions()


def judge(after: Plan, before: Plan | None, wanted: Wanted, seconds: float, server: Endpoint | None) -> Written:
    """Judge the answers of a model, of baselines and of the model before, and write its evaluation.json."""
    source, limit, folder = after.source, after.options.limit, _folder_for(after)
    file = after.folder / FINISHED
    task = _task_of(after) if wanted.task == "auto" else wanted.task
    judged, labels = _score(file, limit, task)
    run = run_behind(source, after.card)
    simpler: list[tuple[Baseline, Path]] = []
    if isinstance(run, Run) and judged.task == "classification":
        simpler = _baselines(after, run, wanted, labels, folder)
    others = [(each.name, answers) for each, answers in simpler]
    base_file = before.folder / FINISHED if before else _answers_before(after)
    if base_file:
        others.append(("before", base_file))
    rows, own = rows_of(file, limit), title_of(source, whole=wanted.whole_titles)
    comparisons = [compare(judged.task, rows, rows_of(other, limit), (own, title), labels) for title, other in others]
    engine, same = _engine(after, server), _by_transformers(after)
    if same:
        compared = compare(judged.task, rows, rows_of(same, limit), (own, _("by transformers")), labels)
        comparisons.insert(0, compared)
        alike = [mine.answer == other.answer for mine, other in paired(rows, rows_of(same, limit))]
        engine = replace(engine, same_answers=sum(alike), compared=len(alike))
    found = Evaluation(
        model=_model(after, own),
        dataset=after.data.name,
        data=after.settings.data,
        predictions=str(file),
        scores=judged,
        engine=engine,
        labels_from=after.settings.labels_from,
        limit=limit,
        max_new_tokens=after.options.max_new_tokens,
        cut_answers=judged.finish.get("length", 0),
        leakage=after.leakage,
        baselines=tuple(each for each, _unused in simpler),
        before=_score(base_file, limit, judged.task, labels)[0] if base_file else None,
        before_predictions=str(base_file or ""),
        comparisons=tuple(comparisons),
        prompts=tuple(_prompted(after, base_file.parent if base_file else None)),
        seconds=seconds,
        created=utc_now(),
        version=__version__,
    )
    return Written(str(found.save(folder)), found)


def _prompted(after: Plan, before: Path | None) -> Iterator[Prompted]:
    """Yield the fixed prompts that were asked last, with the answers of the model, and of the base in its folder."""
    answer_of = without_thought if after.settings.has_thoughts else str
    of_base = {(each.prompt, each.system): answer_of(each.answer) for each in prompts_in(before)} if before else {}
    for each in prompts_in(after.folder):
        base = of_base.get((each.prompt, each.system))
        yield Prompted(prompt=each.prompt, answer=answer_of(each.answer), before=base)


def _folder_for(planned: Plan) -> Path:
    """Return where the evaluation is written: that of a few questions not in the place of one of all."""
    folder, limit = planned.evaluation_folder, planned.options.limit
    is_whole = limit and (folder / FILE).is_file() and load_evaluation(folder).limit is None
    return folder / f"first-{limit}" if is_whole else folder


def _task_of(planned: Plan) -> Task:
    """Return the task that all right answers of the dataset tell, also where a few of them alone are asked for."""
    strip = without_thought if planned.settings.has_thoughts else str
    references = (strip(question.reference) for question in questions_of(planned.data))
    return find_task(references, planned.settings.labels)


def _baselines(
    after: Plan, run: Run, wanted: Wanted, labels: tuple[str, ...], folder: Path
) -> list[tuple[Baseline, Path]]:
    """Return the baselines of a classification, and the files of their answers; those that cannot be had are named."""
    trained = wanted.trained
    try:
        samples = tuple(map(sha256, training_data(after.source.project, run).files)), run.several_systems
        key = (*samples, after.settings.data, after.options.limit, labels, wanted.baselines)
        if key not in trained:
            trained[key] = [_written(each, after, labels, folder) for each in _answers_of_baselines(after, run, wanted)]
    except InputError as error:
        if wanted.chosen:
            raise
        say(_("note: without baselines: {error}").format(error=error))
        return []
    for _baseline, file in trained[key]:
        if file.parent != folder:
            with atomic_file(folder / file.name) as out:
                out.write(file.read_bytes())
    return [(each, folder / file.name) for each, file in trained[key]]


def _answers_of_baselines(after: Plan, run: Run, wanted: Wanted) -> list[BaselineAnswers]:
    """Return the answers of the baselines that can be had; raises SetupError where one that was chosen cannot."""
    choices, project, questions = wanted.baselines, after.source.project, _Questions(after)
    try:
        return run_baselines(choices, project, run, questions, device=after.options.device)
    except SetupError as error:
        if wanted.chosen:
            raise
        say(_("note: {error}").format(error=error))
        return run_baselines(choices[:1], project, run, questions)


def _written(found: BaselineAnswers, after: Plan, labels: tuple[str, ...], folder: Path) -> tuple[Baseline, Path]:
    """Write a baseline's answers, and return it with its scores, and the file."""
    file = folder / f"{found.name}.jsonl"
    with atomic_file(file) as out:
        for question, (number, answer) in zip(after.questions(), found.answers, strict=True):
            row = Prediction(number, "", answer, question.reference, "stop")
            out.write(msgspec.json.encode(row) + b"\n")
    judged, _labels = _score(file, None, "classification", labels)
    return Baseline(name=found.name, training_samples=found.training_samples, scores=judged), file


def judge_file(file: Path, wanted: Wanted) -> Written:
    """Judge a predictions.jsonl as it stands; its evaluation.json lies beside it."""
    if not file.exists():
        raise InputError(_("there is no file `{file}`").format(file=file))
    judged, _labels = _score(file, None, wanted.task)
    own = _settings_of(file)
    found = Evaluation(
        model=Model(title=file.parent.name, folder=str(file.parent), fingerprint=own.model if own else ""),
        dataset=own.dataset if own else file.stem,
        data=own.data if own else sha256(file),
        predictions=str(file),
        scores=judged,
        engine=Engine(name="transformers"),
        labels_from=own.labels_from if own else "",
        max_new_tokens=own.max_new_tokens if own else 0,
        cut_answers=judged.finish.get("length", 0),
        leakage=said(_leakage_of_file(file, own) if own else None),
        created=utc_now(),
        version=__version__,
    )
    return Written(str(found.save(file.parent)), found)


def _score(
    file: Path, limit: int | None, task: Task | Literal["auto"], labels: Sequence[str] = ()
) -> tuple[Scores, tuple[str, ...]]:
    """Return the scores of the answers in a file, and the labels that they were read as."""
    rows, own = rows_of(file, limit), _settings_of(file)
    if not any(row.reference.strip() for row in rows()) and next(rows(), None):
        raise InputError(_("`{file}` has no reference answers, so nothing can be measured").format(file=file))
    labels = labels or (own.labels if own else ())
    chosen = find_task((row.reference for row in rows()), labels) if task == "auto" else task
    labels = known_labels(rows, labels) if chosen == "classification" else ()
    return score(chosen, rows, labels), tuple(labels)


def rows_of(file: Path, limit: int | None = None) -> Rows:
    """Return what reads the answers in a file anew each time, without thoughts; of the first `limit` questions."""
    own = _settings_of(file)
    answer_of = without_thought if own and own.has_thoughts else str

    def rows() -> Iterator[Row]:
        for each in read_predictions(file):
            if limit is None or each.id <= limit:
                yield Row(each.id, answer_of(each.answer), answer_of(each.reference), each.finish_reason)

    return rows


def _settings_of(file: Path) -> Settings | None:
    return settings_in(file.parent) if (file.parent / SETTINGS).exists() else None


def _leakage_of_file(file: Path, own: Settings) -> Leakage | None:
    """Return how many questions of a predictions.jsonl in a run's folder were trained on; None for one elsewhere."""
    parents = file.resolve().parents
    folder = parents[2] if len(parents) > 2 else None  # noqa: PLR2004 - RUN/predictions/NAME/
    if not folder or not (folder / "run.json").is_file():
        return None
    source = source_of(folder)
    run = cast("Run", source.run)
    try:
        data = dataset_to_answer(source, own.dataset, None)
    except InputError as error:
        return Leakage(questions=0, trained=None, dataset="", reason=str(error))
    if sha256(file_of(data)) != own.data:
        return Leakage(
            questions=0,
            trained=None,
            dataset="",
            reason=_("`{name}` has changed since it was asked").format(name=data.name),
        )
    return find_leakage(source.project, run, questions_of(data), data)


def _engine(planned: Plan, server: Endpoint | None) -> Engine:
    if server:
        return Engine(name="endpoint", address=server.address, model=server.model)
    return Engine(name=planned.settings.engine)


def _answers_before(planned: Plan) -> Path | None:
    """Return the file of the answers that the base gave to these questions at an earlier time; None for none."""
    source, own = planned.source, planned.settings
    if not (source.run and planned.adapter and planned.model):
        return None
    folder = place_in_run(replace(source, checkpoint=None), "predictions-before", own.engine) / planned.data.name
    kept = _settings_of(folder / FINISHED) if (folder / FINISHED).is_file() else None
    wanted = replace(own, model=fingerprint(planned.model, None))
    is_whole = not planned.options.limit and not (folder / UNFINISHED).exists()
    return folder / FINISHED if kept == wanted and is_whole else None


def _by_transformers(planned: Plan) -> Path | None:
    """Return the file of the answers that transformers gave of a run's model, which another engine was asked now."""
    if planned.settings.engine == "transformers" or not planned.source.run:
        return None
    file = place_in_run(planned.source, "predictions", "transformers") / planned.data.name / FINISHED
    own = _settings_of(file) if file.is_file() else None
    return file if own and own.data == planned.settings.data else None


def title_of(source: ModelSource, *, whole: bool = False) -> str:
    """Return what a model is called in tables: a run by the beginning of its id, which names it too, or `whole`."""
    name = source.run.id if source.run else source.folder.name
    begin = re.match(r"[0-9]{8}-[0-9]{6}(?=-)", name)
    name = begin[0] if begin and not whole else name
    return _("{name} at {stem}").format(name=name, stem=source.checkpoint.stem) if source.checkpoint else name


def _model(planned: Plan, title: str) -> Model:
    source = planned.source
    return Model(
        title=title,
        run=source.run.id if source.run else planned.card.run if planned.card else "",
        checkpoint=source.checkpoint.name if source.checkpoint else "",
        folder="" if source.run else str(source.folder),
        fingerprint=planned.settings.model,
        adapter=planned.adapter is not None,
    )
