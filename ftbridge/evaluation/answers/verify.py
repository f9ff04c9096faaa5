"""`ftbridge merge --verify-answers`: whether the merged model answers as base and adapter do."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path

from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.values import BadValueError
from ftbridge.core.console import counted, say
from ftbridge.core.errors import FrameworkError, UsageError
from ftbridge.core.project import Project
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import data_files, interpret_entry
from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.launchers.environment.own_code import interpreter_for, is_code_trusted
from ftbridge.launchers.environment.venv import any_backend
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.runs.record import Run, find_run, load_run
from ftbridge.weights.card import ModelCard

LENGTH = 64  # tokens of an answer
SHARE = 0.5  # of the answers' length, on the mean, up to which they must be the same


def same_answers(
    count: int, device: str = "auto", *, trust_remote_code: bool = False
) -> Callable[[ModelCard, Path, Path], None]:
    """Return a check for `merge`: greedy answers to `count` questions of the run's data, before and after the merge.

    Both compute in float32. Rounding to the base's dtype may tip a word over, after which an answer goes its own way:
    those that differ are shown, and count as far as they are the same. The check raises FrameworkError where that is
    less than half of their length on the mean, as where a merge went wrong and the first words differ already;
    UsageError where the adapter is of no run, whose data has the questions. `trust_remote_code` runs code that comes
    with the base.
    """

    def check(card: ModelCard, adapter: Path, merged: Path) -> None:
        project = Project.find()
        if not card.run:
            raise UsageError("`--verify-answers` asks the questions of a run's dataset, and this adapter is of no run")
        own = adapter.parent / "run.json"
        run = load_run(adapter.parent) if own.is_file() else find_run(project, card.run)
        asked = first_questions(project, run, count)
        base = Path(card.base)
        trust = is_code_trusted(run, (base, merged), trust_remote_code=trust_remote_code)
        python = interpreter_for(project, any_backend(project, card.backend), base, trust_remote_code=trust)
        say(f"asking {counted(len(asked), 'question')} of `{run.spec.dataset_text}`, before and after the merge ...")
        gpus, loading = devices.usable_gpus(device), Loading(dtype="float32", trust_remote_code=trust)
        before = _ask_all(Generator(python, card, base, adapter, gpus, loading), asked)
        after = _ask_all(Generator(python, card, merged, None, gpus, loading), asked)
        same = sum(map(str.__eq__, before, after))
        for (_, question), one, other in zip(asked, before, after, strict=True):
            if one != other:
                say(f"  {question!r}\n    base and adapter: {one!r}\n    merged:           {other!r}")
        say(f"{same} of {counted(len(asked), 'answer is', 'answers are')} the same")
        if sum(map(_common_share, before, after)) < SHARE * len(asked):
            raise FrameworkError(
                f"the merged model does not answer as base and adapter do ({same} of "
                f"{counted(len(asked), 'answer is', 'answers are')} the same, and the others part early); is the base "
                "the one that was trained on? `--model` names it"
            )

    return check


def _common_share(one: str, other: str) -> float:
    """Return the share of the longer answer up to which both are the same."""
    longest = max(len(one), len(other))
    together = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return together / longest if longest else 1.0


def _ask_all(loading: Generator, asked: list[tuple[str, str]]) -> list[str]:
    with loading as generator:
        stop = generator.card.stop
        sampling = Sampling(max_new_tokens=LENGTH)
        return ["".join(generator.ask([(question, None)], system, stop, sampling)) for system, question in asked]


def first_questions(project: Project, run: Run, count: int) -> list[tuple[str, str]]:
    """Return the system prompt and the first question of the first samples, `count` at most, of a run's dataset.

    Raises InputError where the dataset, or a file of it, is gone.
    """
    return list(islice(_read_questions(project, run), count))


def _read_questions(project: Project, run: Run) -> Iterator[tuple[str, str]]:
    folder = (project.folder / run.spec.dataset_dir).resolve()
    entries = [interpret_entry(*registry.look_up(folder, each.name)) for each in run.spec.datasets]
    for entry, file in ((each, file) for each in entries for file in data_files(folder, each)):
        for row in entry_reader.read_rows(file):
            with suppress(BadValueError):  # the training has judged the data already
                conversation = entry_reader.read_conversation(entry, row, tools=True)
                yield str(conversation.system), str(conversation.turns[0].user)
