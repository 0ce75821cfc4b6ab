"""The ASGI shell: serves a `Handler` under any ASGI 3 server.

Body, WebSocket and disconnect follow the same promises as the native shell; limits of headers and
time are those of the server around it.  Source: ASGI specification 3.0, HTTP and WebSocket 2.4.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from uuid import uuid4

from selfbase.http.headers import Headers
from selfbase.http.values import (
    BodyIncomplete,
    BodyTooLarge,
    FileBody,
    Handler,
    Request,
    Response,
    WebSocketClosed,
    json_response,
)
from selfbase.kit.failures import Failure

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Lifespan = Callable[[], Awaitable[None]]

_FILE_PIECE = 512 * 1024
BUFFER_BYTES_MAX = 16 * 1024 * 1024


class AsgiApp:
    """An ASGI application.  `open` and `close` run at the server's start-up and shutdown; `handler`
    gives what to serve once `open` has returned."""

    def __init__(self, handler: Callable[[], Handler], open: Lifespan, close: Lifespan) -> None:
        self._handler = handler
        self._open = open
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._open()
        except Failure as failure:
            await send({"type": "lifespan.startup.failed", "message": failure.message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _make_request(scope, scope["method"])
        request.body = AsgiBody(receive, request)
        try:
            response = await self._handler().answer(request)
        except Failure as failure:
            response = json_response(
                {"message": failure.message, "code": failure.code}, failure.status
            )
        await _send_response(request, response, send)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = AsgiSocket(_make_request(scope, "GET"), receive, send)
        await receive()  # websocket.connect
        sender = asyncio.create_task(socket.pump())
        try:
            await self._handler().connect(socket)
        except WebSocketClosed:
            pass  # the peer left: the ordinary end of a socket
        except Failure as failure:
            await socket.reject(json_response({"message": failure.message}, failure.status))
        finally:
            await socket.close()
            sender.cancel()


class AsgiBody:
    """The body of one request; once only."""

    def __init__(self, receive: Receive, request: Request) -> None:
        self._receive = receive
        self._request = request

    async def read(self, bytes_max: int) -> bytes:
        return b"".join([piece async for piece in self.stream(bytes_max)])

    async def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
        taken = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._request.gone.set()
                raise BodyIncomplete
            piece = message.get("body", b"")
            more = message.get("more_body", False)
            taken += len(piece)
            if bytes_max is not None and taken > bytes_max:
                raise BodyTooLarge
            if piece:
                yield piece


class AsgiSocket:
    """A WebSocket over ASGI: sending is queued here and pumped by a task of its own."""

    def __init__(self, request: Request, receive: Receive, send: Send) -> None:
        self.request = request
        self._receive = receive
        self._send = send
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._buffered = 0
        self._accepted = False
        self._closed: WebSocketClosed | None = None

    @property
    def buffered_bytes(self) -> int:
        return self._buffered

    async def accept(self, subprotocol: str | None = None) -> None:
        self._accepted = True
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol})

    async def reject(self, response: Response) -> None:
        if self._accepted or self._closed is not None:
            return
        self._closed = WebSocketClosed(1006, "rejected")
        body = response.body if isinstance(response.body, bytes) else b""
        headers = [(n.lower().encode(), v.encode("latin-1")) for n, v in response.headers]
        try:
            await self._send(
                {
                    "type": "websocket.http.response.start",
                    "status": response.status,
                    "headers": headers,
                }
            )
            await self._send({"type": "websocket.http.response.body", "body": body})
        except (RuntimeError, ValueError):  # a server without that extension says 403 itself
            await self._send({"type": "websocket.close", "code": 1008})

    async def receive(self) -> str | bytes:
        if self._closed is not None:
            raise self._closed
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._closed = WebSocketClosed(message.get("code", 1006), message.get("reason") or "")
            self.request.gone.set()
            raise self._closed
        text = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    def send(self, message: str | bytes) -> None:
        if self._closed is None and self._buffered > BUFFER_BYTES_MAX:
            self._closed = WebSocketClosed(1013, "too slow")
            self._queue.put_nowait({"type": "websocket.close", "code": 1013})
        if self._closed is None:
            kind = "text" if isinstance(message, str) else "bytes"
            self._buffered += len(message)
            self._queue.put_nowait({"type": "websocket.send", kind: message})

    def send_frame(self, frame: bytes) -> None:
        """Takes the frame apart again: ASGI servers frame by themselves."""
        length = frame[1] & 0x7F
        start = 2 if length < 126 else 4 if length == 126 else 10
        payload = frame[start:]
        self.send(payload.decode() if frame[0] & 0x0F == 1 else payload)

    def send_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.send_frame(frame)

    async def pump(self) -> None:
        while True:
            message = await self._queue.get()
            await self._send(message)
            self._buffered -= len(message.get("text") or message.get("bytes") or b"")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closed is None:
            self._closed = WebSocketClosed(code, reason)
            while not self._queue.empty():
                await self._send(self._queue.get_nowait())
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


def _make_request(scope: Scope, method: str) -> Request:
    headers = Headers.from_lower(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    )
    raw: bytes | None = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else scope["path"]
    client = scope.get("client")
    return Request(
        method=method,
        path=path,
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        client=client[0] if client else "",
        scheme="https" if scope["scheme"] in ("https", "wss") else "http",
        host=headers.get("host"),
        id=uuid4().hex,
        full_path=path,
    )


async def _send_response(request: Request, response: Response, send: Send) -> None:
    body = response.body
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
    named = {name for name, _ in headers}
    if b"content-length" not in named and response.status not in (204, 304):
        if isinstance(body, bytes):
            # To a HEAD, no body is no news about the length of what a GET would bring.
            if body or request.method != "HEAD":
                headers.append((b"content-length", str(len(body)).encode()))
        elif isinstance(body, FileBody):
            headers.append((b"content-length", str(body.length).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if isinstance(body, bytes):
        await send(
            {"type": "http.response.body", "body": b"" if request.method == "HEAD" else body}
        )
        return
    pieces = _read_file(body) if isinstance(body, FileBody) else body
    async for piece in pieces:
        if request.method != "HEAD":
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _read_file(body: FileBody) -> AsyncIterator[bytes]:
    offset, left = body.offset, body.length
    try:
        while left > 0:
            size = min(left, _FILE_PIECE)
            piece = await asyncio.to_thread(os.pread, body.descriptor, size, offset)
            if not piece:
                raise OSError("the file is shorter than promised")
            yield piece
            offset += len(piece)
            left -= len(piece)
    finally:
        os.close(body.descriptor)
