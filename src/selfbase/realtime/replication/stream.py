"""One run of the streaming replication protocol, in a thread of its own.

Makes or resumes a logical slot, reads pgoutput over libpq, hands decoded changes over in chunks and
tells the server how far they have been handled.  Knows nothing of subscribers.  Nothing here blocks
while holding the interpreter: the socket is waited for, never read blindly.
Source: PostgreSQL documentation, 55.4 (streaming replication protocol); reference section 12.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from psycopg import pq
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from selfbase.realtime.logic.pgoutput import (
    Begin,
    Commit,
    Keepalive,
    Relation,
    RowChange,
    decode,
    decode_copy_data,
    find_relation_oid,
    render_status,
)

CHUNK_CHANGES_MAX = 200
CHUNK_BYTES_MAX = 4 * 1024 * 1024
CHUNKS_WAITING_MAX = 8
STATUS_INTERVAL_S = 5.0
NUDGE_S = 0.1

# The output functions of values run in the server with these settings.
_OPTIONS = (
    "-c datestyle=ISO -c intervalstyle=postgres -c timezone=GMT -c extra_float_digits=1"
    " -c bytea_output=hex -c statement_timeout=0 -c lock_timeout=0"
)
_NUDGE = b"""
set synchronous_commit = on; select pg_logical_emit_message(true, 'selfbase', 'a slot is waited for')
"""
# The replication protocol takes no parameters: the name of the slot is quoted by `_literal`.
_FIND_SLOT = """
select s.active, coalesce(s.wal_status, '') = 'lost', s.plugin = 'pgoutput',
  current_setting('max_slot_wal_keep_size') = '-1'
from (select) as one left join pg_replication_slots as s on s.slot_name = %s
"""
_DROP_SLOT = """
select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s
"""


class StreamRefused(Exception):
    """The stream could not start or broke.  `sqlstate` is empty for a lost connection."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate

    @property
    def is_taken(self) -> bool:
        """Another worker, or another installation, has the slot."""
        return self.sqlstate in ("55006", "42710")


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """`resume` continues an existing slot; otherwise one left behind is dropped first."""

    conninfo: str
    slot: str
    publications: tuple[str, ...]
    resume: bool


@dataclass(frozen=True, slots=True)
class Started:
    """How the stream began.  `resumed` means that nothing committed since was missed."""

    temporary: bool
    resumed: bool


@dataclass(slots=True)
class Chunk:
    """Changes in the order of their commits, each with the begin of its transaction.  `end_lsn`
    is where the last transaction that is complete in it ends, `commit_lsn` its commit; 0 when none
    is complete."""

    changes: list[tuple[Relation, RowChange, Begin]] = field(default_factory=list)
    end_lsn: int = 0
    commit_lsn: int = 0
    skipped: int = 0
    bytes: int = 0


class Stream:
    """Reads one slot until it is stopped or breaks."""

    def __init__(
        self,
        plan: StreamPlan,
        *,
        wants: Callable[[Relation], bool],
        on_chunk: Callable[[Chunk], None],
    ) -> None:
        self._plan = plan
        self._wants = wants
        self._on_chunk = on_chunk
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[Started] = self._loop.create_future()
        self._ended: asyncio.Future[StreamRefused | None] = self._loop.create_future()
        self._stopping = False
        self._drop = False
        self._wake_read, self._wake_write = os.pipe()
        self._slots = threading.Semaphore(CHUNKS_WAITING_MAX)
        self._confirmed = 0  # set by the loop: handled up to here
        self._handed = 0  # set by the thread: handed over up to here
        self._received = 0
        self._relations: dict[int, Relation] = {}
        self._chunk = Chunk()
        self._in_transaction = False
        self._partial = False  # the last chunk ended within a transaction
        self._begin = Begin(0, 0)
        self._status_due_s = 0.0
        self._thread = threading.Thread(target=self._run, name="realtime stream", daemon=True)

    async def start(self) -> Started:
        """Raises StreamRefused."""
        self._thread.start()
        return await asyncio.shield(self._started)

    async def wait_end(self) -> StreamRefused | None:
        """Why the stream ended; None when it was stopped."""
        return await asyncio.shield(self._ended)

    async def stop(self, *, drop: bool = False) -> None:
        """Ends the stream; with `drop` the slot goes too."""
        self._drop, self._stopping = drop, True
        self._wake()
        if self._thread.ident is not None:
            await self._loop.run_in_executor(None, self._thread.join)
        for descriptor in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def handled(self, chunk: Chunk) -> None:
        """The chunk has been dealt with: the server may forget it."""
        if chunk.end_lsn > self._confirmed:
            self._confirmed = chunk.end_lsn
        self._slots.release()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")

    # In the thread

    def _run(self) -> None:
        failure: StreamRefused | None = None
        conn: PGconn | None = None
        try:
            conn = self._connect()
            started = self._begin_stream(conn)
            self._tell(self._started, started)
            self._pump(conn)
            if self._drop:
                self._drop_slot(conn)
        except StreamRefused as error:
            failure = error
        except Exception as error:  # libpq and the decoder raise their own kinds
            failure = StreamRefused(f"{type(error).__name__}: {error}")
        finally:
            if conn is not None:
                conn.finish()
            if self._stopping:
                failure = None
            self._loop_call(self._finish, failure)

    def _finish(self, failure: StreamRefused | None) -> None:
        if not self._started.done():
            self._started.set_exception(failure or StreamRefused("stopped"))
            self._started.exception()  # whoever started us may be gone already
        if not self._ended.done():
            self._ended.set_result(failure)

    def _tell(self, future: asyncio.Future[Started], value: Started) -> None:
        self._loop_call(lambda: None if future.done() else future.set_result(value))

    def _loop_call(self, callback: Callable[..., object], *args: object) -> None:
        # A closed loop means the process is on its way out: nobody is left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    def _connect(self) -> PGconn:
        conninfo = (
            f"{self._plan.conninfo} replication=database client_encoding=UTF8"
            f" connect_timeout=10 options='{_OPTIONS}'"
        )
        conn = pq.PGconn.connect(conninfo.encode())
        if conn.status != ConnStatus.OK:
            message = conn.get_error_message().strip()
            conn.finish()
            raise StreamRefused(message)
        conn.nonblocking = 1
        return conn

    def _begin_stream(self, conn: PGconn) -> Started:
        name = _literal(self._plan.slot)
        found = self._query(conn, _FIND_SLOT % name)
        active, lost, ours, unbounded = (found.get_value(0, column) for column in range(4))
        exists = active is not None
        resumable = exists and lost == b"f" and ours == b"t" and self._plan.resume
        if exists and active == b"t":
            raise StreamRefused(f"slot {self._plan.slot} is in use", "55006")
        if exists and not resumable:
            self._query(conn, f"select pg_drop_replication_slot({name})")
        # Where the server sets no bound, a slot that outlives us could fill its disk.
        temporary = unbounded == b"t" and not resumable
        if not resumable:
            self._query(
                conn,
                nudge=True,
                sql=f'CREATE_REPLICATION_SLOT "{self._plan.slot}"'
                f"{' TEMPORARY' if temporary else ''} LOGICAL pgoutput (SNAPSHOT 'nothing')",
            )
        publications = ",".join(f'"{name}"' for name in self._plan.publications)
        self._query(
            conn,
            f'START_REPLICATION SLOT "{self._plan.slot}" LOGICAL 0/0'
            f" (proto_version '1', publication_names {_literal(publications)})",
        )
        return Started(temporary, resumable)

    def _drop_slot(self, conn: PGconn) -> None:
        conn.put_copy_end()
        conn.finish()
        other = self._connect()
        name = _literal(self._plan.slot)
        try:
            # The server notices the end of the stream in its own time.
            for _ in range(50):
                try:
                    self._query(other, _DROP_SLOT % name, interruptible=False)
                    return
                except StreamRefused as error:
                    if not error.is_taken:
                        raise
                    time.sleep(0.1)
        finally:
            other.finish()

    def _query(
        self, conn: PGconn, sql: str, *, interruptible: bool = True, nudge: bool = False
    ) -> PGresult:
        """Runs one command.  Making a slot may wait for long transactions of others, and after
        them for the log to be written out: `nudge` sees to that."""
        conn.send_query(sql.encode())
        last: PGresult | None = None
        while True:
            conn.flush()
            while conn.is_busy():
                self._wait(conn, NUDGE_S if nudge else 1.0)
                if nudge and not _is_readable(conn):
                    self._nudge()
                if self._stopping and interruptible:
                    raise StreamRefused("stopped")
                conn.consume_input()
            result = conn.get_result()
            if result is None:
                break
            if result.status == ExecStatus.FATAL_ERROR:
                raise _refusal(result)
            last = result
            if result.status == ExecStatus.COPY_BOTH:
                break
        if last is None:
            raise StreamRefused("the server gave no answer")
        return last

    def _nudge(self) -> None:
        """A commit writes out the log that a new slot waits to read, which on an idle server may
        otherwise take seconds."""
        other = pq.PGconn.connect(self._plan.conninfo.encode())
        try:
            if other.status == ConnStatus.OK:
                other.exec_(_NUDGE)
        finally:
            other.finish()

    def _wait(self, conn: PGconn, timeout_s: float) -> None:
        ready = select.select([conn.socket, self._wake_read], [], [], timeout_s)[0]
        if self._wake_read in ready and not self._stopping:
            os.read(self._wake_read, 4096)

    def _pump(self, conn: PGconn) -> None:
        while not self._stopping:
            self._send_status_when_due(conn)
            count, data = conn.get_copy_data(1)
            if count > 0:
                self._take(conn, bytes(data))
                continue
            if count < 0:
                result = conn.get_result()
                if result is not None and result.status == ExecStatus.FATAL_ERROR:
                    raise _refusal(result)
                raise StreamRefused("the server ended the stream")
            # Nothing more is here: whole transactions that have come so far go out at once.
            if not self._in_transaction:
                self._hand_over(conn)
            self._wait(conn, 1.0)
            conn.consume_input()

    def _take(self, conn: PGconn, data: bytes) -> None:
        outer = decode_copy_data(data)
        if isinstance(outer, Keepalive):
            self._received = max(self._received, outer.end_lsn)
            if outer.wants_reply:
                self._send_status(conn)
            return
        payload = outer.payload
        oid = find_relation_oid(payload)
        if oid is not None:
            relation = self._relations.get(oid)
            if relation is None or not self._wants(relation):
                self._chunk.skipped += 1
                return
        message = decode(payload)
        if isinstance(message, RowChange):
            self._chunk.changes.append((self._relations[message.oid], message, self._begin))
            self._chunk.bytes += len(payload)
            full = len(self._chunk.changes) >= CHUNK_CHANGES_MAX
            if full or self._chunk.bytes >= CHUNK_BYTES_MAX:
                self._hand_over(conn)
        elif isinstance(message, Begin):
            self._begin, self._in_transaction = message, True
        elif isinstance(message, Commit):
            self._in_transaction = False
            self._chunk.end_lsn, self._chunk.commit_lsn = message.end_lsn, message.lsn
            self._received = max(self._received, message.end_lsn)
        elif isinstance(message, Relation):
            known = self._relations.get(message.oid)
            edition = known.edition + 1 if known is not None else time.time_ns()
            self._relations[message.oid] = replace(message, edition=edition)

    def _hand_over(self, conn: PGconn) -> None:
        chunk = self._chunk
        if not chunk.changes and not (chunk.end_lsn and self._partial):
            return
        full = len(chunk.changes) >= CHUNK_CHANGES_MAX or chunk.bytes >= CHUNK_BYTES_MAX
        while not self._slots.acquire(blocking=full, timeout=1.0 if full else None):
            # The other side is behind.  A chunk that is not full goes on growing: one large batch
            # costs less than many small ones.  A full one waits, but stays alive to the server.
            if self._stopping or not full:
                return
            self._send_status_when_due(conn)
        self._chunk = Chunk()
        self._partial = self._in_transaction
        if chunk.end_lsn:
            self._handed = chunk.end_lsn
        self._loop_call(self._on_chunk, chunk)

    def _send_status_when_due(self, conn: PGconn) -> None:
        if time.monotonic() >= self._status_due_s:
            self._send_status(conn)

    def _send_status(self, conn: PGconn) -> None:
        self._status_due_s = time.monotonic() + STATUS_INTERVAL_S
        idle = not self._in_transaction and not self._chunk.changes
        if idle and self._confirmed >= self._handed:
            # All that was for us is done: the rest of the log is of no interest.
            self._confirmed = max(self._confirmed, self._received)
        if self._confirmed:
            conn.put_copy_data(render_status(self._confirmed, time.time_ns() // 1000))
            conn.flush()


def _is_readable(conn: PGconn) -> bool:
    return bool(select.select([conn.socket], [], [], 0)[0])


def _refusal(result: PGresult) -> StreamRefused:
    state = result.error_field(DiagnosticField.SQLSTATE) or b""
    return StreamRefused(result.get_error_message().strip(), state.decode())


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
