"""`ftbridge evaluate`: a dataset answered by models, judged, and compared with what is simpler and what was before."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack, cast

import msgspec

from ftbridge import __version__
from ftbridge.core.console import say
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import sha256, write_json
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.core.train_spec import Device, Dtype
from ftbridge.dialogue.chat import Thoughts, source_of, without_thought
from ftbridge.evaluation.answers.asking import AskOptions, Plan, ask, dataset_to_answer, plan
from ftbridge.evaluation.answers.folder import FINISHED, SETTINGS, Settings, read_predictions, settings_in
from ftbridge.evaluation.answers.leakage import Leakage, find_leakage
from ftbridge.evaluation.answers.questions import file_of, questions_of
from ftbridge.evaluation.record import HEADLINE, Comparison, Engine, Evaluation, Model, Scores, Task
from ftbridge.evaluation.scoring.score import Row, Rows, compare, find_task, known_labels, score
from ftbridge.launchers.runs.record import Run, find_run, utc_now
from ftbridge.weights.source import ModelSource, target_of

COMPARED = "comparison.json"


class EvaluateOptions(TypedDict, total=False):
    """How a dataset is answered; what is left out is as in `predict`."""

    max_new_tokens: int
    thinking: Thoughts
    batch_size: int | None
    limit: int | None
    bits: Literal[4, 8] | None
    dtype: Dtype
    device: Device
    trust_remote_code: bool
    replace: bool


class Written(msgspec.Struct, frozen=True):
    """An evaluation, and the `file` that keeps it."""

    file: str
    evaluation: Evaluation


class ComparedModels(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison.json: the evaluation.json files of several models, and how the others differ from the first."""

    dataset: str
    evaluations: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    version: str = __version__


class Evaluations(msgspec.Struct, frozen=True, kw_only=True):
    """What `evaluate` found: an evaluation of each model on each dataset, and of several models how they differ.

    `file` is comparison.json where there are several models, `also` says of each dataset that must not get worse
    whether it did.
    """

    evaluations: tuple[Written, ...]
    comparisons: tuple[Comparison, ...] = ()
    file: str = ""
    also: dict[str, str] = {}


def evaluate(
    *sources: str | os.PathLike[str],
    dataset: str | None = None,
    also: Sequence[str] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    task: Task | Literal["auto"] = "auto",
    before: bool = False,
    name: str | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    **options: Unpack[EvaluateOptions],
) -> Evaluations:
    """Answer `dataset` (default: the test part of what a run was trained on) by each model, and judge the answers.

    A source is a run (default: the last that succeeded), a folder, or a predictions.jsonl, which is judged as it
    stands. `checkpoint` chooses one of a run's, "all" takes each. `task` auto is classification where the dataset has
    labels. `before` asks the base model as well, and compares; so does each dataset of `also`, which must not get
    worse. evaluation.json lies in the run's evaluations/DATASET; several models are compared in evaluations/NAME of
    the project. Raises as `predict` does, and UsageError for sources that cannot be compared.
    """
    if any(os.fspath(each).endswith(".jsonl") for each in sources):
        if before or also or checkpoint:
            raise UsageError("a predictions.jsonl is judged as it stands; name the run to ask a model anew")
        return _compared([_judge_file(Path(each), task) for each in sources], name)
    asked = AskOptions(**options)
    models = [each for source in sources or (None,) for each in _models(source, checkpoint)]
    plans = [_plans(each, dataset, asked, dataset_dir, before=before) for each in models]
    plans += [_plans(each, other, asked, dataset_dir, before=True) for other in also for each in models]
    written = _ask_and_judge(plans, task)
    return _compared(written[: len(models)], name, written[len(models) :])


def is_comparable(first: Evaluation, second: Evaluation) -> bool:
    """Tell whether two evaluations are of the same questions and of the same task."""
    return (first.data, first.scores.task) == (second.data, second.scores.task)


def compare_evaluations(first: Evaluation, second: Evaluation) -> Comparison:
    """Return how two evaluations of the same questions differ; raises InputError where they are of different ones."""
    if not is_comparable(first, second):
        raise InputError(
            f"`{first.model.title}` was evaluated on {first.dataset} ({first.scores.task}), and "
            f"`{second.model.title}` on {second.dataset} ({second.scores.task}), with other questions: evaluate both "
            "on the same dataset, and they can be compared"
        )
    labels = first.scores.confusion.labels if first.scores.confusion else ()
    rows, other = (_rows_of(Path(each.predictions), each.limit) for each in (first, second))
    return compare(first.scores.task, rows, other, (first.model.title, second.model.title), labels)


def _models(source: str | os.PathLike[str] | None, checkpoint: str | os.PathLike[str] | None) -> list[ModelSource]:
    """Return the models that a source means: one, or with the checkpoint "all" one for each of the run's."""
    if checkpoint != "all":
        return [source_of(source, checkpoint)]
    found = source_of(source)
    if not found.run:
        raise UsageError(f"`--checkpoint all` is for runs, and `{found.folder}` is none; leave it out")
    saved = load_backend(found.run.spec.backend).checkpoints(found.run.path)
    return [msgspec.structs.replace(found, checkpoint=each) for each in saved]


def _ask_and_judge(plans: Sequence[tuple[Plan, Plan | None]], task: Task | Literal["auto"]) -> list[Written]:
    """Answer what is not answered yet, then judge; raises UsageError for a model or a dataset that is named twice."""
    folders = [after.folder for after, _ in plans]
    if twice := next((each for each in folders if folders.count(each) > 1), None):
        raise UsageError(f"the answers of two models, or to one dataset twice, would lie in `{twice}`; name each once")
    begun = time.monotonic()
    ask([each for pair in plans for each in pair if each])
    seconds = (time.monotonic() - begun) / len(plans)
    return [_judge(after, before, task, seconds) for after, before in plans]


def _plans(
    source: ModelSource,
    dataset: str | None,
    options: AskOptions,
    dataset_dir: str | os.PathLike[str] | None,
    *,
    before: bool,
) -> tuple[Plan, Plan | None]:
    """Return what is asked of a model, and of the one before its training where that is asked, too."""
    under = None if source.run else source.project.folder / "evaluations" / source.folder.name
    after = plan(source, dataset, options, dataset_dir=dataset_dir, under=under)
    if not before:
        return after, None
    under = under and under / "before"
    return after, plan(source, dataset, options, dataset_dir=dataset_dir, under=under, before=True)


def _judge(after: Plan, before: Plan | None, task: Task | Literal["auto"], seconds: float) -> Written:
    """Judge the answers of a model, and of the one before, and write its evaluation.json."""
    source, limit = after.source, after.options.limit
    file = after.folder / FINISHED
    judged, labels, chosen = _score(file, limit, task)
    base_file = before.folder / FINISHED if before else None
    base: Scores | None = None
    comparisons: tuple[Comparison, ...] = ()
    if base_file:
        base, _, _ = _score(base_file, limit, chosen, labels)
        titles = (_title(source), "before")
        comparisons = (compare(chosen, _rows_of(file, limit), _rows_of(base_file, limit), titles, labels),)
    found = Evaluation(
        model=_model(source, after),
        dataset=after.data.name,
        data=after.settings.data,
        predictions=str(file),
        scores=judged,
        engine=Engine(name="transformers"),
        labels_from=after.settings.labels_from,
        limit=limit,
        max_new_tokens=after.options.max_new_tokens,
        cut_answers=judged.finish.get("length", 0),
        leakage=_said(_leakage(after)),
        before=base,
        before_predictions=str(base_file or ""),
        comparisons=comparisons,
        seconds=seconds,
        created=utc_now(),
        version=__version__,
    )
    return Written(str(found.save(_folder_of(after))), found)


def _judge_file(file: Path, task: Task | Literal["auto"]) -> Written:
    """Judge a predictions.jsonl as it stands; its evaluation.json lies beside it."""
    judged, _, _ = _score(file, None, task)
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
        leakage=_said(_leakage_of_file(file, own) if own else None),
        created=utc_now(),
        version=__version__,
    )
    return Written(str(found.save(file.parent)), found)


def _score(
    file: Path, limit: int | None, task: Task | Literal["auto"], labels: Sequence[str] = ()
) -> tuple[Scores, tuple[str, ...], Task]:
    """Return the scores of the answers in a file, the labels that they were read as, and the task."""
    rows = _rows_of(file, limit)
    own = _settings_of(file)
    labels = labels or (own.labels if own else ())
    chosen = find_task((row.reference for row in rows()), labels) if task == "auto" else task
    labels = known_labels(rows, labels) if chosen == "classification" else ()
    return score(chosen, rows, labels), tuple(labels), chosen


def _rows_of(file: Path, limit: int | None = None) -> Rows:
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


def _leakage(planned: Plan) -> Leakage | None:
    """Return how many questions were trained on; None where no run is known to have made the model."""
    source = planned.source
    try:
        run = source.run or (find_run(source.project, planned.card.run) if planned.card.run else None)
    except InputError as error:
        return Leakage(questions=0, trained=None, dataset="", reason=str(error))
    return find_leakage(source.project, run, planned.questions(), planned.data) if run else None


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
        return Leakage(questions=0, trained=None, dataset="", reason=f"`{data.name}` has changed since it was asked")
    return find_leakage(source.project, run, questions_of(data), data)


def _said(leakage: Leakage | None) -> Leakage | None:
    """Return what is known of a leakage, once it is said."""
    if leakage and leakage.sentence:
        say(f"warning: {leakage.sentence}")
    return leakage


def _title(source: ModelSource) -> str:
    name = source.run.id if source.run else source.folder.name
    return f"{name} at {source.checkpoint.stem}" if source.checkpoint else name


def _model(source: ModelSource, planned: Plan) -> Model:
    return Model(
        title=_title(source),
        run=source.run.id if source.run else planned.card.run,
        checkpoint=source.checkpoint.name if source.checkpoint else "",
        folder="" if source.run else str(source.folder),
        fingerprint=planned.settings.model,
        adapter=planned.adapter is not None,
    )


def _folder_of(planned: Plan) -> Path:
    """Return where an evaluation.json lies: in its run's folder, else beside the answers."""
    source = planned.source
    return target_of(source, None, "evaluations") / planned.data.name if source.run else planned.folder


def _verdict(found: Evaluation) -> str:
    """Return whether a model got worse at what it must not, and say so where it did."""
    compared = found.comparisons[-1]
    figure = compared.differences[HEADLINE[found.scores.task]]
    verdict = "worse" if figure.high < 0 else "better" if figure.low > 0 else "no worse, as far as can be told"
    if verdict == "worse":
        say(f"warning: on {found.dataset}, `{found.model.title}` is worse than before: {compared.sentence}")
    return verdict


def _compared(written: Sequence[Written], name: str | None, also: Sequence[Written] = ()) -> Evaluations:
    """Return the evaluations, those of several models compared with the first, which a comparison.json keeps."""
    first, *others = (each.evaluation for each in written)
    comparisons = tuple(compare_evaluations(first, each) for each in others)
    file = ""
    if others:
        found = ComparedModels(
            dataset=first.dataset,
            evaluations=tuple(each.file for each in written),
            comparisons=comparisons,
        )
        place = Project.find().folder / "evaluations" / (name or first.dataset) / COMPARED
        write_json(place, found)
        file = str(place)
    return Evaluations(
        evaluations=(*written, *also),
        comparisons=comparisons,
        file=file,
        also={
            f"{each.evaluation.dataset} by {each.evaluation.model.title}": _verdict(each.evaluation) for each in also
        },
    )
