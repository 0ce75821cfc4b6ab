"""SQL through every parameter and header: it must arrive as a value, or be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from selfbase.http.testing import Client

PAYLOADS = [
    "1; drop table films; --",
    "1' or '1'='1",
    "' ; select pg_sleep(10); --",
    '" ; drop table films; --',
    '"; drop table films; --',
    '\\"; drop table films; --',
    "1) union select version() --",
    "*/ drop table films /*",
    "$1",
    "$$; drop table films; $$",
    "E'\\'; drop table films; --",
    "films\0; drop table films",
    "id)::text; drop table films; --",
    "a::int; drop table films",
    "name(*) from pg_user --",
    "\u2019; drop table films",
    "x" * 5000,
]
PLACES = [
    "/films?title=eq.{}",
    "/films?title=like.{}",
    "/films?id=in.({})",
    "/films?tags=cs.{}",
    "/films?title=fts({}).x",
    "/films?title=fts.{}",
    "/films?{}=eq.1",
    "/films?facts->>{}=eq.1",
    "/films?select={}",
    "/films?select=id::{}",
    "/films?select=a:{}",
    "/films?select={}:id",
    "/films?select=facts->>{}",
    "/films?select=directors!{}(*)",
    "/films?select={}(*)",
    "/films?order={}",
    "/films?order=id.{}",
    "/films?limit={}",
    "/films?offset={}",
    "/films?or=(title.eq.{},id.eq.1)",
    "/films?or=({})",
    "/films?and=({}.eq.1)",
    "/films?directors.{}=eq.1&select=*,directors(*)",
    "/{}",
    "/rpc/{}",
    "/rpc/add?a={}",
    "/rpc/add?{}=1",
    "/rpc/join_words?words={}",
]
HEADERS = [
    "prefer",
    "accept",
    "accept-profile",
    "range",
    "x-evil",
    "cookie",
    "authorization",
    "content-type",
]


@pytest.fixture(autouse=True)
def _nothing_is_lost(
    execute: Callable[[str], list[tuple[Any, ...]]],
) -> Any:
    yield
    assert execute("select count(*) from films") == [(5,)]


@pytest.mark.parametrize("place", PLACES)
async def test_sql_in_an_address(api: Client, place: str) -> None:
    for payload in PAYLOADS:
        answer = await api.get(place.format(quote(payload, safe="")))
        assert answer.status < 500, (payload, answer.body)
        # A syntax error of SQL would mean that something was read as SQL.
        told = answer.json() if answer.status >= 400 else {}
        smuggled = told.get("code") == "42601" and "in tsquery" not in told["message"]
        assert not smuggled, (payload, answer.body)


@pytest.mark.parametrize("header", HEADERS)
async def test_sql_in_a_header(api: Client, header: str) -> None:
    for payload in PAYLOADS:
        value = payload.replace("\0", "").encode("ascii", "replace").decode()
        for start in ("", "handling=strict, timezone=", "Bearer ", "items="):
            answer = await api.get("/films?select=id&limit=1", headers={header: start + value})
            assert answer.status < 500, (payload, answer.body)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_sql_in_a_body(service: Client, payload: str) -> None:
    for options in (
        {"json": {"title": payload}},
        {"json": {payload: 1}},
        {"json": [{payload: 1}, {payload: 2}]},
        {"content": f"title\n{payload}\n".encode(), "headers": {"content-type": "text/csv"}},
        {"content": f"{payload}\n1\n".encode(), "headers": {"content-type": "text/csv"}},
        {"content": payload.encode()},
    ):
        headers = {"prefer": "return=representation", **options.pop("headers", {})}  # type: ignore[dict-item]
        answer = await service.post("/films", headers=headers, **options)  # type: ignore[arg-type]
        assert answer.status < 500, answer.body
        if answer.status == 201:
            kept = answer.json()[0]["title"]
            assert kept in (payload, payload.split("\n")[0], payload.replace("\0", ""))
            await service.request("DELETE", f"/films?id=eq.{answer.json()[0]['id']}")
    for parameter in ("columns", "on_conflict", "select"):
        path = f"/films?{parameter}={quote(payload, safe='')}"
        answer = await service.post(
            path, json={"title": "attack", "id": 1}, headers={"prefer": "return=representation"}
        )
        assert 400 <= answer.status < 500, answer.body


async def test_what_follows_a_complete_list_goes_nowhere(api: Client) -> None:
    answer = await api.get("/films?select=id::int);drop table films;--&id=eq.1")
    assert (answer.status, answer.json()) == (200, [{"id": 1}])


async def test_a_value_cannot_fake_a_verdict(api: Client) -> None:
    answer = await api.get("/films?id=eq.selfbase-verdict%20PGRST116%202")
    assert (answer.status, answer.json()["code"]) == (400, "22P02")


async def test_hidden_schemas_stay_hidden(api: Client) -> None:
    for path in (
        "/users",
        "/auth.users",
        "/pg_user",
        "/pg_catalog.pg_user",
        "/rpc/pg_sleep",
        "/rpc/set_config",
    ):
        assert (await api.get(path)).status == 404
    hidden = await api.get("/films?select=users(*)")
    assert hidden.status == 400


async def test_response_headers_from_sql_cannot_split_the_answer(
    api: Client, execute: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    execute(
        "create or replace function public.split() returns void language sql as $$"
        " select set_config('response.headers', '[{\"X-A\": \"b\\r\\nSet-Cookie: c\"}]', true) $$"
    )

    answer = await api.post("/rpc/split")
    while answer.status == 404:
        answer = await api.post("/rpc/split")
    assert (answer.status, answer.json()["code"]) == (500, "PGRST111")


async def test_very_many_embeds_are_refused(api: Client) -> None:
    many = ",".join(f"a{n}:directors(id)" for n in range(600))
    answer = await api.get(f"/films?select={many}")
    assert (answer.status, answer.json()["code"]) == (400, "PGRST127")


async def test_a_body_above_the_limit_is_refused(make_rest: Any) -> None:
    client = Client(await make_rest(body_bytes_max=100))
    answer = await client.post("/films", content=b"[" + b" " * 200 + b"]")
    assert answer.status == 413
