"""What stands before the chat page: who may ask, which paths there are, and what a request may hold.

Whatever does not fit is answered here, with a sentence as {"detail"}, which Gradio's page shows.
"""

import asyncio
import base64
import hmac
import ipaddress
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from web_bridge import UNREAD, Bridge
from web_connections import LET_IN, address_owner

MOST_BYTES = 2 << 20  # of a request
MOST_UNWANTED = 16 << 20  # of one that is refused; who is cut off in the middle of it would not see why
MOST_LETTERS = 100_000  # of a text
# After so many wrong passwords of an address in so many seconds, more are refused at once.
MOST_WRONG, WRONG_SECONDS = 10, 60
ADDRESSES = 10_000  # that are kept in mind for that
API = "/gradio_api"
JOIN, CANCEL, RESET, DATA = (f"{API}/{path}" for path in ("queue/join", "cancel", "reset", "queue/data"))
# All that the page needs of Gradio's routes; the others read files, take uploads, and reach other machines.
READABLE_PATHS = re.compile(
    r"/|/(config|theme\.css|manifest\.json|favicon\.ico|(assets|static)(/(?!\.)[A-Za-z0-9_.-]{1,200}){1,8})"
    rf"|{API}/(queue/data|heartbeat/[A-Za-z0-9_-]{{1,64}}|startup-events)/?"
)
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
MOST_PORTS = 65535
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a session or an event
# What Gradio gets to see of a request's headers: it believes those of a proxy.
HEADERS = (b"host", b"accept", b"accept-encoding", b"accept-language", b"user-agent", b"if-none-match")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)


class RefusalError(Exception):
    """A request that is answered with a `status` and a sentence."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Field:
    """An input of the page: a text, or a number with bounds."""

    def __init__(self, label: str, bounds: tuple[float, float] | None = None) -> None:
        """Name it `label`; one with `bounds` is a number."""
        self.label, self.bounds = label, bounds

    def validate(self, value: Any) -> None:
        """Raise RefusalError where the field cannot hold this."""
        if not self.bounds:
            self.validate_text(value)
        elif value is not None:  # an emptied field: as it was at the start
            least, most = self.bounds
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not least <= value <= most:  # NaN is in no range
                raise RefusalError(400, f"{self.label} must be a number from {least} to {most}")

    def validate_text(self, value: Any) -> None:
        """Raise RefusalError for what is no text, or none that can be written."""
        if not isinstance(value, str):
            raise RefusalError(400, f"{self.label} must be a text")
        if len(value) > MOST_LETTERS:
            raise RefusalError(
                400, f"{self.label} has {len(value)} characters, and the page takes {MOST_LETTERS}; shorten it"
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = ascii(value[error.start])
            raise RefusalError(400, f"{self.label} holds an invalid character ({half}); delete it") from error


class Passwords:
    """Tells who knows the password; whoever guesses is slowed, by address, and nobody else who shares that."""

    def __init__(self, password: str) -> None:
        """Ask for `password`, with any user name."""
        self.password = password.encode()
        self.wrong: dict[str, list[float]] = {}

    async def verify(self, address: str, given: str | None) -> None:
        """Raise RefusalError where the header Authorization `given` is not right."""
        challenge = {"www_authenticate": 'Basic realm="ftbridge", charset="UTF-8"'}
        if given is None:
            raise RefusalError(401, "the page asks for its password, with any user name", **challenge)
        if self.is_right(given):
            return
        address = address_owner(address)
        now = time.monotonic()
        if len(self.wrong) > ADDRESSES:
            self.wrong = {name: times for name, times in self.wrong.items() if now - times[-1] < WRONG_SECONDS}
        recent = [when for when in self.wrong.get(address, ()) if now - when < WRONG_SECONDS]
        if len(recent) >= MOST_WRONG:
            sentence = "this is not the page's password, and too many were wrong; the right one is let in"
            raise RefusalError(429, sentence, retry_after=str(WRONG_SECONDS), connection="close")
        self.wrong[address] = [*recent, now]  # so no more than MOST_WRONG wait
        await asyncio.sleep(1)
        raise RefusalError(401, "this is not the page's password", **challenge)

    def is_right(self, given: str) -> bool:
        """Tell whether the header has the password."""
        kind, _, coded = given.partition(" ")
        try:
            _, _, password = base64.b64decode(coded.strip(), validate=True).partition(b":")
        except ValueError:
            return False
        return kind.lower() == "basic" and hmac.compare_digest(password, self.password)


class Incoming:
    """Reads a request on."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        """Read with `receive`."""
        self.receive, self.ended = receive, False

    async def __call__(self) -> Any:
        """Return the next message."""
        message = await self.receive()
        self.ended = not message.get("more_body", False)
        return message

    async def skip(self) -> None:
        """Read what is left, as far as it is not too much and comes soon."""
        left = MOST_UNWANTED
        with suppress(TimeoutError):
            async with asyncio.timeout(UNREAD):
                while left > 0 and not self.ended:
                    left -= len((await self()).get("body", b""))


class Reply:
    """Sends an answer on, with the policy; not one of a failure (500), whose body has a traceback."""

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        """Send with `send`."""
        self.send, self.begun = send, False

    async def __call__(self, message: Any) -> None:
        """Send a message."""
        if message["type"] == "http.response.start" and message["status"] != 500:  # noqa: PLR2004
            self.begun = True
            MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
        if self.begun:
            async with asyncio.timeout(UNREAD):  # for a message
                await self.send(message)

    async def refuse(self, scope: Any, incoming: Incoming, refusal: RefusalError) -> None:
        """Send a sentence; the connection may end only once the request has come, or the sentence would be lost."""

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await self({**message, "more_body": True})
                await incoming.skip()
                message = {"type": "http.response.body"}
            await self(message)

        await JSONResponse({"detail": str(refusal)}, refusal.status, refusal.headers)(scope, incoming, send)


class Gate:
    """Lets through what the page needs, from the page itself, and tells the browser to load from here alone."""

    def __init__(self, app: Any, bridge: Bridge, inputs: dict[int, list[Field | None]], spec: dict[str, Any]) -> None:
        """Stand before `app`; `inputs` has the fields of each of the page's functions, None for what it keeps itself.

        `spec` has `names` (the hosts that it answers to), `origins` (those that it may have in browsers), `open`
        (whether it answers to any IP address, not only this machine's) and `password` (or null).
        """
        self.app, self.bridge, self.inputs = app, bridge, inputs
        self.names, self.origins, self.open = spec["names"], spec["origins"], spec["open"]
        self.passwords = Passwords(spec["password"]) if spec["password"] else None

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        answer, incoming = Reply(send), Incoming(receive)
        try:
            inner, body = await self.admit(scope, incoming)
            session = inner.get("session")
            with self.bridge.stream_open(session) if session else nullcontext():
                await self.app(inner, body, answer)
        except RefusalError as refusal:
            await answer.refuse(scope, incoming, refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, the page goes on
            sys.stderr.write(f"{type(error).__name__} at {ascii(scope['path'])[:200]}\n")
        if not answer.begun:
            await answer.refuse(scope, incoming, RefusalError(400, "the page cannot answer this"))

    async def admit(self, scope: Any, receive: Any) -> tuple[Any, Any]:
        """Return the request as Gradio gets to see it; raises RefusalError for one that is not the page's."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if scope["type"] != "http" or len(hosts) != 1 or not self.is_own_host(hosts[0]):
            raise RefusalError(400, "the page has another address; `--allow-host NAME` lets it have this name as well")
        if not all(self.is_own_origin(origin, hosts[0]) for origin in origins):
            raise RefusalError(
                404,
                "this comes from a page with another address; let a proxy that stands between pass the Host header on, "
                "and give `--allow-host NAME` with the name that it has in browsers",
            )
        if self.passwords:
            client = scope.get("client") or ("", 0)
            await self.passwords.verify(client[0], headers.get("authorization"))
        scope["state"][LET_IN] = True
        path = scope["path"]
        inner = {**scope, "query_string": b"", "headers": [pair for pair in scope["headers"] if pair[0] in HEADERS]}
        if path in (JOIN, CANCEL, RESET):
            if scope["method"] != "POST":
                raise RefusalError(405, "this takes POST alone", allow="POST")
            content = json.dumps(self.checked_body(path, await read_json_body(headers, receive))).encode()
            inner["headers"] += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
            return inner, _replayed(content, receive)
        if not READABLE_PATHS.fullmatch(path):
            raise RefusalError(404, "not here")
        if scope["method"] not in ("GET", "HEAD"):
            raise RefusalError(405, "this takes GET alone", allow="GET, HEAD")
        if path.startswith(DATA):
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
            inner["session"] = checked_name("session_hash", session[0] if len(session) == 1 else None)
            inner["query_string"] = f"session_hash={inner['session']}".encode()
        return inner, receive

    def is_own_host(self, host: str) -> bool:
        """Tell whether the page answers to this Host header: a name could be made to lead here from any page."""
        match = HOST.fullmatch(host.lower())
        if not match or int(match[2] or 0) > MOST_PORTS:
            return False
        if match[1] in self.names:
            return True
        try:
            address = ipaddress.ip_address(match[1].strip("[]"))
        except ValueError:
            return False
        return self.open or address.is_loopback

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Tell whether the page itself asks, at `host` or at a name that it has behind a proxy that changes this."""
        scheme, _, name = origin.lower().partition("://")
        match = HOST.fullmatch(name)
        return scheme in ("http", "https") and (name == host.lower() or bool(match and match[1] in self.origins))

    def checked_body(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return what Gradio needs of a body; raises RefusalError for one that the page does not send."""
        if path == RESET:
            return {"event_id": checked_name("event_id", body.get("event_id"))}
        number = body.get("fn_index")
        if isinstance(number, bool) or not isinstance(number, int) or number not in self.inputs:
            raise RefusalError(400, "`fn_index` is none of the page's")
        checked = {"session_hash": checked_name("session_hash", body.get("session_hash")), "fn_index": number}
        if path == CANCEL:
            return checked | {"event_id": checked_name("event_id", body.get("event_id"))}
        fields, data = self.inputs[number], body.get("data")
        if not isinstance(data, list) or len(data) != len(fields):
            raise RefusalError(400, f"`data` must be a list of {len(fields)} values")
        for field, value in zip(fields, data, strict=True):
            if field:
                field.validate(value)
            elif value is not None:
                raise RefusalError(400, "the history is kept here, and none can be sent")
        return checked | {"data": data}


def checked_name(key: str, value: Any) -> str:
    """Return the name of a session or an event; raises RefusalError for what is none."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise RefusalError(400, f"`{key}` must be a short name of letters and digits")
    return value


async def read_json_body(headers: Headers, receive: Any) -> dict[str, Any]:
    """Return the JSON object of a request; raises RefusalError where it is none, too long, or does not come."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusalError(415, "this takes JSON alone (Content-Type: application/json)")
    content, more = b"", True
    try:
        async with asyncio.timeout(UNREAD):
            while more:
                message = await receive()
                content += message.get("body", b"")
                more = message.get("more_body", False)
                if len(content) > MOST_BYTES:
                    raise RefusalError(413, f"the request has more than {MOST_BYTES >> 20} MB; shorten it")
        body = json.loads(content.decode())
    except TimeoutError as error:
        raise RefusalError(408, "the request did not come to its end") from error
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, "the request is no JSON in UTF-8") from error
    if not isinstance(body, dict):
        raise RefusalError(400, "the request must be a JSON object")
    return body


def _replayed(content: bytes, receive: Any) -> Callable[[], Awaitable[Any]]:
    """Return a `receive` that gives `content`, then what the first one gives."""
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def replay() -> Any:
        return messages.pop() if messages else await receive()

    return replay
