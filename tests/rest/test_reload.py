"""Changes of schema and settings are served without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest
from tests.support.postgres import FreshDatabase

from selfbase.http.testing import Client
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events
from selfbase.kit.settings import ValuesLayer
from selfbase.rest.service import Rest, make_standalone_rest


@pytest.fixture
def heard() -> list[str]:
    """The names of the events of `rest`, as they come."""
    return []


@pytest.fixture
async def rest(fresh_database: FreshDatabase, heard: list[str]) -> AsyncIterator[Rest]:
    values = {
        "db_uri": fresh_database.conninfo("authenticator"),
        "db_anon_role": "anon",
        "db_schemas": ("public",),
    }
    events = Events(lambda event: heard.append(event.name))
    rest = make_standalone_rest([ValuesLayer(values)], events, SystemClock())
    await rest.open()
    await rest.reloader.wait_active(10)
    yield rest
    await rest.close()


def run(database: FreshDatabase, statement: str) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute(statement)


async def eventually(probe: Callable[[], Awaitable[Any]], expected: Any) -> None:
    async with asyncio.timeout(10):
        while await probe() != expected:
            await asyncio.sleep(0.02)


async def test_new_settings_of_the_login_role_hold_at_once(
    rest: Rest, fresh_database: FreshDatabase
) -> None:
    run(
        fresh_database,
        "create function lock_limit() returns text stable language sql"
        " as $$ select current_setting('lock_timeout') $$",
    )
    client = Client(rest)

    async def limit() -> Any:
        return (await client.get("/rpc/lock_limit")).json()

    await eventually(limit, "8s")
    run(
        fresh_database,
        f"alter role authenticator in database {fresh_database.name} set lock_timeout = '7s';"
        " notify pgrst, 'reload config'",
    )
    await eventually(limit, "7s")


async def test_a_new_table_is_there_at_once(rest: Rest, fresh_database: FreshDatabase) -> None:
    client = Client(rest)
    assert (await client.get("/fresh")).status == 404
    run(fresh_database, "create table fresh (id int); grant select on fresh to anon")

    async def status() -> int:
        return (await client.get("/fresh")).status

    await eventually(status, 200)
    run(fresh_database, "alter table fresh add column more text default 'x'")
    run(fresh_database, "insert into fresh values (1)")
    assert (await client.get("/fresh")).json() == [{"id": 1, "more": "x"}]
    run(fresh_database, "drop table fresh")
    await eventually(status, 404)


async def test_a_new_foreign_key_can_be_embedded(rest: Rest, fresh_database: FreshDatabase) -> None:
    client = Client(rest)

    async def embedded() -> Any:
        return (await client.get("/films?select=a:actors(name)&id=eq.1")).status

    before = await client.get("/films?select=passports(number)")
    assert (before.status, before.json()["code"]) == (400, "PGRST200")
    run(fresh_database, "alter table films add column passport text references passports (number)")

    async def status() -> int:
        return (await client.get("/films?select=passports(number)&id=eq.1")).status

    await eventually(status, 200)
    assert await embedded() == 200


async def test_a_missing_table_is_looked_for_before_it_is_denied(
    fresh_database: FreshDatabase,
) -> None:
    values = {
        "db_uri": fresh_database.conninfo("authenticator"),
        "db_anon_role": "anon",
        "db_channel_enabled": False,
    }
    deaf = make_standalone_rest([ValuesLayer(values)], Events(), SystemClock())
    await deaf.open()
    try:
        await deaf.reloader.wait_active(10)
        run(fresh_database, "create table unheard (id int); grant select on unheard to anon")
        assert (await Client(deaf).get("/unheard")).json() == []
    finally:
        await deaf.close()


async def test_settings_in_the_database_win_and_change_while_running(
    rest: Rest, fresh_database: FreshDatabase, heard: list[str]
) -> None:
    client = Client(rest)
    name = fresh_database.name

    async def rows() -> int:
        return len((await client.get("/films?select=id")).json())

    async def is_rejected() -> bool:
        return "rest.config.rejected" in heard

    assert await rows() == 5
    admin = FreshDatabase(fresh_database.cluster, name)
    with psycopg.connect(admin.conninfo(), autocommit=True) as connection:
        connection.execute(
            f"alter role authenticator in database {name} set pgrst.db_max_rows = '2'"
        )
        connection.execute("notify pgrst, 'reload config'")
        await eventually(rows, 2)
        connection.execute(
            f"alter role authenticator in database {name} set pgrst.db_max_rows = 'many'"
        )
        connection.execute("notify pgrst, 'reload config'")
        await eventually(is_rejected, True)
        assert await rows() == 2
        connection.execute(f"alter role authenticator in database {name} reset all")
        connection.execute("notify pgrst, 'reload config'")
        await eventually(rows, 5)


async def test_a_killed_listener_comes_back(rest: Rest, fresh_database: FreshDatabase) -> None:
    client = Client(rest)
    with psycopg.connect(fresh_database.conninfo(), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and usename = 'authenticator'"
        )
    run(fresh_database, "create table after (id int); grant select on after to anon")

    async def status() -> int:
        return (await client.get("/after")).status

    await eventually(status, 200)


async def test_without_a_database_the_answer_is_unavailable() -> None:
    values = {"db_uri": "host=/nowhere user=authenticator", "db_anon_role": "anon"}
    rest = make_standalone_rest([ValuesLayer(values)], Events(), SystemClock())
    await rest.open()
    try:
        assert await rest.reloader.wait_active(0.1) is None
        assert rest.reloader.loads["SUCCESS"] == 0
    finally:
        await rest.close()
