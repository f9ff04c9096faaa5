"""`ftbridge chat --web`: a helper of the training environment serves the page; port, model and answers are here."""

import errno
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, cast

import msgspec
from msgspec.structs import asdict

from ftbridge.core.children import guarded
from ftbridge.core.console import result, say
from ftbridge.core.errors import FrameworkError, FtbridgeError, SetupError, UsageError
from ftbridge.core.plugins import names
from ftbridge.core.project import Project
from ftbridge.dialogue.chat import Talk
from ftbridge.dialogue.generation import Sampling
from ftbridge.launchers import machine
from ftbridge.launchers.environment import HELPERS, QUIET, environment_of, interpreter, tested_set, versions

PORTS = range(7860, 7960)  # those of Gradio
OWN = ("127.0.0.1", "localhost")
# Nothing to and from the network; httpx, which Gradio has, must not ask a proxy for this machine.
OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "NO_PROXY": "*", "no_proxy": "*"}


class Question(msgspec.Struct, frozen=True):
    """What the page asks: `history` has the earlier questions, each with an answer or None for every column."""

    id: int
    question: str
    history: list[tuple[str, list[str | None]]]
    system: str
    sampling: dict[str, int | float]


def serve(
    conversations: AbstractContextManager[Sequence[Talk]], *, host: str = "127.0.0.1", port: int | None = None
) -> None:
    """Serve a page for `conversations`, which `chat.talks` gives, until Ctrl-C; its address goes to stdout.

    Each conversation is a column. `port` None is 7860, or the next that is free. Raises UsageError where it cannot
    be listened on, SetupError where Gradio is missing, FrameworkError where the page ends by itself.
    """
    python = _python(Project.find())
    with _listen(host, port) as listener:
        port = listener.getsockname()[1]
        if host not in OWN:
            say(f"warning: whoever reaches port {port} of `{host}` can talk to the model; there is no password")
        say("loading the model ...")
        with conversations as talks, _page(python, listener, host, talks) as page:
            shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - any address is this machine
            result(f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}")
            say("Ctrl-C ends it.")
            _answer_all(page, talks)


def _python(project: Project) -> Path:
    """Return the first Python of the backends that has Gradio."""
    pythons = []
    for name in names("backends"):
        with suppress(SetupError):
            pythons.append(interpreter(project, name))
    for python in pythons:
        if "gradio" in versions(python):
            return python
    python = pythons[0] if pythons else interpreter(project, names("backends")[0])
    raise SetupError(
        f"the page needs Gradio, which `{python}` does not have; install it with "
        f"`uv pip install --python {python} gradio=={tested_set(environment_of(versions(python)))['gradio']}`"
    )


def _listen(host: str, port: int | None) -> socket.socket:
    taken = f"no port from {PORTS[0]} to {PORTS[-1]} is free on `{host}`; name another with `--port`"
    for number in [port] if port else PORTS:
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, number), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"the page cannot be on `{host}` with port {number} ({error.strerror}); name others with `--host` "
                    "and `--port`"
                ) from error
            if port:
                taken = f"port {port} of `{host}` is in use; name another with `--port`, or none for the next free one"
    raise UsageError(taken)


@contextmanager
def _page(python: Path, listener: socket.socket, host: str, talks: Sequence[Talk]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the page; once it answers, yield it. Raises FrameworkError where it ends, with its last messages."""
    spec = {
        "socket": listener.fileno(),
        "hosts": OWN if host in OWN else ["*"],
        "columns": [talk.title for talk in talks],
        "system": talks[-1].system,
        "sampling": msgspec.to_builtins(talks[-1].sampling),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as messages:
        page = subprocess.Popen(
            guarded([str(python), str(HELPERS / "web_page.py"), msgspec.json.encode(spec).decode()]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            env={**os.environ, **QUIET, **OFFLINE, **machine.environment(())},  # it computes nothing
            pass_fds=[listener.fileno()],
            process_group=0,  # Ctrl-C at the keyboard is for us
        )
        with page:
            try:
                if cast("IO[bytes]", page.stdout).readline():
                    try:
                        yield page
                    except KeyboardInterrupt:  # how a page is ended
                        return
            finally:
                page.terminate()
        messages.seek(0)
        tail = "\n".join(f"  {text.rstrip()}" for text in messages.readlines()[-15:])
        raise FrameworkError(f"the page ended; its last messages:\n{tail}")


def _answer_all(page: subprocess.Popen[bytes], talks: Sequence[Talk]) -> None:
    """Answer one question after another, until the page ends."""
    questions = SimpleQueue[Question | None]()
    stopped = set[int]()

    def read() -> None:
        for line in cast("IO[bytes]", page.stdout):
            record = msgspec.json.decode(line)
            if "stop" in record:
                stopped.add(record["stop"])
            else:
                questions.put(msgspec.convert(record, Question))
        questions.put(None)

    threading.Thread(target=read, daemon=True).start()
    sampling, pipe = talks[-1].sampling, cast("IO[bytes]", page.stdin).fileno()
    with suppress(BrokenPipeError):
        while question := questions.get():
            for record in _answer(talks, question, sampling, stopped):
                os.write(pipe, msgspec.json.encode({"id": question.id, **record}) + b"\n")


def _answer(
    talks: Sequence[Talk], question: Question, sampling: Sampling, stopped: set[int]
) -> Iterator[dict[str, int | str]]:
    """Yield the answers of all columns as the page wants them; one that is stopped ends with what is there."""
    try:
        for column, talk in enumerate(talks):
            talk.turns = [(asked, answers[column] or "") for asked, answers in question.history]
            talk.system = question.system
            talk.sampling = msgspec.convert({**asdict(sampling), **question.sampling}, Sampling)
            yield {"column": column, "text": ""}
            for piece in talk.say(question.question):
                yield {"column": column, "text": piece}
                if question.id in stopped:
                    talk.interrupt()
            if question.id in stopped:
                break
    except FtbridgeError as error:
        say(f"error: {error}")
        yield {"error": str(error)}
    yield {"end": True}
