"""Workers of several machines: Redis publish/subscribe.

Redis keeps nothing: what is published while the bus is down is lost, and presence is put right
afterwards.  Source: Redis documentation, Pub/Sub.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

import redis.asyncio as redis
from redis.exceptions import RedisError

from selfbase.realtime.bus.port import QUEUED_MAX, BusUnavailable, OnState, Receive

RETRY_S, RETRY_S_MAX = 0.2, 5.0
WAIT_S = 5.0
PIPELINE_MAX = 200
PUBLISH_TRIES, PUBLISH_RETRY_S = 3, 0.05
PING_S, SILENT_S_MAX = 2.0, 8.0
# A topic that nobody publishes on: subscribing to it proves that the bus works.
_ANCHOR = "anchor"


class RedisBus:
    """One worker's end.  Every message carries its sender, because Redis returns one's own."""

    is_shared = True

    def __init__(self, url: str, prefix: str, worker: str) -> None:
        self.name = "redis"
        self.is_up = False
        self._url = url
        self._prefix = f"selfbase:realtime:{prefix}:"
        self._worker = worker.encode()[:16].ljust(16, b"\0")
        self._topics: set[str] = {_ANCHOR}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=QUEUED_MAX)
        self._queued = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._client: redis.Redis | None = None
        self._pubsub: redis.client.PubSub | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, receive: Receive, on_state: OnState) -> None:
        loop = asyncio.get_running_loop()
        self._client = redis.Redis.from_url(self._url, socket_connect_timeout=WAIT_S)
        first = loop.create_future()
        self._tasks = [
            loop.create_task(self._keep_up(receive, on_state, first), name="redis bus"),
            loop.create_task(self._write(), name="redis bus writer"),
        ]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(first), WAIT_S)

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), WAIT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.is_up = False
        if self._client is not None:
            await self._client.aclose()

    async def _keep_up(
        self, receive: Receive, on_state: OnState, first: asyncio.Future[None]
    ) -> None:
        retry_s = RETRY_S
        assert self._client is not None
        while True:
            pubsub = self._client.pubsub()
            was_up = False
            try:
                await pubsub.subscribe(*(self._prefix + topic for topic in self._topics))
                self._pubsub = pubsub
                last_s = time.monotonic()
                while time.monotonic() - last_s < SILENT_S_MAX:
                    message = await pubsub.get_message(timeout=PING_S)
                    if message is None:
                        # A connection that broke without a word is found by asking.
                        await pubsub.ping()
                        continue
                    last_s = time.monotonic()
                    if not was_up:
                        was_up, retry_s, self.is_up = True, RETRY_S, True
                        if first.done():
                            on_state(True)
                        else:
                            first.set_result(None)
                    self._take(message, receive)
            except (RedisError, OSError, TimeoutError):
                pass
            finally:
                self._pubsub, self.is_up = None, False
                with contextlib.suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            self._fail_waiting()
            if was_up:
                on_state(False)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    def _take(self, message: dict[str, Any], receive: Receive) -> None:
        topic = (message["channel"] or b"").decode().removeprefix(self._prefix)
        if message["type"] == "subscribe":
            for waiter in self._waiting.pop(topic, []):
                if not waiter.done():
                    waiter.set_result(None)
        elif message["type"] == "message":
            data: bytes = message["data"]
            if topic in self._topics and data[:16] != self._worker:
                receive(topic, data[16:])

    def _fail_waiting(self) -> None:
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(BusUnavailable(self.name))
        self._waiting.clear()

    async def _write(self) -> None:
        assert self._client is not None
        while True:
            if not self._queue:
                self._queued.clear()
                self._drained.set()
                await self._queued.wait()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), PIPELINE_MAX))]
            # A connection of the pool may have died with an earlier Redis: the next one is new.
            # What cannot be sent even so is lost with the bus, and repaired after it.
            for _ in range(PUBLISH_TRIES):
                pipeline = self._client.pipeline(transaction=False)
                for topic, data in batch:
                    pipeline.publish(self._prefix + topic, self._worker + data)
                try:
                    await pipeline.execute()
                    break
                except (RedisError, OSError, TimeoutError):
                    await asyncio.sleep(PUBLISH_RETRY_S)

    def publish(self, topic: str, data: bytes) -> None:
        if self.is_up:
            self._queue.append((topic, data))
            self._drained.clear()
            self._queued.set()

    async def subscribe(self, topic: str) -> None:
        self._topics.add(topic)
        pubsub = self._pubsub
        if pubsub is None or not self.is_up:
            raise BusUnavailable(self.name)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(topic, []).append(waiter)
        try:
            await pubsub.subscribe(self._prefix + topic)
            await asyncio.wait_for(waiter, WAIT_S)
        except (RedisError, OSError, TimeoutError):
            raise BusUnavailable(self.name) from None

    async def unsubscribe(self, topic: str) -> None:
        self._topics.discard(topic)
        pubsub = self._pubsub
        if pubsub is not None and self.is_up:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await pubsub.unsubscribe(self._prefix + topic)
