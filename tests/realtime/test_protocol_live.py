"""The channel protocol over a real socket."""

from tests.realtime.conftest import Stand


async def test_heartbeat_join_and_leave(stand: Stand) -> None:
    client = await stand.connect()
    ref = await client.send("phoenix", "heartbeat", join_ref=None)
    assert await client.reply(ref) == {"status": "ok", "response": {}}
    assert await client.join("a") == {"status": "ok", "response": {"postgres_changes": []}}
    ref = await client.send("realtime:a", "phx_leave")
    assert await client.reply(ref) == {"status": "ok", "response": {}}
    assert (await client.event("phx_close"))["join_ref"] == "1"


async def test_changes(stand: Stand) -> None:
    await stand.sql(
        "create table public.t (id int primary key, v text)",
        "alter publication supabase_realtime add table public.t",
        "grant select on public.t to anon",
    )
    client = await stand.connect()
    await client.subscribed("a", [{"event": "*", "schema": "public", "table": "t"}])
    await stand.sql("insert into public.t values (1, 'x')")
    change = await client.change()
    assert change["data"]["record"] == {"id": 1, "v": "x"}
