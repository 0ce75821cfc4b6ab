"""Runs batches on a few connections: who gets which connection, when, and what is tried again.

A quick read may share a connection with others in flight; everything else has one to itself, so
that it can be cancelled and never keeps a neighbour waiting.  One connection is opened at a time.
Does not know callers, roles or HTTP.  Source: reference/performance-spike.md, sections 4 and 5.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from selfbase.database.batch import Batch, Cancellation, Result
from selfbase.database.failures import (
    ConnectionLost,
    DatabaseFailure,
    DatabaseUnavailable,
    PoolTimeout,
)
from selfbase.database.link import Job, Link, open_link

# A prepared statement whose tables changed shape under it; parsing it again settles the matter.
_STALE = frozenset({"0A000", "26000", "42883", "42P01", "42703", "42804"})
# Measured at our end, so a busy loop makes quick statements look slower than they are: one quick
# answer makes a statement quick, and only a really slow one takes that back.
_QUICK_S, _SLOW_S = 0.005, 0.25
_TIMED_MAX = 4096


Done = Callable[[list[Result] | DatabaseFailure], None]
Ended = asyncio.Future[list[Result]]


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Limits of one executor."""

    links_max: int = 10
    links_shared_max: int = 3
    depth_max: int = 8
    waiting_max: int = 2000
    acquire_timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 60.0
    lifetime_s: float = 1800.0


class Executor:
    """The connections of one login role to one database."""

    def __init__(self, conninfo: str, settings: ExecutorSettings | None = None) -> None:
        self._conninfo = conninfo
        self._settings = settings or ExecutorSettings()
        self._links: list[Link] = []
        self._waiters: deque[tuple[asyncio.Future[Link], bool]] = deque()
        self._opening: asyncio.Task[None] | None = None
        self._quick: OrderedDict[tuple[str, bytes], bool] = OrderedDict()
        self._background: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def open_links(self) -> int:
        return len(self._links)

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    async def run(self, batch: Batch, cancellation: Cancellation | None = None) -> list[Result]:
        """The results of the batch's statements, after the transaction has ended.

        Raises DatabaseFailure.  A read whose connection broke is tried once more on another one; a
        write never is, because nobody can know whether it happened.
        """
        try:
            return await self._run_once(batch, cancellation, fresh=False)
        except ConnectionLost as failure:
            if failure.sent and not batch.read_only:
                raise
        except DatabaseUnavailable:
            if not batch.read_only:
                raise
        return await self._run_once(batch, cancellation, fresh=False)

    def begin(self, batch: Batch, done: Done) -> bool:
        """`run` without a task, for a quick read and a connection that is there: `done` gets its
        results or failure.  False, and nothing done, for anything else."""
        if not self._may_share(batch):
            return False
        link = self._find_link(share=True)
        if link is None:
            return False
        link.shareable = True

        def end(job: Job) -> None:
            self._time(batch, job)
            failure = job.failure
            if failure is None:
                done(job.results)
            elif not self._closed and _may_work_again(job, failure):
                link.forget(batch)
                self._start(self._run_again(batch, done))
            else:
                done(failure)

        try:
            link.submit(batch, end)
        except ConnectionLost:
            return False
        return True

    async def _run_again(self, batch: Batch, done: Done) -> None:
        try:
            results = await self.run(batch)
        except DatabaseFailure as failure:
            done(failure)
        except asyncio.CancelledError:
            done(DatabaseUnavailable("the connections to the database are closed"))
            raise
        else:
            done(results)

    def _may_share(self, batch: Batch) -> bool:
        return batch.read_only and batch.begin is None and self._is_quick(batch)

    async def _run_once(
        self, batch: Batch, cancellation: Cancellation | None, *, fresh: bool
    ) -> list[Result]:
        share = self._may_share(batch)
        link = self._find_link(share=share) or await self._wait_for_link(share=share)
        link.shareable = share
        link.reserved = False
        ended: Ended = asyncio.get_running_loop().create_future()
        job = link.submit(batch, partial(_hand_over, ended), fresh=fresh)
        try:
            if cancellation is None or share:
                return await ended
            return await self._run_cancellable(link, job, ended, cancellation)
        except asyncio.CancelledError:
            if not share and job in link.jobs:
                self._start(self._cancel(link, job))
            raise
        except DatabaseFailure as failure:
            if fresh or not _is_stale(job, failure):
                raise
            link.forget(batch)
        finally:
            self._time(batch, job)
        return await self._run_once(batch, cancellation, fresh=True)

    async def _run_cancellable(
        self, link: Link, job: Job, ended: Ended, cancellation: Cancellation
    ) -> list[Result]:
        def leave() -> None:
            self._start(self._cancel(link, job))

        cancellation.add_callback(leave)
        try:
            return await ended
        finally:
            cancellation.remove_callback(leave)

    async def _cancel(self, link: Link, job: Job) -> None:
        if not job.ended or job in link.jobs:
            # Nobody else may get this connection before the cancel request has arrived, or the
            # request would hit the wrong statement.
            link.reserved = True
            try:
                await link.cancel()
            finally:
                link.reserved = False
                self._on_free(link, job)

    # Which connection

    def _find_link(self, *, share: bool) -> Link | None:
        if self._waiters:
            return None
        idle: Link | None = None
        best: Link | None = None
        for link in self._links:
            if link.reserved or link.retired:
                continue
            depth = len(link.jobs)
            if depth == 0:
                idle = idle or link
            elif share and link.shareable and depth < self._settings.depth_max:
                if link.unsent:
                    # Travels in a write that happens anyway, to a process that wakes anyway.
                    return link
                best = link if best is None or depth < len(best.jobs) else best
        if idle is not None:
            return idle
        return best if len(self._links) >= self._settings.links_shared_max else None

    async def _wait_for_link(self, *, share: bool) -> Link:
        settings = self._settings
        if self._closed:
            raise DatabaseUnavailable("the connections to the database are closed")
        if len(self._waiters) >= settings.waiting_max:
            raise PoolTimeout(0)
        waiter: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        entry = (waiter, share)
        self._waiters.append(entry)
        self._open_more()
        try:
            async with asyncio.timeout(settings.acquire_timeout_s):
                return await waiter
        except TimeoutError:
            self._give_back(waiter)
            raise PoolTimeout(settings.acquire_timeout_s) from None
        except asyncio.CancelledError:
            self._give_back(waiter)
            raise
        finally:
            if entry in self._waiters:
                self._waiters.remove(entry)

    def _give_back(self, waiter: asyncio.Future[Link]) -> None:
        """Frees a connection that was handed to someone who had stopped waiting."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            waiter.result().reserved = False
            self._serve_waiters()

    def _open_more(self) -> None:
        if self._opening is None and self._waiters and len(self._links) < self._settings.links_max:
            self._opening = asyncio.create_task(self._open_one())

    async def _open_one(self) -> None:
        try:
            link = await open_link(
                self._conninfo,
                timeout_s=self._settings.connect_timeout_s,
                on_free=self._on_free,
                on_lost=self._on_lost,
            )
        except DatabaseFailure as failure:
            self._fail_waiters(failure)
            return
        finally:
            self._opening = None
        if self._closed:
            link.close()
            return
        self._links.append(link)
        self._schedule_sweep()
        self._serve_waiters()
        self._open_more()

    def _fail_waiters(self, failure: DatabaseFailure) -> None:
        # With other connections alive the waiters may still get one of those.
        if not self._links:
            self._fail_all(failure)

    def _serve_waiters(self) -> None:
        while self._waiters:
            waiter, share = self._waiters[0]
            if waiter.done():
                self._waiters.popleft()
                continue
            link = self._free_link(share=share)
            if link is None:
                return
            self._waiters.popleft()
            # Kept for the waiter until it has sent its batch.
            link.reserved = True
            waiter.set_result(link)

    def _free_link(self, *, share: bool) -> Link | None:
        best: Link | None = None
        for link in self._links:
            if link.reserved or link.retired:
                continue
            if not link.jobs:
                return link
            if share and link.shareable and len(link.jobs) < self._settings.depth_max:
                best = link if best is None or len(link.jobs) < len(best.jobs) else best
        return best

    def _on_free(self, link: Link, job: Job) -> None:
        if link.retired:
            self._close_retired()
        if self._waiters:
            self._serve_waiters()

    def _on_lost(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)
        if not self._closed:
            self._open_more()

    # What is quick

    def _is_quick(self, batch: Batch) -> bool:
        for statement in batch.statements:
            if not self._quick.get((batch.plan_key, statement.sql), False):
                return False
        return True

    def _time(self, batch: Batch, job: Job) -> None:
        if not batch.read_only or job.finished_s == 0.0:
            return
        took_s = job.finished_s - job.started_s
        if took_s < _QUICK_S or took_s > _SLOW_S:
            quick = took_s < _QUICK_S
            for statement in batch.statements:
                self._quick[(batch.plan_key, statement.sql)] = quick
            while len(self._quick) > _TIMED_MAX:
                self._quick.popitem(last=False)

    # Housekeeping

    def _start(self, coroutine: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _schedule_sweep(self) -> None:
        if self._sweep is None and self._links and not self._closed:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(self._settings.idle_timeout_s / 2, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = None
        now_s = time.monotonic()
        for link in self._links:
            idle_s, age_s = now_s - link.idle_since_s, now_s - link.opened_s
            is_idle = not link.jobs and idle_s > self._settings.idle_timeout_s
            link.retired = link.retired or is_idle or age_s > self._settings.lifetime_s
        self._close_retired()
        self._schedule_sweep()

    def recycle(self) -> None:
        """Closes idle connections, and busy ones after their work."""
        for link in self._links:
            link.retired = True
        self._close_retired()

    def _close_retired(self) -> None:
        for link in list(self._links):
            if link.retired and not link.jobs and not link.reserved:
                link.close()

    async def close(self) -> None:
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._fail_all(DatabaseUnavailable("the connections to the database are closed"))
        for link in list(self._links):
            link.close()
        tasks = [*self._background, *([self._opening] if self._opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fail_all(self, failure: DatabaseFailure) -> None:
        while self._waiters:
            waiter, _ = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(failure)


def _hand_over(ended: Ended, job: Job) -> None:
    if ended.done():
        return
    if job.failure is not None:
        ended.set_exception(job.failure)
    else:
        ended.set_result(job.results)


def _is_stale(job: Job, failure: DatabaseFailure) -> bool:
    return job.reused and failure.sqlstate in _STALE


def _may_work_again(job: Job, failure: DatabaseFailure) -> bool:
    """Whether a read that failed so is worth another attempt."""
    return isinstance(failure, ConnectionLost | DatabaseUnavailable) or _is_stale(job, failure)
