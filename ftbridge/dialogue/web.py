"""`ftbridge chat --web`: a script of the training environment serves the page; port, model and answers are here."""

import errno
import ipaddress
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
from msgspec.structs import asdict

from ftbridge.core.console import result, say
from ftbridge.core.errors import FrameworkError, FtbridgeError, InputError, SetupError, UsageError, shell_words
from ftbridge.core.plugins import plugin_names
from ftbridge.core.process.json_lines import ChildEndedError, JsonLinesChild
from ftbridge.core.project import Project
from ftbridge.dialogue.chat import ChatSession
from ftbridge.dialogue.generation import LIMITS, Sampling
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import (
    any_backend,
    environment_of,
    installed_versions,
    interpreter,
    pinned_versions,
)
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.process.script import start_script

PORTS = range(7860, 7960)  # those of Gradio
LOCAL_NAME = "localhost"
SHORTEST_PASSWORD = 12  # characters of a password; the page takes hundreds of guesses a second
# Nothing to and from the network; httpx, which Gradio has, must not ask a proxy for this machine.
OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "NO_PROXY": "*", "no_proxy": "*"}
# After each answer Gradio would make a table of all that were ever asked.
NO_CACHE = {"GRADIO_ANALYTICS_CACHE_FREQUENCY": str(1 << 60)}


class Question(msgspec.Struct, frozen=True):
    """What the page asks: `history` has the earlier questions, each with an answer or None for every column.

    `sampling` is of numbers, which Sampling's own limits hold.
    """

    id: int
    question: str
    history: list[tuple[str, list[str | None]]]
    system: str
    sampling: dict[str, int | float]


class Refused(msgspec.Struct, frozen=True):
    """What is no question, and why."""

    id: int
    reason: str


def serve(
    conversations: AbstractContextManager[Sequence[ChatSession]],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_hosts: Sequence[str] = (),
    password: str | None = None,
) -> None:
    """Serve a page for `conversations`, which `chat_sessions` gives, until Ctrl-C; its address goes to stdout.

    Each conversation is a column. `port` None is 7860, or the next that is free. The page asks for `password`, and on
    an address that others can reach makes one up where it is None; there, it answers to its IP addresses, `host` and
    the names in `allow_hosts`. Raises UsageError where it cannot be listened on, SetupError where Gradio is missing,
    FrameworkError where the page or the model ends by itself.
    """
    given = [*map(_host_name, allow_hosts)]
    allowed = [LOCAL_NAME, *given]
    if password is not None and not (password and password.isprintable()):
        raise UsageError(_("a password has letters, digits and signs; give `--password` another, or leave it out"))
    python = _python_with_gradio(Project.find())
    with _listen(host, port) as listener:
        with suppress(UsageError):  # an IPv6 address is no name
            allowed.append(_host_name(host))
        address, port = listener.getsockname()[:2]
        is_open = not ipaddress.ip_address(address.partition("%")[0]).is_loopback
        made = is_open and password is None
        password = secrets.token_urlsafe(12) if made else password
        if is_open:
            say(
                _(
                    "warning: whoever reaches port {port} of `{host}` and has the password can talk to "
                    "the model; nothing is encrypted"
                ).format(port=port, host=host)
            )
            if len(password or "") < SHORTEST_PASSWORD:
                say(
                    _(
                        "warning: a password of fewer than {shortest_password} characters can be guessed; "
                        "give a longer one, or leave it out to have one generated"
                    ).format(shortest_password=SHORTEST_PASSWORD)
                )
        # Any page of this machine is at OWN, on a port of its own.
        origins = [name for name in given if name != LOCAL_NAME]
        door = {"names": allowed, "origins": origins, "open": is_open, "password": password}
        with conversations as talks, _start_page(python, listener, door, talks) as page:
            result(_page_address(listener, host))
            if made:
                say(_("password: {password} (with any user name)").format(password=password))
            say(_("Ctrl-C ends it."))
            _answer_all(page, talks)


def _python_with_gradio(project: Project) -> Path:
    """Return the first Python of the backends that has Gradio."""
    pythons = []
    for name in plugin_names("backends"):
        with suppress(SetupError):
            pythons.append(interpreter(project, name))
    for python in pythons:
        if "gradio" in installed_versions(python):
            return python
    python = pythons[0] if pythons else interpreter(project, any_backend(project))
    pinned = pinned_versions(environment_of(installed_versions(python)))
    raise SetupError(
        _(
            "the page needs Gradio, which `{python}` does not have; install it with `uv pip "
            "install --python {value} gradio=={gradio}`"
        ).format(python=python, value=shell_words([str(python)]), gradio=pinned["gradio"])
    )


def _host_name(given: str) -> str:
    """Return a host's name as browsers send it."""
    try:
        name = given.encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"[a-z0-9._-]+", name):
        raise UsageError(
            _("`--allow-host` takes a name such as `gpu1.example.org`, without a port; got `{given}`").format(
                given=given
            )
        )
    return name


def _listen(host: str, port: int | None) -> socket.socket:
    taken = _("no port from {first} to {last} is free on `{host}`; name another with `--port`").format(
        first=PORTS[0], last=PORTS[-1], host=host
    )
    for number in [port] if port else PORTS:
        try:
            family, *_unused, where = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            both = where[0] == "::" and socket.has_dualstack_ipv6()
            listener = socket.create_server((host, number), family=family, dualstack_ipv6=both)
        except (OSError, ValueError) as error:  # ValueError: of what is not even a name
            if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
                why = getattr(error, "strerror", _("not a host name"))
                raise UsageError(
                    _(
                        "the page cannot be on `{host}` with port {number} ({why}); name others with `--host` "
                        "and `--port`"
                    ).format(host=host, number=number, why=why)
                ) from error
            if port:
                taken = _(
                    "port {port} of `{host}` is in use; name another with `--port`, or none for the next free one"
                ).format(port=port, host=host)
            continue
        if _is_of_many(listener):
            listener.close()
            raise UsageError(
                _("`{host}` is an address of many machines, where no browser finds a page; name another").format(
                    host=host
                )
            )
        return listener
    raise UsageError(taken)


def _is_of_many(listener: socket.socket) -> bool:
    """Tell whether it is on an address of multicast or broadcast, to which nobody can connect."""
    address = listener.getsockname()
    with socket.socket(listener.family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(address)  # which sends nothing
        except PermissionError:  # broadcast
            return True
        except OSError:
            return False
    return ipaddress.ip_address(address[0].partition("%")[0]).is_multicast


def _page_address(listener: socket.socket, host: str) -> str:
    """Return the address for a browser on this machine."""
    bound, port = listener.getsockname()[:2]
    if ipaddress.ip_address(bound.partition("%")[0]).is_unspecified:
        v6_only = listener.family == socket.AF_INET6 and listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        host = "::1" if v6_only else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _start_page(
    python: Path, listener: socket.socket, door: dict[str, Any], talks: Sequence[ChatSession]
) -> Iterator[JsonLinesChild]:
    """Start the page; once it answers, yield it. Raises FrameworkError where it ends, with its last messages."""
    spec = {
        **door,
        "socket": listener.fileno(),
        "columns": [talk.title for talk in talks],
        "about": [talks[-1].run, talks[-1].model],
        "system": talks[-1].system,
        "sampling": msgspec.to_builtins(talks[-1].sampling),
        "bounds": LIMITS,
    }
    environment = {**OFFLINE, **NO_CACHE, **devices.device_variables(())}  # it computes nothing
    with start_script(python, "web_page", environment=environment, pass_fds=[listener.fileno()]) as page:
        try:
            with suppress(BrokenPipeError):  # it has ended, as is told below
                page.send(spec)  # no argument, which everybody on the machine can see: it has the password
            page.receive()
            yield page
        except ChildEndedError as ended:
            raise FrameworkError(
                _("the page ended; its last messages:\n{messages}").format(messages=ended.messages)
            ) from ended
        except KeyboardInterrupt:  # how a page is ended
            return


def _answer_all(page: JsonLinesChild, talks: Sequence[ChatSession]) -> None:
    """Answer one question after another, for ever.

    Raises ChildEndedError when the page ends, FrameworkError when the model dies.
    """
    questions = SimpleQueue[Question | Refused | Exception]()
    stopped = set[int]()

    def read() -> None:
        try:
            while True:
                record = page.receive()
                if "stop" in record:
                    stopped.add(record["stop"])
                else:
                    questions.put(_parse_question(record, len(talks)))
        except ChildEndedError as ended:
            questions.put(ended)
        except (ValueError, LookupError, TypeError) as error:
            questions.put(
                FrameworkError(_("the page ended: it sent what cannot be read ({error})").format(error=error))
            )

    threading.Thread(target=read, daemon=True).start()
    sampling = talks[-1].sampling
    while True:
        question = questions.get()
        if isinstance(question, Exception):
            raise question
        with suppress(BrokenPipeError):  # the page has ended, as the next that comes says
            for record in _answer_question(talks, question, sampling, stopped):
                page.send({"id": question.id, **record})
        stopped.discard(question.id)


def _parse_question(record: dict[str, Any], columns: int) -> Question | Refused:
    """Return what the page asks, or why it is no question."""
    try:
        question = msgspec.convert(record, Question)
    except msgspec.ValidationError as error:
        return Refused(int(record["id"]), _("invalid question: {error}").format(error=error))
    if any(len(answers) != columns for _, answers in question.history):
        return Refused(
            question.id,
            _("invalid question: its history must have {columns} answers to each").format(columns=columns),
        )
    return question


def _answer_question(
    talks: Sequence[ChatSession], question: Question | Refused, sampling: Sampling, stopped: set[int]
) -> Iterator[dict[str, int | str]]:
    """Yield the answers of all columns as the page wants them; one that is stopped ends with what is there."""
    try:
        if isinstance(question, Refused):
            raise InputError(question.reason)
        for column, talk in enumerate(talks):
            if question.id in stopped:
                break
            talk.turns = [(asked, answers[column] or "") for asked, answers in question.history]
            talk.system = question.system
            talk.sampling = msgspec.convert({**asdict(sampling), **question.sampling}, Sampling)
            yield {"column": column, "text": ""}
            for piece in talk.say(question.question):
                yield {"column": column, "text": piece}
                if question.id in stopped:
                    talk.interrupt()
    except FrameworkError as error:  # the model is gone, and the page goes with it, once it has said so
        yield {"error": _message_in_utf8(error)}
        yield {"end": True}
        time.sleep(1)
        raise
    except (FtbridgeError, msgspec.ValidationError) as error:
        say(_("error: {error}").format(error=error))
        yield {"error": _message_in_utf8(error)}
    yield {"end": True}


def _message_in_utf8(error: Exception) -> str:
    """Return what an error says, which may name a file in bytes that are no UTF-8."""
    return str(error).encode("utf-8", "replace").decode()
