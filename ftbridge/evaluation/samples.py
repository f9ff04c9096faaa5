"""The questions of a run's dataset, to ask a model again."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.values import BadValueError
from ftbridge.core.project import Project
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import data_files, interpret
from ftbridge.launchers.runs.record import Run


def questions(project: Project, run: Run, count: int) -> list[tuple[str, str]]:
    """Return the system prompt and the first question of the first samples, `count` at most, of a run's dataset.

    Raises InputError where the dataset, or a file of it, is gone.
    """
    return list(islice(_questions(project, run), count))


def _questions(project: Project, run: Run) -> Iterator[tuple[str, str]]:
    folder = (project.folder / run.spec.dataset_dir).resolve()
    name, raw = registry.look_up(folder, run.spec.dataset)
    entry = interpret(name, raw)
    for file in data_files(folder, entry):
        for row in entry_reader.rows(file):
            with suppress(BadValueError):  # the training has judged the data already
                conversation = entry_reader.conversation(entry, row, tools=True)
                yield str(conversation.system), str(conversation.turns[0].user)
