"""Channels, broadcast and presence over real sockets, both serializers, several clients."""

from __future__ import annotations

import contextlib
import time

import httpx
import orjson
import pytest
import websockets
from tests.realtime.conftest import Stand, Start

from selfbase.realtime.events import FrameDropped, SlowConsumerDropped

KIND_3 = b"\x03\x01\x01\x0a\x02\x00%c17realtime:ahi%s"


@pytest.mark.parametrize("version", [1, 2])
async def test_heartbeat_join_and_leave(stand: Stand, version: int) -> None:
    client = await stand.connect(version=version)
    ref = await client.send("phoenix", "heartbeat", join_ref=None)
    assert await client.reply(ref) == {"status": "ok", "response": {}}
    assert await client.join("a") == {"status": "ok", "response": {"postgres_changes": []}}
    ref = await client.send("realtime:a", "phx_leave")
    assert await client.reply(ref) == {"status": "ok", "response": {}}
    assert (await client.event("phx_close", "a"))["ref"] == "1"
    ref = await client.send("realtime:a", "broadcast", {"event": "e"})
    assert (await client.reply(ref))["response"] == {"reason": "unmatched topic"}
    ref = await client.send("realtime:a", "phx_leave")
    assert (await client.reply(ref))["status"] == "ok"


async def test_topics_that_make_no_sense(stand: Stand) -> None:
    client = await stand.connect()
    reply = await client.join("")
    assert reply["response"]["reason"].startswith("TopicNameRequired")
    ref = await client.send("other:a", "phx_join", {})
    assert (await client.reply(ref))["response"] == {"reason": "unmatched topic"}


async def test_broadcast_reaches_others_in_their_own_serializer(stand: Stand) -> None:
    sender, v2, v1 = await stand.connect(), await stand.connect(), await stand.connect(version=1)
    for client in (sender, v2, v1):
        await client.join("a")
    await sender.send_raw(KIND_3 % (1, b'{"x":1}'))
    binary = await v2.event("binary", "a")
    assert (binary["kind"], binary["user_event"], binary["encoding"]) == (4, "hi", 1)
    assert binary["payload"] == b'{"x":1}'
    text = await v1.event("broadcast", "a")
    assert text["payload"] == {"type": "broadcast", "event": "hi", "payload": {"x": 1}}
    await v1.send("realtime:a", "broadcast", {"type": "broadcast", "event": "e", "payload": {}})
    for client in (sender, v2):
        got = await client.event("broadcast", "a")
        assert got["payload"] == {"type": "broadcast", "event": "e", "payload": {}}
    await sender.settle()
    assert sender.count("binary") == 0


async def test_raw_bytes_pass_unchanged_and_skip_text_clients(stand: Stand) -> None:
    sender, v2, v1 = await stand.connect(), await stand.connect(), await stand.connect(version=1)
    for client in (sender, v2, v1):
        await client.join("a")
    await sender.send_raw(KIND_3 % (0, b"\x00\xff\x80"))
    assert (await v2.event("binary"))["payload"] == b"\x00\xff\x80"
    await v1.settle()
    assert v1.count("broadcast") == 0


@pytest.mark.parametrize("version", [1, 2])
async def test_text_broadcasts_pass_as_they_came(stand: Stand, version: int) -> None:
    client = await stand.connect(version=version)
    await client.join("a", {"broadcast": {"self": True}})
    for payload in ({}, {"event": 1, "more": [None]}):
        await client.send("realtime:a", "broadcast", payload)
        assert (await client.event("broadcast"))["payload"] == payload


async def test_ack_and_self(stand: Stand) -> None:
    client = await stand.connect()
    await client.join("a", {"broadcast": {"ack": True, "self": True}})
    ref = await client.send("realtime:a", "broadcast", {"event": "e", "payload": {"n": 1}})
    assert await client.reply(ref) == {"status": "ok", "response": {}}
    assert (await client.event("broadcast"))["payload"]["payload"] == {"n": 1}


async def test_public_and_private_rooms_of_one_name_are_apart(stand: Stand) -> None:
    await stand.sql(
        "create policy p on realtime.messages for select to authenticated using (true)",
        "create policy q on realtime.messages for insert to authenticated with check (true)",
    )
    public, private = await stand.connect(), await stand.connect(stand.token())
    await public.join("a")
    await private.join("a", {"private": True, "broadcast": {"ack": True}})
    ref = await private.send("realtime:a", "broadcast", {"event": "secret", "payload": {}})
    assert (await private.reply(ref))["status"] == "ok"
    await public.settle()
    assert public.count("broadcast") == 0


async def test_a_second_join_replaces_the_first(stand: Stand) -> None:
    client, other = await stand.connect(), await stand.connect()
    await client.join("a", join_ref="1")
    await client.join("a", join_ref="2")
    assert (await client.event("phx_close"))["join_ref"] == "1"
    await other.join("a")
    await other.send("realtime:a", "broadcast", {"event": "e", "payload": {}})
    await client.event("broadcast")
    await client.settle()
    assert client.count("broadcast") == 0


async def test_malformed_frames_are_dropped_and_the_connection_lives(stand: Stand) -> None:
    client = await stand.connect()
    for frame in ("", "{", "[]", b"", b"\xff" * 50, '["1","1","realtime:a","phx_join",5]'):
        await client.send_raw(frame)
    await client.settle()
    assert any(isinstance(event, FrameDropped) for event in stand.happened)


async def test_oversized_frames_end_the_connection_only(stand: Stand) -> None:
    client, other = await stand.connect(), await stand.connect()
    with contextlib.suppress(websockets.ConnectionClosed):
        await client.send_raw("x" * 5_000_001)
    await client.closed.wait()
    await other.settle()


async def test_too_large_broadcasts_are_refused(start: Start) -> None:
    stand = await start(payload_bytes_max=1000)
    client, other = await stand.connect(), await stand.connect()
    await client.join("a", {"broadcast": {"ack": True}})
    await other.join("a")
    ref = await client.send("realtime:a", "broadcast", {"event": "e", "payload": {"x": "y" * 1000}})
    reply = await client.reply(ref)
    assert reply == {"status": "error", "response": {"reason": "payload_size_exceeded"}}
    await other.settle()
    assert other.count("broadcast") == 0


# Presence


async def test_presence_tells_state_joins_and_leaves(stand: Stand) -> None:
    one, two = await stand.connect(), await stand.connect()
    config = {"presence": {"key": "one", "enabled": True}}
    await one.join("a", config)
    assert (await one.event("presence_state"))["payload"] == {}
    ref = await one.send("realtime:a", "presence", {"event": "track", "payload": {"n": 1}})
    assert (await one.reply(ref))["status"] == "ok"
    joined = (await one.event("presence_diff"))["payload"]["joins"]["one"]["metas"][0]
    assert joined["n"] == 1
    await two.join("a", {"presence": {"key": "two", "enabled": True}})
    state = (await two.event("presence_state"))["payload"]
    assert state == {"one": {"metas": [joined]}}
    await one.send("realtime:a", "presence", {"event": "track", "payload": {"n": 2}})
    diff = (await two.event("presence_diff"))["payload"]
    assert diff["leaves"]["one"]["metas"][0]["phx_ref"] == joined["phx_ref"]
    assert diff["joins"]["one"]["metas"][0]["phx_ref_prev"] == joined["phx_ref"]
    await one.close()
    diff = (await two.event("presence_diff"))["payload"]
    assert diff["joins"] == {}
    assert list(diff["leaves"]) == ["one"]


async def test_a_late_track_switches_presence_on(stand: Stand) -> None:
    client = await stand.connect()
    await client.join("a", {"presence": {"key": "k"}})
    await client.send("realtime:a", "presence", {"event": "TRACK", "payload": {}})
    await client.event("presence_state")
    assert list((await client.event("presence_diff"))["payload"]["joins"]) == ["k"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"event": "track", "payload": "x"}, "Presence track payload must be a map"),
        ({"event": "dance"}, "Presence event must be track or untrack"),
        ({}, None),
    ],
)
async def test_presence_that_makes_no_sense(
    stand: Stand, payload: dict[str, object], reason: str | None
) -> None:
    client = await stand.connect()
    await client.join("a")
    ref = await client.send("realtime:a", "presence", payload)
    assert (await client.reply(ref))["response"] == ({} if reason is None else {"reason": reason})


# Limits


async def test_presence_calls_of_a_client_are_limited(start: Start) -> None:
    stand = await start(client_presence_calls_max=2)
    client = await stand.connect()
    await client.join("a")
    for n in range(3):
        await client.send("realtime:a", "presence", {"event": "track", "payload": {"n": n}})
    await client.system("Client presence rate limit exceeded")
    await client.event("phx_close")


async def test_too_many_presence_keys(start: Start) -> None:
    stand = await start(presence_keys_max=2)
    client = await stand.connect()
    await client.join("a")
    payload = {"event": "track", "payload": {"a": 1, "b": 2, "c": 3}}
    await client.send("realtime:a", "presence", payload)
    await client.system("Track message size exceeded")


async def test_channels_of_a_socket_are_limited(start: Start) -> None:
    stand = await start(channels_per_socket_max=2)
    client = await stand.connect()
    for name in "ab":
        assert (await client.join(name))["status"] == "ok"
    reason = (await client.join("c"))["response"]["reason"]
    assert reason == "ChannelRateLimitReached: Too many channels"


async def test_join_floods_end_the_socket(start: Start) -> None:
    stand = await start(joins_per_second_max=1)
    client = await stand.connect()
    for n in range(30):
        await client.send(f"realtime:{n}", "phx_join", {"config": {}})
    await client.closed.wait()
    assert client.socket.close_code == 1001


async def test_sockets_are_limited(start: Start) -> None:
    stand = await start(connections_max=1)
    await stand.connect()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await stand.connect()
    assert refused.value.response.status_code == 429
    assert orjson.loads(refused.value.response.body or b"") == {"error": "Too many connected users"}


async def test_too_many_messages_end_the_channel(start: Start) -> None:
    stand = await start(messages_per_second_max=1)
    client = await stand.connect()
    await client.join("a")
    for _ in range(70):
        await client.send("realtime:a", "broadcast", {"event": "e", "payload": {}})
    await client.system("Too many messages per second")
    await client.event("phx_close")


async def test_a_client_that_does_not_read_is_dropped_and_others_go_on(start: Start) -> None:
    stand = await start(unsent_bytes_max=1_000_000)
    sender, reader = await stand.connect(), await stand.connect()
    url = f"ws://127.0.0.1:{stand.port}/websocket?apikey={stand.secrets.anon_key}&vsn=2.0.0"
    async with websockets.connect(url, max_queue=1, max_size=None, close_timeout=0.1) as stalled:
        await stalled.send('["1","1","realtime:a","phx_join",{"config":{}}]')
        for client in (sender, reader):
            await client.join("a", {"broadcast": {"ack": True}})
        stalled.transport.pause_reading()
        body = {"event": "e", "payload": {"x": "y" * 500_000}}
        for _ in range(30):
            ref = await sender.send("realtime:a", "broadcast", body)
            await sender.reply(ref)
            await reader.event("broadcast")
            if any(isinstance(event, SlowConsumerDropped) for event in stand.happened):
                break
        assert any(isinstance(event, SlowConsumerDropped) for event in stand.happened)
        stalled.transport.resume_reading()
    await stand.until(lambda: _has_connections(stand, 2))
    await sender.settle()


async def _has_connections(stand: Stand, count: int) -> bool:
    return len(stand.realtime.core.connections) == count


async def test_silent_sockets_are_closed(start: Start) -> None:
    stand = await start(socket_idle_s=0.0)
    client = await stand.connect()
    for connection in list(stand.realtime.core.connections):
        connection.check_idle(time.monotonic() + 1)
    await client.closed.wait()


async def test_the_whole_project_can_be_disconnected(stand: Stand) -> None:
    client = await stand.connect()
    await client.join("a")
    async with httpx.AsyncClient(base_url=stand.url) as http:
        headers = {"authorization": f"Bearer {stand.secrets.service_role_key}"}
        answer = await http.post("/api/tenants/test/shutdown", headers=headers)
        assert answer.status_code == 204
    await client.system("Server requested disconnect")
    await client.closed.wait()
    assert client.socket.close_code == 1012
