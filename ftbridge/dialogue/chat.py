"""`ftbridge chat`: talk to the model of a run, with the template, system prompt and stop tokens of its training."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import msgspec
from msgspec.structs import replace

from ftbridge.core.console import natural_size, printable, say
from ftbridge.core.errors import InputError, SetupError, UsageError, shell_words
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.project import Project
from ftbridge.core.train_spec import Device, Dtype
from ftbridge.dialogue.generation import SEEDS, Generator, Sampling, refuse_half_characters
from ftbridge.dialogue.placement import Loading, free_memory, place
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for, is_code_trusted
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.hardware import devices, host
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.weights.card import ModelCard, card_in, card_of, card_with_prompt, load_card, say_changes
from ftbridge.weights.merge import adapter_of
from ftbridge.weights.source import ModelSource, is_whole_model, resolve, say_unfinished, target_of

SHOWN = 80  # characters of a system prompt
Thoughts = Literal["auto", "on", "off"]
# What a model writes before its answer where it thinks; no template has it in earlier turns.
_THOUGHT = re.compile(r"\A\s*<think>.*?(</think>\s*|\Z)|\A.*?</think>\s*", re.DOTALL)
# Stands in the prompt where thinking is off; the family's template in families.yaml says why.
_NO_THOUGHT = "<think>\n\n</think>\n\n"


class ChatSession:
    """A conversation: it keeps what was said, and answers as the training taught.

    `title` is "before" for the base model, else "after"; `system` may be ""; `turns` are questions with their
    answers; `finish` says why the last answer ended, as Generator.ask tells it. `run` is the id of the run that made
    the model, "" for none; `model` is its base, or the folder that was asked for.
    """

    def __init__(
        self, generator: Generator, system: str, sampling: Sampling, title: str = "after", *, adapter: bool = True
    ) -> None:
        """Begin a conversation; without `adapter` it is the base that answers."""
        self.title, self.system, self.sampling = title, system, sampling
        self.turns: list[tuple[str, str]] = []
        self.finish = self._last_system = ""
        self._generator, self._adapter = generator, adapter
        self.run = self.model = ""

    def say(self, question: str) -> Iterator[str]:
        """Yield the answer piece by piece; what came of it joins the history, also where it is ended early.

        Raises InputError where the conversation is too long for the model.
        """
        asked = [*self.answered, (question, None)]
        stop, pieces = self._generator.card.stop, list[str]()
        answer = self._generator.ask(asked, self.system, stop, self.sampling, adapter=self._adapter)
        self.finish, self._last_system = "interrupted", self.system
        try:
            with closing(answer):
                for piece in answer:
                    pieces.append(piece)
                    yield piece
            self.finish = self._generator.finish
        finally:
            self.turns.append((question, "".join(pieces)))

    @property
    def answered(self) -> list[tuple[str, str]]:
        """Return the turns that have an answer, without the thoughts before it: what the next question follows."""
        card = self._generator.card
        if card.thinking == "none" and not card.chat_template:
            return [turn for turn in self.turns if turn[1]]
        turns = [(question, without_thought(answer)) for question, answer in self.turns]
        return [turn for turn in turns if turn[1]]

    @property
    def repeats(self) -> bool:
        """Whether `retry` gives the last answer again: at temperature 0, where it ended and nothing has changed."""
        is_same = self.finish != "interrupted" and self.system == self._last_system
        return bool(self.turns) and not self.sampling.temperature and is_same

    def retry(self) -> Iterator[str]:
        """Yield another answer to the last question, with the next seed; raises InputError where there is none."""
        if not self.turns:
            raise InputError(_("there is no question yet to ask again"))
        self.sampling = replace(self.sampling, seed=(self.sampling.seed + 1) % SEEDS)
        question = self.turns.pop()[0]
        return self.say(question)

    def reset(self) -> None:
        """Forget what was said."""
        self.turns.clear()

    def interrupt(self) -> None:
        """End the answer that is being written; may be called from a signal handler or another thread."""
        self._generator.interrupt()


class ChatOptions(TypedDict, total=False):
    """How a model is found and loaded.

    `checkpoint` chooses one of a run's; `model` names the base, `template` the family, where the files do not say them
    or instead of what they say; `trust_remote_code` runs code that comes with the model; `thinking` turns a model's
    thoughts on or off, auto leaves them as in training; `device` is auto, cuda or cpu; `bits`, `offload_folder` and
    `dtype` are those of Loading.
    """

    checkpoint: str | os.PathLike[str] | None
    model: str | None
    template: str | None
    trust_remote_code: bool
    thinking: Thoughts
    device: Device
    bits: Literal[4, 8] | None
    offload_folder: str | None
    dtype: Dtype


@contextmanager
def chat_sessions(
    source: str | os.PathLike[str] | None = None,
    *,
    compare: bool = False,
    system: str | None = None,
    sampling: Sampling | None = None,
    callback: Callable[[], object] | None = None,
    **options: Unpack[ChatOptions],
) -> Iterator[tuple[ChatSession, ...]]:
    """Load the model of a run (default: the last that succeeded), of a folder or of a hub; yield its conversation.

    A run's merged model is used where there is one, else base and adapter, exporting first. With `compare` two are
    yielded, of the model before and after its training: of one model whose adapter is switched off and on, or of
    two where there is no adapter. `system` stands in for the training's system prompt. `callback`
    is called when all is found, and the loading begins.

    Raises InputError where there is no such model, or nothing to compare, SetupError where memory is too small for
    two, FrameworkError where a model cannot be loaded.
    """
    refuse_half_characters(_("the system prompt"), system or "")
    gpus = devices.usable_gpus(options.get("device", "auto"))
    found = source_of(source, options.get("checkpoint"))
    say_unfinished(found)
    card, model, adapter = model_of(found, compare, options.get("model"), options.get("template"))
    card = with_thinking(card, options.get("thinking", "auto"))
    asked = [model, Path(card.base)] if compare else [model]
    loading = Loading(
        bits=options.get("bits"),
        offload_folder=options.get("offload_folder"),
        dtype=options.get("dtype", "auto"),
        trust_remote_code=is_code_trusted(found.run, asked, trust_remote_code=options.get("trust_remote_code", False)),
    )
    if compare and not adapter and not loading.offload_folder:
        _check_room(gpus, loading, model, Path(card.base))
    backend = any_backend(found.project, card.backend)
    python = interpreter_for(found.project, backend, model, trust_remote_code=loading.trust_remote_code)
    if system is None and card.several_systems:
        which = f"`{printable(card.system[:SHOWN])}`" if card.system else "none"
        say(
            _("the training rows have different system prompts; asking with {which}, choose with `--system`").format(
                which=which
            )
        )
    system, sampling = card.system if system is None else system, sampling or Sampling()
    if callback:
        callback()
    with ExitStack() as stack:
        after = before = stack.enter_context(Generator(python, card, model, adapter, gpus, loading))
        talk = ChatSession(after, system, sampling)
        talk.run = found.run.id if found.run else card.run
        talk.model = found.run.model if found.run else str(found.folder)
        if not compare:
            yield (talk,)
            return
        if not adapter:
            gpus = after.placement.gpus_after_loading(gpus)
            before = stack.enter_context(Generator(python, card, Path(card.base), None, gpus, loading))
        yield ChatSession(before, system, sampling, "before", adapter=False), talk


def chat(
    source: str | os.PathLike[str] | None = None,
    prompt: str = "",
    *,
    system: str | None = None,
    sampling: Sampling | None = None,
    callback: Callable[[str], object] | None = None,
    **options: Unpack[ChatOptions],
) -> str:
    """Return the answer of a run's model to one question; `callback` is called with each piece of it."""
    with chat_sessions(source, system=system, sampling=sampling, **options) as (talk,):
        answer = ""
        for piece in talk.say(prompt):
            answer += piece
            if callback:
                callback(piece)
        return answer


def save_conversations(talks: Sequence[ChatSession], file: str | os.PathLike[str]) -> Path:
    """Write the conversations as a new file of messages, which `convert` reads; returns its path.

    The name gets the ending .jsonl where it has another. Raises InputError where there is nothing to write, or where
    the file is there already.
    """
    if any(not letter.isprintable() for letter in os.fspath(file)):
        raise InputError(
            _("`{name}` is not a valid name for a file: it holds a line break or a control character").format(
                name=printable(os.fspath(file))
            )
        )
    path = Path(file).expanduser()
    lines = [_encode_messages(talk) for talk in talks if talk.answered]
    if not path.name or not lines:
        raise InputError(_("name a file, as in `/save talk.jsonl`") if lines else _("nothing was said yet"))
    path = path if path.suffix == ".jsonl" else path.with_name(f"{path.name}.jsonl")
    if path.exists():
        raise InputError(_("`{path}` exists already; choose another name").format(path=path))
    write_atomic(path, b"".join(line + b"\n" for line in lines))
    return path


def _encode_messages(talk: ChatSession) -> bytes:
    said = [("system", talk.system)] if talk.system else []
    for question, answer in talk.answered:
        said += [("user", question), ("assistant", answer)]
    return msgspec.json.encode({"messages": [{"role": role, "content": content} for role, content in said]})


def source_of(source: str | os.PathLike[str] | None, checkpoint: str | os.PathLike[str] | None = None) -> ModelSource:
    """Return the run or folder that is meant; `hf://` and `ms://` name a hub's model, `checkpoint` one of a run's."""
    if isinstance(source, str) and source.startswith(("hf://", "ms://")):
        project = Project.find()
        source = local_model(source, lambda: interpreter(project, any_backend(project)), Path.cwd())
    return resolve(source, checkpoint)


def model_of(
    source: ModelSource, compare: bool = False, base: str | None = None, template: str | None = None
) -> tuple[ModelCard, Path, Path | None]:
    """Return card, model folder and adapter folder: a whole model where one is there and will do, else an adapter."""
    merged = target_of(source, None, "merged") if source.run else source.folder
    merged_card = card_in(source, merged) if is_whole_model(merged) else None
    if merged_card and not (compare or base):
        return card_with_prompt(merged_card, merged, template), merged, None  # its base need not be there
    card = card_of(source, base, template)
    try:
        folder = adapter_of(source)
    except InputError:
        # Nothing but the merged model was kept; its card may say that it was made of something else.
        if not is_whole_model(merged) or not (merged_card or load_card(merged) is None):
            raise
        folder = merged
    card = card_with_prompt(card, Path(card.base))
    is_adapter = (folder / "adapter_config.json").is_file()
    if is_adapter or compare:
        say_changes(card)
    if is_adapter:
        return card, Path(card.base), folder
    if compare and folder.samefile(card.base):
        raise InputError(
            _(
                "there is nothing to compare `{folder}` with: it is not an adapter and does not name its "
                "base; name that with `--model BASE`"
            ).format(folder=folder)
        )
    return card, folder, None


def without_thought(answer: str) -> str:
    """Return an answer without the thought that stands before it."""
    return _THOUGHT.sub("", answer, count=1)


def with_thinking(card: ModelCard, thinking: Thoughts) -> ModelCard:
    """Return the card with thoughts `on` or `off`; `auto` leaves them as in the training.

    Raises UsageError where they cannot be turned so.
    """
    if thinking == "auto":
        return card
    if card.chat_template:
        template = card.chat_template.with_thinking(thinking)
        if template.thinking:
            return replace(card, chat_template=template)
        raise UsageError(
            _("`--thinking` is a switch of chat templates, and {origin} has none; leave it out").format(
                origin=template.origin
            )
        )
    if thinking == "off":
        is_so = (
            _("does not think before it answers")
            if card.thinking == "none"
            else _("has thinking off, as in the training")
        )
        say(
            _("note: `{family}` {thinking}, with or without `--thinking off`").format(
                family=card.family, thinking=is_so
            )
        )
        return card
    if card.thinking == "none":
        raise UsageError(
            _("`--thinking on` is for models that think before they answer, and `{family}` does not").format(
                family=card.family
            )
        )
    instruction = card.template["INSTRUCTION"].removesuffix(_NO_THOUGHT)
    return replace(card, template=card.template | {"INSTRUCTION": instruction}, thinking="on")


def _check_room(gpus: Sequence[Gpu], loading: Loading, *models: Path) -> None:
    """Raise SetupError where the weights of all `models` together do not fit into free memory."""
    needed = sum(place(gpus, model, None, loading).size for model in models)
    free = free_memory(gpus) if gpus else host.available_memory()
    if free and needed > free:
        raise SetupError(
            _(
                "the models before and after need {needed} together, and {free} are free; take "
                "`--bits 4` or `--offload-folder DIR`, or ask one after the other: "
            ).format(needed=natural_size(needed, binary=True), free=natural_size(free, binary=True))
            + joined(_(" and "), (f"`{shell_words(['ftbridge', 'chat', str(model)])}`" for model in models))
        )
