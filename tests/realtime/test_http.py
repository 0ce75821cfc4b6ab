"""Broadcast over HTTP, the health calls, and who may call what."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.realtime.conftest import Stand, Start


def _client(stand: Stand, token: str | None = None) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=stand.url, headers=headers)


async def test_a_batch_reaches_both_serializers(stand: Stand) -> None:
    v2, v1 = await stand.connect(), await stand.connect(version=1)
    await v2.join("a")
    await v1.join("a")
    async with _client(stand, stand.secrets.anon_key) as http:
        messages = [{"topic": "a", "event": "e", "payload": {"n": n}} for n in range(2)]
        messages[1]["id"] = "mine"
        answer = await http.post("/api/broadcast", json={"messages": messages})
        assert answer.status_code == 202
        assert answer.content == b""
        assert "x-rate-limit" in answer.headers
    for client in (v2, v1):
        got = [(await client.event("broadcast"))["payload"] for _ in range(2)]
        assert [message["payload"]["n"] for message in got] == [0, 1]
        assert [message.get("meta") for message in got] == [None, {"id": "mine"}]


async def test_a_single_message_of_either_kind(stand: Stand) -> None:
    v2, v1 = await stand.connect(), await stand.connect(version=1)
    await v2.join("a b")
    await v1.join("a b")
    async with _client(stand, stand.secrets.anon_key) as http:
        answer = await http.post("/api/broadcast/a%20b/events/e", json={"n": 1})
        assert answer.status_code == 202
        binary = {"content-type": "application/octet-stream"}
        await http.post("/api/broadcast/a%20b/events/e", content=b"\xff", headers=binary)
        other = await http.post(
            "/api/broadcast/a/events/e", content="x", headers={"content-type": "text/plain"}
        )
        assert other.status_code == 415
        torn = await http.post(
            "/api/broadcast/a/events/e", content="{", headers={"content-type": "application/json"}
        )
        assert torn.status_code == 422
    assert (await v2.event("binary"))["payload"] == b'{"n":1}'
    assert (await v2.event("binary"))["payload"] == b"\xff"
    assert (await v1.event("broadcast"))["payload"]["payload"] == {"n": 1}


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"event": "e", "payload": {}}, {"topic": ["can't be blank"]}),
        ({"topic": "a", "payload": {}}, {"event": ["can't be blank"]}),
        ({"topic": "a", "event": "e"}, {"payload": ["can't be blank"]}),
        ({"topic": "a", "event": "e", "payload": 5}, {"payload": ["is invalid"]}),
        ({"topic": 5, "event": "e", "payload": {}}, {"topic": ["is invalid"]}),
        ("x", {"topic": ["can't be blank"]}),
    ],
)
async def test_batches_are_checked_by_position(stand: Stand, message: Any, problem: Any) -> None:
    fine = {"topic": "a", "event": "e", "payload": {}}
    async with _client(stand, stand.secrets.anon_key) as http:
        answer = await http.post("/api/broadcast", json={"messages": [fine, message]})
        assert answer.status_code == 422
        assert answer.json() == {"errors": {"messages": [{}, problem]}}


async def test_payloads_too_large_and_rates(start: Start) -> None:
    stand = await start(payload_bytes_max=100, messages_per_second_max=1)
    async with _client(stand, stand.secrets.anon_key) as http:
        large = {"topic": "a", "event": "e", "payload": {"x": "y" * 100}}
        answer = await http.post("/api/broadcast", json={"messages": [large]})
        expected = [{"payload": ["Payload size exceeds tenant limit"]}]
        assert answer.json() == {"errors": {"messages": expected}}
        small = {"topic": "a", "event": "e", "payload": {}}
        answer = await http.post("/api/broadcast", json={"messages": [small] * 2})
        assert answer.status_code == 429
        assert "reduce the batch size" in answer.json()["message"]
        for _ in range(61):
            answer = await http.post("/api/broadcast/a/events/e", json={})
        assert answer.status_code == 429
        assert answer.json()["message"] == "You have exceeded your rate limit"
        assert answer.headers["retry-after"]


async def test_private_messages_need_a_policy(stand: Stand) -> None:
    await stand.sql(
        "create policy r on realtime.messages for select to authenticated using (true)",
        "create policy w on realtime.messages for insert to authenticated"
        " with check (realtime.topic() = 'open' and auth.jwt() ->> 'org' = 'a')",
    )
    client = await stand.connect(stand.token())
    for name in ("open", "shut"):
        await client.join(name, {"private": True})
    async with _client(stand, stand.token(org="a")) as http:
        for topic in ("shut", "open"):
            message = {"topic": topic, "event": topic, "payload": {}, "private": True}
            answer = await http.post("/api/broadcast", json={"messages": [message]})
            assert answer.status_code == 202
        assert (await client.event("broadcast"))["payload"]["event"] == "open"
        answer = await http.post("/api/broadcast/shut/events/e?private=true", json={})
        assert answer.status_code == 403
        assert answer.json() == {"message": "Unauthorized"}
        answer = await http.post("/api/broadcast/open/events/e?private=true", json={})
        assert answer.status_code == 202
    await client.event("binary")
    await client.settle()
    assert client.count("broadcast") == 0


PATHS = [
    ("POST", "/api/broadcast", "anon"),
    ("POST", "/api/broadcast/a/events/b", "anon"),
    ("GET", "/api/ping", "anon"),
    ("GET", "/api/tenants", "service"),
    ("GET", "/api/tenants/test", "service"),
    ("GET", "/api/tenants/test/health", "anon"),
    ("POST", "/api/tenants/test/reload", "service"),
    ("GET", "/metrics", "service"),
]


@pytest.mark.parametrize(("method", "path", "least"), PATHS)
async def test_every_route_refuses_who_may_not_call(
    stand: Stand, method: str, path: str, least: str
) -> None:
    forged = stand.token()[:-4] + "AAAA"
    refused = [None, forged, stand.token(ttl_s=-100), "sb_publishable_wrong", "x"]
    if least == "service":
        refused += [stand.secrets.anon_key, stand.token()]
    async with httpx.AsyncClient(base_url=stand.url) as http:
        for token in refused:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            answer = await http.request(method, path, headers=headers, json={"messages": []})
            assert answer.status_code in (401, 403), (token, answer.text)
        key = stand.secrets.anon_key if least == "anon" else stand.secrets.service_role_key
        headers = {"authorization": f"Bearer {key}"}
        answer = await http.request(method, path, headers=headers, json={"messages": []})
        assert answer.status_code < 400


METRICS = (
    "realtime_channel_events",
    "realtime_channel_presence_events",
    "realtime_channel_db_events",
    "realtime_channel_joins",
    "realtime_payload_size_count",
    "realtime_channel_input_bytes",
    "realtime_channel_output_bytes",
    "realtime_replication_poller_query_duration_count",
    "realtime_replication_poller_changes_dispatch",
    "realtime_replication_poller_changes_skip",
    "realtime_tenants_broadcast_from_database_latency_committed_at_count",
    "realtime_tenants_read_authorization_check_count",
    "realtime_subscriptions_manager_subscribers",
    "phoenix_channel_joined_total",
)


async def test_health_and_metrics(stand: Stand) -> None:
    client = await stand.connect()
    await client.join("a")
    async with _client(stand, stand.secrets.service_role_key) as http:
        assert (await http.get("/healthcheck")).text == "ok"
        health = (await http.get("/api/tenants/realtime-dev/health")).json()["data"]
        assert health["healthy"]
        assert health["db_connected"]
        assert health["connected_cluster"] == 1
        text = (await http.get("/metrics")).text
        for name in METRICS:
            assert f'\n{name}{{tenant="test"' in text, name
        assert 'realtime_connections_connected{tenant="test"} 1.0' in text
        assert 'realtime_channel_output_bytes{tenant="test"} 0.0' not in text
        assert (await http.get("/api/tenants/other/health")).status_code == 404
        assert (await http.get("/nothing")).status_code == 404
        assert (await http.get("/api/broadcast")).status_code == 405
        assert (await http.get("/websocket")).status_code == 426


async def test_suspension_and_private_only(start: Start) -> None:
    stand = await start(suspend=True)
    async with _client(stand, stand.secrets.anon_key) as http:
        answer = await http.post("/api/broadcast", json={"messages": []})
        assert answer.status_code == 403
    private = await start(private_only=True)
    client = await private.connect()
    reason = (await client.join("a"))["response"]["reason"]
    assert reason == "PrivateOnly: This project only allows private channels"
