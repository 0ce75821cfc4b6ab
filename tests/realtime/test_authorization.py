"""Who may connect, join, read and write: tokens and policies, tried as attacks."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest
import websockets
from tests.realtime.conftest import Stand

from selfbase.realtime.events import PolicyBroken

READ_OWN = (
    "create policy r on realtime.messages for select to authenticated"
    " using (realtime.topic() = 'user:' || auth.uid()::text)"
)
WRITE_OWN = (
    "create policy w on realtime.messages for insert to authenticated"
    " with check (realtime.topic() = 'user:' || auth.uid()::text and extension = 'broadcast')"
)
ME = "11111111-1111-1111-1111-111111111111"
YOU = "22222222-2222-2222-2222-222222222222"
NO_READ = "You do not have permissions to read from this Channel topic: "


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("none", 401, "API key is missing"),
        ("garbage", 401, "The token provided is not a valid JWT"),
        ("opaque", 401, "The token provided is not a valid JWT"),
        ("forged", 401, "Failed to validate JWT signature"),
        ("expired", 401, "Token has expired"),
        ("roleless", 401, "Fields `role` and `exp` are required in JWT"),
    ],
)
async def test_connections_that_are_refused(
    stand: Stand, kind: str, status: int, text: str
) -> None:
    tokens = {
        "none": " ",
        "garbage": "abc",
        "opaque": "sb_publishable_nobody",
        "forged": stand.token()[:-6] + "AAAAAA",
        "expired": stand.token(ttl_s=-60),
        "roleless": stand.token(role=None),  # type: ignore[arg-type]
    }
    with pytest.raises(websockets.InvalidStatus) as refused:
        await stand.connect(tokens[kind])
    assert refused.value.response.status_code == status
    assert text in orjson.loads(refused.value.response.body or b"")["error"]


async def test_opaque_keys_open_connections(stand: Stand) -> None:
    client = await stand.connect(stand.secrets.publishable_key)
    assert (await client.join("a"))["status"] == "ok"


async def test_an_unknown_serializer_is_refused(stand: Stand) -> None:
    with pytest.raises(websockets.InvalidStatus):
        await stand.connect(vsn="9.0.0")


async def test_without_a_policy_private_means_closed(stand: Stand) -> None:
    for token in (stand.secrets.anon_key, stand.token(sub=ME)):
        client = await stand.connect(token)
        reply = await client.join("a", {"private": True})
        assert reply["response"]["reason"] == (
            "Unauthorized: You do not have permissions to read from this Channel topic: a"
        )
    service = await stand.connect(stand.secrets.service_role_key)
    assert (await service.join("a", {"private": True}))["status"] == "ok"


async def test_policies_see_topic_claims_and_headers(stand: Stand) -> None:
    await stand.sql(READ_OWN, WRITE_OWN)
    client = await stand.connect()
    private = {"private": True, "broadcast": {"ack": True, "self": True}}
    assert (await client.join(f"user:{ME}", private, token=stand.token(sub=ME)))["status"] == "ok"
    other = await client.join(f"user:{YOU}", private, token=stand.token(sub=ME))
    assert other["status"] == "error"
    ref = await client.send(f"realtime:user:{ME}", "broadcast", {"event": "e", "payload": {}})
    assert (await client.reply(ref))["status"] == "ok"
    rows = await stand.fetch("select count(*) from realtime.messages")
    assert rows == [(0,)], "asking leaves nothing behind"


async def test_reading_is_not_writing(stand: Stand) -> None:
    await stand.sql("create policy r on realtime.messages for select using (true)")
    reader, other = await stand.connect(), await stand.connect()
    config = {"private": True, "broadcast": {"ack": True}, "presence": {"enabled": True}}
    for client in (reader, other):
        assert (await client.join("a", config))["status"] == "ok"
    ref = await reader.send("realtime:a", "broadcast", {"event": "e", "payload": {}})
    assert (await reader.reply(ref))["response"]["reason"].startswith("Unauthorized")
    ref = await reader.send("realtime:a", "presence", {"event": "track", "payload": {}})
    assert (await reader.reply(ref))["response"]["reason"].startswith("Unauthorized")
    await other.settle()
    assert other.count("broadcast") == other.count("presence_diff") == 0


async def test_presence_is_hidden_from_those_without_its_policy(stand: Stand) -> None:
    await stand.sql(
        "create policy b on realtime.messages for select using (extension = 'broadcast')",
        "create policy p on realtime.messages for select to service_role using (true)",
    )
    hidden, service = await stand.connect(), await stand.connect(stand.secrets.service_role_key)
    config = {"private": True, "presence": {"enabled": True}}
    await hidden.join("a", config)
    await service.join("a", config)
    await service.event("presence_state")
    await service.send("realtime:a", "presence", {"event": "track", "payload": {"secret": 1}})
    await service.event("presence_diff")
    await hidden.settle()
    assert hidden.count("presence_state") == hidden.count("presence_diff") == 0


async def test_a_policy_that_fails_closes_the_door(stand: Stand) -> None:
    await stand.sql("create policy r on realtime.messages for select using (1 / 0 = 1)")
    client = await stand.connect()
    reply = await client.join("a", {"private": True})
    assert reply["response"]["reason"] == f"Unauthorized: {NO_READ}a"
    assert PolicyBroken("22012") in stand.happened


async def test_a_role_that_does_not_exist_opens_nothing(stand: Stand) -> None:
    client = await stand.connect()
    reply = await client.join("a", {"private": True}, token=stand.token(role="nobody"))
    assert reply["status"] == "error"


async def test_a_new_token_is_judged_again(stand: Stand) -> None:
    await stand.sql(READ_OWN)
    client = await stand.connect()
    topic = f"user:{ME}"
    assert (await client.join(topic, {"private": True}, token=stand.token(sub=ME)))[
        "status"
    ] == "ok"
    await client.send(f"realtime:{topic}", "access_token", {"access_token": stand.token(sub=YOU)})
    assert (await client.system(NO_READ))["message"] == NO_READ + topic
    await client.event("phx_close")
    ref = await client.send(f"realtime:{topic}", "broadcast", {"event": "e", "payload": {}})
    assert (await client.reply(ref))["response"] == {"reason": "unmatched topic"}


async def test_losing_one_of_two_readings_ends_the_channel(stand: Stand) -> None:
    await stand.sql(
        "create policy b on realtime.messages for select using (extension = 'broadcast')",
        "create policy p on realtime.messages for select"
        " using (extension = 'presence' and auth.jwt() ->> 'may' = 'yes')",
    )
    client = await stand.connect()
    config = {"private": True, "presence": {"enabled": True}}
    await client.join("a", config, token=stand.token(may="yes"))
    await client.event("presence_state")
    await client.send("realtime:a", "access_token", {"access_token": stand.token(may="no")})
    await client.system("You no longer have permission to read from this Channel topic: a")
    await client.event("phx_close")


async def test_a_late_track_in_a_private_channel_asks_who_may_see(stand: Stand) -> None:
    await stand.sql(
        "create policy b on realtime.messages for select using (extension = 'broadcast')",
        "create policy p on realtime.messages for select"
        " using (extension = 'presence' and auth.jwt() ->> 'may' = 'yes')",
        "create policy w on realtime.messages for insert with check (true)",
    )
    seeing, blind = await stand.connect(), await stand.connect()
    for client, may in ((seeing, "yes"), (blind, "no")):
        config = {"private": True, "presence": {"key": may}}
        await client.join("a", config, token=stand.token(may=may))
        ref = await client.send("realtime:a", "presence", {"event": "track", "payload": {}})
        assert (await client.reply(ref))["status"] == "ok"
    await seeing.event("presence_state")
    await seeing.wait(lambda f: f["event"] == "presence_diff" and "no" in f["payload"]["joins"])
    await blind.settle()
    assert blind.count("presence_state") == blind.count("presence_diff") == 0


async def test_writing_is_judged_again_with_a_new_token(stand: Stand) -> None:
    await stand.sql(
        "create policy r on realtime.messages for select using (true)",
        "create policy w on realtime.messages for insert with check (auth.jwt() ->> 'may' = 'yes')",
    )
    client = await stand.connect()
    config = {"private": True, "broadcast": {"ack": True}}
    await client.join("a", config, token=stand.token(may="yes"))
    message = {"event": "e", "payload": {}}
    assert (await client.reply(await client.send("realtime:a", "broadcast", message)))[
        "status"
    ] == "ok"
    await client.send("realtime:a", "access_token", {"access_token": stand.token(may="no")})
    reply = await client.reply(await client.send("realtime:a", "broadcast", message))
    assert reply["response"]["reason"].startswith("Unauthorized")


async def test_tokens_end_on_time(stand: Stand) -> None:
    client = await stand.connect()
    await client.join("a", token=stand.token(exp=time.time() + 1.5))
    await client.system("Token has expired")
    assert (await client.event("phx_error"))["topic"] == "realtime:a"
    await client.settle()


async def test_a_refreshed_token_keeps_the_channel(stand: Stand) -> None:
    client = await stand.connect()
    first_ends_s = time.time() + 2
    await client.join("a", token=stand.token(exp=first_ends_s))
    await client.send("realtime:a", "access_token", {"access_token": stand.token(ttl_s=100)})
    await client.settle()
    await asyncio.sleep(max(0.0, first_ends_s + 0.2 - time.time()))
    await client.settle()
    assert client.count("phx_error") == client.count("system") == 0


@pytest.mark.parametrize("token", ["forged", "expired", "sb_secret_x", ""])
async def test_bad_tokens_after_joining(stand: Stand, token: str) -> None:
    made = {"forged": stand.token()[:-6] + "AAAAAA", "expired": stand.token(ttl_s=-60)}
    client = await stand.connect()
    await client.join("a")
    await client.send("realtime:a", "access_token", {"access_token": made.get(token, token)})
    if token in made:
        await client.event("phx_close" if token == "forged" else "phx_error")
    else:
        await client.settle()
        assert client.count("phx_close") == 0


async def test_topics_are_values_never_sql(stand: Stand) -> None:
    await stand.sql(READ_OWN)
    client = await stand.connect(stand.token(sub=ME))
    for topic in ("'; drop table realtime.messages; --", f"user:{ME}' or 'a'='a", "a\x00b", "%s{}"):
        assert (await client.join(topic, {"private": True}))["status"] == "error"
    assert (await client.join(f"user:{ME}", {"private": True}))["status"] == "ok"
