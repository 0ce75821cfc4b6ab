"""Removing what has expired, beside the requests that make it.

Nothing runs while nobody calls, so that a sleeping project stays asleep: a request that wrote
something starts one small sweep now and then, and does not wait for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from selfbase.auth.queries.cleanup import list_due, run_sweep
from selfbase.auth.settings import AuthSettings
from selfbase.database.database import Database
from selfbase.database.failures import DatabaseFailure
from selfbase.kit.clock import Clock
from selfbase.kit.events import Event, Events

GAP_S = 5.0
TIMEOUT_S = 10.0
LOGIN = "supabase_auth_admin"


@dataclass(frozen=True, slots=True)
class SweepFailed(Event):
    """A sweep did not run; the next one of its kind comes in its turn."""

    name: ClassVar[str] = "auth.sweep.failed"
    level: ClassVar = "warning"
    service: ClassVar[str] = "auth"
    table: str
    reason: str


class Sweeper:
    """Takes the sweeps in turn, one at a time and never more often than every few seconds."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._turn = 0
        self._swept_at_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def nudge(self, settings: AuthSettings) -> None:
        """Something was written: starts a sweep if one is due.  Returns at once."""
        now_s = self._clock.monotonic_s()
        running = self._task is not None and not self._task.done()
        if running or now_s - self._swept_at_s < GAP_S:
            return
        self._swept_at_s = now_s
        self._task = asyncio.create_task(self._sweep_safely(settings))

    async def _sweep_safely(self, settings: AuthSettings) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self.sweep(settings)
        except (DatabaseFailure, TimeoutError) as error:
            self._events.emit(SweepFailed("auth", type(error).__name__))

    async def sweep(self, settings: AuthSettings) -> int:
        """Runs the sweep whose turn it is; how many rows went.  Raises DatabaseFailure."""
        due = list_due(settings)
        sweep, params = due[self._turn % len(due)]
        self._turn += 1
        async with self._database.as_service("remove what has expired", login=LOGIN) as tx:
            return await run_sweep(tx, sweep, {**params, "now": self._clock.now()})

    async def close(self) -> None:
        """Ends a sweep that runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
