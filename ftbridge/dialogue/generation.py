"""A model that answers, in a child process of the training environment."""

import signal
from collections import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import FrameworkError, FtbridgeError, InputError, SetupError, UsageError, shell_words
from ftbridge.core.process.json_lines import ChildEndedError
from ftbridge.dialogue.placement import Loading, place
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.process.script import start_script
from ftbridge.weights.card import ModelCard, Prompt
from ftbridge.weights.model_files.tokenizer import refuse_other_vocabulary

# How an answer ended: at a stop token, at max_new_tokens, at the model's limit; or the prompt alone is beyond that.
Finish = Literal["stop", "length", "full", "too_long"]
# What computes answers: transformers or vLLM in a process of ours, or a server.
EngineName = Literal["transformers", "vllm", "endpoint"]
# What the settings may be. Smaller temperatures and penalties let numbers overflow, after which a GPU serves nobody.
SEEDS = 1 << 32
LIMITS: dict[str, tuple[float, float]] = {
    "max_new_tokens": (1, (1 << 31) - 1),
    "temperature": (0.0, 100.0),
    "top_k": (0, (1 << 31) - 1),
    "top_p": (0.0001, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "seed": (0, SEEDS - 1),
}
COLDEST = 0.0001
# The name of an adapter that is alone.
ADAPTER = "adapter"
# bitsandbytes, of a model that device_map="auto" has shared out to main memory or disk as well.
_SPILLED = "Some modules are dispatched on the CPU or the disk"
# transformers, of what it would not run.
_OWN_CODE = "pass the argument `trust_remote_code=True`"
_UNSEEN = "No CUDA GPUs are available"
_TOO_BIG = _(
    "the model does not fit into the free memory of the GPU, and layers of 4 or 8 bits cannot be put into "
    "main memory instead; use `--bits 4` instead of 8, stop other programs on the GPU, or use `--device cpu`"
)
_MEMORY = _("take `--bits 4`, a smaller `--max-new-tokens`, or begin a new conversation with /reset")


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is chosen: at most `max_new_tokens`; `temperature` 0 takes the likeliest token each time.

    Above 0, `top_k` (0: all) and `top_p` say among which tokens is drawn; their defaults are those of `xtuner
    chat`. An answer ends before one of the `stop_words`, which may be any text, as well as where the family's do.
    Raises UsageError for a value outside of LIMITS.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.75
    repetition_penalty: float = 1.0
    seed: int = 0
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            whole = isinstance(least, int)
            number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not number or not least <= value <= most:  # NaN is in no range
                kind = _("a whole number") if whole else _("a number")
                raise UsageError(
                    _("`{name}` must be {kind} from {least} to {most}").format(
                        name=name, kind=kind, least=least, most=most
                    )
                )
        if 0 < self.temperature < COLDEST:
            raise UsageError(_("`temperature` must be 0, or a number of at least {coldest}").format(coldest=COLDEST))
        refuse_half_characters(_("a stop word"), *self.stop_words)


class BatchAnswer(NamedTuple):
    """The answer to one prompt of many, that of this `number` from 0.

    `prompt` is its text where a chat template has rendered it, else "".
    """

    number: int
    text: str
    finish: Finish
    prompt: str


class Generator:
    """A loaded model. Use it in a `with` block; `ask` streams the answer to a conversation.

    `adapters` are what may be put on it, by name; `version` is that of the library that computes, once it is loaded.
    Raises FrameworkError, with the end of the child's messages, where the model cannot be loaded or dies, SetupError
    where one that is quantised does not fit into the GPUs.
    """

    name: EngineName = "transformers"
    address = model = ""  # of a server
    program = "generate"

    def __init__(
        self,
        python: Path,
        card: ModelCard,
        model: Path,
        adapter: Path | Mapping[str, Path] | None,
        gpus: Sequence[Gpu],
        loading: Loading | None = None,
    ) -> None:
        """Start to load `model`, with `adapter` on it, or several by name; `gpus` are those that it may use."""
        self.card = card
        self.adapters = {ADAPTER: adapter} if isinstance(adapter, Path) else dict(adapter or {})
        for folder in self.adapters.values():
            refuse_other_vocabulary(folder, model)
        self.version = self.finish = ""
        self.margins: list[tuple[int, float]] = []
        self._model = model
        self._asked = 0
        loading = loading or Loading()
        self.placement = place(gpus, model, [*self.adapters.values()], loading)
        if self.placement.note:
            say(self.placement.note)
        environment = devices.device_variables(self.placement.gpus)
        spec = msgspec.json.encode(self._spec(loading)).decode()
        self._child = start_script(python, self.program, spec, environment=environment)

    def _spec(self, loading: Loading) -> dict[str, Any]:
        """Return what the child is told at its start."""
        return {
            "model": str(self._model),
            "adapters": [str(folder) for folder in self.adapters.values()],
            "device": self.placement.device,
            "dtype": self.placement.dtype,
            "compute_dtype": self.placement.compute_dtype,
            "bits": loading.bits,
            "offload_folder": loading.offload_folder,
            "trust_remote_code": loading.trust_remote_code,
        }

    def __enter__(self) -> Self:
        """Wait until the model is loaded; raises InputError where an adapter does not fit it."""
        try:
            ready = self._receive(_("the model could not be loaded"))
            self._refuse_misfit(ready)
            self.version = ready.get("version", "")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        self.close()

    def ask(
        self,
        turns: Sequence[tuple[str, str | None]],
        system: str,
        stop: Sequence[str],
        sampling: Sampling,
        *,
        adapter: bool = True,
        margins: bool = False,
    ) -> abc.Generator[str, None, None]:
        """Yield the answer to the last turn, whose answer is None, piece by piece as it comes.

        Without `adapter` the base answers, else the one that is alone. Afterwards `finish` says why the answer ended:
        "stop", "length" (of max_new_tokens), "full" (the model takes no more) or "interrupted"; with `margins`,
        `margins` has each token's id with how far it was ahead of the second likeliest (see scripts/generate.py).
        Closing the iterator
        ends the answer. Raises InputError where the conversation is too long for the model, its prompt does not fit or
        its text is none, SetupError where memory runs out; the next may be asked after either.
        """
        refuse_half_characters(_("the conversation"), *(text or "" for turn in turns for text in turn))
        refuse_half_characters(_("the system prompt"), system)
        self._asked += 1
        request = msgspec.to_builtins(sampling) | {
            "number": self._asked,
            "segments": self.card.prompt_for(system, turns),
            **_rendering(self.card),
            "stop": [*stop, *sampling.stop_words],
            "adapter": self._number_of(ADAPTER if adapter else None),
            "margins": margins,
        }
        self._send(request)
        try:
            while "text" in (record := self._receive_reply()):
                yield record["text"]
        except BaseException:
            self.interrupt()
            raise
        if "limit" in record:
            raise InputError(
                _(
                    "the conversation has {tokens} tokens, and the model takes {limit}; begin a new one "
                    "with /reset, or shorten the question"
                ).format(tokens=record["tokens"], limit=record["limit"])
            )
        _refuse_error(record, _MEMORY)
        self.finish = record["end"]
        self.margins = [*zip(record.get("tokens", []), record.get("margins", []), strict=False)]

    def batch(
        self,
        prompts: Sequence[Prompt],
        stop: Sequence[str],
        sampling: Sampling,
        batch_size: int | None = None,
        *,
        adapter: str | None = ADAPTER,
        card: ModelCard | None = None,
    ) -> abc.Generator["BatchAnswer", None, None]:
        """Yield the answer to each prompt, as `prompt_for` makes them.

        The `adapter` of this name answers, None: the base. Its name need not be given where it is alone, or none is
        there; `card` is that of its training, where its prompts are rendered in another way than by `self.card`. The
        longest prompts come first, and each batch at once. Answers are greedy, of `sampling` only
        `max_new_tokens` counts, and in float32 they are those of `ask`. `batch_size` None lets the prompts' length
        decide; a batch that a GPU has no memory for is halved. Raises SetupError where one prompt is too much,
        InputError where one is no text.
        """
        for number, prompt in enumerate(prompts, 1):
            refuse_half_characters(_("prompt {number}").format(number=number), *_texts(prompt))
        self._asked += 1
        request = msgspec.to_builtins(Sampling(max_new_tokens=sampling.max_new_tokens)) | {
            "number": self._asked,
            "prompts": prompts,
            **_rendering(card or self.card),
            "stop": stop,
            "adapter": self._number_of(adapter),
            "batch_size": batch_size,
        }
        self._send(request)
        try:
            while "index" in (record := self._receive_reply()):
                yield BatchAnswer(record["index"], record["text"], record["finish"], record.get("prompt", ""))
        except BaseException:
            self.interrupt()
            raise
        _refuse_error(record, _("take `--bits 4`, a smaller `--batch-size` or a smaller `--max-new-tokens`"))

    def prompt_for(self, system: str, turns: Sequence[tuple[str, str | None]], card: ModelCard | None = None) -> Prompt:
        """Return what asks for the answer to the last turn, by `card` where it is another than the model's."""
        return (card or self.card).prompt_for(system, turns)

    def _number_of(self, adapter: str | None) -> int | None:
        """Return the number by which the child knows an adapter; None for the base, and for a model without any."""
        if adapter is None or (adapter == ADAPTER and not self.adapters):
            return None
        return [*self.adapters].index(adapter)

    def interrupt(self) -> None:
        """End the answer that is being written, from a signal handler or another thread; `finish` then says so.

        Once the model has ended there is none: an answer whose iterator is dropped late comes here too.
        """
        if not self._child.is_closed:
            self._send({"interrupt": self._asked})

    def close(self) -> None:
        """End the child; what it may still be computing is dropped."""
        self._child.close()

    def _send(self, record: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # a dead child is told by `_receive`
            self._child.send(record)

    def _refuse_misfit(self, record: dict[str, Any]) -> None:
        if "misfit" not in record:
            return
        model, adapter = str(self._model), str([*self.adapters.values()][record["adapter"]])
        command = shell_words(["ftbridge", "merge", adapter, "--model", model, "--out", "DIR"])
        remedy = (
            _("if it was trained on this base, merge it with `{command}` and chat with DIR").format(command=command)
            if record["whole"]
            else _("copy or export it again, or name the base that it was trained on")
        )
        raise InputError(
            _("the adapter `{adapter}` does not fit `{model}`: {misfit}; {remedy}").format(
                adapter=adapter, model=model, misfit=record["misfit"], remedy=remedy
            )
        )

    def _receive_reply(self) -> dict[str, Any]:
        """Return the next record of the answer asked for last; what is left of an ended one is dropped."""
        while (record := self._receive())["number"] != self._asked:
            pass
        return record

    def _receive(self, trouble: str = _("the model died")) -> dict[str, Any]:
        try:
            return self._child.receive()
        except ChildEndedError as ended:
            raise self._explain_end(trouble, ended) from ended

    def _explain_end(self, trouble: str, ended: ChildEndedError) -> FtbridgeError:
        """Return the error for a child that ended, with what to do about it."""
        if ended.status == -signal.SIGKILL:
            return FrameworkError(
                _("{trouble}: its process was killed, as happens where memory runs out; {memory}").format(
                    trouble=trouble, memory=_MEMORY
                )
            )
        tail = ended.messages
        if _OWN_CODE in tail:
            return InputError(
                _(
                    "`{model}` comes with Python code of its own. If you trust who made it, run the "
                    "command again with `--trust-remote-code`"
                ).format(model=self._model)
            )
        if _SPILLED in tail:
            return SetupError(_TOO_BIG)
        if _UNSEEN in tail:
            return SetupError(
                _(
                    "nvidia-smi shows a GPU, and the torch of the training environment sees none; `ftbridge "
                    "doctor` shows more, `--device cpu` computes on the CPU anyway"
                )
            )
        trouble = joined("; ", (trouble, _MEMORY)) if _out_of_memory(tail) else trouble
        return FrameworkError(_("{trouble}; its last messages:\n{tail}").format(trouble=trouble, tail=tail))


def _rendering(card: ModelCard) -> dict[str, Any]:
    """Return what renders a prompt of messages."""
    return {"chat_template": card.chat_template.text} if card.chat_template else {}


def refuse_half_characters(what: str, *texts: str) -> None:
    """Raise InputError for a text that is no Unicode: half an emoji (a surrogate alone), or bytes that are no UTF-8."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half, before = ascii(text[error.start])[1:-1], text[: error.start][-20:]
            place = (
                _("`{half}` after `{before}`").format(half=half, before=before)
                if before
                else _("`{half}`").format(half=half)
            )
            raise InputError(
                _("{what} holds an invalid character ({place}); enter it again as UTF-8").format(what=what, place=place)
            ) from error


def _refuse_error(record: dict[str, Any], advice: str) -> None:
    if "error" in record:
        if _out_of_memory(record["error"]):
            raise SetupError(_("memory ran out ({error}); {advice}").format(error=record["error"][:200], advice=advice))
        raise InputError(_("the model cannot answer this: {error}").format(error=record["error"]))


def _out_of_memory(message: str) -> bool:
    """Tell whether `message`, in torch's words, says that memory ran out."""
    said = (
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "_STATUS_ALLOC_FAILED",
    )  # the last: cuBLAS
    return any(words in message for words in said)


def _texts(prompt: Prompt) -> Iterator[str]:
    """Yield the texts of a prompt that somebody has written."""
    for part in prompt:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            yield part["content"]
