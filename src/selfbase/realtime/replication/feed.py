"""The changes of one project on this worker: read once for all workers, dispatched to our clients.

What channels see of all that: subscribe, wait until changes are being read, unsubscribe.
Source: reference/realtime.md sections 10 to 12.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from selfbase.database.database import Database
from selfbase.database.failures import DatabaseFailure
from selfbase.identity.caller import Caller
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.realtime.events import MessageDropped, TaskFailed
from selfbase.realtime.logic.changes import Change
from selfbase.realtime.logic.frames import Broadcast
from selfbase.realtime.logic.joins import Binding
from selfbase.realtime.logic.pgoutput import Begin, Relation, RowChange
from selfbase.realtime.meters import Meters
from selfbase.realtime.replication.matching import Matcher
from selfbase.realtime.replication.messages import is_messages, read_message
from selfbase.realtime.replication.parcels import Unpacker, pack_chunk
from selfbase.realtime.replication.reader import Listener, Reader
from selfbase.realtime.replication.stream import Chunk, Stream
from selfbase.realtime.replication.subscribing import EXTENSION, Subscriber
from selfbase.realtime.replication.subscriptions import Registry, Subscription, Tell
from selfbase.realtime.settings import RealtimeSettings

BUS_TOPIC = "changes"
# How long dispatching waits for a database that is away before it gives changes up.
OUTAGE_S_MAX = 120.0
PARCELS_MAX = 256
BATCH_PARCELS_MAX = 8
WARN_INTERVAL_S = 60.0
DROP_WARN_INTERVAL_S = 1.0
FACTS_AGE_S_MAX = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Links:
    """What the feed needs of the rest.  `send` delivers a message from SQL to a room (private,
    subtopic); `publish` hands a chunk to other workers; `list_workers` names those alive."""

    send: Callable[[bool, str, Broadcast], None]
    publish: Callable[[bytes], None]
    is_wanted: Callable[[], bool]
    list_workers: Callable[[], list[str]]
    is_shared: bool
    worker: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """A chunk that waits to go out; `stream` is told when it has, where this worker read it."""

    chunk: Chunk
    stream: Stream | None
    arrived_s: float


class Feed:
    """One worker's end of the stream of changes."""

    def __init__(
        self,
        settings: RealtimeSettings,
        database: Database,
        links: Links,
        *,
        clock: Clock,
        events: Events,
        meters: Meters,
    ) -> None:
        self._settings = settings
        self._links = links
        self._clock = clock
        self._events = events
        self._meters = meters
        self._registry = Registry()
        self._matcher = Matcher(
            database, self._registry, record_bytes_max=settings.change_bytes_max
        )
        self._subscriber = Subscriber(settings, database, self._registry, events)
        listener = Listener(
            self._wants, links.is_wanted, self._take, self._on_started, self._on_loss
        )
        self.reader = Reader(
            settings, database, listener, clock=clock, events=events, meters=meters
        )
        self._parcels: asyncio.Queue[Parcel] = asyncio.Queue(PARCELS_MAX)
        self._unpacker = Unpacker()
        self._judging = asyncio.Lock()
        self._dispatcher: asyncio.Task[None] | None = None
        self._last_commit = 0
        self._warned_s = self._asked_s = self._dropped_s = float("-inf")
        self._closed = False

    # What channels use

    def touch(self) -> None:
        """A client is here: changes are wanted."""
        if not self._closed:
            if self._dispatcher is None:
                loop = asyncio.get_running_loop()
                self._dispatcher = loop.create_task(self._dispatch(), name="dispatch changes")
            self.reader.start()

    async def wait_ready(self, timeout_s: float) -> bool:
        """Whether changes are being read, after waiting for that a moment."""
        self.touch()
        try:
            async with asyncio.timeout(timeout_s):
                await self.reader.ready.wait()
        except TimeoutError:
            return False
        return True

    def make_subscription(
        self,
        bindings: tuple[Binding, ...],
        caller: Caller,
        *,
        topic: str,
        version: int,
        write: Callable[[bytes], None],
        tell: Tell,
    ) -> Subscription:
        """A subscription that is not active yet."""
        # The first half names this worker, so that rows of a lost one can be told apart.
        id_ = UUID(hex=self._links.worker[:16] + secrets.token_hex(8))
        return Subscription(id_, bindings, caller, topic, version, write, tell)

    async def subscribe(self, subscription: Subscription) -> None:
        """Checks the bindings and makes those active that can be."""
        self.touch()
        await self._subscriber.activate(subscription)
        self._count()

    def announce(self, subscription: Subscription) -> None:
        """The channel has joined: releases what was held and tells how its bindings stand."""
        subscription.release()
        self._subscriber.follow_up(subscription, self.reader.ready)

    async def change_caller(self, subscription: Subscription, caller: Caller) -> None:
        """The channel has a new token: from now on changes are judged for that caller."""
        async with self._judging:
            if subscription.ended:
                return
            self._subscriber.change_caller(subscription, caller)
        await self._subscriber.renew_rows(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriber.end(subscription)
        self._count()

    def _count(self) -> None:
        self._meters.subscriptions.set(self._registry.binding_count)
        self._meters.clients.set(len(self._subscriber.subscriptions))

    async def close(self) -> None:
        self._closed = True
        await self.reader.close()
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            await asyncio.gather(self._dispatcher, return_exceptions=True)
        await self._subscriber.close()

    # What comes in

    def _wants(self, relation: Relation) -> bool:
        # In the stream's thread.  Other workers may want what we do not.
        if self._links.is_shared or is_messages(relation):
            return True
        return self._registry.wants(relation.schema, relation.table)

    def _on_started(self) -> None:
        self._matcher.forget()
        self._subscriber.start_sweep(self._links.list_workers())

    def _on_loss(self, reason: str) -> None:
        message = f"Changes may have been lost: {reason}"
        for subscription in list(self._subscriber.subscriptions):
            subscription.tell(EXTENSION, "error", message)

    def _take(self, chunk: Chunk, stream: Stream) -> None:
        if self._links.is_shared:
            self._links.publish(pack_chunk(chunk))
        # Never full: the stream itself stops reading while chunks wait.
        self._parcels.put_nowait(Parcel(chunk, stream, self._clock.monotonic_s()))

    def receive(self, data: bytes) -> None:
        """A chunk that the leading worker has read."""
        self.touch()
        chunk = self._unpacker.unpack(data)
        if self._parcels.full():
            self._on_loss("this worker is overloaded")
            return
        self._parcels.put_nowait(Parcel(chunk, None, self._clock.monotonic_s()))

    # What goes out

    async def _dispatch(self) -> None:
        while True:
            parcels = [await self._parcels.get()]
            await self._let_settle(parcels[0])
            # What has come meanwhile becomes one batch: rights are asked for once in it.
            while len(parcels) < BATCH_PARCELS_MAX and not self._parcels.empty():
                parcels.append(self._parcels.get_nowait())
            await self._let_settle(parcels[-1])
            try:
                await self._dispatch_batch(parcels)
            except Exception as error:  # one bad batch must not end all later ones
                where = f"{type(error).__name__}: {error}"
                self._events.emit(TaskFailed("dispatch changes", where[:500]))
                self._on_loss("a batch of changes could not be dispatched")
            finally:
                for parcel in parcels:
                    if parcel.stream is not None:
                        parcel.stream.handled(parcel.chunk)

    async def _let_settle(self, parcel: Parcel) -> None:
        """A client must not hear of its own change before its request is answered."""
        # From its arrival here and not from its commit: when this process was held up, the answer
        # to the writer has been, too.
        age_s = self._clock.monotonic_s() - parcel.arrived_s
        if age_s < self._settings.change_delay_s:
            await asyncio.sleep(self._settings.change_delay_s - age_s)

    async def _dispatch_batch(self, parcels: Sequence[Parcel]) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s > FACTS_AGE_S_MAX:
            # Rights that come with roles change without the log telling.
            self._asked_s = now_s
            self._matcher.forget()
        changes: list[Change] = []
        for parcel in parcels:
            chunk = parcel.chunk
            self._meters.changes_skipped.inc(chunk.skipped)
            for relation, row, begin in chunk.changes:
                if begin.final_lsn <= self._last_commit:
                    continue  # read a second time after a reconnect
                self._meters.changes.inc()
                if is_messages(relation):
                    # Order between messages and changes holds: what came before goes out first.
                    await self._deliver(changes)
                    changes = []
                    if parcel.stream is not None:
                        self._send_message(relation, row, begin)
                elif self._registry.wants(relation.schema, relation.table):
                    table = await self._outlast(self._matcher.catalog.get_table, relation)
                    old = (row.old, row.old_is_full)
                    changes.append(Change(table, row.kind, row.new, *old, begin.committed_us))
            self._last_commit = max(self._last_commit, chunk.commit_lsn)
        await self._deliver(changes)

    def _send_message(self, relation: Relation, row: RowChange, begin: Begin) -> None:
        """A message that SQL sent; the worker that reads the log sends it for all."""
        message = read_message(relation, row)
        if message is None:
            return
        limit = self._settings.messages_per_second_max
        if len(message[2].payload) > self._settings.payload_bytes_max:
            self._drop_message("payload_size_exceeded")
        elif 0 < limit < self._meters.message_rate():
            self._drop_message("too_many_requests")
        else:
            latency_ms = time.time() * 1000 - begin.committed_us / 1000
            self._meters.database_latency_ms.observe(max(0.0, latency_ms))
            self._links.send(*message)

    def _drop_message(self, reason: str) -> None:
        now_s = self._clock.monotonic_s()
        if (
            now_s - self._dropped_s >= DROP_WARN_INTERVAL_S
        ):  # a flood must not become one of the log
            self._dropped_s = now_s
            self._events.emit(MessageDropped(reason))

    async def _deliver(self, changes: list[Change]) -> None:
        if not changes:
            return
        limit = self._settings.messages_per_second_max
        if 0 < limit < self._meters.message_rate():
            self._warn_rate()
            return
        # Nothing is written before everything is decided, so trying again is safe.
        count = await self._outlast(self._judge, changes)
        self._meters.db_events.inc(count)
        self._meters.count_messages(count)

    async def _judge(self, changes: list[Change]) -> int:
        async with self._judging:
            began_s = self._clock.monotonic_s()
            count = await self._matcher.deliver(changes)
            self._meters.batch_ms.observe((self._clock.monotonic_s() - began_s) * 1000)
            return count

    def _warn_rate(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._warned_s >= WARN_INTERVAL_S:
            self._warned_s = now_s
            for subscription in list(self._subscriber.subscriptions):
                subscription.tell(
                    EXTENSION, "error", "Too many messages per second: changes are skipped"
                )

    async def _outlast(self, ask: Callable[..., Awaitable[T]], *args: object) -> T:
        """Asks the database again while it is away.  Raises DatabaseFailure at last."""
        began_s = self._clock.monotonic_s()
        while True:
            try:
                return await ask(*args)
            except DatabaseFailure as failure:
                away = failure.status in (503, 504)
                if not away or self._clock.monotonic_s() - began_s > OUTAGE_S_MAX:
                    raise
                await asyncio.sleep(0.5)
