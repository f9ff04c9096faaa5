"""What an evaluation found, as evaluation.json keeps it: the only file that lists, comparisons and reports read."""

import os
import re
from collections.abc import Container
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from ftbridge.core.console import counted
from ftbridge.core.console.notebook import ShownAsTable
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text, write_json
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run

Task = Literal["classification", "generation", "extraction"]
TASKS: tuple[Task, ...] = get_args(Task)
# What answers are judged by where there is room for one figure alone: the first of these that there is.
FILE = "evaluation.json"
_PATHS = ("predictions", "before_predictions")
MAIN_FIGURES = {"accuracy": "accuracy", "f1": "F1", "chrf": "chrF", "rouge_l": "ROUGE-L"}


RULE = _(
    "a question counts as seen in training if a training sample has the same one, ignoring case, width and "
    "repeated blanks; compared is all that the user says up to there, with the system prompt where the "
    "training has several"
)


class Leakage(msgspec.Struct, frozen=True, kw_only=True):
    """How many of `questions` were `trained` on in `dataset`: None where that cannot be told, for the `reason`.

    `anew` is where the data were converted anew since the training, so that its questions may be asked.
    """

    questions: int
    trained: int | None
    dataset: str
    reason: str = ""
    anew: bool = False
    rule: str = RULE

    @property
    def sentence(self) -> str:
        """Return a warning for the user; "" where no question was trained on."""
        if self.trained is None:
            if self.anew:
                return self.reason
            return _("it is unknown whether questions were trained on: {reason}").format(reason=self.reason)
        if not self.trained:
            return ""
        return _(
            "{trained:,} of {questions} trained on (they are in `{dataset}`): the figures look better than the model is"
        ).format(
            trained=self.trained,
            questions=counted(self.questions, "question was", "questions were"),
            dataset=self.dataset,
        )


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure, with the number of items that it is of and its 95 % interval from `low` to `high`.

    `method` tells where the interval comes from: Wilson's for a share, the percentile bootstrap for all others.
    """

    value: float
    low: float
    high: float
    items: int
    method: Literal["wilson", "bootstrap"]


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one class, or of one type of entity; `support` counts it in the references."""

    name: str
    support: int
    precision: Figure
    recall: Figure
    f1: Figure


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """How often a reference (row) was answered so (column): `counts` has a row per label, and a column more.

    That last column counts the answers that are no label.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """How good the answers of one model to `items` questions are.

    `figures` are by name, in the order in which they are shown: of a classification accuracy, macro_precision,
    macro_recall, macro_f1 and kappa; of a generation exact_match, chrf, bleu, rouge_l, answer_length,
    reference_length and ended; of an extraction precision, recall and f1, over all entities. `classes` and `confusion`
    are a classification's, `classes` also an extraction's. `parsed` counts answers by how they were read, `finish` by
    how they ended, `notes` say in a sentence each what a reader has to know of the figures, and `rule` how an answer
    is judged. All figures are from 0 to 1, chrF and BLEU as well (kappa from -1), but for lengths, in characters.
    """

    task: Task
    items: int
    figures: dict[str, Figure]
    classes: tuple[ClassFigures, ...] = ()
    confusion: Confusion | None = None
    parsed: dict[str, int] = {}
    finish: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    rule: str = ""

    @property
    def main_figure(self) -> str:
        """Return the name of the figure that the answers are judged by."""
        return main_figure(self.figures)


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Something simpler, on the same training samples and the same questions."""

    name: str
    training_samples: int
    scores: Scores


class Comparison(ShownAsTable, msgspec.Struct, frozen=True, kw_only=True):
    """Two models on the same `items` questions: the `first` against the `second`, by their titles.

    Of an answer that can be right or wrong, `both`, `only_first`, `only_second` and `neither` count who was right, and
    `p_value` is the exact McNemar test's; None where answers have no right and wrong. `differences` are the first's
    figures less the second's, with the paired bootstrap's intervals. `sentence` says all of it to a reader.
    """

    first: str
    second: str
    items: int
    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float | None
    differences: dict[str, Figure]
    sentence: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered: a `run` and its `checkpoint`, or a `folder`; `title` names it in tables.

    `fingerprint` tells the model's files from others, `adapter` whether the run's adapter was on.
    """

    title: str
    run: str = ""
    checkpoint: str = ""
    folder: str = ""
    fingerprint: str = ""
    adapter: bool = True


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What computed the answers: `transformers` in a process of ours, `vllm`, or a server at `address`.

    `version` is that of the library, `model` what the server was asked for.
    `same_answers` of `compared` answers were the same as this process's, where both were asked.
    """

    name: Literal["transformers", "vllm", "endpoint"]
    address: str = ""
    version: str = ""
    model: str = ""
    same_answers: int | None = None
    compared: int = 0


class Prompted(msgspec.Struct, frozen=True, kw_only=True):
    """A fixed prompt with the model's answer, and that of the base `before` the training, None where not asked."""

    prompt: str
    answer: str
    before: str | None = None


class Evaluation(ShownAsTable, msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation.json: a model's answers to a dataset, judged.

    `data` is the sha256 of the questions, `labels_from` who knows the labels, `predictions` the file of the answers
    (in the file relative to it, so that a run may be moved),
    `before` the scores of the base model where it was asked too, with its comparison as the last of `comparisons`,
    `prompts` were asked beside the dataset, and do not count in any score,
    `cut_answers` counts those that the token limit ended, and `limit` the first questions where not all were asked.
    """

    model: Model
    dataset: str
    data: str
    predictions: str
    scores: Scores
    engine: Engine
    labels_from: str = ""
    limit: int | None = None
    max_new_tokens: int = 512
    cut_answers: int = 0
    leakage: Leakage | None = None
    baselines: tuple[Baseline, ...] = ()
    before: Scores | None = None
    before_predictions: str = ""
    comparisons: tuple[Comparison, ...] = ()
    prompts: tuple[Prompted, ...] = ()
    seconds: float = 0.0
    created: datetime
    version: str

    def save(self, folder: Path) -> Path:
        """Write evaluation.json into `folder`, and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: os.path.relpath(value, folder) for name in _PATHS if (value := getattr(self, name))}
        write_json(folder / FILE, msgspec.structs.replace(self, **paths))
        return folder / FILE


def main_figure(names: Container[str]) -> str:
    """Return which of the figures of these names answers are judged by."""
    return next(name for name in MAIN_FIGURES if name in names)


def load_evaluation(path: Path) -> Evaluation:
    """Return the evaluation in a folder or a file; raises InputError where there is none, or it is damaged."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            _("there is no `{file}` in `{path}`; `ftbridge evaluate` writes one").format(file=FILE, path=path)
        )
    found = load_json(
        read_text(file, _("evaluation")), Evaluation, _("`{file}` is damaged; evaluate again").format(file=file)
    )
    paths = {name: str((file.parent / value).resolve()) for name in _PATHS if (value := getattr(found, name))}
    return msgspec.structs.replace(found, **paths)


def evaluation_files(run: Run) -> list[Path]:
    """Return the evaluation.json files in a run's folder: of the last checkpoint, and its own test part, first."""
    own = {test_part(each.name) for each in run.spec.datasets}
    files = run.path.glob(f"evaluations*/*/{FILE}")
    return sorted(files, key=lambda file: (file.parts[-3], file.parts[-2] not in own, file.parts[-2]))


def test_part(trained: str) -> str:
    """Return the name of the test part that a conversion makes beside a training part."""
    return f"{re.sub(r'-train(-[0-9]+)?$', '', trained)}-test"
