"""One connection in pipeline mode: batches in, results out, in order.

Owns the libpq connection and its prepared statements.  Knows nothing of pools, callers or retries.
Source: PostgreSQL documentation, 32.5 (pipeline mode); psycopg 3 `pq` package.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PollingStatus
from psycopg.pq.abc import PGconn, PGresult

from selfbase.database.batch import Batch, Result, Statement, render_settings
from selfbase.database.failures import (
    ConnectionLost,
    DatabaseFailure,
    DatabaseUnavailable,
    Diagnosis,
    failure_from_diagnosis,
)
from selfbase.database.libpq import find_send_sync

STATEMENTS_MAX = 512
# A step of a job: what the next result in the pipeline belongs to.
_PREPARE, _SKIP, _KEEP = 0, 1, 2
# Plain numbers: looking a member up in its enum class costs more than comparing it.
_OK = (int(ExecStatus.TUPLES_OK), int(ExecStatus.COMMAND_OK))
_SYNC = int(ExecStatus.PIPELINE_SYNC)
_CONNECTION_BAD = int(ConnStatus.BAD)


class Job:
    """One batch on its way through a link; `done` is called once, when it has ended."""

    __slots__ = (
        "batch",
        "done",
        "ended",
        "failure",
        "finished_s",
        "results",
        "reused",
        "started_s",
        "steps",
    )

    def __init__(self, batch: Batch, done: Callable[[Job], None]) -> None:
        self.batch = batch
        self.done = done
        self.ended = False
        self.steps: deque[tuple[int, tuple[str, bytes] | None, bytes]] = deque()
        self.results: list[Result] = []
        self.failure: DatabaseFailure | None = None
        self.reused = False  # a statement prepared earlier was used: it may have gone stale
        self.started_s = 0.0
        self.finished_s = 0.0


class Link:
    """A connection.  `on_free` is called after each finished job, `on_lost` once when it breaks.

    `unsent` tells that batches submitted in this turn of the loop still wait for its end.
    """

    def __init__(
        self,
        conn: PGconn,
        loop: asyncio.AbstractEventLoop,
        *,
        on_free: Callable[[Link, Job], None],
        on_lost: Callable[[Link], None],
    ) -> None:
        self.jobs: deque[Job] = deque()
        self.reserved = False
        self.shareable = True
        self.retired = False  # gets no more work, and is closed after what it has
        self.opened_s = self.idle_since_s = time.monotonic()
        self.lost = False
        self.backend_pid = conn.backend_pid
        self._conn = conn
        self._loop = loop
        self._socket = conn.socket
        self._on_free = on_free
        self._on_lost = on_lost
        self._send_sync = find_send_sync()
        self._pointer = int(cast("Any", conn).pgconn_ptr)
        self._names: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        self._columns: dict[bytes, tuple[str, ...]] = {}
        self._parsing: set[tuple[str, bytes]] = set()
        self._counter = 0
        self._writing = False
        self.unsent = False
        self._got_result = False
        conn.nonblocking = 1
        conn.enter_pipeline_mode()
        loop.add_reader(self._socket, self._on_readable)

    def submit(self, batch: Batch, done: Callable[[Job], None], *, fresh: bool = False) -> Job:
        """Sends the batch; `done` gets the job with its results or failure.  `fresh` ignores
        statements prepared earlier.  Raises ConnectionLost."""
        if self.lost:  # between being chosen and being used
            raise ConnectionLost("the connection to the database was lost", sent=False)
        job = Job(batch, done)
        job.started_s = time.monotonic()
        try:
            if batch.begin is not None:
                self._send_unnamed(job, batch.begin, (), _SKIP)
            if batch.settings:
                names, values = zip(*batch.settings, strict=True)
                keep = not batch.statements or batch.statements[0].keep
                settings = Statement(render_settings(names), values, keep)
                self._send(job, "", settings, _SKIP, fresh=False)
            for statement in batch.statements:
                self._send(job, batch.plan_key, statement, _KEEP, fresh=fresh)
            if batch.begin is not None:
                self._send_unnamed(job, batch.end, (), _SKIP)
            self._sync()
        except psycopg.Error as error:
            self._break(str(error))
            raise ConnectionLost(str(error), sent=True) from error
        self.jobs.append(job)
        return job

    def _sync(self) -> None:
        """Ends a batch.  What is submitted in one turn of the loop leaves in one write: each write
        wakes a process, which costs more than all of our own work on it."""
        if self._send_sync is None:
            self._conn.pipeline_sync()
        elif not self._send_sync(self._pointer):
            raise psycopg.OperationalError(_message(self._conn))
        if not self.unsent:
            self.unsent = True
            self._loop.call_soon(self._flush)

    def _send(
        self, job: Job, plan_key: str, statement: Statement, step: int, *, fresh: bool
    ) -> None:
        key = (plan_key, statement.sql)
        name = self._names.get(key)
        if name is not None and not fresh:
            self._names.move_to_end(key)
            job.reused = True
            self._conn.send_query_prepared(name, statement.params)
            job.steps.append((step, key, name))
        elif not statement.keep or key in self._parsing:
            # A name counts only after its Parse is known to have worked; until then the same
            # statement travels unnamed.
            self._send_unnamed(job, statement.sql, statement.params, step)
        else:
            self._counter += 1
            name = b"s%d" % self._counter
            self._parsing.add(key)
            self._conn.send_prepare(name, statement.sql)
            job.steps.append((_PREPARE, key, name))
            self._conn.send_query_prepared(name, statement.params)
            job.steps.append((step, key, b""))

    def _send_unnamed(
        self, job: Job, sql: bytes, params: tuple[bytes | None, ...], step: int
    ) -> None:
        self._conn.send_query_params(sql, params)
        job.steps.append((step, None, b""))

    def _flush(self) -> None:
        self.unsent = False
        if self.lost:
            return
        try:
            pending = self._conn.flush()
        except Exception as error:  # libpq reports a broken socket here
            self._break(str(error))
            return
        if pending and not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket, self._on_writable)
        elif not pending and self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)

    def _on_writable(self) -> None:
        self._flush()

    def _on_readable(self) -> None:
        conn = self._conn
        try:
            conn.consume_input()
            self._drain()
        except Exception as error:  # broken socket, or a server that broke the protocol
            self._break(str(error))
            return
        if not self.lost and conn.status == _CONNECTION_BAD:
            self._break("server closed the connection unexpectedly")
        elif self._writing:
            self._flush()

    def _drain(self) -> None:
        conn = self._conn
        while self.jobs and not conn.is_busy():
            result = conn.get_result()
            if result is None:
                if not self._got_result:
                    return
                self._got_result = False
                continue
            if result.status == _SYNC:
                self._got_result = False
                self._finish(self.jobs.popleft())
            else:
                self._got_result = True
                self._take(self.jobs[0], result)

    def _take(self, job: Job, result: PGresult) -> None:
        kind, key, name = job.steps.popleft() if job.steps else (_SKIP, None, b"")
        status = result.status
        if kind == _PREPARE and key is not None:
            self._parsing.discard(key)
            if status == ExecStatus.COMMAND_OK:
                self._remember(key, name)
        if status in _OK:
            if kind == _KEEP:
                job.results.append(self._read(result, name))
        elif status == ExecStatus.FATAL_ERROR:
            if job.failure is None:
                job.failure = failure_from_diagnosis(read_diagnosis(result))
        elif status != ExecStatus.PIPELINE_ABORTED and job.failure is None:
            job.failure = DatabaseFailure(
                Diagnosis("0A000", "This kind of statement cannot be run here")
            )

    def _read(self, result: PGresult, name: bytes) -> Result:
        get = result.get_value
        across = range(result.nfields)
        rows = [tuple([get(row, column) for column in across]) for row in range(result.ntuples)]
        # The server holds a prepared statement to the result type it was prepared with.
        columns = self._columns.get(name)
        if columns is None:
            columns = tuple([(result.fname(column) or b"").decode() for column in across])
            if name:
                self._columns[name] = columns
        tag, affected = _read_tag(result.command_status or b"")
        return Result(rows, columns, affected, tag)

    def _remember(self, key: tuple[str, bytes], name: bytes) -> None:
        self._names[key] = name
        if len(self._names) > STATEMENTS_MAX:
            _, oldest = self._names.popitem(last=False)
            self._columns.pop(oldest, None)
            # Closing needs libpq 17; where it is missing the name is simply left to the session.
            self._conn.send_close_prepared(oldest)
            self._sync()
            closing = Job(Batch("", (), ()), _forget)
            closing.steps.append((_SKIP, None, b""))
            self.jobs.append(closing)

    def forget(self, batch: Batch) -> None:
        """Drops the names of a batch whose prepared statements have gone stale."""
        for statement in batch.statements:
            name = self._names.pop((batch.plan_key, statement.sql), b"")
            self._columns.pop(name, None)

    def _finish(self, job: Job) -> None:
        job.finished_s = self.idle_since_s = time.monotonic()
        if job.batch.begin is not None and job.failure is not None:
            self._send_rollback()
        self._end(job)
        self._on_free(self, job)

    def _end(self, job: Job) -> None:
        job.ended = True
        try:
            job.done(job)
        except Exception as error:  # a fault of whoever waited is none of the connection
            self._loop.call_exception_handler({"message": "A job's end failed", "exception": error})

    def _send_rollback(self) -> None:
        rollback = Job(Batch("", (), ()), _forget)
        self._send_unnamed(rollback, b"rollback", (), _SKIP)
        self._sync()
        # In front of whatever waits: an explicit transaction never shares its connection.
        self.jobs.append(rollback)

    async def cancel(self) -> None:
        """Asks the server to stop what this connection runs now, over a connection of its own."""
        if not self.lost:
            canceller = self._conn.get_cancel()
            with contextlib.suppress(psycopg.Error):  # the server is gone, and with it the query
                await self._loop.run_in_executor(None, canceller.cancel)

    def close(self) -> None:
        self._break("closed by us")

    def _break(self, reason: str) -> None:
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._socket)
        if self._writing:
            self._loop.remove_writer(self._socket)
        self._conn.finish()
        jobs = list(self.jobs)
        self.jobs.clear()
        self._on_lost(self)
        for job in jobs:
            job.failure = job.failure or ConnectionLost(reason.strip(), sent=True)
            self._end(job)


async def open_link(
    conninfo: str,
    *,
    timeout_s: float,
    on_free: Callable[[Link, Job], None],
    on_lost: Callable[[Link], None],
) -> Link:
    """Connects without blocking the loop.  Raises DatabaseUnavailable."""
    loop = asyncio.get_running_loop()
    try:
        conn = pq.PGconn.connect_start(conninfo.encode())
    except psycopg.Error as error:
        raise DatabaseUnavailable(str(error)) from error
    try:
        async with asyncio.timeout(timeout_s):
            await _connect(conn, loop)
        return Link(conn, loop, on_free=on_free, on_lost=on_lost)
    except TimeoutError:
        conn.finish()
        raise DatabaseUnavailable(f"the database did not answer within {timeout_s:g} s") from None
    except (psycopg.Error, OSError) as error:  # it went away while we were getting ready
        conn.finish()
        raise DatabaseUnavailable(str(error)) from error
    except BaseException:
        conn.finish()
        raise


async def _connect(conn: PGconn, loop: asyncio.AbstractEventLoop) -> None:
    if conn.status == ConnStatus.BAD:
        raise DatabaseUnavailable(_message(conn))
    status = PollingStatus.WRITING
    while status != PollingStatus.OK:
        ready: asyncio.Future[None] = loop.create_future()
        socket = conn.socket
        watch, unwatch = (
            (loop.add_reader, loop.remove_reader)
            if status == PollingStatus.READING
            else (loop.add_writer, loop.remove_writer)
        )
        watch(socket, _set_once, ready)
        try:
            await ready
        finally:
            unwatch(socket)
        status = PollingStatus(conn.connect_poll())
        if status == PollingStatus.FAILED:
            raise DatabaseUnavailable(_message(conn))


@lru_cache(maxsize=256)
def _read_tag(status: bytes) -> tuple[str, int]:
    """The command's tag and the rows it affected: most commands answer like one before."""
    tag = status.decode()
    count = tag.rpartition(" ")[2]
    return tag, int(count) if count.isdecimal() else 0


def _forget(job: Job) -> None:
    """Nobody waits for this one."""


def _set_once(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _message(conn: PGconn) -> str:
    return conn.get_error_message().strip()


def read_diagnosis(result: PGresult) -> Diagnosis:
    """What the server says of an error, as text."""

    def text(field: DiagnosticField) -> str | None:
        raw = result.error_field(field)
        return raw.decode("utf-8", "replace") if raw is not None else None

    return Diagnosis(
        sqlstate=text(DiagnosticField.SQLSTATE) or "XX000",
        message=text(DiagnosticField.MESSAGE_PRIMARY) or "",
        detail=text(DiagnosticField.MESSAGE_DETAIL),
        hint=text(DiagnosticField.MESSAGE_HINT),
        position=text(DiagnosticField.STATEMENT_POSITION),
        schema=text(DiagnosticField.SCHEMA_NAME),
        table=text(DiagnosticField.TABLE_NAME),
        column=text(DiagnosticField.COLUMN_NAME),
        constraint=text(DiagnosticField.CONSTRAINT_NAME),
        context=text(DiagnosticField.CONTEXT),
        severity=text(DiagnosticField.SEVERITY_NONLOCALIZED),
    )
