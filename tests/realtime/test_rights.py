"""Database changes under policies and column rights, tried as attacks: what must never arrive."""

from __future__ import annotations

import psycopg
import pytest
from tests.realtime.conftest import Client, Stand
from tests.realtime.notes import ALL, LIMITED, ME, NOTES, YOU, next_records, quiet

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
    update = (await you.change())["data"]
    assert update["record"]["body"] == "yours"
    assert update["old_record"] == {"id": 1}, "who could not see the old row gets its key alone"
    await stand.sql("update public.notes set body = 'still'")
    assert (await you.change())["data"]["old_record"]["body"] == "yours"
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
