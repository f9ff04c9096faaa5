"""Baselines beside a model: which are asked for, and their answers to the questions that the model was asked."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
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
from ftbridge.language import gettext as _
from ftbridge.language import ngettext
from ftbridge.launchers.environment.model_cache import is_hub_name
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.runs.record import Run

MOST_CLASSES = 1000
_SHOWN = 3  # labels in a message


class Choice(NamedTuple):
    """A baseline that is asked for; an encoder is a folder's whole path, or a hub's name."""

    kind: Literal["most-frequent", "tfidf", "bert"]
    encoder: str = ""

    @property
    def name(self) -> str:
        """Return what the baseline is called in tables: as it was asked for, without the way to its folder."""
        return f"{self.kind}={Path(self.encoder).name}" if self.encoder else self.kind


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
        raise UsageError(_("`--baseline none` excludes other baselines; leave it out, or them"))
    return ()


def parse_baseline(text: str) -> Choice:
    """Return the baseline that `most-frequent`, `tfidf` or `bert=FOLDER` names; raises UsageError for anything else.

    A hub's name may stand in the place of a folder that there is not.
    """
    kind, _unused, encoder = text.partition("=")
    match kind, encoder:
        case ("most-frequent" | "tfidf") as known, "" if "=" not in text:
            return Choice(known)
        case "bert", encoder if encoder:
            folder = Path(encoder).expanduser().absolute()
            return Choice("bert", encoder if is_hub_name(encoder) and not folder.exists() else str(folder))
    raise UsageError(
        _("`--baseline` is most-frequent, tfidf, bert=FOLDER, bert=HUB_NAME or none, not `{text}`").format(text=text)
    )


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
    the training part is said, and which encoder cannot be got from its hub and is left out. Before anything is trained,
    it raises InputError where the training file is gone, was changed, or has no labels, or where an encoder's folder
    cannot be used, and SetupError where something is missing.
    """
    if not choices:
        return []
    train = TrainingTexts(project, run)
    samples = Counter(sample.label for sample in train)
    _refuse_free_text(samples, run.spec.dataset_text)
    folders = _those_there(choices, project, run)
    _say_what_cannot_be_learned(samples, questions)
    answers = []
    for choice, folder in folders.items():
        of_ids, of_texts = tee(questions)
        texts = (text_of(question, with_system=run.several_systems) for question in of_texts)
        if folder:
            backend = any_backend(project, run.spec.backend)
            python = interpreter_for(project, backend, folder, trust_remote_code=False)
            labels = encoder(folder, train, texts, python=python, device=device, seed=seed)
        else:
            labels = tfidf(train, texts, seed=seed) if choice.kind == "tfidf" else most_frequent(train, texts)
        of_question = zip((question.id for question in of_ids), labels, strict=True)
        answers.append(BaselineAnswers(choice.name, samples.total(), of_question))
    return answers


def _those_there(choices: Iterable[Choice], project: Project, run: Run) -> dict[Choice, Path | None]:
    """Return the baselines that can be had, an encoder with its folder, which is downloaded where it is a hub's.

    Raises InputError for an encoder's folder that cannot be used, SetupError where scikit-learn is missing.
    """
    found: dict[Choice, Path | None] = {}
    for choice in choices:
        found[choice] = None
        if choice.kind == "tfidf":
            require_scikit_learn()
        elif choice.kind == "bert":
            folder = Path(choice.encoder)
            if not folder.is_absolute():
                python = interpreter(project, any_backend(project, run.spec.backend))
                if not (downloaded := _downloaded(choice.encoder, python)):
                    del found[choice]
                    continue
                folder = downloaded
            require_encoder(folder)
            found[choice] = folder
    return found


@cache
def _downloaded(name: str, python: Path) -> Path | None:
    """Return the folder of a hub's encoder, None where it cannot be got, which is said and tried once."""
    try:
        return local_model(name, lambda: python, Path.cwd())
    except InputError as error:
        say(_("note: without the baseline bert={name}: {error}").format(name=name, error=error))
        return None


def _refuse_free_text(samples: Mapping[str, int], dataset: str) -> None:
    """Raise InputError where there is nothing to learn from, or what is to be learned is no label."""
    if not samples:
        raise InputError(
            _("no sample of `{dataset}` has an answer, so there is nothing to train a baseline on").format(
                dataset=dataset
            )
        )
    if len(samples) > MOST_CLASSES:
        raise InputError(
            _(
                "the training samples in `{dataset}` have {count:,} different answers, too many for labels "
                "(at most {most_classes:,}); take `--baseline none`"
            ).format(dataset=dataset, count=len(samples), most_classes=MOST_CLASSES)
        )


def _say_what_cannot_be_learned(samples: Mapping[str, int], questions: Iterable[Question]) -> None:
    """Say where the training samples have one label alone, one sample of a label, or none of a question's label."""
    if len(samples) == 1:
        say(
            _("note: all training samples have the label `{first}`, so every baseline will answer just that").format(
                first=next(iter(samples))
            )
        )
    elif once := [label for label, count in samples.items() if count == 1]:
        say(
            _("note: {labels} a single training sample: {named}").format(
                labels=counted(len(once), "label has", "labels have"), named=_named(once)
            )
        )
    known = set(map(normalize_text, samples))
    asked = {question.reference.strip() for question in questions}
    if unseen := sorted(label for label in asked if label and normalize_text(label) not in known):
        say(
            ngettext(
                ("note: {labels} of the questions is in no training sample, so no baseline can give it: {named}"),
                ("note: {labels} of the questions are in no training sample, so no baseline can give it: {named}"),
                len(unseen),
            ).format(labels=counted(len(unseen), "label"), named=_named(unseen))
        )


def _named(labels: Sequence[str]) -> str:
    return first_few([f"`{label}`" for label in labels], _SHOWN)
