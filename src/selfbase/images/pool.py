"""A capped number of threads for transformations, a bounded queue before them, a time limit.

A job that runs out of time is told to stop; its thread counts as busy until it really has, so that
stuck work can never take more threads than there are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

from selfbase.images.errors import RenderTimedOut, TooManyRenders

T = TypeVar("T")


class Job:
    """One transformation under way: which images to stop, and whether it was stopped."""

    def __init__(self) -> None:
        self._images: list[Any] = []
        self._lock = Lock()
        self.killed = False

    def track(self, image: Any) -> None:
        """Called by the worker for each image whose evaluation may take long."""
        with self._lock:
            self._images.append(image)
            if self.killed:
                image.set_kill(True)

    def kill(self) -> None:
        """Makes the evaluation under way fail at its next rows."""
        with self._lock:
            self.killed = True
            for image in self._images:
                image.set_kill(True)


class RenderPool:
    """Shared by all projects of a process: the cap is the machine's, not a project's."""

    def __init__(self, workers: int = 0, *, queue_max: int = 64) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._queue_max = queue_max
        self._threads: ThreadPoolExecutor | None = None
        self._free = asyncio.Semaphore(self.workers)
        self._waiting = 0

    async def run(self, work: Callable[[Job], T], timeout_s: float) -> T:
        """`work` in a thread, waiting included in the time.  Raises TooManyRenders, RenderTimedOut
        and what `work` raises."""
        if self._free.locked() and self._waiting >= self._queue_max:
            raise TooManyRenders
        job = Job()
        try:
            async with asyncio.timeout(timeout_s):
                await self._take()
                return await asyncio.shield(self._start(work, job))
        except TimeoutError:
            raise RenderTimedOut from None
        finally:
            job.kill()

    async def _take(self) -> None:
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def _start(self, work: Callable[[Job], T], job: Job) -> asyncio.Future[T]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="images")
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, job)
        future.add_done_callback(self._release)
        return future

    def _release(self, future: asyncio.Future[Any]) -> None:
        self._free.release()
        with suppress(asyncio.CancelledError):
            future.exception()  # Nobody may be left to hear of it once the time has run out.

    async def close(self) -> None:
        """Waits for running jobs; their time limits bound the wait."""
        if self._threads is not None:
            threads, self._threads = self._threads, None
            await asyncio.to_thread(threads.shutdown, True, cancel_futures=True)
