"""Messages that SQL sends through realtime.messages, live and replayed."""

from __future__ import annotations

from tests.realtime.conftest import Stand, Start
from tests.realtime.notes import ME, NOTES

from selfbase.realtime.events import MessageDropped


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
