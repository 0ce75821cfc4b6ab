"""The executor on a real server: one round trip, stale plans, cancelling, broken connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import psycopg
import pytest
from tests.support.postgres import FreshDatabase

from selfbase.database.batch import Batch, Result, Statement, plan_caller_settings
from selfbase.database.executor import Executor, ExecutorSettings
from selfbase.database.failures import (
    ConnectionLost,
    DatabaseFailure,
    DatabaseUnavailable,
    InsufficientPrivilege,
    PoolTimeout,
    QueryCanceled,
    UniqueViolation,
)
from selfbase.http.values import Gone
from selfbase.identity.caller import make_caller

ANON = make_caller({}, "anon")


def read(sql: str, *params: str | None, keep: bool = True) -> Batch:
    encoded = tuple(None if p is None else p.encode() for p in params)
    return Batch("", (), (Statement(sql.encode(), encoded, keep),), read_only=True)


def write(sql: str, *params: str, settings: tuple[tuple[bytes, bytes], ...] = ()) -> Batch:
    return Batch("", settings, (Statement(sql.encode(), tuple(p.encode() for p in params)),))


@pytest.fixture
async def executor(fresh_database: FreshDatabase) -> AsyncIterator[Executor]:
    made = Executor(
        fresh_database.conninfo("postgres"),
        ExecutorSettings(links_max=3, links_shared_max=1, acquire_timeout_s=1.0),
    )
    yield made
    await made.close()


async def value(executor: Executor, batch: Batch) -> bytes | None:
    return (await executor.run(batch))[0].rows[0][0]


async def test_results_are_text_with_names_and_counts(executor: Executor) -> None:
    [result] = await executor.run(read("select $1::int + 1 as n, null as nothing", "41"))
    assert result == Result([(b"42", None)], ("n", "nothing"), 1, "SELECT 1")


async def test_a_batch_is_one_transaction(executor: Executor) -> None:
    await executor.run(write("create table t (n int unique)"))
    both = Batch(
        "",
        (),
        (
            Statement(b"insert into t values ($1::int)", (b"1",)),
            Statement(b"insert into t values ($1::int)", (b"1",)),
        ),
    )
    with pytest.raises(UniqueViolation) as raised:
        await executor.run(both)
    assert raised.value.diagnosis.constraint == "t_n_key"
    assert await value(executor, read("select count(*) from t")) == b"0"


async def test_settings_and_role_end_with_the_batch(executor: Executor) -> None:
    settings = plan_caller_settings(ANON, search_path='"public"', extra=[("request.method", "GET")])
    sql = (
        "select current_user, current_setting('request.method', true),"
        " nullif(current_setting('request.jwt.claims', true), '')::json ->> 'role'"
    )
    batch = Batch("anon", settings, (Statement(sql.encode()),), read_only=True)
    [inside] = await executor.run(batch)
    assert inside.rows == [(b"anon", b"GET", b"anon")]
    [outside] = await executor.run(read(sql + " -- outside"))
    assert outside.rows == [(b"postgres", b"", None)]


async def test_a_read_only_batch_cannot_write(executor: Executor) -> None:
    await executor.run(write("create table t (n int)"))
    with pytest.raises(DatabaseFailure) as raised:
        await executor.run(
            write("insert into t values (1)", settings=((b"transaction_read_only", b"on"),))
        )
    assert raised.value.sqlstate == "25006"


async def test_a_deferred_constraint_fails_the_batch(executor: Executor) -> None:
    await executor.run(write("create table p (id int primary key)"))
    await executor.run(write("create table c (p int references p deferrable initially deferred)"))
    with pytest.raises(DatabaseFailure) as raised:
        await executor.run(write("insert into c values (7) returning p"))
    assert raised.value.sqlstate == "23503"
    assert await value(executor, read("select count(*) from c")) == b"0"


async def test_an_explicit_transaction_has_its_level_and_can_be_undone(executor: Executor) -> None:
    await executor.run(write("create table t (n int)"))
    undone = Batch(
        "",
        (),
        (
            Statement(b"insert into t values (1)"),
            Statement(b"select current_setting('transaction_isolation')"),
        ),
        begin=b"begin isolation level serializable",
        end=b"rollback",
    )
    results = await executor.run(undone)
    assert results[1].rows == [(b"serializable",)]
    assert await value(executor, read("select count(*) from t")) == b"0"


async def test_an_error_in_an_explicit_transaction_leaves_the_connection_clean(
    executor: Executor,
) -> None:
    failing = Batch("", (), (Statement(b"select 1/0"),), begin=b"begin")
    for _ in range(3):
        with pytest.raises(DatabaseFailure):
            await executor.run(failing)
        assert await value(executor, read("select 1")) == b"1"


async def test_neighbours_of_an_error_are_unharmed(executor: Executor) -> None:
    for _ in range(3):  # quick by now, so they share a connection
        await executor.run(read("select $1::int", "1"))
    batches = [read("select $1::int", "x" if n % 3 == 0 else str(n)) for n in range(60)]
    answers = await asyncio.gather(
        *(executor.run(batch) for batch in batches), return_exceptions=True
    )
    for number, answer in enumerate(answers):
        if number % 3 == 0:
            assert isinstance(answer, DatabaseFailure)
            assert answer.sqlstate == "22P02"
        else:
            assert isinstance(answer, list)
            assert answer[0].rows == [(str(number).encode(),)]


async def test_a_changed_table_is_planned_anew(executor: Executor) -> None:
    await executor.run(write("create table t (n int)"))
    await executor.run(write("insert into t values (1)"))
    for _ in range(2):
        assert (await executor.run(read("select * from t")))[0].columns == ("n",)
    await executor.run(write("alter table t add column m text default 'new'"))
    [changed] = await executor.run(read("select * from t"))
    assert changed.rows == [(b"1", b"new")]
    await executor.run(write("drop table t"))
    with pytest.raises(DatabaseFailure) as raised:
        await executor.run(read("select * from t"))
    assert raised.value.sqlstate == "42P01"


async def test_more_statements_than_a_connection_keeps(executor: Executor) -> None:
    for number in range(600):
        assert await value(executor, read(f"select {number}")) == str(number).encode()
    kept = await value(executor, read("select count(*) from pg_prepared_statements", keep=False))
    assert kept is not None
    assert int(kept) <= 513


async def test_a_statement_that_failed_to_parse_is_not_remembered(executor: Executor) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseFailure) as raised:
            await executor.run(read("select nonsense from"))
        assert raised.value.sqlstate == "42601"
    assert await value(executor, read("select 1")) == b"1"


async def wait_until_running(database: FreshDatabase, marker: str) -> int:
    """The backend that runs a statement with `marker` in it."""
    async with await psycopg.AsyncConnection.connect(
        database.conninfo(), autocommit=True
    ) as connection:
        async with asyncio.timeout(10):
            while True:
                cursor = await connection.execute(
                    "select pid from pg_stat_activity where state = 'active'"
                    " and pid <> pg_backend_pid() and query like '%%' || %s || '%%'",
                    [marker],
                )
                row = await cursor.fetchone()
                if row is not None:
                    return int(row[0])
                await asyncio.sleep(0)


async def terminate(database: FreshDatabase, pid: int) -> None:
    async with await psycopg.AsyncConnection.connect(
        database.conninfo(), autocommit=True
    ) as connection:
        await connection.execute("select pg_terminate_backend(%s)", [pid])


async def test_a_client_that_leaves_cancels_its_query(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    gone = Gone()
    running = asyncio.create_task(executor.run(read("select pg_sleep(60) -- leave"), gone))
    await wait_until_running(fresh_database, "leave")
    gone.set()
    with pytest.raises(QueryCanceled):
        await asyncio.wait_for(running, 10)
    assert await value(executor, read("select 1")) == b"1"


async def test_a_cancelled_task_cancels_its_query(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    running = asyncio.create_task(executor.run(read("select pg_sleep(60) -- task")))
    pid = await wait_until_running(fresh_database, "task")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(10):
        while True:
            batch = read(
                "select count(*) from pg_stat_activity where state = 'active'"
                f" and pid = {pid} and pid <> pg_backend_pid()"
            )
            if await value(executor, batch) == b"0":
                break
    assert await value(executor, read("select 2")) == b"2"


async def test_a_killed_backend_costs_a_read_nothing(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    sql = "select case when nextval('tries') > 1 then 0 else pg_sleep(60)::text::int end -- kill"
    await executor.run(write("create sequence tries"))
    batch = Batch("", (), (Statement(sql.encode(), ()),), read_only=True)
    running = asyncio.create_task(executor.run(batch))
    await terminate(fresh_database, await wait_until_running(fresh_database, "kill"))
    assert (await asyncio.wait_for(running, 10))[0].rows == [(b"0",)]


async def begin(executor: Executor, batch: Batch) -> list[Result] | DatabaseFailure | None:
    """What `begin` hands over, or None when it does not take the batch."""
    ended: asyncio.Future[list[Result] | DatabaseFailure] = asyncio.Future()
    if not executor.begin(batch, ended.set_result):
        return None
    return await asyncio.wait_for(ended, 10)


@pytest.fixture
def everything_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr("selfbase.database.executor._QUICK_S", 60.0)


@pytest.mark.usefixtures("everything_is_quick")
async def test_a_quick_read_needs_no_task(executor: Executor) -> None:
    batch = read("select $1::int", "7")
    assert await begin(executor, batch) is None
    await executor.run(batch)
    results = await begin(executor, batch)
    assert isinstance(results, list)
    assert results[0].rows == [(b"7",)]
    # The same statement with a value it cannot take.
    failure = await begin(executor, read("select $1::int", "x"))
    assert isinstance(failure, DatabaseFailure)
    assert failure.sqlstate == "22P02"
    assert await begin(executor, write("select $1::int", "7")) is None


@pytest.mark.usefixtures("everything_is_quick")
async def test_a_quick_read_outlives_its_connection_and_its_plan(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    await executor.run(write("create table t as select 1 as n"))
    batch = read("select * from t")
    await executor.run(batch)
    await executor.run(write("alter table t alter n type text using 'one'"))
    results = await begin(executor, batch)
    assert isinstance(results, list)
    assert results[0].rows == [(b"one",)]
    lost = Cut(executor)
    results = await begin(executor, batch)
    lost.check()
    assert isinstance(results, list)
    assert results[0].rows == [(b"one",)]


class Cut:
    """Shuts every socket of an executor, so that what is sent next is lost."""

    def __init__(self, executor: Executor) -> None:
        self._links = list(executor._links)
        for link in self._links:
            duplicate = socket.socket(fileno=os.dup(link._socket))
            duplicate.shutdown(socket.SHUT_RD)
            duplicate.close()

    def check(self) -> None:
        assert self._links
        assert all(link.lost for link in self._links)


async def test_a_killed_backend_is_told_to_a_writer(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    running = asyncio.create_task(executor.run(write("select pg_sleep(60) -- write")))
    await terminate(fresh_database, await wait_until_running(fresh_database, "write"))
    with pytest.raises((ConnectionLost, DatabaseUnavailable)) as raised:
        await asyncio.wait_for(running, 10)
    assert raised.value.status == 503
    assert await value(executor, read("select 1")) == b"1"


async def test_never_more_connections_than_allowed(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    answers = await asyncio.gather(
        *(executor.run(write("select pg_backend_pid(), pg_sleep(0.01)")) for _ in range(30))
    )
    assert len({answer[0].rows[0][0] for answer in answers}) <= 3
    assert executor.open_links <= 3


async def test_a_connection_that_is_to_go_ends_its_work_and_gets_no_more(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    gone = Gone()
    busy = asyncio.create_task(executor.run(read("select pg_sleep(60) -- last"), gone))
    pid = await wait_until_running(fresh_database, "last")
    executor.recycle()
    others = {await value(executor, read("select pg_backend_pid()")) for _ in range(10)}
    assert str(pid).encode() not in others
    assert executor.open_links == 2
    gone.set()
    with pytest.raises(QueryCanceled):
        await asyncio.wait_for(busy, 10)
    assert executor.open_links == 1


async def test_connections_live_as_long_as_they_are_allowed(fresh_database: FreshDatabase) -> None:
    limits = ExecutorSettings(links_max=1, idle_timeout_s=0.1, lifetime_s=0.0)
    executor = Executor(fresh_database.conninfo("postgres"), limits)
    try:
        first = await value(executor, read("select pg_backend_pid()"))
        async with asyncio.timeout(10):
            while await value(executor, read("select pg_backend_pid()")) == first:
                pass
    finally:
        await executor.close()


async def test_waiting_for_a_connection_ends(
    executor: Executor, fresh_database: FreshDatabase
) -> None:
    gone = Gone()
    busy = [asyncio.create_task(executor.run(write("select pg_sleep(60)"), gone)) for _ in range(3)]
    await wait_until_running(fresh_database, "pg_sleep(60)")
    with pytest.raises(PoolTimeout):
        await executor.run(write("select 1"))
    gone.set()
    ended = await asyncio.gather(*busy, return_exceptions=True)
    assert all(isinstance(answer, QueryCanceled) for answer in ended)


async def test_a_server_that_is_not_there_is_said_so() -> None:
    executor = Executor("host=/nowhere user=postgres dbname=postgres")
    with pytest.raises(DatabaseUnavailable):
        await executor.run(read("select 1"))
    await executor.close()


async def test_a_role_without_rights_is_refused(executor: Executor) -> None:
    await executor.run(write("create table private (n int)"))
    await executor.run(write("revoke all on private from anon"))
    settings = plan_caller_settings(ANON, search_path='"public"')
    with pytest.raises(InsufficientPrivilege):
        await executor.run(Batch("anon", settings, (Statement(b"select * from private"),)))


async def test_setting_names_are_text_and_never_sql(executor: Executor) -> None:
    name = b"my.it's\\"
    batch = Batch(
        "",
        ((b"my.plain", b"1"), (name, b"2'; select 1")),
        (Statement(b"select current_setting($1), current_setting($2)", (b"my.plain", name)),),
    )
    # A name PostgreSQL takes for no setting's is refused by it, not run by it.
    with pytest.raises(DatabaseFailure) as caught:
        await executor.run(batch)
    assert caught.value.sqlstate == "42602"
