"""The database goes away, the slot is lost, nobody is left: what clients and the server see."""

from __future__ import annotations

import psycopg
import pytest
from tests.realtime.conftest import Stand, Start

from selfbase.realtime.events import ChangesLost, StreamStarted

NOTES = (
    "create table public.notes (id int primary key, owner uuid)",
    "alter publication supabase_realtime add table public.notes",
    "grant select on public.notes to anon, authenticated",
)
ALL = [{"event": "*", "schema": "public", "table": "notes"}]
_KILL_STREAM = (
    "select pg_terminate_backend(active_pid) from pg_replication_slots"
    " where database = current_database() and active"
)
_KILL_ALL = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
)


async def test_nothing_is_lost_when_the_stream_breaks(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    for number in range(5):
        await stand.sql(_KILL_STREAM, user="supabase_admin")
        await stand.sql(f"insert into public.notes values ({number})")
    got = [(await client.change())["data"]["record"]["id"] for _ in range(5)]
    assert got == [0, 1, 2, 3, 4]
    await client.settle()
    assert client.count("postgres_changes") == 0
    assert any(isinstance(e, StreamStarted) and e.resumed for e in stand.happened)
    assert not any(isinstance(e, ChangesLost) for e in stand.happened)


async def test_every_connection_to_the_database_may_break(stand: Stand) -> None:
    await stand.sql(
        *NOTES,
        "alter table public.notes enable row level security",
        "create policy own on public.notes for select using"
        " (exists (select 1 where owner = auth.uid()))",
    )
    me = "11111111-1111-1111-1111-111111111111"
    client = await stand.connect(stand.token(sub=me))
    await client.subscribed("a", ALL)
    await stand.sql(f"insert into public.notes values (1, '{me}')")
    assert (await client.change())["data"]["record"]["id"] == 1
    await stand.sql(_KILL_ALL, user="supabase_admin")
    await stand.sql(f"insert into public.notes values (2, '{me}'), (3, null)")
    assert (await client.change())["data"]["record"]["id"] == 2
    await client.settle()
    assert client.count("postgres_changes") == 0


async def test_a_lost_slot_is_made_anew_and_clients_are_told(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    with psycopg.connect(stand.database.conninfo(), autocommit=True) as connection:
        gone = False
        while not gone:
            connection.execute(_KILL_STREAM)
            try:
                connection.execute(
                    "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                    " where database = current_database()"
                )
                gone = True
            except psycopg.errors.ObjectInUse:
                continue
    await client.system("Changes may have been lost")
    await stand.until(lambda: _is_ready(stand))
    await stand.sql("insert into public.notes values (1)")
    assert (await client.change())["data"]["record"]["id"] == 1


async def test_a_slot_that_lags_is_given_up(start: Start) -> None:
    stand = await start(slot_lag_bytes_max=0, slot_idle_s=0.4)
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (1)")
    await client.system("lagged too far behind")


async def test_the_slot_goes_when_nobody_is_there(start: Start) -> None:
    stand = await start(slot_idle_s=0.2)
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    assert await _slots(stand) == 1
    await client.close()
    await stand.until(lambda: _no_slot(stand))
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (1)")
    assert (await client.change())["data"]["record"]["id"] == 1


async def test_nothing_is_left_behind_after_closing(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.realtime.close()
    await client.closed.wait()
    assert client.socket.close_code == 1012
    assert await stand.fetch("select count(*) from realtime.subscription") == [(0,)]
    assert await _slots(stand) == 0


async def test_a_slot_left_by_a_killed_process_is_replaced(stand: Stand) -> None:
    await stand.sql(*NOTES)
    await stand.sql(
        "select pg_create_logical_replication_slot('supabase_realtime_replication_slot', 'pgoutput')",
        "insert into public.notes values (1)",
        user="supabase_admin",
    )
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (2)")
    assert (await client.change())["data"]["record"]["id"] == 2


async def test_rows_of_a_killed_worker_are_swept(stand: Stand) -> None:
    await stand.sql(*NOTES)
    await stand.sql(
        "insert into realtime.subscription (subscription_id, entity, claims)"
        " values (gen_random_uuid(), 'public.notes', '{\"role\": \"anon\"}')",
        user="supabase_admin",
    )
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.until(lambda: _one_row(stand))


async def test_a_long_transaction_delays_but_does_not_block_joining(start: Start) -> None:
    stand = await start(subscribe_wait_s=0.2)
    await stand.sql(*NOTES)
    async with await psycopg.AsyncConnection.connect(stand.database.conninfo("postgres")) as busy:
        await busy.execute("insert into public.notes values (1)")
        client = await stand.connect()
        reply = await client.join("a", {"postgres_changes": ALL})
        assert reply["status"] == "ok"
        await busy.commit()
    await client.system("Subscribed to PostgreSQL")
    await stand.sql("insert into public.notes values (2)")
    await client.wait(
        lambda f: f["event"] == "postgres_changes" and f["payload"]["data"]["record"]["id"] == 2
    )


@pytest.mark.parametrize("statement", ["drop publication supabase_realtime"])
async def test_a_dropped_publication_is_survived(stand: Stand, statement: str) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql(statement, "insert into public.notes values (1)", user="supabase_admin")
    await stand.sql("create publication supabase_realtime", NOTES[1], user="supabase_admin")
    other = await stand.connect()
    await other.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (2)")
    assert (await other.change())["data"]["record"]["id"] in (1, 2)


async def _is_ready(stand: Stand) -> bool:
    return stand.realtime.core.feed.reader.ready.is_set()


async def _slots(stand: Stand) -> int:
    rows = await stand.fetch(
        "select count(*) from pg_replication_slots where database = current_database()"
    )
    return int(rows[0][0])


async def _no_slot(stand: Stand) -> bool:
    return await _slots(stand) == 0


async def _one_row(stand: Stand) -> bool:
    return await stand.fetch("select count(*) from realtime.subscription") == [(1,)]
