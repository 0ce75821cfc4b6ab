"""WebSockets over the native shell: frames by the sans-I/O core of `websockets`, bytes written raw.

A message is encoded once (`encode_frame`) and the same bytes go to every socket; the transport
merges the writes of one turn of the loop.  Source: RFC 6455.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import TYPE_CHECKING

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from selfbase.http.values import Request, Response, WebSocketClosed, encode_frame

if TYPE_CHECKING:
    from selfbase.http.connection import Connection

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_RECEIVED_MAX = 256
CLOSE_TIMEOUT_S = 5.0
BUFFER_BYTES_MAX = 16 * 1024 * 1024


class NativeSocket:
    """One WebSocket.  Reading pauses while more than a few hundred messages wait unread."""

    def __init__(self, request: Request, connection: Connection, message_bytes_max: int) -> None:
        self.request = request
        self.accepted = False
        self.rejection: Response | None = None
        self._connection = connection
        self._protocol = ServerProtocol(state=State.OPEN, max_size=message_bytes_max)
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[bytes] = []
        self._fragment_bytes = 0
        self._text = False
        self._bytes_max = message_bytes_max
        self._waiter: asyncio.Future[None] | None = None
        self._closed: WebSocketClosed | None = None
        self._gone = asyncio.get_running_loop().create_future()

    @property
    def buffered_bytes(self) -> int:
        return self._connection.transport.get_write_buffer_size()

    async def accept(self, subprotocol: str | None = None) -> None:
        if self._closed is not None:
            raise self._closed
        key = self.request.headers.get("sec-websocket-key").encode()
        digest = b64encode(sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "upgrade: websocket",
            "connection: Upgrade",
            f"sec-websocket-accept: {digest}",
        ]
        if subprotocol:
            lines.append(f"sec-websocket-protocol: {subprotocol}")
        self.accepted = True
        self._connection.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def reject(self, response: Response) -> None:
        self.rejection = response

    async def receive(self) -> str | bytes:
        while not self._messages:
            if self._closed is not None:
                raise self._closed
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        message = self._messages.popleft()
        if len(self._messages) < _RECEIVED_MAX // 2:
            self._connection.resume_reading()
        return message

    def send(self, message: str | bytes) -> None:
        self.send_frame(encode_frame(message))

    def send_frame(self, frame: bytes) -> None:
        transport = self._connection.transport
        if self._closed is not None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            # A consumer this slow should have been dropped by the service long ago.
            transport.abort()
            return
        transport.write(frame)

    def send_frames(self, frames: Sequence[bytes]) -> None:
        self.send_frame(b"".join(frames))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closed is None and self.accepted:
            self._protocol.send_close(code, reason[:120])
            self._write()
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await asyncio.shield(self._gone)
            except TimeoutError:
                self._connection.transport.abort()
        self._connection.transport.close()

    # Called by the connection

    def feed(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._write()
        if self._protocol.state is State.CLOSED or self._protocol.close_expected():
            self._end()
            self._connection.transport.close()

    def lose(self) -> None:
        self._end()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._text = frame.opcode is Opcode.TEXT
            self._fragments.clear()
            self._fragment_bytes = 0
        elif frame.opcode is not Opcode.CONT:
            return
        self._fragments.append(bytes(frame.data))
        self._fragment_bytes += len(frame.data)
        if self._fragment_bytes > self._bytes_max:
            self._protocol.fail(1009, "message too large")
            return
        if not frame.fin:
            return
        data = b"".join(self._fragments)
        self._fragments.clear()
        try:
            self._messages.append(data.decode() if self._text else data)
        except UnicodeDecodeError:
            self._protocol.fail(1007, "text is not UTF-8")
            return
        if len(self._messages) > _RECEIVED_MAX:
            self._connection.pause_reading()
        self._wake()

    def _write(self) -> None:
        transport = self._connection.transport
        for piece in self._protocol.data_to_send():
            if piece and not transport.is_closing():
                transport.write(piece)

    def _end(self) -> None:
        if self._closed is None:
            code = self._protocol.close_code if self._protocol.close_rcvd else 1006
            self._closed = WebSocketClosed(code or 1006, self._protocol.close_reason or "")
            if not self._gone.done():
                self._gone.set_result(None)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
