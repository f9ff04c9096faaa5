"""`ftbridge merge --verify-answers`: whether the merged model answers as base and adapter do."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.values import BadValueError
from ftbridge.core.console import counted, say
from ftbridge.core.errors import FrameworkError, UsageError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.project import Project
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import data_files, interpret_entry
from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.language import gettext as _
from ftbridge.language import ngettext
from ftbridge.launchers.environment.own_code import interpreter_for, is_code_trusted
from ftbridge.launchers.environment.venv import any_backend
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.runs.fingerprint import base_changes
from ftbridge.launchers.runs.record import Run, find_run, load_run
from ftbridge.weights.card import ModelCard

LENGTH = 64  # tokens of an answer
SHARE = 0.5  # of the answers' length, on the mean, up to which they must be the same
# Two tokens are as likely where one is ahead by less, in standard deviations of the logits: rounding weights to 16 bits
# moves these by about a hundredth.
TIE = 0.05


class _Answer(NamedTuple):
    """The text of a greedy answer, and each of its tokens with how far it was ahead of the second likeliest."""

    text: str
    tokens: list[tuple[int, float]]


def same_answers(
    count: int, device: str = "auto", *, trust_remote_code: bool = False
) -> Callable[[ModelCard, Path, Path], None]:
    """Return a check for `merge`: greedy answers to `count` questions of the run's data, before and after the merge.

    Both compute in float32. Rounding to the base's dtype may tip a word over, after which an answer goes its own way:
    those that differ are shown, and count as far as they are the same; one that parts where two words were as likely,
    as they are everywhere in a model that has learned little, counts as the same. The check raises FrameworkError where
    that is less than half of their length on the mean, as where a merge went wrong and the first words differ already;
    UsageError where the adapter is of no run, whose data has the questions. `trust_remote_code` runs code that comes
    with the base.
    """

    def check(card: ModelCard, adapter: Path, merged: Path) -> None:
        project = Project.find()
        if not card.run:
            raise UsageError(
                _("`--verify-answers` asks the questions of a run's dataset, and this adapter belongs to no run")
            )
        own = adapter.parent / "run.json"
        run = load_run(adapter.parent) if own.is_file() else find_run(project, card.run)
        asked = first_questions(project, run, count)
        base = Path(card.base)
        trust = is_code_trusted(run, (base, merged), trust_remote_code=trust_remote_code)
        python = interpreter_for(project, any_backend(project, card.backend), base, trust_remote_code=trust)
        say(
            _("asking {questions} of `{dataset_text}`, before and after the merge ...").format(
                questions=counted(len(asked), "question"), dataset_text=run.spec.dataset_text
            )
        )
        gpus, loading = devices.usable_gpus(device), Loading(dtype="float32", trust_remote_code=trust)
        before = _ask_all(Generator(python, card, base, adapter, gpus, loading), asked)
        after = _ask_all(Generator(python, card, merged, None, gpus, loading), asked)
        same = _compare([question for _, question in asked], before, after, merged)
        if sum(map(_common_share, before, after)) < SHARE * len(asked):
            base_is_known = card.trained_on and not base_changes(base, card.trained_on).weights
            raise FrameworkError(
                _("the merged model does not answer as base and adapter do: {same} of {count} answers are the "
"same, and the others differ early on. {advice}").format(
                    same=same,
                    count=len(asked),
                    advice=_("The base is the one that was trained on: report this as a fault in ftbridge")
                    if base_is_known
                    else _("Is the base the one that was trained on? `--model` names it"),
                )
            )  # fmt: skip

    return check


def _compare(questions: list[str], before: list[_Answer], after: list[_Answer], merged: Path) -> int:
    """Show the answers that differ; returns how many are the same."""
    for question, one, other in zip(questions, before, after, strict=True):
        if one.text != other.text:
            say(
                _("  {question!r}\n    base and adapter: {text!r}\n    merged:           {other_text!r}").format(
                    question=question, text=one.text, other_text=other.text
                )
            )
    same = sum(one.text == other.text for one, other in zip(before, after, strict=True))
    say(
        ngettext(
            "{same} of {count:,} answer is the same", "{same} of {count:,} answers are the same", len(questions)
        ).format(same=same, count=len(questions))
    )
    if ties := sum(map(_part_at_tie, before, after)):
        say(
            _("{count} of the others differ where two words are equally likely; rounding to {dtype} decides").format(
                count=ties, dtype=_dtype_of(merged)
            )
        )
    return same


def _common_share(one: _Answer, other: _Answer) -> float:
    """Return the share of the longer answer up to which both are the same; all of it where a tie parts them."""
    longest = max(len(one.text), len(other.text))
    together = len([*takewhile(lambda pair: pair[0] == pair[1], zip(one.text, other.text, strict=False))])
    return together / longest if longest and not _part_at_tie(one, other) else 1.0


def _part_at_tie(one: _Answer, other: _Answer) -> bool:
    """Tell whether two answers part at a token that was hardly more likely than another, by either model."""
    pairs = zip(one.tokens, other.tokens, strict=False)
    parted = next(((before[1], after[1]) for before, after in pairs if before[0] != after[0]), ())
    return bool(parted) and min(parted) < TIE


def _dtype_of(model: Path) -> str:
    config = read_json(model / "config.json")
    return str(config.get("torch_dtype") or config.get("dtype"))


def _ask_all(loading: Generator, asked: list[tuple[str, str]]) -> list[_Answer]:
    with loading as generator:
        stop, sampling = generator.card.stop, Sampling(max_new_tokens=LENGTH)
        return [
            _Answer("".join(generator.ask([(question, None)], system, stop, sampling, margins=True)), generator.margins)
            for system, question in asked
        ]


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
