"""The card of a model: ftbridge.json in an exported or merged folder, or the same made of a run."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import first_few, say
from ftbridge.core.errors import InputError, shell_words
from ftbridge.core.files.atomic import read_text, write_json
from ftbridge.core.files.owner import refuse_unreadable
from ftbridge.core.parsing.json_yaml import PathText, load_json, read_json
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.model_cache import cached_model, commit_of, hub_name, is_hub_name
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.runs import checkpoints
from ftbridge.launchers.runs.fingerprint import Fingerprint, base_changes
from ftbridge.launchers.runs.record import base_folder, load_run
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.templates.chat_templates import read_chat_template
from ftbridge.templates.detect import detect_family, find_family
from ftbridge.templates.families import get_family
from ftbridge.templates.prompt import ChatPrompt, Segment
from ftbridge.tokens.chat_template import ChatTemplate, choose_chat_template
from ftbridge.weights.source import ModelSource, target_of

WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp"}
# Texts and tokens by name, each encoded by itself; or messages, for a chat template.
Prompt = Sequence[Segment] | Sequence[dict[str, str]]


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The ftbridge.json of an exported or merged folder: base, prompt and system prompt, as the training had them.

    Whether code that comes with the model may run is never said here: a folder may be anybody's.
    `checkpoint` is what it was made from, relative to the run's folder. `several_systems` says that the samples of the
    training differ in their system prompts. `family` and `template` are empty where the
    model is of no family that ftbridge knows; only what asks it needs them. `trained_on` is the fingerprint that the
    base had when the training began, None where it was not recorded. `chat_template` renders what is asked, where
    the training's tokens were made by it; then there is no family. `hub` is what the base was downloaded as
    (`owner/name`, `ms://owner/name`), "" for one that is of no hub: by it the base is found where its cache has moved.
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
    chat_template: ChatTemplate | None = None
    hub: str = ""

    @property
    def prompt(self) -> ChatPrompt:
        """Return the prompt that the model was trained with."""
        return msgspec.convert(self.template, ChatPrompt)

    @property
    def stop(self) -> tuple[str, ...]:
        """Return the tokens that end an answer, as far as they are known."""
        return get_family(self.family).stop if self.family else ()

    def prompt_for(self, system: str, turns: Sequence[tuple[str, str | None]]) -> Prompt:
        """Return what asks for the answer to the last turn, which is None: messages for the chat template, or segments.

        An empty `system` is none.
        """
        if not self.chat_template:
            return self.prompt.segments(system, turns)
        return chat_messages(system, turns)

    def save(self, folder: Path) -> None:
        """Write the card into `folder`."""
        write_json(folder / CARD, self)


def chat_messages(system: str, turns: Sequence[tuple[str, str | None]]) -> list[dict[str, str]]:
    """Return a conversation as chat templates and servers take it; an empty `system` and an answer None are none."""
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
    return messages


def existing_output(source: ModelSource, card: ModelCard, name: str) -> Path | None:
    """Return the folder `name` of a run where its card equals `card`; None where it is absent or of something else.

    A folder stays good when the run's checkpoints are gone.
    """
    folder = target_of(source, None, name)
    known = load_card(folder)
    if not known:
        return None
    wanted = msgspec.structs.replace(card, checkpoint=card.checkpoint or known.checkpoint)
    # The cache of a base that was downloaded may lie elsewhere by now, and an older card has no name for it.
    if known.base == card.base or (known.hub and known.hub == card.hub):
        wanted = msgspec.structs.replace(wanted, base=known.base, hub=known.hub)
    return folder if msgspec.json.encode(known) == msgspec.json.encode(wanted) else None


def load_card(folder: Path) -> ModelCard | None:
    """Return the card in `folder`, or None where no ftbridge.json is there.

    Raises InputError where it is damaged, or holds a prompt as ftbridge writes none.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    card = load_json(read_text(file, _("card")), ModelCard, _("`{file}` is damaged").format(file=file))
    if card.family:
        try:
            _unused = card.prompt
        except msgspec.ValidationError as error:
            raise InputError(_("`{file}` is damaged: {error}").format(file=file, error=error)) from error
    return card


def card_in(source: ModelSource, folder: Path) -> ModelCard | None:
    """Return the card in `folder` where it was made of the source's checkpoint, or that is gone; else None.

    In a run's folder it must name this run: another one's output may have been put there.
    """
    known, name = load_card(folder), _checkpoint_name(source)
    if not known or (source.run and known.run != source.run.id):
        return None
    return known if not name or known.checkpoint == name else None


def card_of(source: ModelSource, model: str | None = None, template: str | None = None) -> ModelCard:
    """Return the card of a source; `model` names the base where nothing else does, or instead of it.

    `template` names the family instead of what the files say; without it a model of no run is asked by its own chat
    template, and the card of one that has none and is of no known family has neither (see `card_with_prompt`). Raises
    InputError where no base is known, UsageError where the backend has no template of its family.
    """
    known = load_card(source.folder)
    if not source.run and not known and not _holds_weights(source.folder):
        raise InputError(
            _(
                "`{folder}` is not a model: neither a run, a checkpoint, an adapter nor a model is there; "
                "give a run (`ftbridge runs list` shows them) or a model's folder"
            ).format(folder=source.folder)
        )
    backend = source.run.spec.backend if source.run else known.backend if known else any_backend(source.project)
    base, hub = _find_base(source, model, known, backend)
    if known and not template:
        return msgspec.structs.replace(known, base=str(base), hub=hub)
    rendered = None if template else source.run.chat_template if source.run else _own_chat_template(base)
    name = template or (source.run.family if source.run else "")
    family = None if rendered else get_family(name) if name else find_family(base)
    return ModelCard(
        base=str(base),
        family=family.name if family else "",
        backend=backend,
        template=msgspec.to_builtins(family.cell(backend).prompt) if family else {},
        system=source.run.system if source.run else "",
        several_systems=source.run.several_systems if source.run else False,
        thinking=family.thinking if family else "none",
        run=source.run.id if source.run else "",
        checkpoint=_checkpoint_name(source),
        trained_on=source.run.base if source.run else known.trained_on if known else None,
        chat_template=rendered,
        hub=hub,
    )


def card_with_prompt(card: ModelCard, model: Path, template: str | None = None) -> ModelCard:
    """Return the card with a prompt: that of the family `template`, else its own, else by the chat template of `model`.

    A model without one is asked by the prompt of its family. Raises InputError, with the families that can be named,
    where it has none either.
    """
    if (card.family or card.chat_template) and not template:
        return card
    if not template and (own := _own_chat_template(model)):
        return msgspec.structs.replace(card, chat_template=own)
    family = get_family(template) if template else detect_family(model)
    template = msgspec.to_builtins(family.cell(card.backend).prompt)
    return msgspec.structs.replace(
        card, family=family.name, template=template, thinking=family.thinking, chat_template=None
    )


def _own_chat_template(model: Path) -> ChatTemplate | None:
    """Return the chat template in a model's folder, whose switch for thoughts stands as it does by itself."""
    return choose_chat_template(model, None, None) if read_chat_template(model) else None


def _checkpoint_name(source: ModelSource) -> str:
    chosen = source.checkpoint or (checkpoints.last_checkpoint(source.run) if source.run else None)
    return chosen.relative_to(source.folder).as_posix() if chosen else ""


def _find_base(source: ModelSource, model: str | None, known: ModelCard | None, backend: str) -> tuple[Path, str]:
    """Return the folder of the base, and its name on a hub ("" for none), by which it is found where it has moved."""
    named = model or (
        base_folder(source.run) if source.run else _card_base(source, known) if known else _adapter_base(source.folder)
    )
    if not named:
        raise InputError(
            _("`{folder}` does not say which base model it belongs to; name it with `--model`").format(
                folder=source.folder
            )
        )
    folder = Path(named)
    refuse_unreadable(folder)
    hub = hub_name(folder) or ("" if model else _known_hub(source, known, named))
    if folder.is_dir():
        return folder.resolve(), hub_name(folder.resolve()) or hub
    wanted = hub or named
    try:
        # The revision that was trained on is asked for at no hub, and no newer one is fetched.
        found = None if model or not is_hub_name(wanted) else cached_model(wanted, commit=commit_of(folder))
        if not found:
            python = any_backend(source.project, backend)
            found = local_model(wanted, lambda: interpreter(source.project, python), Path.cwd())
        return found, hub_name(found) or hub
    except InputError as error:
        raise InputError(
            _("the base model of `{folder}` cannot be found: {error}; `--model` names another").format(
                folder=source.folder, error=error
            )
        ) from error


def _known_hub(source: ModelSource, known: ModelCard | None, named: str) -> str:
    """Return the hub's name that a run or a card has for its base, which lies, or lay, in the folder `named`."""
    if source.run:
        model = source.run.spec.model
        return model.removeprefix("hf://") if is_hub_name(model) and named == source.run.model else ""
    return known.hub if known else ""


def _card_base(source: ModelSource, known: ModelCard) -> str:
    """Return the base that a card names; in a run's folder that of the run, where the card has it of this run."""
    folder = source.folder.parent
    if known.run and (folder / "run.json").is_file():
        with suppress(InputError):  # of a damaged record
            run = load_run(folder)
            if (run.id, run.model) == (known.run, known.base):
                return base_folder(run)
    return known.base


def _holds_weights(path: Path) -> bool:
    """Tell whether a file, or something in a folder, is called as weights or the config of a model are."""
    if not path.is_dir():
        return path.suffix in WEIGHTS
    named = any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
    return named or any(file.suffix in WEIGHTS for pattern in ("*", "global_step*/*") for file in path.glob(pattern))


def _adapter_base(folder: Path) -> str:
    file = folder / "adapter_config.json"
    if file.is_file():
        return str(read_json(file).get("base_model_name_or_path") or "")
    return str(folder) if (folder / "config.json").is_file() else ""


def say_changes(card: ModelCard, *, refuse: bool = False) -> None:
    """Name what in the card's base is not as the training had it; nothing is said of a training without a record.

    With `refuse`, other weights are an InputError.
    """
    if not card.trained_on or not Path(card.base).is_dir():
        return
    weights, files = base_changes(Path(card.base), card.trained_on)
    who = _("run `{run}`").format(run=card.run) if card.run else _("the adapter")
    if weights:
        found = _("the base `{base}` does not have the weights that {who} was trained on: {weights}").format(
            base=card.base, who=who, weights=weights
        )
        if refuse:
            raise InputError(
                _("{found}. Put it back as it was, or name a base yourself: `--model {value}` takes this one").format(
                    found=found, value=shell_words([card.base])
                )
            )
        say(_("warning: {found}").format(found=found))
    if files:
        named = first_few([f"`{name}`" for name in files], 3)
        say(
            _("warning: in the base `{base}`, {named} changed since {who} was trained").format(
                base=card.base, named=named, who=who
            )
        )
