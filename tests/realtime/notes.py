"""The table the tests of database changes work on, and how they read what came."""

from __future__ import annotations

from typing import Any

from tests.realtime.conftest import Client, Stand

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
