"""The connections of the chat page: who asks nothing is let go, and no address has them all."""

import ipaddress
import resource
from contextlib import suppress
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 20.0  # seconds for the head of a request, and for reading on
MOST_CONNECTIONS = 4000
MOST_OF_OWNER = 400  # connections of an address: browsers behind a proxy have six each
BACKLOG = 256  # so many are accepted at a time, before they are counted
OTHER_FILES = 100  # open files that are no connections
MOST_FILES = 65536  # more are never needed; "unlimited" is no number
LET_IN = "let_in"  # in a request's state: it may take its time


class Connection(H11Protocol):
    """A connection; where there are too many, the one that has waited longest without being let in makes room."""

    by_owner: ClassVar[dict[str, dict["Connection", None]]] = {}
    most = MOST_CONNECTIONS

    def connection_made(self, transport: Any) -> None:
        """Begin, if there is room."""
        super().connection_made(transport)
        self.idle_since, self.unsent_bytes = self.loop.time(), 0
        self.owner = address_owner(self.client[0] if self.client else "")
        own = self.by_owner.setdefault(self.owner, {})
        own[self] = None
        if len(own) > MOST_OF_OWNER or len(self.connections) > self.most:
            group = own if len(own) > MOST_OF_OWNER else self.connections
            idle = (connection for connection in group if not connection.is_busy and connection is not self)
            min(idle, key=lambda connection: connection.idle_since, default=self).end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.forget()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request from now on."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def is_busy(self) -> bool:
        """Tell whether a request that was let in is being answered."""
        if self.cycle is None or self.cycle.response_complete or self.transport.is_closing():
            return False
        return LET_IN in self.scope["state"]

    def end_if_idle(self, now: float) -> None:
        """End the connection where it has waited too long; single bytes of a head or a body do not count."""
        unsent_bytes = self.transport.get_write_buffer_size()
        if self.is_busy or unsent_bytes < self.unsent_bytes:
            self.idle_since = now
        self.unsent_bytes = unsent_bytes
        if now - self.idle_since >= PATIENCE:
            self.end()

    def end(self) -> None:
        """End it, whatever has not been sent."""
        self.forget()
        self.transport.abort()

    def forget(self) -> None:
        """Count it no more; it is told that it is lost only once others may have begun."""
        self.connections.discard(self)
        own = self.by_owner.get(self.owner, {})
        own.pop(self, None)
        if not own:
            self.by_owner.pop(self.owner, None)


class Server(uvicorn.Server):
    """Looks after its connections."""

    async def on_tick(self, counter: int) -> bool:
        """End those that wait too long, each second."""
        if counter % 10 == 0:
            for connection in [*self.server_state.connections]:
                connection.end_if_idle(connection.loop.time())
        done: bool = await super().on_tick(counter)
        return done


def raise_file_limit() -> None:
    """Allow as many open files as there may be, and no more connections than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS allows fewer than its hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft != resource.RLIM_INFINITY:
        Connection.most = min(MOST_CONNECTIONS, max(soft - BACKLOG - OTHER_FILES, 50))


def address_owner(address: str) -> str:
    """Return whom an address belongs to: with IPv6, one has a whole network of them."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):  # IPv4 on a socket for both is ::ffff:192.0.2.1
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
