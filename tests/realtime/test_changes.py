"""Database changes: what arrives, in which shape, and what must never arrive."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest
from tests.realtime.conftest import Client, Stand, Start

from selfbase.realtime.events import MessageDropped

ME = "11111111-1111-1111-1111-111111111111"
YOU = "22222222-2222-2222-2222-222222222222"

NOTES = (
    "create table public.notes (id int primary key, owner uuid, body text, secret text)",
    "alter publication supabase_realtime add table public.notes",
    "grant select on public.notes to anon, authenticated",
)
LIMITED = (*NOTES, "alter table public.notes enable row level security")
ALL = [{"event": "*", "schema": "public", "table": "notes"}]


async def next_records(client: Client, count: int) -> list[Any]:
    changes = [(await client.change())["data"] for _ in range(count)]
    return [
        data.get("record", {}).get("id", data.get("old_record", {}).get("id")) for data in changes
    ]


async def quiet(stand: Stand, *clients: Client) -> list[int]:
    """How many changes each client has unread, once everything committed has been dispatched."""
    await stand.sql(
        "create table if not exists public.marker (id serial primary key)",
        "grant select on public.marker to anon, authenticated",
        "do $$ begin alter publication supabase_realtime add table public.marker;"
        " exception when duplicate_object then end $$",
    )
    watcher = await stand.connect(stand.secrets.service_role_key)
    await watcher.subscribed("watch", [{"event": "*", "schema": "public", "table": "marker"}])
    await stand.sql("insert into public.marker default values")
    await watcher.change()
    await watcher.close()
    for client in clients:
        await client.settle()
    return [client.count("postgres_changes") for client in clients]


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


# Row level security


OWN = "create policy own on public.notes for select to authenticated using (owner = auth.uid())"
MEMBERS = (
    "create table public.members (uid uuid, note int)",
    "grant select on public.members to authenticated",
    "create policy own on public.notes for select to authenticated"
    " using (id in (select note from public.members where uid = auth.uid()))",
    f"insert into public.members values ('{ME}', 1), ('{YOU}', 2)",
)


async def _two(stand: Stand) -> tuple[Client, Client]:
    clients = []
    for user in (ME, YOU):
        client = await stand.connect(stand.token(sub=user))
        await client.subscribed("a", ALL)
        clients.append(client)
    return clients[0], clients[1]


@pytest.mark.parametrize("policies", [(OWN,), MEMBERS], ids=["judged here", "asked"])
async def test_each_caller_gets_what_its_policy_allows(
    stand: Stand, policies: tuple[str, ...]
) -> None:
    await stand.sql(*LIMITED, *policies)
    me, you = await _two(stand)
    anon = await stand.connect()
    await anon.subscribed("a", ALL)
    service = await stand.connect(stand.secrets.service_role_key)
    await service.subscribed("a", ALL)
    await stand.sql(
        f"insert into public.notes values (1, '{ME}'), (2, '{YOU}'), (3, null)",
    )
    assert await next_records(service, 3) == [1, 2, 3]
    assert await next_records(me, 1) == [1]
    assert await next_records(you, 1) == [2]
    assert await quiet(stand, me, you, anon) == [0, 0, 0]


async def test_a_row_that_moves_away_is_not_shown_any_more(stand: Stand) -> None:
    await stand.sql(*LIMITED, OWN, "alter table public.notes replica identity full")
    me, you = await _two(stand)
    await stand.sql(
        f"insert into public.notes values (1, '{ME}', 'mine')",
        f"update public.notes set owner = '{YOU}', body = 'yours'",
    )
    assert (await me.change())["data"]["type"] == "INSERT"
    assert (await you.change())["data"]["type"] == "UPDATE"
    assert await quiet(stand, me, you) == [0, 0]


async def test_deletes_tell_the_key_and_nothing_else(stand: Stand) -> None:
    await stand.sql(*LIMITED, OWN, "alter table public.notes replica identity full")
    me, you = await _two(stand)
    await stand.sql(
        f"insert into public.notes values (1, '{ME}', 'b', 'hidden')", "delete from public.notes"
    )
    assert (await me.change())["data"]["type"] == "INSERT"
    for client in (me, you):
        assert (await client.change())["data"]["old_record"] == {"id": 1}


async def test_a_filter_cannot_ask_about_deleted_rows_of_others(stand: Stand) -> None:
    await stand.sql(*LIMITED, OWN, "alter table public.notes replica identity full")
    spy = await stand.connect(stand.token(sub=YOU))
    guesses = [
        {"event": "DELETE", "schema": "public", "table": "notes", "filter": f"secret=eq.{word}"}
        for word in ("red", "blue")
    ]
    await spy.subscribed("a", guesses)
    await stand.sql(
        f"insert into public.notes values (1, '{ME}', 'b', 'red')", "delete from public.notes"
    )
    assert await quiet(stand, spy) == [0]


async def test_columns_the_role_may_not_read(stand: Stand) -> None:
    await stand.sql(
        *NOTES,
        "revoke select on public.notes from anon",
        "grant select (id, body) on public.notes to anon",
        "alter table public.notes replica identity full",
    )
    client = await stand.connect()
    await client.subscribed("a", ALL)
    guess = {"event": "*", "schema": "public", "table": "notes", "filter": "secret=eq.s"}
    await client.join("b", {"postgres_changes": [guess]})
    await client.system("invalid column for filter secret")
    await client.join("c", {"postgres_changes": [{**ALL[0], "select": ["id", "secret"]}]})
    await client.system("invalid column for select secret")
    await stand.sql(
        "insert into public.notes values (1, null, 'x', 's')", "delete from public.notes"
    )
    insert, delete = (await client.change())["data"], (await client.change())["data"]
    assert insert["record"] == {"id": 1, "body": "x"}
    assert [column["name"] for column in insert["columns"]] == ["id", "body"]
    assert delete["old_record"] == {"id": 1, "body": "x"}


async def test_rights_taken_away_end_filters_and_values(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect()
    guess = {"event": "*", "schema": "public", "table": "notes", "filter": "secret=eq.s"}
    await client.subscribed("a", [guess])
    await stand.sql("insert into public.notes values (1, null, 'x', 's')")
    assert await next_records(client, 1) == [1]
    await stand.sql(
        "revoke select on public.notes from anon, authenticated",
        "grant select (id) on public.notes to anon",
        "insert into public.notes values (2, null, 'x', 's')",
    )
    assert await quiet(stand, client) == [0]


async def test_without_any_right_there_is_only_a_401(stand: Stand) -> None:
    await stand.sql(*NOTES, "revoke select on public.notes from anon")
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql(
        "insert into public.notes values (1, null, 'x', 's')", "delete from public.notes"
    )
    for _ in range(2):
        data = (await client.change())["data"]
        assert data["errors"] == ["Error 401: Unauthorized"]
        assert data["record"] == {}
        assert "old_record" not in data


async def test_policies_may_change_meanwhile(stand: Stand) -> None:
    await stand.sql(*LIMITED, "create policy open on public.notes for select using (true)")
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (1)")
    assert await next_records(client, 1) == [1]
    await stand.sql("drop policy open on public.notes", "insert into public.notes values (2)")
    assert await quiet(stand, client) == [0]
    await stand.sql(
        "alter table public.notes disable row level security", "insert into public.notes values (3)"
    )
    assert await next_records(client, 1) == [3]


async def test_restrictive_policies_count(stand: Stand) -> None:
    await stand.sql(
        *LIMITED,
        "create policy open on public.notes for select using (true)",
        "create policy narrow on public.notes as restrictive for select using (body = 'public')",
    )
    client = await stand.connect()
    await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (1, null, 'private'), (2, null, 'public')")
    assert await next_records(client, 1) == [2]
    assert await quiet(stand, client) == [0]


async def test_a_policy_that_fails_for_one_hides_only_from_that_one(stand: Stand) -> None:
    await stand.sql(
        *LIMITED,
        "create function public.pick(uuid) returns bool language sql stable as"
        " $$ select 1 / (auth.jwt() ->> 'n')::int > 0 $$",
        "create policy p on public.notes for select to authenticated using (public.pick(owner))",
    )
    broken = await stand.connect(stand.token(sub=ME, n="0"))
    fine = await stand.connect(stand.token(sub=YOU, n="1"))
    for client in (broken, fine):
        await client.subscribed("a", ALL)
    await stand.sql("insert into public.notes values (1)")
    assert await next_records(fine, 1) == [1]
    assert await quiet(stand, broken) == [0]


async def test_a_sub_that_is_no_uuid_sees_nothing(stand: Stand) -> None:
    await stand.sql(*LIMITED, OWN)
    client = await stand.connect(stand.token(sub="' or true --"))
    await client.subscribed("a", ALL)
    await stand.sql(f"insert into public.notes values (1, '{ME}')")
    assert await quiet(stand, client) == [0]


async def test_a_new_token_changes_what_is_seen(stand: Stand) -> None:
    await stand.sql(*LIMITED, OWN)
    client = await stand.connect(stand.token(sub=ME))
    await client.subscribed("a", ALL)
    await client.send("realtime:a", "access_token", {"access_token": stand.token(sub=YOU)})
    await stand.until(lambda: _claims(stand, YOU))
    await stand.sql(f"insert into public.notes values (1, '{ME}'), (2, '{YOU}')")
    assert await next_records(client, 1) == [2]
    assert await quiet(stand, client) == [0]


async def test_no_change_is_missed_or_leaked_while_a_new_token_takes_effect(stand: Stand) -> None:
    await stand.sql(*LIMITED, OWN)
    client = await stand.connect(stand.token(sub=ME))
    await client.subscribed("a", ALL)
    async with await psycopg.AsyncConnection.connect(
        stand.database.conninfo("supabase_admin")
    ) as busy:
        await busy.execute("lock table realtime.subscription")
        await client.send("realtime:a", "access_token", {"access_token": stand.token(sub=YOU)})
        await stand.until(lambda: _is_waiting(stand))
        await stand.sql(f"insert into public.notes values (1, '{ME}'), (2, '{YOU}')")
        assert await next_records(client, 1) == [2]
    await stand.until(lambda: _claims(stand, YOU))
    await stand.sql(f"insert into public.notes values (3, '{ME}'), (4, '{YOU}')")
    assert await next_records(client, 1) == [4]


async def test_a_change_that_is_being_judged_is_not_missed_for_a_new_token(stand: Stand) -> None:
    await stand.sql(
        *LIMITED,
        "create table public.gate (id int)",
        "grant select on public.gate to authenticated",
        "create policy p on public.notes for select to authenticated"
        " using (not exists (select from public.gate where gate.id = notes.id))",
    )
    client = await stand.connect(stand.token(sub=ME))
    await client.subscribed("a", ALL)
    async with await psycopg.AsyncConnection.connect(stand.database.conninfo()) as busy:
        await busy.execute("lock table public.gate")
        await stand.sql("insert into public.notes values (1)")
        await stand.until(lambda: _is_waiting(stand))
        await client.send("realtime:a", "access_token", {"access_token": stand.token(sub=YOU)})
        await client.settle()
    assert await next_records(client, 1) == [1]
    await stand.until(lambda: _claims(stand, YOU))


async def _is_waiting(stand: Stand) -> bool:
    return bool(
        await stand.fetch(
            "select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock'"
        )
    )


async def test_a_new_token_loses_filters_its_role_may_not_use(stand: Stand) -> None:
    await stand.sql(
        *NOTES, "revoke select on public.notes from anon", "grant select (id) on notes to anon"
    )
    client = await stand.connect()
    guess = {**ALL[0], "filter": "secret=eq.s"}
    await client.subscribed("a", [guess, *ALL], token=stand.token())
    await client.send("realtime:a", "access_token", {"access_token": stand.token("anon")})
    await client.system("invalid column for filter secret")
    await stand.sql("insert into public.notes values (1, null, 'x', 's')")
    change = await client.change()
    assert (len(change["ids"]), change["data"]["record"]) == (1, {"id": 1})


async def _claims(stand: Stand, sub: str) -> bool:
    rows = await stand.fetch("select claims ->> 'sub' from realtime.subscription")
    return rows == [(sub,)]


async def test_subscriptions_are_rows_and_go_with_their_channel(stand: Stand) -> None:
    await stand.sql(*NOTES)
    client = await stand.connect(stand.token(sub=ME))
    binding = {**ALL[0], "event": "UPDATE", "filter": "id=eq.1"}
    await client.subscribed("a", [binding])
    rows = await stand.fetch(
        "select entity::text, filters::text, claims_role::text, action_filter"
        " from realtime.subscription"
    )
    assert rows == [("notes", '{"(id,eq,1,f)"}', "authenticated", "UPDATE")]
    await client.close()
    await stand.until(lambda: _no_rows(stand))


async def _no_rows(stand: Stand) -> bool:
    return not await stand.fetch("select from realtime.subscription")


async def test_judging_here_agrees_with_postgres(stand: Stand) -> None:
    """The same rows and callers through a policy judged here and one PostgreSQL is asked about."""
    quals = [
        "owner = auth.uid()",
        "owner = auth.uid() and body = 'a'",
        "owner is null or body = (auth.jwt() ->> 'word')",
        "not (body = 'a')",
        "body <> (auth.jwt() ->> 'word')",
        "auth.role() = 'authenticated' and secret is not null",
        "id = (auth.jwt() ->> 'number')::int",
        "(select auth.uid()) = owner",
        "body = coalesce(auth.jwt() ->> 'word', 'a')",
        "body = nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'word'",
    ]
    tables = []
    for number, qual in enumerate(quals):
        for kind, text in (("here", qual), ("asked", f"public.same({qual})")):
            name = f"{kind}{number}"
            tables.append(
                f"create table public.{name} (id int primary key, owner uuid, body text, secret text);"
                f"alter publication supabase_realtime add table public.{name};"
                f"grant select on public.{name} to authenticated;"
                f"alter table public.{name} enable row level security;"
                f"create policy p on public.{name} for select to authenticated using ({text})"
            )
    await stand.sql(
        "create function public.same(b bool) returns bool language plpgsql stable as"
        " $$ begin return b; end $$",
        *tables,
    )
    clients = []
    for claims in (
        {"sub": ME, "word": "a"},
        {"sub": YOU, "number": "2"},
        {"word": "b"},
        {"sub": "x"},
    ):
        client = await stand.connect(stand.token(**claims))
        await client.subscribed("a", [{"event": "*", "schema": "public"}])
        clients.append(client)
    values = (
        f"(1, '{ME}', 'a', null), (2, '{YOU}', 'b', 's'), (3, null, null, 's'), (4, null, 'a', '')"
    )
    await stand.sql(
        *(
            f"insert into public.{kind}{n} values {values}"
            for n in range(len(quals))
            for kind in ("here", "asked")
        )
    )
    await quiet(stand)
    for client in clients:
        await client.settle()
        seen: dict[str, list[int]] = {}
        for frame in client.frames:
            if frame["event"] == "postgres_changes":
                data = frame["payload"]["data"]
                seen.setdefault(data["table"], []).append(data["record"]["id"])
        for number, qual in enumerate(quals):
            assert seen.get(f"here{number}", []) == seen.get(f"asked{number}", []), qual


# Broadcast from the database


async def test_messages_from_sql(stand: Stand) -> None:
    v2, v1 = await stand.connect(), await stand.connect(version=1)
    for client in (v2, v1):
        await client.join("a", {"broadcast": {"replication_ready": True}})
        await client.system("Replication connection established")
    await stand.sql(
        "select realtime.send('{\"n\": 1}', 'e', 'a', false)",
        "begin; select realtime.send('{\"n\": 2}', 'e', 'a', false); rollback",
        "select realtime.send_binary('\\x00ff', 'b', 'a', false)",
        "select realtime.send('{\"n\": 3}', 'e', 'a', false)",
    )
    for client in (v2, v1):
        first, last = [(await client.event("broadcast"))["payload"] for _ in range(2)]
        assert first["payload"]["n"] == 1
        assert first["meta"]["id"] == first["payload"]["id"]
        assert (first["type"], first["event"], last["payload"]["n"]) == ("broadcast", "e", 3)
    assert (await v2.event("binary"))["payload"] == b"\x00\xff"


async def test_messages_from_sql_that_are_not_delivered(start: Start) -> None:
    stand = await start(payload_bytes_max=300)
    client = await stand.connect()
    await client.join("a", {"broadcast": {"replication_ready": True}})
    await client.system("Replication connection established")
    await stand.sql(
        "select realtime.send(jsonb_build_object('x', repeat('y', 400)), 'large', 'a', false)",
        "insert into realtime.messages (topic, extension, payload) values ('a', 'broadcast', '{}')",
        "select realtime.send('{}', 'small', 'a', false)",
    )
    assert (await client.event("broadcast"))["payload"]["event"] == "small"
    assert MessageDropped("payload_size_exceeded") in stand.happened


async def test_broadcast_changes_in_a_trigger(stand: Stand) -> None:
    await stand.sql(
        *NOTES,
        "create policy r on realtime.messages for select to authenticated using (true)",
        "create function public.tell() returns trigger language plpgsql security definer as $$ begin"
        " perform realtime.broadcast_changes('notes', tg_op, tg_op, tg_table_name, tg_table_schema,"
        " new, old); return null; end $$",
        "create trigger tell after insert or update on public.notes"
        " for each row execute function public.tell()",
    )
    client = await stand.connect(stand.token(sub=ME))
    await client.join("notes", {"private": True})
    await stand.sql("insert into public.notes values (1, null, 'x')")
    payload = (await client.event("broadcast"))["payload"]["payload"]
    assert payload.pop("id")
    assert payload == {
        "operation": "INSERT",
        "table": "notes",
        "schema": "public",
        "old_record": None,
        "record": {"id": 1, "owner": None, "body": "x", "secret": None},
    }


async def test_a_failed_send_never_breaks_the_transaction(stand: Stand) -> None:
    await stand.sql(
        *NOTES,
        "begin; select realtime.send('{}', 'e', null); insert into public.notes values (1); commit",
    )
    assert await stand.fetch("select id from public.notes") == [(1,)]


async def test_replay(stand: Stand) -> None:
    await stand.sql(
        "create policy r on realtime.messages for select to authenticated using (true)",
        *(f"select realtime.send('{{\"n\": {n}}}', 'e', 'a')" for n in range(4)),
        "select realtime.send('{}', 'e', 'b')",
    )
    client = await stand.connect(stand.token(sub=ME))
    replay = {"broadcast": {"replay": {"since": 0, "limit": 3}}, "private": True}
    assert (await client.join("a", replay))["status"] == "ok"
    got = [(await client.event("broadcast"))["payload"] for _ in range(3)]
    assert [message["payload"]["n"] for message in got] == [1, 2, 3]
    assert all(message["meta"]["replayed"] for message in got)
    public = await client.join("c", {"broadcast": {"replay": {"since": 0}}})
    assert "Replay is not allowed for public channels" in public["response"]["reason"]
    wrong = await client.join("d", {"private": True, "broadcast": {"replay": {"since": "x"}}})
    assert "Replay params are not valid" in wrong["response"]["reason"]


async def test_what_was_replayed_is_not_told_again_from_the_log(start: Start) -> None:
    stand = await start(change_delay_s=0.3)
    await stand.sql("create policy r on realtime.messages for select using (true)")
    client = await stand.connect()
    await client.join("a", {"private": True})  # the log is being read
    await stand.sql("select realtime.send('{\"n\": 1}', 'e', 'b')")
    replay = {"broadcast": {"replay": {"since": 0}}, "private": True}
    assert (await client.join("b", replay))["status"] == "ok"
    await stand.sql("select realtime.send('{\"n\": 2}', 'e', 'b')")
    got = [(await client.event("broadcast"))["payload"] for _ in range(2)]
    assert [message["payload"]["n"] for message in got] == [1, 2]
    assert [message["meta"].get("replayed", False) for message in got] == [True, False]


async def test_replay_needs_the_right_to_hear(stand: Stand) -> None:
    await stand.sql(
        "create policy p on realtime.messages for select using (extension = 'presence')"
    )
    client = await stand.connect()
    config = {"private": True, "presence": {"enabled": True}}
    refused = await client.join("a", {**config, "broadcast": {"replay": {"since": 0}}})
    assert refused["response"]["reason"].startswith("Unauthorized: You do not have permissions")
    assert (await client.join("a", config))["status"] == "ok"


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
