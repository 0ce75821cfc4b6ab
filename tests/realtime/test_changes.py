"""Database changes: what arrives, and in which shape."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest
from tests.realtime.conftest import Stand, Start
from tests.realtime.notes import ALL, ME, NOTES, next_records, quiet


@pytest.mark.parametrize("version", [1, 2])
async def test_insert_update_delete(stand: Stand, version: int) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect(version=version)
    reply = await client.subscribed("a", ALL)
    ids = [binding["id"] for binding in reply["response"]["postgres_changes"]]
    await stand.sql(
        "insert into public.notes values (1, null, 'x')",
        "update public.notes set body = 'y'",
        "delete from public.notes",
    )
    insert, update, delete = [await client.change() for _ in range(3)]
    assert insert["ids"] == ids
    data = insert["data"]
    assert data.pop("commit_timestamp")[-5:-4] == "."
    assert data == {
        "schema": "public",
        "table": "notes",
        "type": "INSERT",
        "columns": [
            {"name": "id", "type": "int4"},
            {"name": "owner", "type": "uuid"},
            {"name": "body", "type": "text"},
            {"name": "secret", "type": "text"},
        ],
        "record": {"id": 1, "owner": None, "body": "x", "secret": None},
        "errors": None,
    }
    assert update["data"]["record"]["body"] == "y"
    assert update["data"]["old_record"] == {"id": 1}
    assert "record" not in delete["data"]
    assert delete["data"]["old_record"] == {"id": 1}


async def test_full_identity_shows_the_old_row(stand: Stand) -> None:
    await stand.sql(*NOTES, "alter table public.notes replica identity full")
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql(
        "insert into public.notes values (1, null, 'x', 's')",
        "update public.notes set body = 'y'",
        "delete from public.notes",
    )
    await client.change()
    old = {"id": 1, "owner": None, "body": "x", "secret": "s"}
    assert (await client.change())["data"]["old_record"] == old
    assert (await client.change())["data"]["old_record"] == {**old, "body": "y"}


async def test_every_kind_of_value(stand: Stand) -> None:
    await stand.sql(
        "create type public.mood as enum ('ok')",
        "create type public.pair as (a int, b text)",
        "create domain public.age as int",
        "create table public.kinds (id int8 primary key, n numeric, f float8, b bool, j jsonb,"
        " t timestamptz, ts timestamp, a int[], ta text[], m public.mood, p public.pair,"
        " d public.age, r int4range, y bytea, u uuid, g int generated always as (1) stored)",
        "alter publication supabase_realtime add table public.kinds",
        "grant select on public.kinds to anon",
    )
    client = await stand.connect()
    await client.subscribed("a", [{"event": "INSERT", "schema": "public", "table": "kinds"}])
    await stand.sql(
        "insert into public.kinds values (9007199254740993, 'NaN', 1.5, true, '{\"a\":[1]}',"
        " '2026-01-02 03:04:05.5+02', 'infinity', '{1,null}', '{\"a,b\",\"\"}', 'ok',"
        " row(1,'x'), 7, '[1,3)', '\\x00ff', '" + ME + "')"
    )
    record = (await client.change())["data"]["record"]
    record.pop("g", None)  # PostgreSQL 18 can replicate generated columns
    assert record == {
        "id": 9007199254740993,
        "n": "NaN",
        "f": 1.5,
        "b": True,
        "j": {"a": [1]},
        "t": "2026-01-02T01:04:05.5+00:00",
        "ts": "infinity",
        "a": [1, None],
        "ta": ["a,b", ""],
        "m": "ok",
        "p": {"a": 1, "b": "x"},
        "d": 7,
        "r": "[1,3)",
        "y": "00ff",
        "u": ME,
    }


async def test_values_too_large_are_left_out(start: Start) -> None:
    stand = await start(change_bytes_max=1000)
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (1, null, repeat('x', 2000), 's')")
    data = (await client.change())["data"]
    assert data["errors"] == ["Error 413: Payload Too Large"]
    assert data["record"] == {"id": 1, "owner": None, "secret": "s"}


async def test_large_values_that_did_not_change(stand: Stand) -> None:
    await stand.sql(*NOTES, "alter table public.notes alter column body set storage external")
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql(
        "insert into public.notes values (1, null, repeat('x', 10000))",
        "update public.notes set secret = 's'",
        "alter table public.notes replica identity full",
        "update public.notes set secret = 't'",
    )
    await client.change()
    assert (await client.change())["data"]["record"] == {"id": 1, "owner": None, "secret": "s"}
    assert len((await client.change())["data"]["record"]["body"]) == 10000


async def test_a_table_without_a_key(stand: Stand) -> None:
    await stand.sql(
        "create table public.keyless (v text)",
        "alter publication supabase_realtime add table public.keyless",
        "grant select on public.keyless to anon",
    )
    client = await stand.connect()
    await client.subscribed("a", [{"event": "*", "schema": "public", "table": "keyless"}])
    await stand.sql("insert into public.keyless values ('x')")
    data = (await client.change())["data"]
    assert data["errors"] == ["Error 400: Bad Request, no primary key"]
    assert data["record"] == {}


async def test_all_bindings_of_a_channel_that_match_share_one_message(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    bindings = [
        *ALL,
        {"event": "INSERT", "schema": "public", "table": "notes"},
        {"event": "UPDATE", "schema": "public", "table": "notes"},
        {"event": "*", "schema": "public"},
        {"event": "*", "schema": "*"},
        {"event": "INSERT", "schema": "public", "table": "notes", "filter": "id=eq.1"},
        {"event": "INSERT", "schema": "public", "table": "notes", "filter": "id=eq.2"},
    ]
    reply = await client.join("a", {"postgres_changes": bindings})
    echoed = reply["response"]["postgres_changes"]
    assert [{k: v for k, v in b.items() if k != "id"} for b in echoed] == bindings
    await client.system("Subscribed to PostgreSQL")
    await stand.sql("insert into public.notes values (1)")
    change = await client.change()
    assert sorted(change["ids"]) == sorted(echoed[i]["id"] for i in (0, 1, 3, 4, 5))
    assert await quiet(stand, client) == [1], "the marker's own insert, through the wildcards"


FILTERS = [
    ("id=eq.2", [2]),
    ("id=not.eq.2", [1, 3]),
    ("id=in.(1,3)", [1, 3]),
    ("id=gte.2", [2, 3]),
    ("id=gt.1,id=lt.3", [2]),
    ("body=like.b*", []),
    ("body=like.b%", [2]),
    ("body=ilike.B%", [2]),
    ("body=match.^[ab]", [1, 2]),
    ("body=imatch.^[AB]", [1, 2]),
    ("body=is.null", [3]),
    ("body=not.is.null", [1, 2]),
    ("body=isdistinct.b", [1, 3]),
    ("body=neq.b", [1]),
    ("body=gt.a", [2]),
    ('body=in.("a,x",b)', [2]),
]


async def test_filters(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    for number, (text, _) in enumerate(FILTERS):
        binding = {"event": "INSERT", "schema": "public", "table": "notes", "filter": text}
        reply = await client.join(
            f"f{number}", {"postgres_changes": [binding]}, join_ref=str(number)
        )
        assert reply["status"] == "ok"
        await client.event("system", f"f{number}")
    await stand.sql(
        "insert into public.notes values (1, null, 'a'), (2, null, 'b'), (3, null, null)"
    )
    await quiet(stand, client)
    for number, (text, expected) in enumerate(FILTERS):
        got = [
            frame["payload"]["data"]["record"]["id"]
            for frame in client.frames
            if frame["event"] == "postgres_changes" and frame["topic"] == f"realtime:f{number}"
        ]
        assert got == expected, text


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        (
            {"event": "*", "schema": "public", "table": "notes", "filter": "id=foo.1"},
            "Error parsing `filter` params",
        ),
        (
            {"event": "*", "schema": "public", "table": "notes", "filter": "nope=eq.1"},
            '[event: *, schema: public, table: notes, filters: [{"nope", "eq", "1", false}],'
            " select: nil]. Exception: ERROR P0001 (raise_exception) invalid column for filter nope",
        ),
        (
            {"event": "*", "schema": "public", "table": "notes", "filter": "id=eq.x"},
            "invalid input syntax",
        ),
        (
            {"event": "*", "schema": "public", "table": "notes", "filter": "id=like.x"},
            "requires a text-compatible column type",
        ),
        (
            {"event": "*", "schema": "public", "table": "notes", "filter": "body=match.("},
            "invalid regular expression",
        ),
        (
            {"event": "*", "schema": "public", "table": "notes", "select": ["nope"]},
            "invalid column for select nope",
        ),
        (
            {"event": "*", "schema": "public", "select": ["id"]},
            "Column selection is not supported for wildcard",
        ),
        ({"event": "*"}, "No subscription params provided"),
        ({"event": "*", "schema": "public", "table": "nope"}, "Please check Realtime is enabled"),
    ],
)
async def test_bindings_that_cannot_be_active(stand: Stand, binding: Any, message: str) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    assert (await client.join("a", {"postgres_changes": [binding]}))["status"] == "ok"
    assert (await client.system(message))["status"] == "error"


async def test_a_table_that_joins_the_publication_later(stand: Stand) -> None:
    await stand.sql(NOTES[0], NOTES[2])
    client = await stand.connect()
    await client.join("a", {"postgres_changes": ALL})
    await client.system("Please check Realtime is enabled")
    await stand.sql(NOTES[1])
    await client.system("Subscribed to PostgreSQL")
    await stand.sql("insert into public.notes values (1)")
    assert await next_records(client, 1) == [1]


async def test_chosen_columns(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    binding = {"event": "*", "schema": "public", "table": "notes", "select": ["body"]}
    await client.subscribed("a", [binding])
    await stand.sql("insert into public.notes values (1, null, 'x', 's')")
    data = (await client.change())["data"]
    assert data["record"] == {"id": 1, "body": "x"}
    assert [column["name"] for column in data["columns"]] == ["id", "body"]


async def test_rolled_back_changes_never_arrive_and_order_holds(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql(
        "begin; insert into public.notes values (99); rollback",
        "insert into public.notes select n from generate_series(1, 500) as n",
    )
    assert await next_records(client, 500) == list(range(1, 501))


async def test_every_change_waits_until_its_writer_has_been_answered(start: Start) -> None:
    delay_s = 0.3
    stand = await start(change_delay_s=delay_s)
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    async with await psycopg.AsyncConnection.connect(
        stand.database.conninfo("postgres"), autocommit=True
    ) as writer:
        await writer.execute("insert into public.notes values (1)")
        await asyncio.sleep(delay_s / 2)  # the second one comes while the first one waits
        committing_s = time.monotonic()
        await writer.execute("insert into public.notes values (2)")
    assert await next_records(client, 2) == [1, 2]
    assert time.monotonic() - committing_s >= delay_s


async def test_a_change_after_the_reply_always_arrives(stand: Stand) -> None:
    await stand.sql(*NOTES)
    for number in range(20):
        client = await stand.connect()
        await client.join("a", {"postgres_changes": ALL})
        await stand.sql(f"insert into public.notes values ({number})")
        assert await next_records(client, 1) == [number]
        await client.close()


async def test_the_schema_may_change_meanwhile(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (1)")
    assert await next_records(client, 1) == [1]
    await stand.sql(
        "alter table public.notes add column extra int default 5, drop column secret",
        "insert into public.notes values (2)",
    )
    record = (await client.change())["data"]["record"]
    assert record == {"id": 2, "owner": None, "body": None, "extra": 5}
    await stand.sql("drop table public.notes", *NOTES, "insert into public.notes values (3)")
    assert await next_records(client, 1) == [3]


async def test_partitioned_tables_through_their_root(stand: Stand) -> None:
    await stand.sql(
        "create table public.parts (id int primary key) partition by range (id)",
        "create table public.parts_low partition of public.parts for values from (0) to (10)",
        "grant select on public.parts to anon",
        "alter publication supabase_realtime set (publish_via_partition_root = true)",
        "alter publication supabase_realtime add table public.parts",
    )
    client = await stand.connect()
    await client.subscribed("a", [{"event": "*", "schema": "public", "table": "parts"}])
    await stand.sql("insert into public.parts values (1)")
    assert await next_records(client, 1) == [1]


async def test_many_clients_flapping_leave_nothing_behind(stand: Stand) -> None:
    await stand.sql(*NOTES)

    async def flap() -> None:
        client = await stand.connect()
        await client.send("realtime:a", "phx_join", {"config": {"postgres_changes": ALL}})
        await asyncio.sleep(0)
        await client.close()

    await asyncio.gather(*(flap() for _ in range(30)))
    await stand.until(lambda: _no_rows(stand))
    feed = stand.realtime.core.feed
    assert feed._registry.binding_count == 0
    assert len(stand.realtime.core.rooms) == 0


async def _no_rows(stand: Stand) -> bool:
    return not await stand.fetch("select from realtime.subscription")
