"""Workers of one machine: a hub on a Unix socket, held by whichever worker came first.

When the worker with the hub ends, another takes the lock and the rest connect to it.  Messages are
`length, kind, topic length, topic, data`; a worker that does not read is cut off and comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
from pathlib import Path

from selfbase.realtime.bus.port import BusUnavailable, OnState, Receive

_HEAD = struct.Struct(">IBH")
_SUBSCRIBE, _UNSUBSCRIBE, _PUBLISH, _DONE = 1, 2, 3, 4
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
BUFFER_BYTES_MAX = 64 * 1024 * 1024
RETRY_S = 0.1
WAIT_S = 5.0


def _pack(kind: int, topic: str, data: bytes = b"") -> bytes:
    name = topic.encode()
    return _HEAD.pack(len(data), kind, len(name)) + name + data


async def _read(reader: asyncio.StreamReader) -> tuple[int, str, bytes]:
    """Raises IncompleteReadError at the end, ValueError on nonsense."""
    length, kind, name_length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    if length > MESSAGE_BYTES_MAX:
        raise ValueError("message too large")
    name = await reader.readexactly(name_length)
    return kind, name.decode(), await reader.readexactly(length)


class Hub:
    """Passes what one worker publishes to the others that are subscribed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._lock: int | None = None
        self._topics: dict[str, set[asyncio.StreamWriter]] = {}
        self._writers: set[asyncio.StreamWriter] = set()

    async def try_open(self) -> bool:
        """Whether this worker holds the hub now."""
        descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o600)
        return True

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                kind, topic, data = await _read(reader)
                if kind == _SUBSCRIBE:
                    self._topics.setdefault(topic, set()).add(writer)
                    writer.write(_pack(_DONE, topic))
                elif kind == _UNSUBSCRIBE:
                    self._forget(topic, writer)
                elif kind == _PUBLISH:
                    self._pass_on(writer, topic, data)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, UnicodeDecodeError):
            pass
        finally:
            self._writers.discard(writer)
            for topic in list(self._topics):
                self._forget(topic, writer)
            writer.close()

    def _forget(self, topic: str, writer: asyncio.StreamWriter) -> None:
        writers = self._topics.get(topic, set())
        writers.discard(writer)
        if not writers:
            self._topics.pop(topic, None)

    def _pass_on(self, sender: asyncio.StreamWriter, topic: str, data: bytes) -> None:
        message = _pack(_PUBLISH, topic, data)
        for writer in self._topics.get(topic, ()):
            if writer is sender or writer.is_closing():
                continue
            if writer.transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
                writer.transport.abort()
            else:
                writer.write(message)


class MachineBus:
    """One worker's end."""

    is_shared = True

    def __init__(self, path: Path) -> None:
        self.name = f"unix:{path}"
        self.is_up = False
        self._path = path
        self._hub = Hub(path)
        self._topics: set[str] = set()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, receive: Receive, on_state: OnState) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        first = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(
            self._keep_up(receive, on_state, first), name="machine bus"
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(first), WAIT_S)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        self.is_up = False
        await self._hub.close()

    async def _keep_up(
        self, receive: Receive, on_state: OnState, first: asyncio.Future[None]
    ) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                if not await self._hub.try_open():
                    await asyncio.sleep(RETRY_S)
                continue
            for topic in self._topics:
                self._writer.write(_pack(_SUBSCRIBE, topic))
            self.is_up = True
            if first.done():
                on_state(True)
            else:
                first.set_result(None)
            try:
                await self._take(reader, receive)
            except (asyncio.IncompleteReadError, ConnectionError, ValueError):
                pass
            finally:
                self.is_up = False
                self._writer.close()
            self._fail_waiting()
            on_state(False)

    async def _take(self, reader: asyncio.StreamReader, receive: Receive) -> None:
        while True:
            kind, topic, data = await _read(reader)
            if kind == _DONE:
                for waiter in self._waiting.pop(topic, []):
                    if not waiter.done():
                        waiter.set_result(None)
            elif kind == _PUBLISH and topic in self._topics:
                receive(topic, data)

    def _fail_waiting(self) -> None:
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(BusUnavailable(self.name))
        self._waiting.clear()

    def publish(self, topic: str, data: bytes) -> None:
        writer = self._writer
        if self.is_up and writer is not None and not writer.is_closing():
            if writer.transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
                writer.transport.abort()
            else:
                writer.write(_pack(_PUBLISH, topic, data))

    async def subscribe(self, topic: str) -> None:
        self._topics.add(topic)
        if not self.is_up or self._writer is None:
            raise BusUnavailable(self.name)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(topic, []).append(waiter)
        self._writer.write(_pack(_SUBSCRIBE, topic))
        try:
            await asyncio.wait_for(waiter, WAIT_S)
        except TimeoutError:
            raise BusUnavailable(self.name) from None

    async def unsubscribe(self, topic: str) -> None:
        self._topics.discard(topic)
        if self.is_up and self._writer is not None:
            self._writer.write(_pack(_UNSUBSCRIBE, topic))
