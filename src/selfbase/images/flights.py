"""One computation for all who ask for the same thing at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Computations under way, by key.  One that nobody waits for any more is cancelled."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[T]] = {}
        self._waiting: dict[str, int] = {}

    async def run(self, key: str, compute: Callable[[], Awaitable[T]]) -> T:
        """The result of `compute`, or of the one already under way for `key`."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.ensure_future(_await(compute))
            self._tasks[key] = task
            self._waiting[key] = 0
            task.add_done_callback(lambda done: self._land(key, done))
        self._waiting[key] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._leave(key, task)

    def _leave(self, key: str, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is not task:
            return
        self._waiting[key] -= 1
        if self._waiting[key] == 0 and not task.done():
            # Taken off at once, so that whoever asks next starts anew instead of being cancelled.
            self._land(key, task)
            task.cancel()

    def _land(self, key: str, task: asyncio.Future[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key], self._waiting[key]

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _await(compute: Callable[[], Awaitable[T]]) -> T:
    return await compute()
