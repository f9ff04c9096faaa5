"""`ftbridge evaluate`: a dataset answered by models, judged, and compared with what is simpler and what was before."""

import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Unpack

import msgspec
from msgspec.structs import replace

from ftbridge import __version__
from ftbridge.core.console import say
from ftbridge.core.console.notebook import ShownAsTable
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import write_json
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.dialogue.chat import source_of
from ftbridge.evaluation.answers.asking import (
    AnswerOptions,
    AskOptions,
    Plan,
    ask,
    names_to_answer,
    plan,
    plan_for_server,
)
from ftbridge.evaluation.answers.engines.endpoint import Endpoint
from ftbridge.evaluation.answers.leakage import leakage_of, said
from ftbridge.evaluation.answers.prompts import checked_prompts
from ftbridge.evaluation.baselines.baselines import parse_baselines
from ftbridge.evaluation.judge import Wanted, Written, judge, judge_file, rows_of, title_of
from ftbridge.evaluation.predict import write_result
from ftbridge.evaluation.record import Comparison, Evaluation, Task
from ftbridge.evaluation.scoring.score import compare
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.weights.source import ModelSource

COMPARED = "comparison.json"


class ComparedModels(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison.json: the evaluation.json files of several models, and how the others differ from the first."""

    dataset: str
    evaluations: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    version: str = __version__


class Evaluations(ShownAsTable, msgspec.Struct, frozen=True, kw_only=True):
    """What `evaluate` found: an evaluation of each model on each dataset, and of several models how they differ.

    `file` is comparison.json where there are several models, `also` says of each dataset that must not get worse
    whether it did, and `result_jsonl` are the files of that name, where they were asked for.
    """

    evaluations: tuple[Written, ...]
    comparisons: tuple[Comparison, ...] = ()
    file: str = ""
    also: dict[str, str] = {}
    result_jsonl: tuple[str, ...] = ()


def evaluate(  # noqa: PLR0913 - the options of the command, all by name
    *sources: str | os.PathLike[str],
    dataset: str | Sequence[str] | None = None,
    also: Sequence[str] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    task: Task | Literal["auto"] = "auto",
    before: bool = False,
    prompt: Sequence[str] = (),
    baseline: Sequence[str] = (),
    endpoint: str | None = None,
    endpoint_model: str = "",
    concurrency: int = 8,
    result_jsonl: bool = False,
    name: str | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    **options: Unpack[AnswerOptions],
) -> Evaluations:
    """Answer `dataset` (default: the test parts of what a run was trained on) by each model, and judge the answers.

    A source is a run (default: the last that succeeded), a folder, or a predictions.jsonl, which is judged as it
    stands. `checkpoint` chooses one of a run's, "all" takes each. `task` auto is classification where the dataset has
    labels. `before` asks the base model as well, and compares; so does each dataset of `also`, which must not get
    worse. Each `prompt` is asked after the dataset, with the system prompt of the training, with `before` of the base
    as well; those of the last time are kept where none is given. `baseline` are those of a classification:
    most-frequent, tfidf (both by default), bert=ENCODER, none. The OpenAI-compatible server at the address `endpoint`
    is asked for `endpoint_model`, `concurrency` questions at a time; a source then says which run it serves.
    `result_jsonl` writes that file beside the answers, as `predict` does.

    evaluation.json lies in the run's evaluations/DATASET; several models are compared in evaluations/NAME of the
    project. Raises as `predict` does, and UsageError for sources that cannot be compared.
    """
    wanted = Wanted(task=task, baselines=parse_baselines(baseline), chosen=bool(baseline))
    if _are_answers(sources, asks=bool(before or prompt or also or checkpoint or endpoint or result_jsonl)):
        return _compared([judge_file(Path(each), wanted) for each in sources], name)
    asked, prompts = AskOptions(**options), checked_prompts(prompt)
    with ExitStack() as stack:
        if endpoint:
            _refuse_for_a_server(prompts, several=bool(before or also or len(sources) > 1))
        server = stack.enter_context(Endpoint(endpoint, endpoint_model, concurrency)) if endpoint else None
        models = _models(sources, checkpoint, server)
        plans = [
            _plans(each, name, asked, dataset_dir, before=before, server=server, prompts=prompts)
            for each, names in _datasets_of(models, dataset, dataset_dir)
            for name in names
        ]
        if checkpoint == "all":  # LLaMA-Factory saves the last one twice
            plans = [*{after.settings.model: (after, base) for after, base in plans}.values()]
        must_not_fall = [_plans(each, other, asked, dataset_dir, before=True) for other in also for each in models]
        _refuse_before_asking([*plans, *must_not_fall])
        plans, must_not_fall = [*map(_with_leakage, plans)], [*map(_with_leakage, must_not_fall)]
        seconds = _ask([*plans, *must_not_fall], server)
    titles = {title_of(each) for each in models}
    wanted = replace(wanted, whole_titles=len(titles) < len(models))
    found = _compared(
        [judge(*pair, wanted, seconds, server) for pair in plans],
        name or (f"{plans[0][0].data.name}-checkpoints" if checkpoint == "all" else ""),
        [judge(*pair, replace(wanted, baselines=()), seconds, None) for pair in must_not_fall],
        several_models=len(models) > 1 or checkpoint == "all",
    )
    return (
        replace(found, result_jsonl=tuple(write_result(after) for after, _unused in plans)) if result_jsonl else found
    )


def _are_answers(sources: Sequence[str | os.PathLike[str]], *, asks: bool) -> bool:
    """Tell whether there are answers to be judged as they stand; raises UsageError where they are to be asked for."""
    are = any(os.fspath(each).endswith(".jsonl") for each in sources)
    if are and asks:
        raise UsageError(_("a predictions.jsonl is evaluated as it is; name the run to ask a model again"))
    return are


def _refuse_for_a_server(prompts: Sequence[str], *, several: bool) -> None:
    """Raise UsageError for what a server is not asked."""
    if several:
        raise UsageError(
            _(
                "a server is a single model with no base to compare with; leave out the other models, `--before` and "
                "`--also`"
            )
        )
    if prompts:
        raise UsageError(_("`--prompt` asks a model with its training's system prompt, not a server; leave one out"))


def is_comparable(first: Evaluation, second: Evaluation) -> bool:
    """Tell whether two evaluations are of the same questions and of the same task."""
    return (first.data, first.scores.task) == (second.data, second.scores.task)


def compare_evaluations(first: Evaluation, second: Evaluation) -> Comparison:
    """Return how two evaluations of the same questions differ; raises InputError where they are of different ones."""
    if not is_comparable(first, second):
        raise InputError(
            _(
                "`{title}` was evaluated on {dataset} ({task}), and `{model_title}` on "
                "{second_dataset} ({scores_task}), with other questions: evaluate both on the same "
                "dataset, and they can be compared"
            ).format(
                title=first.model.title,
                dataset=first.dataset,
                task=first.scores.task,
                model_title=second.model.title,
                second_dataset=second.dataset,
                scores_task=second.scores.task,
            )
        )
    labels = first.scores.confusion.labels if first.scores.confusion else ()
    rows, other = (rows_of(Path(each.predictions), each.limit) for each in (first, second))
    return compare(first.scores.task, rows, other, (first.model.title, second.model.title), labels)


def _models(
    sources: Sequence[str | os.PathLike[str]], checkpoint: str | os.PathLike[str] | None, server: Endpoint | None
) -> list[ModelSource]:
    """Return the models that are meant: one for each source, or with the checkpoint "all" for each of its checkpoints.

    A server that serves no run of ours is one by itself.
    """
    if server and not sources:
        return [ModelSource(project=Project.find(), folder=Path(re.sub(r"[^\w.-]+", "-", server.model)), run=None)]
    if checkpoint != "all":
        return [source_of(source, checkpoint) for source in sources or (None,)]
    models = []
    for source in sources or (None,):
        found = source_of(source)
        if not found.run:
            raise UsageError(
                _("`--checkpoint all` is for runs, and `{folder}` is not a run; leave it out").format(
                    folder=found.folder
                )
            )
        saved = load_backend(found.run.spec.backend).checkpoints(found.run.path)
        models += [replace(found, checkpoint=each) for each in saved]
    return models


def _refuse_without_references(planned: Plan) -> None:
    """Raise InputError, before anything is asked, where no question has an answer to compare with."""
    if not any(question.reference.strip() for question in planned.questions()):
        message = _(
            "`{dataset}` has no reference answers, so nothing can be measured; `ftbridge predict --dataset {dataset}` "
            "answers it"
        )
        raise InputError(message.format(dataset=planned.data.name))


def _datasets_of(
    models: Sequence[ModelSource], given: str | Sequence[str] | None, dataset_dir: str | os.PathLike[str] | None
) -> list[tuple[ModelSource, tuple[str, ...]]]:
    """Return the datasets that each model is asked; raises UsageError for several models on several datasets."""
    found = [(each, names_to_answer(each, given, dataset_dir)) for each in models]
    several = next((names for _model, names in found if len(names) > 1), ())
    if several and len(models) > 1:
        message = _("models are compared on one dataset: choose one with `--dataset`, of {names}")
        raise UsageError(message.format(names=joined(", ", (f"`{name}`" for name in several))))
    return found


def _plans(
    source: ModelSource,
    dataset: str,
    options: AskOptions,
    dataset_dir: str | os.PathLike[str] | None,
    *,
    before: bool,
    server: Endpoint | None = None,
    prompts: tuple[str, ...] = (),
) -> tuple[Plan, Plan | None]:
    """Return what is asked of a model, and of the one before its training where that is asked, too."""
    under = None if source.run else source.project.folder / "evaluations" / source.folder.name
    if server:
        return plan_for_server(server, source, dataset, options, dataset_dir=dataset_dir, under=under), None
    after = plan(source, dataset, options, dataset_dir=dataset_dir, under=under)
    after = replace(after, prompts=prompts)
    if not before:
        return after, None
    under = under and under / "before"
    base = plan(source, dataset, options, dataset_dir=dataset_dir, under=under, before=True)
    return after, replace(base, prompts=prompts)


def _ask(plans: Sequence[tuple[Plan, Plan | None]], server: Endpoint | None) -> float:
    """Answer what is not answered yet, and return the seconds that a plan took."""
    begun = time.monotonic()
    ask([each for pair in plans for each in pair if each], server)
    return (time.monotonic() - begun) / len(plans)


def _with_leakage(plans: tuple[Plan, Plan | None]) -> tuple[Plan, Plan | None]:
    """Return plans with what of the questions was trained on, which is said before they are asked."""
    after, base = plans
    return replace(after, leakage=said(leakage_of(after.source, after.card, after.questions(), after.data))), base


def _refuse_before_asking(plans: Sequence[tuple[Plan, Plan | None]]) -> None:
    """Raise UsageError for a model or a dataset that is named twice, InputError where nothing can be measured."""
    folders = [after.folder for after, _unused in plans]
    if twice := next((each for each in folders if folders.count(each) > 1), None):
        raise UsageError(
            _("two sets of answers would go to `{twice}`; name each model and dataset once").format(twice=twice)
        )
    for after, _base in plans:
        _refuse_without_references(after)


def _verdict(found: Evaluation) -> str:
    """Return in English whether a model got worse at what it must not, and say so where it did."""
    compared = found.comparisons[-1]
    figure = compared.differences[found.scores.main_figure]
    verdict = "worse" if figure.high < 0 else "better" if figure.low > 0 else "not measurably worse"
    if verdict == "worse":
        say(
            _("warning: on {dataset}, `{title}` is worse than before: {sentence}").format(
                dataset=found.dataset, title=found.model.title, sentence=compared.sentence
            )
        )
    return verdict


def _compared(
    written: Sequence[Written], name: str | None, also: Sequence[Written] = (), *, several_models: bool = True
) -> Evaluations:
    """Return the evaluations, those of several models compared with the first, which a comparison.json keeps."""
    first, *others = (each.evaluation for each in (written if several_models else written[:1]))
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
            _("{dataset} by {title}").format(
                dataset=each.evaluation.dataset, title=each.evaluation.model.title
            ): _verdict(each.evaluation)
            for each in also
        },
    )
