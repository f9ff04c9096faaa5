"""How many of the questions that are asked were trained on, which makes figures better than the model is.

The training file of the run is read anew, and only where its sha256 is the one in run.json; of what is compared, 64-bit
hashes of the questions that are asked are all that is kept.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

from ftbridge.adapters.convert.samples.encode import normalize_text
from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.console import first_few
from ftbridge.core.errors import InputError
from ftbridge.core.project import Project
from ftbridge.evaluation.answers.questions import Question
from ftbridge.evaluation.answers.training_data import training_data
from ftbridge.evaluation.record import Leakage
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.runs.record import Run

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
        return Leakage(
            questions=count, trained=None, dataset=name, reason=joined("", (error, _shared_sources(run, data)))
        )
    return Leakage(questions=count, trained=int(trained.sum()), dataset=name)


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
