"""One connection for one request: catalog queries, single statements, and whole scripts.

Results arrive in small chunks and are counted as they come, so that a large one is refused instead
of filling memory.  Knows SQL only as text; who may send it is decided before.
Source: PostgreSQL documentation, 32.4 and 32.6 (asynchronous commands, chunked results).
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from selfbase.meta.errors import (
    ConnectRefused,
    ConnectTimeout,
    MetaFailure,
    QueryTimeout,
    ResultTooLarge,
    SqlRefused,
    TooManyClients,
)
from selfbase.meta.logic.error_text import describe_error
from selfbase.meta.logic.values import RowEncoder
from selfbase.meta.tls_check import explain_refused_certificate

CHUNK_ROWS = 500
# Chunked results came with libpq 17; before that rows arrive one by one, with the same effect.
_CHUNKED = pq.version() >= 170000

_FATAL = re.compile(r"FATAL:  (.+)")

_LETTERS = {
    "S": DiagnosticField.SEVERITY,
    "C": DiagnosticField.SQLSTATE,
    "M": DiagnosticField.MESSAGE_PRIMARY,
    "D": DiagnosticField.MESSAGE_DETAIL,
    "H": DiagnosticField.MESSAGE_HINT,
    "P": DiagnosticField.STATEMENT_POSITION,
    "p": DiagnosticField.INTERNAL_POSITION,
    "q": DiagnosticField.INTERNAL_QUERY,
    "W": DiagnosticField.CONTEXT,
    "s": DiagnosticField.SCHEMA_NAME,
    "t": DiagnosticField.TABLE_NAME,
    "c": DiagnosticField.COLUMN_NAME,
    "d": DiagnosticField.DATATYPE_NAME,
    "n": DiagnosticField.CONSTRAINT_NAME,
    "F": DiagnosticField.SOURCE_FILE,
    "L": DiagnosticField.SOURCE_LINE,
    "R": DiagnosticField.SOURCE_FUNCTION,
}


class MetaConnection:
    """An open connection.  Every method raises SqlRefused, QueryTimeout or ResultTooLarge."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        result_bytes_max: int,
        deadline_s: float | None,
        digest_key: bytes,
    ) -> None:
        self._connection = connection
        self._pgconn: PGconn = connection.pgconn
        self._result_bytes_max = result_bytes_max
        self._deadline_s = deadline_s
        self._sql = hmac.new(digest_key, digestmod="sha256")

    @property
    def sql_digest(self) -> str:
        """Sixteen hexadecimal digits over everything this connection was asked to run: the same
        for the same SQL under the same key, and no help in guessing what is inside."""
        return self._sql.hexdigest()[:16]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commits at the end.  When the block raises, the end of this connection undoes it all:
        nothing needs to be said on a connection that may be lost or busy."""
        await self.execute("BEGIN")
        yield
        await self.execute("COMMIT")

    async def fetch(self, query: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Runs one of our own queries with `%(name)s` parameters; rows of Python values."""
        self._sql.update(query.encode())
        try:
            async with asyncio.timeout_at(self._deadline_s):
                cursor = await self._connection.execute(query.encode(), params)
                return await cursor.fetchall()
        except TimeoutError:
            raise QueryTimeout from None
        except psycopg.Error as error:
            raise _refusal_from_psycopg(error, query) from error

    async def fetch_value(self, query: str, params: Mapping[str, Any]) -> Any:
        """The first column of the first row, or None."""
        rows = await self.fetch(query, params)
        return rows[0][0] if rows else None

    async def execute(self, statement: str) -> None:
        """Runs exactly one statement: text that holds a second one is refused by the server."""
        await self._run(statement, (), script=False)

    async def run_script(self, sql: str) -> bytes:
        """Runs any number of statements; the JSON array of the last result that has rows."""
        return await self._run(sql, (), script=True)

    async def run_query(self, sql: str, parameters: Sequence[str | None]) -> bytes:
        """Runs one statement with `$n` parameters as text; the JSON array of its rows."""
        return await self._run(sql, parameters, script=False)

    async def _run(self, sql: str, parameters: Sequence[str | None], *, script: bool) -> bytes:
        self._sql.update(sql.encode("utf-8", "surrogatepass"))
        text = sql.encode("utf-8", "replace")
        if b"\x00" in text:
            raise MetaFailure("invalid byte sequence: SQL cannot contain a null character")
        try:
            async with asyncio.timeout_at(self._deadline_s):
                if script:
                    self._pgconn.send_query(text)
                else:
                    bound = [None if value is None else value.encode() for value in parameters]
                    self._pgconn.send_query_params(text, bound)
                if _CHUNKED:
                    self._pgconn.set_chunked_rows_mode(CHUNK_ROWS)
                else:
                    self._pgconn.set_single_row_mode()
                return await self._collect(sql)
        except TimeoutError:
            # Parity: without a statement timeout the statement goes on in the server.
            raise QueryTimeout from None
        except psycopg.Error as error:
            raise MetaFailure(str(error).strip()) from error

    async def _collect(self, sql: str) -> bytes:
        """Reads all results of what was sent."""
        chosen: list[bytes] = []
        current: list[bytes] = []
        encoder: RowEncoder | None = None
        refusal: SqlRefused | None = None
        received = 0
        while (result := await self._next_result()) is not None:
            status = result.status
            if status in (ExecStatus.TUPLES_OK, ExecStatus.TUPLES_CHUNK, ExecStatus.SINGLE_TUPLE):
                if encoder is None:
                    encoder = RowEncoder(_columns(result))
                for row in _rows(result):
                    received += sum(len(value) for value in row if value is not None)
                    current.append(encoder.encode(row))
                # A large result that is here already must not keep everybody else waiting.
                await asyncio.sleep(0)
                if received > self._result_bytes_max:
                    self._pgconn.finish()
                    raise ResultTooLarge(received, self._result_bytes_max)
                if status == ExecStatus.TUPLES_OK:
                    chosen = current or chosen
                    current, encoder = [], None
            elif status == ExecStatus.FATAL_ERROR:
                refusal = refusal or SqlRefused(describe_error(read_fields(result), sql))
            elif status == ExecStatus.COPY_IN:
                self._pgconn.put_copy_end(b"COPY FROM STDIN is not possible over HTTP")
            elif status == ExecStatus.COPY_OUT:
                await self._skip_copy()
        if refusal is not None:
            raise refusal
        return b"[" + b",".join(chosen) + b"]"

    async def _next_result(self) -> PGresult | None:
        conn = self._pgconn
        while True:
            pending = conn.flush()
            if not conn.is_busy():
                return conn.get_result()
            await self._ready(writing=bool(pending))
            conn.consume_input()

    async def _skip_copy(self) -> None:
        while True:
            size, _ = self._pgconn.get_copy_data(1)
            if size < 0:
                return
            if size == 0:
                await self._ready(writing=False)
                self._pgconn.consume_input()

    async def _ready(self, *, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        socket = self._pgconn.socket

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(socket, wake)
        if writing:
            loop.add_writer(socket, wake)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if writing:
                loop.remove_writer(socket)


@asynccontextmanager
async def open_connection(
    conninfo: str,
    *,
    connect_timeout_s: float,
    query_timeout_s: float | None,
    result_bytes_max: int,
    digest_key: bytes,
) -> AsyncIterator[MetaConnection]:
    """A connection for one request, closed at the end.  The timeout of its queries counts from
    when it is open; None waits without end.  Raises ConnectTimeout, ConnectRefused, TooManyClients."""
    try:
        async with asyncio.timeout(connect_timeout_s):
            connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    except TimeoutError:
        raise ConnectTimeout from None
    except psycopg.Error as error:
        raise await _refusal_from_connect(error, conninfo) from error
    connection.prepare_threshold = None
    started_s = asyncio.get_running_loop().time()
    deadline_s = None if query_timeout_s is None else started_s + query_timeout_s
    try:
        yield MetaConnection(
            connection,
            result_bytes_max=result_bytes_max,
            deadline_s=deadline_s,
            digest_key=digest_key,
        )
    finally:
        # Not `close()`: a statement may still be running, and the socket is all there is to close.
        connection.pgconn.finish()


def _columns(result: PGresult) -> list[tuple[str, int]]:
    return [
        ((result.fname(index) or b"").decode("utf-8", "replace"), result.ftype(index))
        for index in range(result.nfields)
    ]


def _rows(result: PGresult) -> list[list[bytes | None]]:
    width = range(result.nfields)
    return [[result.get_value(row, column) for column in width] for row in range(result.ntuples)]


def read_fields(result: PGresult) -> dict[str, str]:
    """The fields of an error by their letters in the protocol."""
    said: dict[str, str] = {}
    for letter, field in _LETTERS.items():
        value = result.error_field(field)
        if value is not None:
            said[letter] = value.decode("utf-8", "replace")
    if "M" not in said:
        said["M"] = result.error_message.decode("utf-8", "replace").strip()
    return said


def _refusal_from_psycopg(error: psycopg.Error, sql: str) -> MetaFailure:
    if error.pgresult is not None and error.sqlstate is not None:
        return SqlRefused(describe_error(read_fields(error.pgresult), sql))
    return MetaFailure(str(error).strip())


async def _refusal_from_connect(error: psycopg.Error, conninfo: str) -> MetaFailure:
    """Opening failed.  The text never holds the password; libpq leaves it out."""
    text = str(error).strip()
    if "too many clients already" in text or "remaining connection slots" in text:
        return TooManyClients()
    if "timeout expired" in text:
        return ConnectTimeout()
    if "certificate verify failed" in text:
        text = await explain_refused_certificate(conninfo) or text
    said_by_server = _FATAL.search(text)
    return ConnectRefused(said_by_server[1] if said_by_server is not None else text)
