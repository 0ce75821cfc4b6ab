"""A result that is fetched in pieces: a cursor in a transaction of its own.

For answers too large to hold in memory.  The transaction stays open while the reader reads, so a
stream has a connection to itself and must be closed.  Source: PostgreSQL documentation, DECLARE.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import psycopg

from selfbase.database.batch import Batch, Cancellation, Statement, render_settings
from selfbase.database.failures import DatabaseFailure, failure_from_psycopg

if TYPE_CHECKING:
    from psycopg.rows import DictRow

Row = tuple[bytes | None, ...]


class RowStream:
    """The rows of a batch's last statement.  Every method raises DatabaseFailure."""

    def __init__(
        self, connection: psycopg.AsyncConnection[DictRow], batch: Batch, stack: AsyncExitStack
    ) -> None:
        self._connection = connection
        self._batch = batch
        self._stack = stack
        self._cursor: psycopg.AsyncRawCursor[Any] = psycopg.AsyncRawCursor(connection)
        self._open = True

    async def start(self) -> None:
        """Begins the transaction, applies the settings and runs what comes before the cursor."""
        batch = self._batch
        *before, last = batch.statements
        await self._run(Statement(batch.begin or b"begin"))
        if batch.settings:
            names, values = zip(*batch.settings, strict=True)
            await self._run(Statement(render_settings(names), values))
        for statement in before:
            await self._run(statement)
        await self._run(
            Statement(b"declare selfbase_rows no scroll cursor for " + last.sql, last.params)
        )

    async def fetch(self, count: int) -> list[Row]:
        """The next rows, as text; fewer than `count` only at the end."""
        await self._run(Statement(b"fetch forward %d from selfbase_rows" % count))
        result = self._cursor.pgresult
        assert result is not None
        width = result.nfields
        return [
            tuple(result.get_value(row, column) for column in range(width))
            for row in range(result.ntuples)
        ]

    async def close(self, *, whole: bool) -> None:
        """Ends the transaction, as the batch wants it when the result was read `whole`, and gives
        the connection back.  May be called again."""
        if not self._open:
            return
        self._open = False
        try:
            await self._run(Statement(self._batch.end if whole else b"rollback"))
        except DatabaseFailure:
            # Given up, and the connection too: the server has undone what there was.
            if whole:
                raise
        finally:
            await self._stack.aclose()

    async def _run(self, statement: Statement) -> None:
        params = [None if value is None else value.decode() for value in statement.params]
        try:
            await self._cursor.execute(statement.sql, params or None, prepare=False)
        except psycopg.Error as error:
            raise failure_from_psycopg(error) from error


async def open_stream(
    connection: psycopg.AsyncConnection[DictRow],
    batch: Batch,
    stack: AsyncExitStack,
    cancellation: Cancellation | None,
) -> RowStream:
    """A started stream on `connection`, which `stack` gives back.  Raises DatabaseFailure."""
    stream = RowStream(connection, batch, stack)
    waiting = asyncio.ensure_future(stream.start())

    def leave() -> None:
        waiting.cancel()

    if cancellation is not None:
        cancellation.add_callback(leave)
    try:
        # Cancelling the wait makes psycopg cancel the statement in the server.
        await waiting
    except BaseException:
        await stream.close(whole=False)
        raise
    finally:
        if cancellation is not None:
            cancellation.remove_callback(leave)
    return stream
