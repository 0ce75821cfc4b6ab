"""What a service sees of HTTP: a request, a response, a body that arrives in pieces.

Values only; the shells (`server`, `asgi`, `testing`) make and consume them.  Sources: RFC 9110,
RFC 9112.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson

from selfbase.http.headers import Headers
from selfbase.kit.failures import Failure

JSON = "application/json"
JSON_UTF8 = "application/json; charset=utf-8"


class BodyTooLarge(Failure):
    code = "body_too_large"
    status = 413
    message = "The request body is larger than this endpoint accepts"


class BodyIncomplete(Failure):
    """The client went away, or was too slow, before the whole body was here."""

    code = "body_incomplete"
    status = 400
    message = "The request body ended before it was complete"


class InvalidJson(Failure):
    code = "invalid_json"
    status = 400
    message = "The request body is not valid JSON"


class Body(Protocol):
    """A request body: read it whole with a limit, or piece by piece; once only."""

    async def read(self, bytes_max: int) -> bytes:
        """The whole body.  Raises BodyTooLarge, BodyIncomplete."""

    def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
        """The body in pieces as they arrive; the client waits while we do.
        Raises BodyTooLarge, BodyIncomplete."""


class BytesBody:
    """A body that is here already."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    async def read(self, bytes_max: int) -> bytes:
        if len(self._data) > bytes_max:
            raise BodyTooLarge
        return self._data

    async def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
        if bytes_max is not None and len(self._data) > bytes_max:
            raise BodyTooLarge
        if self._data:
            yield self._data


class Gone:
    """Tells whether the client has left.  Shells set it once; handlers may listen."""

    __slots__ = ("_callbacks", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        # Made when somebody listens: most requests are over before anybody leaves.
        self._callbacks: list[Callable[[], None]] | None = None

    def set(self) -> None:
        if not self.is_set:
            self.is_set = True
            callbacks, self._callbacks = self._callbacks or (), None
            for callback in callbacks:
                callback()

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Calls back at once if the client has left already."""
        if self.is_set:
            callback()
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def remove_callback(self, callback: Callable[[], None]) -> None:
        if self._callbacks is not None and callback in self._callbacks:
            self._callbacks.remove(callback)


@dataclass(slots=True)
class Request:
    """One HTTP request.

    `path` is percent-encoded, begins with a slash and has no query; the gateway strips the
    service's prefix from it.  `full_path` stays as the client sent it.  `query` is the raw query
    string.  `client` is the address of the peer (after trusted proxies).  `params` are the decoded
    names of the route pattern.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = field(default_factory=Headers)
    body: Body = field(default_factory=BytesBody)
    client: str = ""
    scheme: str = "http"
    host: str = ""
    id: str = ""
    full_path: str = ""
    prefix: str = ""
    params: dict[str, str] = field(default_factory=dict)
    gone: Gone = field(default_factory=Gone)
    state: dict[str, Any] = field(default_factory=dict)

    def query_pairs(self) -> list[tuple[str, str]]:
        """Decoded query parameters in order, blanks kept; `+` is a space."""
        return parse_qsl(self.query, keep_blank_values=True)

    def query_value(self, name: str) -> str | None:
        """The first value of a query parameter, or None."""
        for key, value in self.query_pairs():
            if key == name:
                return value
        return None

    async def json(self, bytes_max: int) -> Any:
        """The body as JSON; an empty body is an empty object.  Raises InvalidJson."""
        raw = await self.body.read(bytes_max)
        if not raw.strip():
            return {}
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise InvalidJson from error


@dataclass(frozen=True, slots=True)
class FileBody:
    """A part of an open file, sent by the cheapest path the shell has; the shell closes it."""

    descriptor: int
    offset: int
    length: int


ResponseBody = bytes | AsyncIterator[bytes] | FileBody


@dataclass(slots=True)
class Response:
    """One HTTP response.

    A bytes body gets its Content-Length from the shell.  A stream is sent chunked unless the
    headers name a length; an error after its first piece cuts the connection, so that a client
    never takes a torn body for a whole one.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: ResponseBody = b""

    def header(self, name: str) -> str | None:
        """The first value of a header, by lower-case name."""
        length = len(name)
        for key, value in self.headers:
            if len(key) == length and key.lower() == name:
                return value
        return None


def json_response(
    value: Any, status: int = 200, headers: list[tuple[str, str]] | None = None
) -> Response:
    """`value` rendered by orjson as `application/json; charset=utf-8`."""
    return Response(status, [("content-type", JSON_UTF8), *(headers or [])], orjson.dumps(value))


Begin = Callable[
    ["Request", Callable[["Response | Exception"], None]], Awaitable["Response"] | None
]


class Handler(Protocol):
    """What a shell serves: the gateway, or one service alone.

    It may offer `begin` besides `answer`, a `Begin`: what takes the request and, at once or when its
    data have come, hands over a response whose body is bytes, so that no task is needed, or the
    exception that a bug of its own raised; or returns an awaitable that answers as `answer` would.
    """

    async def answer(self, request: Request) -> Response: ...

    async def connect(self, socket: WebSocket) -> None: ...


class WebSocket(Protocol):
    """One WebSocket (RFC 6455).

    `send*` put a message into the socket's buffer and return at once: look at `buffered_bytes` and
    drop slow consumers.  `receive` raises WebSocketClosed when the peer has gone or closed.
    """

    request: Request

    async def accept(self, subprotocol: str | None = None) -> None: ...

    async def reject(self, response: Response) -> None:
        """Answers the upgrade with an ordinary response.  Only before `accept`."""

    async def receive(self) -> str | bytes: ...

    def send(self, message: str | bytes) -> None: ...

    def send_frame(self, frame: bytes) -> None:
        """Writes a frame made by `encode_frame`: one encoding serves all sockets."""

    def send_frames(self, frames: Sequence[bytes]) -> None:
        """Writes several such frames, at the cost of one where the shell can."""

    @property
    def buffered_bytes(self) -> int: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class WebSocketClosed(Exception):
    """The socket is closed; `code` as in RFC 6455 section 7.4 (1006: without a close frame)."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code = code
        self.reason = reason


def encode_frame(message: str | bytes) -> bytes:
    """A server's unmasked, final frame: text for str, binary for bytes (RFC 6455 section 5.2)."""
    payload = message.encode() if isinstance(message, str) else message
    first = 0x81 if isinstance(message, str) else 0x82
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload
