"""The one door to rows of a project's database.

`run` sends a prepared batch in one round trip (the hot path); `as_caller` opens a transaction in
which row level security decides as for the caller; `as_service` is the logged exception and wants a
reason.  A database may be asleep: nothing here connects before it is asked to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, LiteralString, cast

import psycopg
from psycopg import sql as pgsql
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from psycopg_pool import PoolTimeout as PsycopgPoolTimeout

from selfbase.database.batch import Batch, Cancellation, Result, Settings, plan_caller_settings
from selfbase.database.executor import Done, Executor, ExecutorSettings
from selfbase.database.failures import (
    DatabaseFailure,
    DatabaseUnavailable,
    PoolTimeout,
    failure_from_psycopg,
)
from selfbase.database.stream import RowStream, open_stream
from selfbase.identity.caller import Caller
from selfbase.kit.events import Event, Events

Query = LiteralString | bytes | pgsql.SQL | pgsql.Composed
Params = Sequence[Any] | Mapping[str, Any] | None

AUTHENTICATOR = "authenticator"


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """Where the database is and how much of it we take.

    `conninfo` names host, port and database; user and password come from `passwords` by login
    role.  A login role without a password relies on the server trusting our socket.  `user` pins
    one login for all roles, for a service that was given a single URL.
    """

    conninfo: str
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    pool_max: int = 10
    acquire_timeout_s: float = 10.0
    search_path: str = '"public", "extensions"'


@dataclass(frozen=True, slots=True)
class ServiceAccess(Event):
    """Rows were reached without a caller's policies; `reason` says why that is right."""

    name: ClassVar[str] = "database.service_access"
    level: ClassVar = "debug"
    service: ClassVar[str] = "database"
    login: str
    reason: str


class Transaction:
    """An open transaction.  Every method raises DatabaseFailure."""

    def __init__(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        self.connection = connection

    async def execute(self, query: Query, params: Params = None) -> int:
        """Runs a statement; the number of rows it affected."""
        return (await self._run(query, params)).rowcount

    async def fetch_all(self, query: Query, params: Params = None) -> list[dict[str, Any]]:
        return await (await self._run(query, params)).fetchall()

    async def fetch_one(self, query: Query, params: Params = None) -> dict[str, Any] | None:
        return await (await self._run(query, params)).fetchone()

    async def fetch_value(self, query: Query, params: Params = None) -> Any:
        """The first column of the first row, or None."""
        row = await self.fetch_one(query, params)
        return next(iter(row.values())) if row else None

    async def _run(self, query: Query, params: Params) -> psycopg.AsyncCursor[DictRow]:
        try:
            return await self.connection.execute(cast("LiteralString", query), params)
        except psycopg.Error as error:
            raise failure_from_psycopg(error) from error

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What fails inside is undone alone."""
        try:
            async with self.connection.transaction():
                yield
        except psycopg.Error as error:
            raise failure_from_psycopg(error) from error

    async def apply_settings(self, settings: Settings) -> None:
        """Sets each name for the rest of this transaction, in order."""
        calls = pgsql.SQL(", ").join(
            pgsql.SQL("set_config({}, {}, true)").format(pgsql.Placeholder(), pgsql.Placeholder())
            for _ in settings
        )
        values = [part.decode() for pair in settings for part in pair]
        await self._run(pgsql.SQL("select ") + calls, values)


class Database:
    """One project's database."""

    def __init__(self, settings: DatabaseSettings, events: Events) -> None:
        self.settings = settings
        self._events = events
        self._executors: dict[str, Executor] = {}
        self._pools: dict[str, AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]] = {}
        self._opening = asyncio.Lock()

    def conninfo_for(self, login: str, **extra: str) -> str:
        """A libpq connection string for a login role.  Holds a password: never log it."""
        user = self.settings.user or login
        given: dict[str, Any] = {"application_name": "selfbase", **extra}
        if self.settings.user is None:
            given["user"] = user
        password = self.settings.passwords.get(user)
        if password:
            given["password"] = password
        return make_conninfo(self.settings.conninfo, **given)

    async def run(
        self,
        batch: Batch,
        *,
        login: str = AUTHENTICATOR,
        cancellation: Cancellation | None = None,
    ) -> list[Result]:
        """Runs a batch as `login`; see Executor.run."""
        return await self._executor(login).run(batch, cancellation)

    def begin(self, batch: Batch, done: Done, *, login: str = AUTHENTICATOR) -> bool:
        """Runs a quick read without a task, if that is possible now; see Executor.begin."""
        return self._executor(login).begin(batch, done)

    def _executor(self, login: str) -> Executor:
        executor = self._executors.get(login)
        if executor is None:
            executor = Executor(self.conninfo_for(login), self.settings.executor)
            self._executors[login] = executor
        return executor

    async def stream(
        self,
        batch: Batch,
        *,
        login: str = AUTHENTICATOR,
        cancellation: Cancellation | None = None,
    ) -> RowStream:
        """Runs a batch whose last statement's rows are fetched in pieces.  The caller closes the
        stream.  Raises DatabaseFailure."""
        pool = await self._pool(login)
        stack = AsyncExitStack()
        try:
            connection = await stack.enter_async_context(pool.connection())
        except PsycopgPoolTimeout:
            raise PoolTimeout(self.settings.acquire_timeout_s) from None
        return await open_stream(connection, batch, stack, cancellation)

    def count_links(self, login: str) -> int:
        """The open connections of the hot path of a login role."""
        executor = self._executors.get(login)
        return executor.open_links if executor else 0

    def recycle(self, login: str) -> None:
        """Lets the connections of a login role go, so that new ones begin with new settings."""
        executor = self._executors.get(login)
        if executor:
            executor.recycle()

    def count_waiting(self, login: str) -> int:
        """The requests of the hot path that wait for a connection."""
        executor = self._executors.get(login)
        return executor.waiting if executor else 0

    @asynccontextmanager
    async def as_caller(
        self,
        caller: Caller,
        *,
        login: str = AUTHENTICATOR,
        search_path: str | None = None,
        extra: Sequence[tuple[str, str]] = (),
        read_only: bool = False,
    ) -> AsyncIterator[Transaction]:
        """A transaction with the caller's role and claims; commits at the end, or rolls back when
        the block raises.  `extra` are further settings for it, such as `request.method`."""
        settings = plan_caller_settings(
            caller,
            search_path=search_path or self.settings.search_path,
            extra=[*extra, *([("transaction_read_only", "on")] if read_only else [])],
        )
        async with self._transaction(login) as transaction:
            await transaction.apply_settings(settings)
            yield transaction

    @asynccontextmanager
    async def as_service(
        self, reason: str, *, login: str, extra: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[Transaction]:
        """A transaction as the service's own login role, past the caller's policies.  `reason`
        says why that is right and is logged."""
        self._events.emit(ServiceAccess(login=login, reason=reason))
        async with self._transaction(login) as transaction:
            if extra:
                pairs = tuple((name.encode(), value.encode()) for name, value in extra)
                await transaction.apply_settings(pairs)
            yield transaction

    @asynccontextmanager
    async def _transaction(self, login: str) -> AsyncIterator[Transaction]:
        pool = await self._pool(login)
        try:
            async with pool.connection() as connection, connection.transaction():
                yield Transaction(connection)
        except DatabaseFailure:
            raise
        except PsycopgPoolTimeout:
            raise PoolTimeout(self.settings.acquire_timeout_s) from None
        except psycopg.OperationalError as error:
            if error.diag.sqlstate is None:
                raise DatabaseUnavailable(str(error).strip()) from error
            raise failure_from_psycopg(error) from error
        except psycopg.Error as error:
            raise failure_from_psycopg(error) from error

    async def _pool(self, login: str) -> AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]:
        pool = self._pools.get(login)
        if pool is None:
            async with self._opening:
                pool = self._pools.get(login)
                if pool is None:
                    pool = AsyncConnectionPool(
                        self.conninfo_for(login),
                        kwargs={"row_factory": dict_row, "autocommit": True},
                        min_size=0,
                        max_size=self.settings.pool_max,
                        timeout=self.settings.acquire_timeout_s,
                        max_idle=60.0,
                        max_waiting=2000,
                        reconnect_timeout=5.0,
                        check=None,
                        open=False,
                        name=login,
                    )
                    await pool.open()
                    self._pools[login] = pool
        return pool

    @asynccontextmanager
    async def connect(
        self, login: str, *, autocommit: bool = True, **extra: str
    ) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """A connection of one's own, outside the pools: for LISTEN and long work."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                self.conninfo_for(login, **extra), autocommit=autocommit, row_factory=dict_row
            )
        except psycopg.Error as error:
            raise DatabaseUnavailable(str(error).strip()) from error
        try:
            yield connection
        finally:
            await connection.close()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        for executor in self._executors.values():
            await executor.close()
        self._pools.clear()
        self._executors.clear()
