"""Baselines beside a model: which are asked for, and their answers to the questions that the model was asked."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import tee
from pathlib import Path
from typing import Literal, NamedTuple

from ftbridge.adapters.convert.samples.encode import normalize_text
from ftbridge.core.console import counted, first_few, say
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.core.train_spec import Device
from ftbridge.evaluation.answers.questions import Question
from ftbridge.evaluation.baselines.classifiers import most_frequent, require_scikit_learn, tfidf
from ftbridge.evaluation.baselines.encoder import encoder, require_encoder
from ftbridge.evaluation.baselines.training_texts import TrainingTexts, text_of
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import any_backend
from ftbridge.launchers.runs.record import Run

MOST_CLASSES = 1000
_SHOWN = 3  # labels in a message


class Choice(NamedTuple):
    """A baseline that is asked for; an encoder has a folder."""

    kind: Literal["most-frequent", "tfidf", "bert"]
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Return what the baseline is called in tables: as it was asked for, without the way to its folder."""
        return f"{self.kind}={self.folder.name}" if self.folder else self.kind


DEFAULT = (Choice("most-frequent"), Choice("tfidf"))


class BaselineAnswers(NamedTuple):
    """The answers of a baseline, by the question's id; it is trained as the first is asked for."""

    name: str
    training_samples: int
    answers: Iterator[tuple[int, str]]


def parse_baselines(texts: Iterable[str]) -> tuple[Choice, ...]:
    """Return the baselines that `--baseline` asks for, DEFAULT where it is not given; raises UsageError."""
    if not (texts := tuple(dict.fromkeys(texts))):
        return DEFAULT
    if "none" not in texts:
        return tuple(map(parse_baseline, texts))
    if len(texts) > 1:
        raise UsageError("`--baseline none` stands alone; leave it out, or the others")
    return ()


def parse_baseline(text: str) -> Choice:
    """Return the baseline that `most-frequent`, `tfidf` or `bert=FOLDER` names; raises UsageError for anything else."""
    kind, _, folder = text.partition("=")
    match kind, folder:
        case ("most-frequent" | "tfidf") as known, "" if "=" not in text:
            return Choice(known)
        case "bert", folder if folder:
            return Choice("bert", Path(folder).expanduser().absolute())
    raise UsageError(f"`--baseline` is most-frequent, tfidf, bert=FOLDER or none, not `{text}`")


def run_baselines(
    choices: Sequence[Choice],
    project: Project,
    run: Run,
    questions: Iterable[Question],
    *,
    device: Device = "auto",
    seed: int = 0,
) -> list[BaselineAnswers]:
    """Return the answers of the baselines, each trained on what the run was trained on.

    `questions` are read anew for each of them, and memory does not depend on how many they are. What is to be known of
    the training part is said. Before anything is trained, it raises InputError where the training file is gone, was
    changed, or has no labels, or an encoder's folder cannot be used, and SetupError where something is missing.
    """
    if not choices:
        return []
    train = TrainingTexts(project, run)
    samples = Counter(sample.label for sample in train)
    _refuse_free_text(samples, run.spec.dataset)
    _refuse_what_is_missing(choices)
    _say_what_cannot_be_learned(samples, questions)
    answers = []
    for choice in choices:
        of_ids, of_texts = tee(questions)
        texts = (text_of(question, with_system=run.several_systems) for question in of_texts)
        if choice.folder:
            backend = any_backend(project, run.spec.backend)
            python = interpreter_for(project, backend, choice.folder, trust_remote_code=False)
            labels = encoder(choice.folder, train, texts, python=python, device=device, seed=seed)
        else:
            labels = tfidf(train, texts, seed=seed) if choice.kind == "tfidf" else most_frequent(train, texts)
        of_question = zip((question.id for question in of_ids), labels, strict=True)
        answers.append(BaselineAnswers(choice.name, samples.total(), of_question))
    return answers


def _refuse_what_is_missing(choices: Iterable[Choice]) -> None:
    """Raise InputError for an encoder's folder that cannot be used, SetupError where scikit-learn is missing."""
    for choice in choices:
        if choice.folder:
            require_encoder(choice.folder)
        elif choice.kind == "tfidf":
            require_scikit_learn()


def _refuse_free_text(samples: Mapping[str, int], dataset: str) -> None:
    """Raise InputError where there is nothing to learn from, or what is to be learned is no label."""
    if not samples:
        raise InputError(f"no sample of `{dataset}` has an answer, so there is nothing to train a baseline on")
    if len(samples) > MOST_CLASSES:
        raise InputError(
            f"the training samples in `{dataset}` have {len(samples):,} different answers, which are no labels (at "
            f"most {MOST_CLASSES:,}); take `--baseline none`"
        )


def _say_what_cannot_be_learned(samples: Mapping[str, int], questions: Iterable[Question]) -> None:
    """Say where the training samples have one label alone, one sample of a label, or none of a question's label."""
    if len(samples) == 1:
        say(f"note: all training samples have the label `{next(iter(samples))}`, so that every baseline answers it")
    elif once := [label for label, count in samples.items() if count == 1]:
        say(f"note: {counted(len(once), 'label has', 'labels have')} a single training sample: {_named(once)}")
    known = set(map(normalize_text, samples))
    asked = {question.reference.strip() for question in questions}
    if unseen := sorted(label for label in asked if label and normalize_text(label) not in known):
        say(
            f"note: {counted(len(unseen), 'label')} of the questions {'is' if len(unseen) == 1 else 'are'} in no "
            f"training sample, and no baseline can answer so: {_named(unseen)}"
        )


def _named(labels: Sequence[str]) -> str:
    return first_few([f"`{label}`" for label in labels], _SHOWN)
