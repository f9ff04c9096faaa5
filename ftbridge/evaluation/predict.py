"""`ftbridge predict`: a dataset answered by the model of a run, greedily and many samples at a time."""

import json
import os
from collections.abc import Iterator
from typing import Any, Unpack

import msgspec

from ftbridge.core.console.notebook import ShownAsTable
from ftbridge.core.files.atomic import atomic_file
from ftbridge.dialogue.chat import source_of
from ftbridge.evaluation.answers.asking import AnswerOptions, AskOptions, Plan, ask, plan
from ftbridge.evaluation.answers.folder import FINISHED, RESULT, read_predictions
from ftbridge.evaluation.answers.questions import questions_of


class Predictions(ShownAsTable, msgspec.Struct, frozen=True, kw_only=True):
    """What `predict` wrote: `file` is predictions.jsonl, `asked` the samples that were answered this time."""

    file: str
    dataset: str
    samples: int
    asked: int
    result_jsonl: str | None = None


def predict(
    source: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    result_jsonl: bool = False,
    **options: Unpack[AnswerOptions],
) -> Predictions:
    """Answer `dataset` (default: the test part of what a run was trained on) with the model of a run or a folder.

    Goes on where an earlier call was stopped, and asks nothing that is answered already. `checkpoint` chooses one of
    the run's. The folder is `out`, by default predictions/DATASET in the run's. Raises InputError where other settings
    were used there before, unless `replace` says to ask anew.
    """
    planned = plan(source_of(source, checkpoint), dataset, AskOptions(**options), dataset_dir=dataset_dir, out=out)
    (answered,) = ask([planned])
    return Predictions(
        file=str(planned.folder / FINISHED),
        dataset=planned.data.name,
        samples=answered.samples,
        asked=answered.asked,
        result_jsonl=write_result(planned) if result_jsonl else None,
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


def _result_lines(planned: Plan) -> Iterator[Any]:
    questions = questions_of(planned.data)
    for row in read_predictions(planned.folder / FINISHED):
        question = next(each for each in questions if each.id == row.id)  # both are in the dataset's order
        if question.system:
            yield {"role": "system", "content": question.system}
        for asked, answer in question.turns:
            yield {"role": "user", "content": asked}
            if answer is not None:
                yield {"role": "assistant", "content": answer}
        yield row.answer
