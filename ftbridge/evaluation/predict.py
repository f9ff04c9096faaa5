"""`ftbridge predict`: a dataset answered by the model of a run, greedily and many samples at a time."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import msgspec

from ftbridge.adapters.registered.questions import QuestionFile
from ftbridge.core.console import say
from ftbridge.core.console.notebook import ShownAsTable
from ftbridge.core.errors import UsageError, shell_words
from ftbridge.core.files.atomic import atomic_file
from ftbridge.core.files.spreadsheet import CHARACTERS, is_too_long, write_sheets
from ftbridge.core.project import Project
from ftbridge.core.train_spec import refuse_twice
from ftbridge.dialogue.chat import source_of, without_thought
from ftbridge.evaluation.answers.asking import Answered, AnswerOptions, AskOptions, Plan, ask, names_to_answer, plan
from ftbridge.evaluation.answers.folder import FINISHED, RESULT, XLSX, Prediction, read_predictions
from ftbridge.evaluation.answers.leakage import leakage_of, said
from ftbridge.evaluation.answers.questions import Question, questions_of
from ftbridge.evaluation.record import FILE as EVALUATION
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.weights.source import ModelSource, resolve


class Predictions(ShownAsTable, msgspec.Struct, frozen=True, kw_only=True):
    """What `predict` wrote: `file` is predictions.jsonl, `asked` the samples that were answered this time.

    `measurable` says that there are reference answers, which `evaluate` measures by. `others` are those of further
    datasets.
    """

    file: str
    dataset: str
    samples: int
    asked: int
    measurable: bool = True
    result_jsonl: str | None = None
    xlsx: str | None = None
    others: tuple["Predictions", ...] = ()


def predict(  # noqa: PLR0913 - the options of the command, all by name
    source: str | os.PathLike[str] | None = None,
    dataset: str | Sequence[str] | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    questions: str | os.PathLike[str] | None = None,
    column: str = "",
    checkpoint: str | os.PathLike[str] | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    result_jsonl: bool = False,
    xlsx: bool = False,
    **options: Unpack[AnswerOptions],
) -> Predictions:
    """Answer `dataset` (default: the test parts of what a run was trained on) with the model of a run or a folder.

    `questions` is a file of questions without answers, in its `column`, to answer instead. `model` is a folder or a
    hub's name, without any run; with a `source` it is the base of that adapter. Goes on where an earlier call was
    stopped, and asks nothing that is answered already. `checkpoint` chooses one of the run's. The folder is `out`, by
    default predictions/DATASET in the run's, or predictions/MODEL/DATASET in the project; of several datasets each has
    its own below it. Raises InputError where other settings were used there before, unless `replace` says to ask anew.
    """
    if column and not questions:
        raise UsageError(_("`--column` is for `--questions FILE`; leave it out"))
    if questions and dataset:
        raise UsageError(_("`--dataset` and `--questions` both say what to answer; leave one out"))
    found = _model_source(model) if model and not source else source_of(source, checkpoint)
    asked: Sequence[str | QuestionFile] = (
        [QuestionFile(Path(questions).expanduser(), column)]
        if questions
        else names_to_answer(found, dataset, dataset_dir)
    )
    base, chosen = os.fspath(model) if model and source else None, AskOptions(**options)
    # Where neither a run nor `out` has the answers, the model's name says whose they are.
    under = None if found.run or out else found.project.folder / "predictions" / Path(model or source or "").name
    plans = [
        plan(found, each, chosen, base=base, dataset_dir=dataset_dir, out=folder, under=under)
        for each, folder in _folders(asked, out)
    ]
    refuse_twice([each.data.name for each in plans])
    if not questions:
        _warn_of_leakage(plans)
    _say_what_is_replaced(plans)
    answered = zip(plans, ask(plans), strict=True)
    first, *others = [_written(*each, file=questions, result_jsonl=result_jsonl, xlsx=xlsx) for each in answered]
    return msgspec.structs.replace(first, others=tuple(others))


def _warn_of_leakage(plans: Sequence[Plan]) -> None:
    """Say how many questions were trained on, or that they may have been, as the data were converted anew."""
    for each in plans:
        found = leakage_of(each.source, each.card, each.questions(), each.data)
        if found and (found.trained or found.anew):
            said(found)


def _say_what_is_replaced(plans: Sequence[Plan]) -> None:
    """Say which evaluations go with the answers that they are of, and what makes them again."""
    for each in plans:
        if each.options.replace and (each.evaluation_folder / EVALUATION).exists():
            source, name = each.source, each.data.name
            again = ["ftbridge", "evaluate", source.run.id if source.run else str(source.folder), "--dataset", name]
            again += ["--checkpoint", source.checkpoint.name] if source.checkpoint else []
            say(
                _("note: the evaluation of `{dataset}` goes with the old answers; `{command}` makes it again").format(
                    dataset=name, command=shell_words(again)
                )
            )


def _model_source(model: str | os.PathLike[str]) -> ModelSource:
    """Return a model's folder as what answers, downloaded where it is a hub's."""
    project = Project.find()
    return resolve(local_model(os.fspath(model), lambda: interpreter(project, any_backend(project)), Path.cwd()))


def _folders(
    asked: Sequence[str | QuestionFile], out: str | os.PathLike[str] | None
) -> Iterator[tuple[str | QuestionFile, str | os.PathLike[str] | None]]:
    """Yield the folder that `out` means for what is asked: itself, or of several datasets one below it for each."""
    for each in asked:
        yield each, Path(out, str(each)) if out and len(asked) > 1 else out


def _note_without_references(dataset: str, file: str | os.PathLike[str] | None, column: str) -> str:
    """Return that there is nothing to measure; of a `file` of questions with answers in a `column`, what does it."""
    if not file or not column:
        message = _("note: `{dataset}` has no reference answers, so `ftbridge evaluate` cannot measure the answers")
        return message.format(dataset=dataset)
    message = _(
        "note: the answers in the column `{column}` of `{file}` are not used; to measure with them, make a dataset of "
        "the file, `{convert}`, and then use `ftbridge evaluate --dataset NAME`"
    )
    return message.format(column=column, file=file, convert=shell_words(["ftbridge", "convert", os.fspath(file)]))


def _written(
    planned: Plan, answered: Answered, *, file: str | os.PathLike[str] | None, result_jsonl: bool, xlsx: bool
) -> Predictions:
    """Return what came of a plan, with the files written that are asked for beside the answers."""
    measurable = any(row.reference.strip() for row in read_predictions(planned.folder / FINISHED))
    if not measurable:
        say(_note_without_references(planned.data.name, file, planned.data.entry.columns.get("output", "")))
    return Predictions(
        file=str(planned.folder / FINISHED),
        dataset=planned.data.name,
        samples=answered.samples,
        asked=answered.asked,
        measurable=measurable,
        result_jsonl=write_result(planned) if result_jsonl else None,
        xlsx=write_xlsx(planned) if xlsx else None,
    )


def write_result(planned: Plan) -> str:
    """Write result.jsonl beside the answers, as the tutorial on news classification does, and return its path.

    It is the messages as OpenAI has them, then the answer's text, a line each. The tutorial keeps only those of its
    last sample; here all follow one another.
    """
    file = planned.folder / RESULT
    with atomic_file(file) as out:
        for line in _result_lines(planned):
            out.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
    return str(file)


def write_xlsx(planned: Plan) -> str:
    """Write predictions.xlsx beside the answers, a row for each question, and return its path.

    It has those columns in which a row has something. Thoughts are left out, a text is no formula, and `note` says
    where one is longer than a cell holds.
    """
    used: set[str] = set()
    for row in _xlsx_rows(planned):
        used.update(name for name, value in row.items() if value not in {"", None})
    columns = [name for name in next(_xlsx_rows(planned)) if name in used]
    file = planned.folder / XLSX
    with atomic_file(file) as out:
        rows = ([row[name] for name in columns] for row in _xlsx_rows(planned))
        write_sheets(out, "predictions", columns, rows)
    return str(file)


def _xlsx_rows(planned: Plan) -> Iterator[dict[str, Any]]:
    """Yield the values of each row of the workbook, by the title of their column."""
    answer_of = without_thought if planned.settings.has_thoughts else str
    for question, row in _answered(planned):
        answer, reference = answer_of(row.answer), answer_of(row.reference)
        values = {
            "id": row.id,
            _("system prompt"): question.system,
            _("earlier turns"): "\n".join(text or "" for turn in question.turns[:-1] for text in turn),
            _("question"): question.turns[-1][0],
            _("reference"): reference,
            _("prediction"): answer,
            _("exact match"): answer.strip() == reference.strip() if reference.strip() else None,
            _("finish reason"): row.finish_reason,
        }
        yield {**values, _("note"): _note_of_cut(values)}


def _note_of_cut(values: Mapping[str, object]) -> str:
    """Return which values are longer than a cell holds, "" where none is."""
    cut = [name for name, value in values.items() if isinstance(value, str) and is_too_long(value)]
    message = _("{columns} cut to {count:,} characters here, the most that a cell holds")
    return message.format(columns=joined(", ", cut), count=CHARACTERS) if cut else ""


def _answered(planned: Plan) -> Iterator[tuple[Question, Prediction]]:
    """Yield each answer with its question; both are in the dataset's order."""
    questions = questions_of(planned.data)
    for row in read_predictions(planned.folder / FINISHED):
        yield next(each for each in questions if each.id == row.id), row


def _result_lines(planned: Plan) -> Iterator[Any]:
    for question, row in _answered(planned):
        if question.system:
            yield {"role": "system", "content": question.system}
        for asked, answer in question.turns:
            yield {"role": "user", "content": asked}
            if answer is not None:
                yield {"role": "assistant", "content": answer}
        yield row.answer
