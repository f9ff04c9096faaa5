"""What `export`, `merge` and `chat` are given: a run, or a folder, and what is known about either."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import read_text, write_json
from ftbridge.core.parsing.json_yaml import PathText, load_json, read_json
from ftbridge.core.project import Project
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.venv import interpreter
from ftbridge.launchers.runs import checkpoints
from ftbridge.launchers.runs.fingerprint import Fingerprint
from ftbridge.launchers.runs.record import Run, base_of, find_run, last_run, load_run
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.templates import detect, families
from ftbridge.templates.prompt import Prompt


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What an exported or merged folder says of itself in ftbridge.json, for chat to speak as training did.

    Whether code that comes with the model may run is never said here: a folder may be anybody's.
    `checkpoint` is what it was made from, relative to the run's folder. `several_systems` says that the samples of the
    training differ in their system prompts. `family` and `template` are empty where the
    model is of no family that ftbridge knows; only what asks it needs them. `trained_on` is the fingerprint that the
    base had when the training began, None where it was not recorded.
    """

    base: PathText
    family: str
    backend: str
    template: dict[str, Any]
    system: str
    thinking: str
    run: str = ""
    checkpoint: str = ""
    several_systems: bool = False
    trained_on: Fingerprint | None = None

    @property
    def prompt(self) -> Prompt:
        """Return the prompt that the model was trained with."""
        return msgspec.convert(self.template, Prompt)

    @property
    def stop(self) -> tuple[str, ...]:
        """Return the tokens that end an answer, as far as they are known."""
        return families.get(self.family).stop if self.family else ()

    def save(self, folder: Path) -> None:
        """Write the card into `folder`."""
        write_json(folder / CARD, self)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A run of ours (`run`), or a folder that holds a checkpoint, an adapter or a model.

    `checkpoint` is which of the run's is meant, None for the last.
    """

    project: Project
    folder: Path
    run: Run | None
    checkpoint: Path | None = None


def resolve(source: str | os.PathLike[str] | None, checkpoint: str | os.PathLike[str] | None = None) -> Source:
    """Return the run called `source`, the folder `source`, or, for None, the last run that succeeded.

    A run's checkpoint, given as the source, means the run and this checkpoint of it.
    `checkpoint` chooses one of the run's: `last` (the default), `best`, an optimiser step, or its name or path.
    Raises InputError where there is none like that, UsageError where the source is no run.
    """
    found = _resolve(source)
    if checkpoint is None:
        if found.run and not found.checkpoint and (newest := checkpoints.last(found.run)):
            checkpoints.say_passed_over(found.run, newest)
        return found
    if not found.run:
        raise UsageError(
            f"`--checkpoint` chooses one of a run's checkpoints, and `{found.folder}` is no run; leave it out"
        )
    wanted = os.fspath(checkpoint)
    chosen = checkpoints.named(found.run, wanted)
    if wanted in {"last", "best"}:
        checkpoints.say_passed_over(found.run, chosen, best=wanted == "best")
    return msgspec.structs.replace(found, checkpoint=chosen)


def _resolve(source: str | os.PathLike[str] | None) -> Source:
    project = Project.find()
    if source is None:
        run, newer = last_run(project)
        if newer:
            say(f"using {run.id}; the newer {newer.id} {newer.status}")
        return Source(project=project, folder=run.path, run=run)
    name = os.fspath(source)
    path = Path(name).expanduser()
    if (path / "run.json").is_file():
        return Source(project=project, folder=path.resolve(), run=load_run(path.resolve()))
    if path.exists():
        return _checkpoint(project, path.resolve()) or Source(project=project, folder=path.resolve(), run=None)
    run = find_run(project, name)
    return Source(project=project, folder=run.path, run=run)


def _checkpoint(project: Project, path: Path) -> Source | None:
    """Return the run that has `path` as a readable checkpoint, with it chosen; None where there is none."""
    for folder in path.parents[:2]:
        if (folder / "run.json").is_file():
            run = load_run(folder)
            with suppress(InputError):
                chosen = checkpoints.named(run, str(path))
                return Source(project=project, folder=folder, run=run, checkpoint=chosen)
    return None


def target_of(source: Source, out: str | os.PathLike[str] | None, name: str) -> Path:
    """Return where to write: `out`, else the folder `name` of a run, or `name-CHECKPOINT` of another than its last.

    Raises InputError for a folder without `out`.
    """
    if out:
        return Path(out)
    if not source.run:
        raise InputError("a folder that is no run needs `--out DIR`")
    chosen = source.checkpoint
    return source.folder / (f"{name}-{chosen.stem}" if chosen and chosen != checkpoints.last(source.run) else name)


def made(source: Source, card: Card, name: str) -> Path | None:
    """Return the folder `name` of a run where it says what `card` says; None where it is absent or of something else.

    A folder stays good when the run's checkpoints are gone.
    """
    folder = target_of(source, None, name)
    known = load_card(folder)
    if not known:
        return None
    wanted = msgspec.structs.replace(card, checkpoint=card.checkpoint or known.checkpoint)
    return folder if msgspec.json.encode(known) == msgspec.json.encode(wanted) else None


def load_card(folder: Path) -> Card | None:
    """Return what `folder` says of itself, or None where no ftbridge.json is there.

    Raises InputError where it is damaged, or holds a prompt as ftbridge writes none.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    card = load_json(read_text(file, "card"), Card, f"`{file}` is damaged")
    if card.family:
        try:
            _ = card.prompt
        except msgspec.ValidationError as error:
            raise InputError(f"`{file}` is damaged: {error}") from error
    return card


def card_in(source: Source, folder: Path) -> Card | None:
    """Return what `folder` says of itself where it was made of the source's checkpoint, or where that is gone.

    Of a run's it must say that it was made of this run: another one's may have been put there.
    """
    known, name = load_card(folder), _name(source)
    if not known or (source.run and known.run != source.run.id):
        return None
    return known if not name or known.checkpoint == name else None


def card_of(source: Source, model: str | None = None, template: str | None = None) -> Card:
    """Return the card of a source; `model` names the base where nothing else does, or instead of it.

    `template` names the family instead of what the files say; without it the card of a model of no known family has
    none (see `askable`). Raises InputError where no base is known, UsageError where the backend has no template of its
    family.
    """
    known = load_card(source.folder)
    backend = source.run.spec.backend if source.run else known.backend if known else "xtuner"
    base = _base(source, model, known, backend)
    if known and not template:
        return msgspec.structs.replace(known, base=str(base))
    name = template or (source.run.family if source.run else "")
    family = families.get(name) if name else detect.find(base)
    return Card(
        base=str(base),
        family=family.name if family else "",
        backend=backend,
        template=msgspec.to_builtins(family.cell(backend).prompt) if family else {},
        system=source.run.system if source.run else "",
        several_systems=source.run.several_systems if source.run else False,
        thinking=family.thinking if family else "none",
        run=source.run.id if source.run else "",
        checkpoint=_name(source),
        trained_on=source.run.base if source.run else known.trained_on if known else None,
    )


def askable(card: Card, model: Path, template: str | None = None) -> Card:
    """Return the card with a prompt: that of the family `template`, else its own, else that of the family of `model`.

    Raises InputError, with the families that can be named, where the model is of none that is known.
    """
    if card.family and not template:
        return card
    family = families.get(template) if template else detect.detect(model)
    template = msgspec.to_builtins(family.cell(card.backend).prompt)
    return msgspec.structs.replace(card, family=family.name, template=template, thinking=family.thinking)


def checkpoint_of(source: Source) -> Path:
    """Return the chosen checkpoint of a run (default: the newest readable one), or the folder or file itself."""
    if not source.run:
        return source.folder
    return source.checkpoint or checkpoints.named(source.run, "last")


def _name(source: Source) -> str:
    chosen = source.checkpoint or (checkpoints.last(source.run) if source.run else None)
    return chosen.relative_to(source.folder).as_posix() if chosen else ""


def _base(source: Source, model: str | None, known: Card | None, backend: str) -> Path:
    named = model or (
        base_of(source.run) if source.run else _card_base(source, known) if known else _adapter_base(source.folder)
    )
    if not named:
        raise InputError(f"`{source.folder}` does not say which base model it belongs to; name it with `--model`")
    if Path(named).is_dir():
        return Path(named).resolve()
    try:
        return local_model(named, lambda: interpreter(source.project, backend), Path.cwd())
    except InputError as error:
        raise InputError(
            f"the base model of `{source.folder}` is not to be had: {error}; `--model` names another"
        ) from error


def _card_base(source: Source, known: Card) -> str:
    """Return the base that a card names; in a run's folder that of the run, where the card has it of this run."""
    folder = source.folder.parent
    if known.run and (folder / "run.json").is_file():
        with suppress(InputError):  # of a damaged record
            run = load_run(folder)
            if (run.id, run.model) == (known.run, known.base):
                return base_of(run)
    return known.base


def _adapter_base(folder: Path) -> str:
    file = folder / "adapter_config.json"
    if file.is_file():
        return str(read_json(file).get("base_model_name_or_path") or "")
    return str(folder) if (folder / "config.json").is_file() else ""
