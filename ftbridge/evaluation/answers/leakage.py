"""How many of the questions that are asked were trained on, which makes figures better than the model is.

The training file of the run is read anew, and only where its sha256 is the one in run.json; of what is compared, 64-bit
hashes of the questions that are asked are all that is kept.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

from ftbridge.adapters.convert.samples.encode import normalize_text
from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.console import first_few, say
from ftbridge.core.errors import InputError
from ftbridge.core.project import Project
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.names import dataset_names, files_named
from ftbridge.evaluation.answers.questions import Question
from ftbridge.evaluation.answers.training_data import training_data
from ftbridge.evaluation.record import Leakage
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.runs.record import Run, find_run
from ftbridge.weights.card import ModelCard
from ftbridge.weights.source import ModelSource

KEYS_AT_ONCE = 100_000


def find_leakage(project: Project, run: Run, questions: Iterable[Question], data: Dataset) -> Leakage:
    """Return how many of the `questions` of `data` the run was trained on."""
    import numpy as np

    keys = bytearray()
    for question in questions:
        keys += _question_key(run, question.system, [user for user, _ in question.turns])
    wanted = np.frombuffer(keys, dtype=np.uint64)
    count, name = len(wanted), run.spec.dataset_text
    trained = np.zeros(count, dtype=bool)
    try:
        found = _trained_keys(project, run)
        while chunk := b"".join(islice(found, KEYS_AT_ONCE)):
            trained |= np.isin(wanted, np.frombuffer(chunk, dtype=np.uint64))
    except InputError as error:
        if warning := _converted_anew(project, run, data):
            return Leakage(questions=count, trained=None, dataset=name, reason=warning, anew=True)
        return Leakage(
            questions=count, trained=None, dataset=name, reason=joined("", (error, _shared_sources(run, data)))
        )
    return Leakage(questions=count, trained=int(trained.sum()), dataset=name)


def run_behind(source: ModelSource, card: ModelCard | None) -> Run | InputError | None:
    """Return the run that made a model; None where none is known to, or why the one that is cannot be found."""
    made_by = card.run if card else ""
    try:
        return source.run or (find_run(source.project, made_by) if made_by else None)
    except InputError as error:
        return error


def leakage_of(
    source: ModelSource, card: ModelCard | None, questions: Iterable[Question], data: Dataset
) -> Leakage | None:
    """Return how many `questions` of `data` a model was trained on; None where no run is known to have made it."""
    run = run_behind(source, card)
    if isinstance(run, InputError):
        return Leakage(questions=0, trained=None, dataset="", reason=str(run))
    return find_leakage(source.project, run, questions, data) if run else None


def said(leakage: Leakage | None) -> Leakage | None:
    """Return what is known of a leakage, once it is said."""
    if leakage and leakage.sentence:
        say(_("warning: {sentence}").format(sentence=leakage.sentence))
    return leakage


def _converted_anew(project: Project, run: Run, data: Dataset) -> str:
    """Return a warning where the training part, which is not as it was, and `data` are of one dataset; else ""."""
    folder = (project.folder / run.spec.dataset_dir).resolve()
    try:
        known = registry.read_entries(folder)
    except InputError:
        return ""
    names = {name for each in run.spec.datasets for name in (each.name, f"{each.name}-train") if name in known}
    there = {name for name in names if any((folder / file).exists() for file in files_named(known[name]))}
    same = dataset_names({data.name}) & dataset_names(there)
    message = _(
        "`{name}` was converted anew after this run was trained, and the samples that it was trained on are gone: "
        "questions of `{part}` may have been trained on, and it cannot be counted how many"
    )
    return message.format(name=same.pop(), part=data.name) if same else ""


def _trained_keys(project: Project, run: Run) -> Iterator[bytes]:
    """Yield the key of each question that the run was trained on; raises InputError where its file is not as it was."""
    for sample in training_data(project, run).samples():
        users = [str(turn.user) for turn in sample.turns]
        for count in range(1, len(users) + 1):
            yield _question_key(run, str(sample.system), users[:count])


def _question_key(run: Run, system: str, users: Iterable[str]) -> bytes:
    texts = [*([system] if run.several_systems else []), *users]
    return hashlib.blake2b("\0".join(map(normalize_text, texts)).encode(), digest_size=8).digest()


def _shared_sources(run: Run, data: Dataset) -> str:
    """Return what the sources tell where the training file does not."""
    shared = [name for name, digest in data.entry.sources.items() if digest in run.datasets.values()]
    return (
        _("; both come from {shared}").format(shared=first_few([f"`{name}`" for name in shared], 3)) if shared else ""
    )
