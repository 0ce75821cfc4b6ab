"""Realtime with supabase-js and realtime-py as they are, against a whole installation."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from realtime.types import RealtimePostgresChangesListenEvent
from tests.support.installation import Installation
from tests.support.node import run_script

from realtime import AsyncRealtimeClient, RealtimeSubscribeStates


def test_supabase_js(todos: Installation) -> None:
    seen = run_script("realtime.mjs", todos.status())
    assert seen["receiver"] == "SUBSCRIBED"
    assert (seen["ack"], seen["json"]) == ("ok", {"text": "grüß"})
    assert seen["bytes"] == [0, 255]
    assert (seen["httpSend"], seen["http"]) == ({"success": True}, {"n": 1})
    assert (seen["track"], seen["mood"], seen["left"]) == ("ok", "fine", "alice")
    assert seen["system"] == "ok"
    assert seen["heard"] == {
        "alice": [["INSERT", "hers", None], ["UPDATE", "still hers", None]],
        "bob": [["INSERT", "his", None], ["INSERT", "last", None]],
    }
    assert seen["private"].startswith("CHANNEL_ERROR: ")
    assert "You do not have permissions to read" in seen["private"]
    assert seen["service"] == "SUBSCRIBED"


async def _subscribe(channel: Any) -> None:
    joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_state(state: RealtimeSubscribeStates, error: Exception | None) -> None:
        if joined.done():
            return
        if state == RealtimeSubscribeStates.SUBSCRIBED:
            joined.set_result(None)
        elif error is not None:
            joined.set_exception(error)

    await channel.subscribe(on_state)
    async with asyncio.timeout(20):
        await joined


def _add_todos(values: dict[str, str], tasks: list[str]) -> None:
    """As an operator, for a new user."""
    key = values["SECRET_KEY"]
    with httpx.Client(base_url=values["API_URL"], headers={"apikey": key}) as http:
        person = {"email": f"py-{time.time_ns()}@example.com", "password": "correct horse battery"}
        user = http.post("/auth/v1/admin/users", json=person).json()
        for task in tasks:
            row = {"task": task, "user_id": user["id"]}
            http.post("/rest/v1/todos", json=row).raise_for_status()


async def test_realtime_py(todos: Installation) -> None:
    values = todos.status()
    url = values["API_URL"] + "/realtime/v1"
    got: asyncio.Queue[Any] = asyncio.Queue()
    receiver = AsyncRealtimeClient(url, values["PUBLISHABLE_KEY"])
    sender = AsyncRealtimeClient(url, values["ANON_KEY"])
    service = AsyncRealtimeClient(url, values["SECRET_KEY"])
    try:
        room = receiver.channel("py", {"config": {"presence": {"key": "me", "enabled": True}}})
        room.on_broadcast("e", lambda payload: got.put_nowait(("broadcast", payload["payload"])))
        room.on_presence_join(lambda key, current, new: got.put_nowait(("join", key)))
        await _subscribe(room)
        other = sender.channel("py", {"config": {"presence": {"key": "you", "enabled": True}}})
        await _subscribe(other)
        async with asyncio.timeout(20):
            await other.send_broadcast("e", {"n": 1})
            assert await got.get() == ("broadcast", {"n": 1})
            await other.track({"mood": "fine"})
            assert await got.get() == ("join", "you")

        changes = service.channel("todos").on_postgres_changes(
            RealtimePostgresChangesListenEvent.Insert,
            schema="public",
            table="todos",
            filter="task=eq.from python",
            callback=lambda payload: got.put_nowait(("change", payload["data"]["record"]["task"])),
        )
        ready = asyncio.Event()
        changes.on_system(lambda payload: ready.set())
        await _subscribe(changes)
        async with asyncio.timeout(20):
            await ready.wait()
            await asyncio.to_thread(_add_todos, values, ["something else", "from python"])
            assert await got.get() == ("change", "from python")
    finally:
        await receiver.close()
        await sender.close()
        await service.close()


def test_broadcast_over_http_through_the_gateway(todos: Installation) -> None:
    values = todos.status()
    message = {"messages": [{"topic": "a", "event": "e", "payload": {}}]}
    url = values["API_URL"] + "/realtime/v1/api/broadcast"
    sent = httpx.post(url, json=message, headers={"apikey": values["PUBLISHABLE_KEY"]})
    assert sent.status_code == 202
    assert httpx.post(url, json=message).status_code == 401
    tenants = values["API_URL"] + "/realtime/v1/api/tenants"
    assert httpx.get(tenants, headers={"apikey": values["SECRET_KEY"]}).status_code == 403
