"""Keeps the stream of changes up while it is wanted: makes the slot, resumes, follows, gives up.

One worker of a project holds the slot and reads; the others try again every second and take over
when it is gone.  Source: reference/realtime.md sections 11.3 and 12.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from selfbase.database.database import Database
from selfbase.database.failures import DatabaseFailure
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.realtime.authorization import LOGIN
from selfbase.realtime.events import (
    ChangesLost,
    SlotLags,
    StreamFailed,
    StreamStarted,
    StreamStopped,
)
from selfbase.realtime.logic.pgoutput import Relation
from selfbase.realtime.meters import Meters
from selfbase.realtime.replication.stream import Chunk, Stream, StreamPlan, StreamRefused
from selfbase.realtime.settings import RealtimeSettings

MESSAGES_PUBLICATION = "supabase_realtime_messages_publication"
RETRY_S, RETRY_S_MAX = 0.25, 10.0
FOLLOW_RETRY_S = 1.0
WATCH_S_MAX = 10.0
# in: name of the slot; out: bytes of log it holds back, or no row; locks: none.
_LAG = """
select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint as lag
from pg_replication_slots where slot_name = %s
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what.  `wants` is called in the stream's thread."""

    wants: Callable[[Relation], bool]
    is_wanted: Callable[[], bool]
    on_chunk: Callable[[Chunk, Stream], None]
    on_started: Callable[[], None]
    on_loss: Callable[[str], None]


class Reader:
    """`ready` is set while changes are being read, here or by the worker that leads."""

    def __init__(
        self,
        settings: RealtimeSettings,
        database: Database,
        listener: Listener,
        *,
        clock: Clock,
        events: Events,
        meters: Meters,
    ) -> None:
        self.ready = asyncio.Event()
        self.stream: Stream | None = None
        self._settings = settings
        self._database = database
        self._listener = listener
        self._clock = clock
        self._events = events
        self._meters = meters
        self._task: asyncio.Task[None] | None = None
        # Whether clients rely on what the slot holds: then it is resumed, not made anew.
        self._resume = False
        self._idle_since_s: float | None = None

    @property
    def is_leading(self) -> bool:
        return self.stream is not None

    def start(self) -> None:
        """Begins to read, unless it does already."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="read changes")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def follow(self, *, ready: bool) -> None:
        """Another worker leads, and reads or not."""
        if self.stream is None:
            self._resume = self._resume or ready
            self._set_ready(ready)

    async def _run(self) -> None:
        retry_s = RETRY_S
        while not self._is_idle():
            try:
                if await self._lead():
                    return
                retry_s = RETRY_S
            except StreamRefused as refusal:
                if refusal.is_taken:
                    await asyncio.sleep(FOLLOW_RETRY_S)
                    continue
                self._events.emit(StreamFailed(str(refusal)[:500], retry_s))
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    def _is_idle(self) -> bool:
        """Whether nobody has been there for long enough."""
        if self._listener.is_wanted():
            self._idle_since_s = None
            return False
        now_s = self._clock.monotonic_s()
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        return now_s - self._idle_since_s >= self._settings.slot_idle_s

    async def _lead(self) -> bool:
        """Reads until the stream breaks or is given up (False), or nobody wants it (True).
        Raises StreamRefused when it cannot be had or breaks."""
        plan = StreamPlan(
            conninfo=self._database.conninfo_for(LOGIN, application_name="selfbase-realtime"),
            slot=self._settings.slot_name,
            publications=(self._settings.publication, MESSAGES_PUBLICATION),
            resume=self._resume,
        )
        stream = Stream(
            plan,
            wants=self._listener.wants,
            on_chunk=lambda chunk: self._listener.on_chunk(chunk, stream),
        )
        drop = True
        try:
            started = await stream.start()
            self._events.emit(
                StreamStarted(self._settings.slot_name, started.temporary, started.resumed)
            )
            if self._resume and not started.resumed:
                self._lose("the replication slot could not be continued")
            self._resume = True
            self.stream = stream
            self._listener.on_started()
            self._set_ready(True)
            drop = await self._watch(stream)
            return drop
        except StreamRefused:
            drop = False
            raise
        finally:
            self.stream = None
            self._set_ready(False)
            # A worker that ends while others go on leaves the slot to them.
            await asyncio.shield(stream.stop(drop=drop and not self._listener.is_wanted()))

    async def _watch(self, stream: Stream) -> bool:
        """Whether the stream is no longer wanted; False when it lags and is given up."""
        ending = asyncio.ensure_future(stream.wait_end())
        pause_s = min(WATCH_S_MAX, max(0.05, self._settings.slot_idle_s / 4))
        try:
            while True:
                done, _ = await asyncio.wait({ending}, timeout=pause_s)
                if done:
                    raise ending.result() or StreamRefused("the stream was stopped")
                if self._is_idle():
                    self._events.emit(StreamStopped(self._settings.slot_name, "nobody is there"))
                    self._resume = False
                    return True
                if await self._lags():
                    # Made anew at the end of the log: better to lose changes than the disk.
                    self._resume = False
                    self._lose("the replication slot lagged too far behind")
                    return False
        finally:
            ending.cancel()

    async def _lags(self) -> bool:
        try:
            async with self._database.as_service("the lag of our slot", login=LOGIN) as tx:
                lag = await tx.fetch_value(_LAG, (self._settings.slot_name,))
        except DatabaseFailure:
            return False  # the stream itself will tell that the database is away
        lag_bytes = int(lag or 0)
        self._meters.slot_lag_bytes.set(lag_bytes)
        if lag_bytes > self._settings.slot_lag_bytes_max // 2:
            self._events.emit(SlotLags(lag_bytes))
        return lag_bytes > self._settings.slot_lag_bytes_max

    def _set_ready(self, ready: bool) -> None:
        self._meters.slot_status.set(int(self.stream is not None))
        if ready:
            self.ready.set()
        else:
            self.ready.clear()

    def _lose(self, reason: str) -> None:
        self._events.emit(ChangesLost(reason))
        self._listener.on_loss(reason)
