"""One WebSocket: its protocol, its channels, what is written to it and when it is dropped."""

from __future__ import annotations

import asyncio

from selfbase.http.values import WebSocket, WebSocketClosed, encode_frame
from selfbase.realtime.channel import Channel
from selfbase.realtime.core import Core
from selfbase.realtime.events import FrameDropped, SlowConsumerDropped
from selfbase.realtime.logic.protocol import Dropped, Happening, JoinAsked, Left, SocketProtocol

SLOW_CONSUMER = 1013
IDLE = 1000


class Connection:
    """A socket and the channels joined on it."""

    __slots__ = (
        "_bytes_max",
        "_unsent",
        "channels",
        "closed",
        "core",
        "emptied_s",
        "headers",
        "last_seen_s",
        "protocol",
        "socket",
        "token",
        "version",
    )

    def __init__(
        self, core: Core, socket: WebSocket, version: int, token: str, headers: str
    ) -> None:
        self.core = core
        self.socket = socket
        self.version = version
        self.token = token
        self.headers = headers
        self.protocol = SocketProtocol(version)
        self.channels: dict[int, Channel] = {}
        self.closed = False
        self.last_seen_s = self.emptied_s = core.clock.monotonic_s()
        self._unsent: list[bytes] = []
        self._bytes_max = core.settings.unsent_bytes_max

    async def run(self) -> None:
        """Takes frames until the socket ends, then leaves every channel."""
        self.core.connections[self] = None
        self.core.meters.connected.inc()
        clock, socket = self.core.clock, self.socket
        try:
            while True:
                frame = await socket.receive()
                self.last_seen_s = clock.monotonic_s()
                if not self.closed:
                    self.core.meters.input_bytes.inc(len(frame))
                    self.take(frame)
        except WebSocketClosed:
            pass
        finally:
            self.closed = True
            self.core.connections.pop(self, None)
            self.core.meters.connected.dec()
            self._leave_all()

    def _leave_all(self) -> None:
        for channel in list(self.channels.values()):
            channel.leave()
        self.channels.clear()

    def take(self, frame: str | bytes) -> None:
        """One frame of the client."""
        for happening in self.protocol.receive(frame):
            self._route(happening)
        self.flush()

    def _route(self, happening: Happening) -> None:
        if isinstance(happening, Dropped):
            self.core.events.emit(FrameDropped(happening.reason))
        elif isinstance(happening, JoinAsked):
            channel = Channel(self, happening.channel)
            self.channels[happening.channel.number] = channel
            channel.start(happening.payload)
        elif isinstance(happening, Left):
            self.forget(happening.channel.number)
        else:
            self.channels[happening.channel.number].take(happening)

    def forget(self, number: int) -> None:
        """A channel has ended on the wire: take it out of everything."""
        channel = self.channels.pop(number, None)
        if channel is not None:
            channel.leave()
        if not self.channels:
            self.emptied_s = self.core.clock.monotonic_s()

    def flush(self) -> None:
        """Sends what the protocol has to say."""
        for text in self.protocol.frames_to_send():
            self.write(encode_frame(text))

    def write(self, frame: bytes) -> None:
        """Sends a ready frame, together with all others of this turn of the loop."""
        if self.closed:
            return
        if not self._unsent:
            self.core.outbox.add(self)
        self._unsent.append(frame)

    def write_out(self) -> None:
        """Hands the socket what there is.  One that does not read is dropped, not waited for."""
        frames = self._unsent
        if self.closed or not frames:
            frames.clear()
            return
        if len(frames) == 1:
            self.core.meters.sent_bytes += len(frames[0])
            self.socket.send_frame(frames[0])
        else:
            self.core.meters.sent_bytes += sum(map(len, frames))
            self.socket.send_frames(frames)
        frames.clear()
        unsent = self.socket.buffered_bytes
        if unsent > self._bytes_max:
            self.core.events.emit(SlowConsumerDropped(unsent))
            self.drop(SLOW_CONSUMER, f"slow consumer: more than {self._bytes_max} bytes unread")

    def drop(self, code: int, reason: str) -> None:
        """Ends the connection; nothing more is written to it."""
        if not self.closed:
            self.write_out()  # what was said before, the reason first of all
            self.closed = True
            self.core.connections.pop(self, None)
            # Not at once: a room may be in the middle of writing to all its members.
            asyncio.get_running_loop().call_soon(self._leave_all)
            self.core.tasks.start("close socket", self.socket.close(code, reason))

    def check_idle(self, now_s: float) -> None:
        """Ends a socket whose client is silent, or that has joined nothing for long."""
        settings = self.core.settings
        if now_s - self.last_seen_s > settings.socket_idle_s:
            self.drop(IDLE, "heartbeat timeout")
        elif not self.channels and now_s - self.emptied_s > settings.socket_empty_s:
            self.drop(IDLE, "no channels joined")
