"""What the parts of one running Realtime share: settings, rights, rooms, counters, changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from selfbase.database.database import Database
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.realtime.authorization import Authorizer
from selfbase.realtime.events import TaskFailed
from selfbase.realtime.meters import Meters
from selfbase.realtime.outbox import Outbox
from selfbase.realtime.replication.feed import Feed
from selfbase.realtime.rooms import Rooms
from selfbase.realtime.settings import RealtimeSettings
from selfbase.realtime.tokens import Doorkeeper


class Tasks:
    """Background work that is never lost sight of: failures are told, the end is waited for."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._running: set[asyncio.Task[None]] = set()

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            where = f"{type(error).__name__}: {error}"
            self._events.emit(TaskFailed(task=task.get_name(), error=where[:500]))

    async def close(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@dataclass(slots=True)
class Core:
    """Handed to every connection."""

    settings: RealtimeSettings
    database: Database
    clock: Clock
    events: Events
    doorkeeper: Doorkeeper
    authorizer: Authorizer
    rooms: Rooms
    feed: Feed
    meters: Meters
    tasks: Tasks
    worker: str
    outbox: Outbox = field(default_factory=Outbox)
    draining: bool = False
    connections: dict[Any, None] = field(default_factory=dict)

    def call_at(self, wall_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls back at a moment of wall time, looking again every five minutes at the least."""
        wait_s = max(0.0, wall_s - self.clock.now().timestamp())
        return asyncio.get_running_loop().call_later(min(wait_s, 300.0), callback)
