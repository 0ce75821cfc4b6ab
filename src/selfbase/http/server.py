"""The native HTTP shell: listens, keeps count of connections, drains.

Serves any `Handler` on a TCP port or Unix socket.  `SO_REUSEPORT` lets several workers share a
port.  Source: reference/performance-spike.md section 4.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from selfbase.http.connection import Connection
from selfbase.http.heads import Heads
from selfbase.http.limits import HttpLimits
from selfbase.http.values import Begin, Handler, Request
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import ConfigurationError, describe_origin

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class HandlerFailed(Event):
    """A handler raised something it should have turned into an answer: a bug of ours."""

    name: ClassVar[str] = "http.handler.failed"
    level: ClassVar = "error"
    service: ClassVar[str] = "http"
    request_id: str
    method: str
    path: str
    error: str
    where: str


LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: at a socket file when there is one, else at a port."""

    host: str
    port: int
    socket_path: str = ""
    socket_mode: int = 0o660


# From where a machine reaches what listens at all its addresses.
_NEAR = {"0.0.0.0": LOCALHOST, "::": "::1"}  # noqa: S104
PROBE_TIMEOUT_S = 1.0


async def is_listening(address: Address) -> bool:
    """Whether somebody takes connections there."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            if address.socket_path:
                _, writer = await asyncio.open_unix_connection(address.socket_path)
            else:
                host = _NEAR.get(address.host, address.host)
                _, writer = await asyncio.open_connection(host, address.port)
    except OSError:
        return False
    writer.close()
    return True


class Server:
    """One listening socket and its connections."""

    def __init__(
        self,
        handler: Handler,
        events: Events,
        *,
        limits: HttpLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.begin: Begin | None = getattr(handler, "begin", None)
        self.heads = Heads()
        self.limits = limits or HttpLimits()
        self.scheme = "https" if tls else "http"
        self.draining = False
        self.loop: asyncio.AbstractEventLoop
        self._events = events
        self._tls = tls
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._emptied: asyncio.Event | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        # Ids of requests: unique in the world by the first half, cheap by the second.
        self._id_prefix = secrets.token_hex(8)
        self._id_count = 0

    def next_request_id(self) -> str:
        self._id_count += 1
        return f"{self._id_prefix}{self._id_count:016x}"

    def _begin(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._sweep()

    def _sweep(self) -> None:
        """Ends the connections that let their time pass, a few times in the shortest limit."""
        now_s = self.loop.time()
        for connection in [c for c in self._connections if c.deadline_s < now_s]:
            connection.expire()
        shortest_s = min(self.limits.header_timeout_s, self.limits.idle_timeout_s)
        self._sweeper = self.loop.call_later(min(1.0, shortest_s / 4), self._sweep)

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Starts listening; the port, which is chosen by the system for 0.
        Raises ConfigurationError when the address cannot be had."""
        self._begin()
        sock = _bind(host, port, reuse_port=reuse_port)
        self._listener = await self.loop.create_server(
            self._make_connection, sock=sock, backlog=BACKLOG, ssl=self._tls
        )
        return int(sock.getsockname()[1])

    async def listen_unix(self, path: str, mode: int = 0o660) -> None:
        """Listens at a socket file.  Raises ConfigurationError when it cannot be had."""
        self._begin()
        sock = _bind_file(Path(path), mode)
        self._listener = await self.loop.create_unix_server(self._make_connection, sock=sock)

    async def listen_at(self, address: Address) -> str:
        """Listens; where, for people to read.  Raises ConfigurationError."""
        if address.socket_path:
            await self.listen_unix(address.socket_path, address.socket_mode)
            return address.socket_path
        port = await self.listen(address.host, address.port)
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"http://{host}:{port}"

    def _make_connection(self) -> Connection:
        return Connection(self)

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def admit(self, connection: Connection) -> bool:
        if len(self._connections) >= self.limits.connections_max:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._emptied is not None and not self._connections:
            self._emptied.set()

    def report(self, request: Request, error: BaseException) -> None:
        self._events.emit(
            HandlerFailed(
                request_id=request.id,
                method=request.method,
                path=request.full_path,
                error=f"{type(error).__name__}: {error}",
                where=describe_origin(error),
            )
        )

    async def close(self) -> None:
        """Stops accepting, lets running requests end, then cuts what is left."""
        self.draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.drain_timeout_s):
                    await self._emptied.wait()
        for connection in list(self._connections):
            connection.abort()


def _bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off on what is accepted.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}",
            hint="Stop the program that uses the port, choose another with --port,"
            " or let Selfbase choose with --port auto.",
        ) from None
    sock.setblocking(False)
    return sock


def _bind_file(path: Path, mode: int) -> socket.socket:
    """A socket file, in place of one that a former process left behind."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        sock.bind(str(path))
        path.chmod(mode)
    except OSError as error:
        sock.close()
        raise ConfigurationError(f"Cannot listen at {path}: {error.strerror}") from None
    sock.setblocking(False)
    return sock


async def serve(
    handler: Handler, events: Events, host: str, port: int, ready: Callable[[int], None]
) -> None:
    """Listens until cancelled; `ready` hears the port."""
    server = Server(handler, events)
    ready(await server.listen(host, port))
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()
