"""Large answers: streamed in pieces, whole, and given up cleanly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from tests.rest.conftest import MakeRest

from selfbase.database.failures import DatabaseFailure
from selfbase.http.headers import Headers
from selfbase.http.testing import Client
from selfbase.http.values import Request
from selfbase.rest.service import Rest
from selfbase.rest.streaming import STREAM_BYTES

ROWS = 4000


@pytest.fixture(scope="module")
async def big(make_rest: MakeRest, module_database: str, database_templates: Any) -> Rest:
    import psycopg

    conninfo = database_templates.cluster.superuser_dsn(module_database)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "create table public.big as select n as id, repeat('x', 1000) as text"
            f" from generate_series(1, {ROWS}) n"
        )
        connection.execute("grant select on public.big to anon")
    return await make_rest()


def ask(query: str = "", **headers: str) -> Request:
    return Request("GET", "/big", query, Headers(headers.items()))


async def test_a_large_answer_comes_in_pieces(big: Rest) -> None:
    response = await big.answer(ask("order=id"))
    assert not isinstance(response.body, bytes)
    assert response.header("content-range") == f"0-{ROWS - 1}/*"
    assert isinstance(response.body, AsyncIterator)
    pieces = [piece async for piece in response.body]
    assert max(len(piece) for piece in pieces) < STREAM_BYTES
    rows = orjson.loads(b"".join(pieces))
    assert [row["id"] for row in rows] == list(range(1, ROWS + 1))


async def test_a_count_goes_with_a_stream(big: Rest) -> None:
    response = await big.answer(ask(f"limit={ROWS - 1}", prefer="count=exact"))
    assert response.status == 206
    assert response.header("content-range") == f"0-{ROWS - 2}/{ROWS}"
    await response.body.aclose()  # type: ignore[union-attr]


async def test_who_leaves_early_holds_no_connection(
    big: Rest, execute: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    for _ in range(30):
        response = await big.answer(ask())
        await anext(response.body)  # type: ignore[arg-type]
        await response.body.aclose()  # type: ignore[union-attr]
    busy = "select count(*) from pg_stat_activity where state like 'idle in%' and usename = 'authenticator'"
    assert execute(busy) == [(0,)]


async def test_a_lost_connection_cuts_the_stream_and_hurts_nobody_else(
    big: Rest, execute: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    response = await big.answer(ask("order=id"))
    assert not isinstance(response.body, bytes)
    execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'"
        " and usename = 'authenticator' and datname = current_database()"
    )
    with pytest.raises(DatabaseFailure):
        async for _ in response.body:  # type: ignore[union-attr]
            pass
    await response.body.aclose()  # type: ignore[union-attr]
    assert (await Client(big).get("/big?id=eq.1&select=id")).json() == [{"id": 1}]


async def test_slow_readers_do_not_stop_others(big: Rest) -> None:
    kinds = [
        "order=id",
        "order=id.desc",
        "order=text",
        "id=gt.0",
        "id=lt.9999",
        "id=neq.0",
        "id=gte.0",
    ]
    slow = [await big.answer(ask(f"{kind}&limit=3000")) for kind in kinds]
    streamed = [one for one in slow if not isinstance(one.body, bytes)]
    assert 0 < len(streamed) < len(slow)
    for response in streamed:
        await response.body.aclose()  # type: ignore[union-attr]


async def test_a_small_answer_is_one_piece_and_is_remembered(big: Rest) -> None:
    client = Client(big)
    for _ in range(2):
        answer = await client.get("/big?id=lt.3&select=id&order=id")
        assert answer.json() == [{"id": 1}, {"id": 2}]
    assert (await client.get("/big?id=lt.0&select=id")).json() == []


async def test_a_failure_before_the_first_row_is_an_ordinary_answer(big: Rest) -> None:
    answer = await Client(big).get("/big?no_such_column=eq.1")
    assert (answer.status, answer.json()["code"]) == (400, "42703")
