"""Answers by any OpenAI-compatible server.

Many questions are asked at a time, with patience, and nothing is taken for an answer that is none.
"""

import json
import random
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count, islice
from threading import Event, Lock
from typing import Any, NamedTuple, NoReturn, Self, TypeVar

import msgspec

from ftbridge.core.console import first_few, printable, say
from ftbridge.core.errors import FrameworkError, FtbridgeError, InputError, SetupError, UsageError
from ftbridge.dialogue.generation import ADAPTER, BatchAnswer, EngineName, Finish, Sampling
from ftbridge.evaluation.answers.engines.server import KEY, NonsenseError, NoReplyError, Reply, Server
from ftbridge.language import gettext as _
from ftbridge.language import joined, ngettext
from ftbridge.weights.card import ModelCard, Prompt, chat_messages

T = TypeVar("T")
MOST_CONCURRENT = 256
MOST_STOPS = 4  # that OpenAI takes
# How servers say that an answer ended by itself, and that it was cut; TGI and others have words of their own.
_ENDED = {"stop", "eos_token", "stop_sequence", "end_turn"}
_CUT = {"length", "max_tokens"}
# Of a 400: vLLM, OpenAI, llama.cpp and SGLang, of a prompt and `max_tokens` that are more than the model takes.
_TOO_LONG = ("context length", "context_length", "context size", "context_size", "maximum allowed length")
_BUSY = {408, 425, 429}


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a server is waited for.

    A reply may take `seconds`. A question is asked `tries` times, `first_tries` while the server has never replied; a
    reply that takes too long counts as three. Between two are `pause` seconds, each time twice as many, and
    `longest_pause` at most.
    """

    seconds: float = 600
    tries: int = 8
    first_tries: int = 3
    pause: float = 1
    longest_pause: float = 60


class Endpoint:
    """A server that answers `concurrency` questions at a time; use it in a `with` block.

    `model` is what it is asked for, by default the only one that it serves. Its own chat template makes the prompts,
    its own settings decide what a request does not say. Raises UsageError and SetupError, as Server does.
    """

    name: EngineName = "endpoint"

    def __init__(
        self, address: str, model: str = "", concurrency: int = 8, *, patience: Patience | None = None
    ) -> None:
        """Remember where to ask."""
        if not 1 <= concurrency <= MOST_CONCURRENT:
            raise UsageError(
                _("`--concurrency` must be a whole number from 1 to {most_concurrent}").format(
                    most_concurrent=MOST_CONCURRENT
                )
            )
        self._patience = patience or Patience()
        self._server = Server(address, self._patience.seconds)
        self._concurrency = concurrency
        self._said, self._saying = set[str](), Lock()
        self._has_replied = False
        self.address, self.model, self.version = self._server.address, model, ""

    def __enter__(self) -> Self:
        """Ask which model the server has, where none is named."""
        if not self.model:
            with closing(self._in_threads([self._only_model])) as models:
                self.model = next(models)
        return self

    def __exit__(self, *_: object) -> None:
        """End what is still being asked."""
        self._server.end_all()

    def prompt_for(
        self,
        system: str,
        turns: Sequence[tuple[str, str | None]],
        card: ModelCard | None = None,  # noqa: ARG002 - the server knows its prompt
    ) -> Prompt:
        """Return the messages that ask for the answer to the last turn."""
        return chat_messages(system, turns)

    def batch(
        self,
        prompts: Sequence[Prompt],
        stop: Sequence[str],
        sampling: Sampling,
        batch_size: int | None = None,  # noqa: ARG002 - a server's own affair
        *,
        adapter: str | None = ADAPTER,
        card: ModelCard | None = None,  # noqa: ARG002 - as above
    ) -> Generator[BatchAnswer, None, None]:
        """Yield the greedy answer to each prompt of messages, as they come; `adapter` may name another served model.

        Raises FrameworkError where the server fails or talks nonsense, SetupError where it lets nobody in, InputError
        where it refuses a question; what was yielded before is answered, and goes into the message.
        """
        if adapter is None:
            raise UsageError(
                _(
                    "a server does not switch its adapter off; where it serves the base too, evaluate "
                    "that as another model"
                )
            )
        body = {
            "model": self.model if adapter == ADAPTER else adapter,
            "temperature": 0,
            "max_tokens": sampling.max_new_tokens,
            **({"stop": [*stop][:MOST_STOPS]} if stop else {}),
        }
        done = 0
        asked = (partial(self._ask, number, body, prompt) for number, prompt in enumerate(prompts))
        try:
            with closing(self._in_threads(asked)) as answers:
                for answer in answers:
                    yield answer
                    done += 1
        except FtbridgeError as error:
            kept = ngettext(
                "{count:,} answer is kept, and the same command goes on from there",
                "{count:,} answers are kept, and the same command goes on from there",
                done,
            ).format(count=done)
            raise type(error)(joined("; ", (error, kept))) from error

    def _in_threads(self, tasks: Iterable[Callable[[Event], T]]) -> Generator[T, None, None]:
        """Yield what the tasks return, as they do, and raise what they raise; few are under way at a time.

        The event tells them that nobody waits any more.
        """
        waiting, stopped = iter(tasks), Event()
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            running: set[Future[T]] = {pool.submit(task, stopped) for task in islice(waiting, 2 * self._concurrency)}
            while running:
                finished, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                self._server.end_overdue()
                failed = [future for future in finished if future.exception()]
                yield from (future.result() for future in finished if future not in failed)
                for future in failed:
                    future.result()
                running |= {pool.submit(task, stopped) for task in islice(waiting, len(finished))}
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            self._server.end_all()

    def _only_model(self, stopped: Event) -> str:
        found = self._exchange("GET", "/models", None, stopped)
        if found.status != 200:  # noqa: PLR2004
            self._refuse(found)
        names = [model.id for model in self._parse(found, _Models).data]
        if len(names) == 1:
            return names[0]
        known = (
            _("it has {names}").format(names=first_few([f"`{printable(name)}`" for name in names], 9))
            if names
            else _("it lists none")
        )
        raise UsageError(
            _("which model of {address}? Name it with `--endpoint-model`; {known}").format(
                address=self.address, known=known
            )
        )

    def _ask(self, number: int, body: dict[str, Any], prompt: Prompt, stopped: Event) -> BatchAnswer:
        """Return the answer to one question, in a thread of its own."""
        body = {**body, "messages": prompt}
        reply, whole_context = self._exchange("POST", "/chat/completions", body, stopped), False
        if _is_too_long(reply):
            # An answer of that length has no room: it gets what there is.
            del body["max_tokens"]
            reply, whole_context = self._exchange("POST", "/chat/completions", body, stopped), True
            if _is_too_long(reply):
                return BatchAnswer(number, "", "too_long", "")
        if reply.status != 200:  # noqa: PLR2004
            self._refuse(reply)
        return self._answer(number, reply, body.get("stop", ()), whole_context=whole_context)

    def _answer(self, number: int, reply: Reply, stop: Sequence[str], *, whole_context: bool) -> BatchAnswer:
        choices = self._parse(reply, _Completion).choices
        if not choices:
            self._fail(_("answers with no choice"))
        message, reason = choices[0].message, choices[0].finish_reason
        if reason not in _ENDED | _CUT:
            self._fail(_("cut an answer off (`{reason}`), so it cannot be used").format(reason=printable(str(reason))))
        thought = message.reasoning_content or message.reasoning or ""
        if message.content is None and not thought:
            self._fail(_("answers with no text"))
        finish: Finish = "stop" if reason in _ENDED else "full" if whole_context else "length"
        text = message.content or ""
        if places := [place for word in stop if (place := text.find(word)) >= 0]:
            text, finish = text[: min(places)], "stop"
        if thought:
            # As ftbridge's own models write it; one that was cut is not closed.
            text = f"<think>\n{thought.strip()}" + (f"\n</think>\n\n{text}" if message.content is not None else "")
        return BatchAnswer(number, text.encode(errors="replace").decode(), finish, "")

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None, stopped: Event) -> Reply:
        """Return the server's reply to a request, asking again where it is busy, or does not reply."""
        content = None if body is None else msgspec.json.encode(body)
        failures = 0
        for pauses in count():
            found = self._exchange_once(method, path, content, stopped)
            if isinstance(found, Reply):
                return found
            failures += found.weight
            if stopped.is_set() or failures >= self._tries:
                self._fail(found.trouble)
            if found.seconds > self._patience.seconds:
                self._fail(
                    _("{trouble}, and asks to try again in {seconds:g} s").format(
                        trouble=found.trouble, seconds=found.seconds
                    )
                )
            self._say_once(found.trouble)
            pause = min(self._patience.pause * 2**pauses, self._patience.longest_pause)
            # Not all are to come back at once.
            stopped.wait(max(found.seconds, pause * random.uniform(0.5, 1)))  # noqa: S311
        raise AssertionError

    def _exchange_once(self, method: str, path: str, content: bytes | None, stopped: Event) -> "Reply | _Failure":
        try:
            reply = self._server.exchange(method, path, content, stopped)
        except NoReplyError as error:
            return _Failure(str(error), weight=3 if error.late else 1)
        except NonsenseError as error:
            self._fail(str(error))
        self._has_replied = True
        is_busy = reply.status >= 500 or reply.status in _BUSY  # noqa: PLR2004
        return _Failure(self._status(reply), seconds=_seconds_to_wait(reply.retry_after)) if is_busy else reply

    def _say_once(self, trouble: str) -> None:
        with self._saying:
            kind = trouble.partition(" (")[0]  # without what the server says, which may have a number each time
            if kind not in self._said:
                self._said.add(kind)
                say(_("note: {address} {trouble}; trying again").format(address=self.address, trouble=trouble))

    @property
    def _tries(self) -> int:
        most = self._patience.tries
        return most if self._has_replied else min(most, self._patience.first_tries)

    def _parse(self, reply: Reply, kind: type[T]) -> T:
        try:
            # Unlike msgspec, json takes half a character.
            return msgspec.convert(json.loads(reply.body), kind)
        except (ValueError, RecursionError):
            said = self._server.shown(reply.body.decode(errors="replace")) or _("nothing")
            self._fail(
                _("sent a reply that is not of the OpenAI API ({kind}): `{said}`").format(
                    kind=printable(reply.kind) or _("no type"), said=said
                )
            )

    def _status(self, reply: Reply) -> str:
        """Return what the server says to a request that it does not answer."""
        said = self._server.shown(reply.body.decode(errors="replace"))
        return _("answers {status}").format(status=reply.status) + (_(" (`{said}`)").format(said=said) if said else "")

    def _refuse(self, reply: Reply) -> NoReturn:
        """Raise the error for a reply that is no answer."""
        where, said = self.address, self._status(reply)
        if reply.status in {401, 403}:
            raise SetupError(
                _("{where} {said}; it needs another key in the environment variable {key}").format(
                    where=where, said=said, key=KEY
                )
            )
        if 300 <= reply.status < 400:  # noqa: PLR2004
            raise UsageError(
                _("{where} {said}: it redirects to another address; give that one to `--endpoint`").format(
                    where=where, said=said
                )
            )
        if reply.status in {404, 405}:
            raise UsageError(
                _("{where} {said}; is this the address of the API, and `{model}` a model there?").format(
                    where=where, said=said, model=self.model
                )
            )
        raise InputError(_("{where} refuses the question: it {said}").format(where=where, said=said))

    def _fail(self, trouble: str) -> NoReturn:
        raise FrameworkError(_("the server {address} {trouble}").format(address=self.address, trouble=trouble))


class _Failure(NamedTuple):
    """Why a question is to be asked again: in `seconds` at the earliest; `weight` says for how many tries it counts."""

    trouble: str
    seconds: float = 0.0
    weight: int = 1


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _is_too_long(reply: Reply) -> bool:
    """Tell whether the server refuses a prompt, or this and its answer together, as more than the model takes."""
    said = reply.body.lower()
    return reply.status in {400, 413, 422} and any(words.encode() in said for words in _TOO_LONG)


def _seconds_to_wait(retry_after: str) -> float:
    """Return the seconds that a Retry-After asks for, as a number or a date; 0 where it says nothing."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
