"""A server that speaks HTTP, asked by several threads, with a key, through a proxy, and with limits of time and size.

The key goes to that server alone, and into no message.
"""

import base64
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ftbridge.core.console import printable, say
from ftbridge.core.errors import SetupError, UsageError
from ftbridge.language import gettext as _

KEY = "OPENAI_API_KEY"
MOST_BYTES = 1 << 22  # of a reply
CONNECT_SECONDS = 30
SHOWN = 200  # characters of what a server says


class NoReplyError(Exception):
    """A reply that did not come, or not as a whole; `late` where its time was over."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        """Keep both."""
        super().__init__(message)
        self.late = late


class NonsenseError(Exception):
    """A reply that is no answer; says what it is."""


class Reply(NamedTuple):
    """What a server said: the status, the body, and two headers."""

    status: int
    body: bytes
    kind: str
    retry_after: str


class Server:
    """The server at `address`, without what follows; each `exchange` is a connection of its own.

    Raises UsageError for an address that is none or holds a password, SetupError for a key that no header takes.
    """

    def __init__(self, address: str, seconds: float) -> None:
        """Take an address such as http://localhost:8000/v1; `seconds` is what a reply may take."""
        self._url = _checked_address(address)
        self.address = self._url.geturl()
        self._seconds = seconds
        self._open: dict[socket.socket, float] = {}  # with the time at which each is to be done
        self._lock = threading.Lock()
        self._key = os.environ.get(KEY, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise SetupError(
                _(
                    "the environment variable {key} holds an invalid key: it has letters beyond ASCII, or a newline"
                ).format(key=KEY)
            )
        if self._key and self._url.scheme == "http" and not self._is_here:
            say(
                _("warning: {address} is asked without encryption, and the key in {key} is sent there as it is").format(
                    address=self._url.netloc, key=KEY
                )
            )

    def exchange(self, method: str, path: str, body: bytes | None, stopped: threading.Event) -> Reply:
        """Return the reply to a request; a redirection is not followed. Raises NoReplyError and NonsenseError.

        Once it is `stopped`, nothing more is asked.
        """
        connection, target = self._connection(f"{self._url.path}{path}")
        headers = {"Accept": "application/json", "Connection": "close", "User-Agent": "ftbridge"}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        headers |= self._proxy_headers if target.startswith("http") else {}
        end = time.monotonic() + self._seconds
        kept: list[socket.socket] = []
        try:
            connection.connect()
            kept.append(connection.sock)  # which the connection forgets before the body is read
            connection.sock.settimeout(self._seconds)
            with self._lock:
                self._open[connection.sock] = end
            if stopped.is_set():  # too late for `end_all`
                raise ConnectionAbortedError(_("the request was given up"))
            connection.request(method, target, body, headers)
            with connection.getresponse() as response:
                return _read_reply(response)
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last: no name of a host
            if time.monotonic() >= end or isinstance(error, TimeoutError):
                seconds = self._seconds if kept else CONNECT_SECONDS
                raise NoReplyError(
                    _("did not answer within {seconds:g} s").format(seconds=seconds), late=True
                ) from error
            words = self.shown(str(error) or type(error).__name__)
            if isinstance(error, ssl.SSLCertVerificationError):
                raise SetupError(
                    _("the certificate of {address} cannot be trusted: {words}").format(
                        address=self.address, words=words
                    )
                ) from error
            raise NoReplyError(_("cannot be asked: {words}").format(words=words)) from error
        finally:
            with self._lock:
                for sock in kept:
                    self._open.pop(sock, None)
            connection.close()

    def end_overdue(self) -> None:
        """End the exchanges whose time is over, also those that get a byte every now and then."""
        self._end(time.monotonic())

    def end_all(self) -> None:
        """End all exchanges."""
        self._end(float("inf"))

    def shown(self, text: str) -> str:
        """Return the beginning of what a server said, for a message: on one line, and without the key."""
        text = " ".join(text.replace(self._key, "***").split() if self._key else text.split())
        return printable(text[:SHOWN])

    def _end(self, before: float) -> None:
        with self._lock:
            for sock, end in self._open.items():
                if end <= before:
                    with suppress(OSError):  # its own thread reads the end then, and closes it
                        sock.shutdown(socket.SHUT_RDWR)

    @property
    def _is_here(self) -> bool:
        host = self._url.hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    @cached_property
    def _proxy(self) -> SplitResult | None:
        """Return the proxy that the environment names for this server; one on this machine is asked without."""
        named = getproxies().get(self._url.scheme, "")
        if not named or self._is_here or proxy_bypass(self._url.hostname or ""):
            return None
        return urlsplit(named if "://" in named else f"http://{named}")

    @property
    def _proxy_headers(self) -> dict[str, str]:
        if not self._proxy or not self._proxy.username:
            return {}
        words = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}

    def _connection(self, path: str) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection that is not open yet, and what is asked for there."""
        is_secret = self._url.scheme == "https"
        place = self._proxy or self._url
        host, port = place.hostname or "", place.port
        if not is_secret:
            target = f"{self._url.scheme}://{self._url.netloc}{path}" if self._proxy else path
            return http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS), target
        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=self._context)
        if self._proxy:
            connection.set_tunnel(self._url.hostname or "", self._url.port, self._proxy_headers)
        return connection, path


def _read_reply(response: http.client.HTTPResponse) -> Reply:
    body = response.read(MOST_BYTES)
    if len(body) == MOST_BYTES:
        raise NonsenseError(_("sends more than an answer can hold"))
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    headers = response.headers
    return Reply(response.status, body, headers.get("Content-Type", ""), headers.get("Retry-After", ""))


def _checked_address(address: str) -> SplitResult:
    """Return the address of an API, which begins with /v1 where it names no path."""
    example = _("give one such as http://localhost:8000/v1")
    try:
        url = urlsplit(address.strip())
        is_whole = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_whole, url = False, urlsplit("")
    if not is_whole:
        raise UsageError(_("`--endpoint` is not the address of a server; {example}").format(example=example))
    if url.username or url.password or url.query or url.fragment:
        raise UsageError(
            _(
                "`--endpoint` holds more than an address, which would be written down; a key belongs "
                "into the environment variable {key}, and {example}"
            ).format(key=KEY, example=example)
        )
    path = url.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    if not (address.isascii() and address.strip().isprintable()) or " " in address.strip():
        raise UsageError(_("`--endpoint` is not the address of a server; {example}").format(example=example))
    return url._replace(path=path or "/v1")
