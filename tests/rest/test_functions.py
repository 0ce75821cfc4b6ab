"""Calling functions over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tests.rest.conftest import MakeRest

from selfbase.http.testing import Client

CALLS: list[tuple[str, str, dict[str, Any], int, Any]] = [
    ("GET", "/rpc/add?a=2", {}, 200, 3),
    ("GET", "/rpc/add?a=2&b=40", {}, 200, 42),
    ("POST", "/rpc/add", {"json": {"a": 20, "b": 22}}, 200, 42),
    (
        "POST",
        "/rpc/add",
        {"content": b"a=1&b=2", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        200,
        3,
    ),
    (
        "POST",
        "/rpc/films_since?select=title&order=id",
        {"json": {"since": 1985}},
        200,
        [{"title": "Vagabond"}, {"title": "Ran"}],
    ),
    (
        "GET",
        "/rpc/films_since?since=1950&year=lt.1960&select=title,directors(name)",
        {},
        200,
        [{"title": "Ikiru", "directors": {"name": "Akira Kurosawa"}}],
    ),
    ("POST", "/rpc/echo", {"json": {"any": ["thing"]}}, 200, {"any": ["thing"]}),
    ("GET", "/rpc/join_words?words=a&words=b", {}, 200, "a b"),
    ("POST", "/rpc/join_words", {"json": {"words": ["x", "y"]}}, 200, "x y"),
]


@pytest.mark.parametrize(("method", "path", "options", "status", "expected"), CALLS)
async def test_calls(
    api: Client, method: str, path: str, options: dict[str, Any], status: int, expected: Any
) -> None:
    answer = await api.request(method, path, **options)
    assert (answer.status, answer.json()) == (status, expected)


async def test_a_function_without_a_result_answers_nothing(service: Client) -> None:
    answer = await service.post("/rpc/rename_film", json={"film": 2, "title": "Sans toit ni loi"})
    assert (answer.status, answer.body) == (204, b"")
    assert (await service.get("/films?select=title&id=eq.2")).json() == [
        {"title": "Sans toit ni loi"}
    ]
    await service.post("/rpc/rename_film", json={"film": 2, "title": "Vagabond"})


async def test_a_writing_function_cannot_be_got(service: Client) -> None:
    answer = await service.get("/rpc/rename_film?film=2&title=x")
    assert (answer.status, answer.json()["code"]) == (405, "25006")


async def test_a_function_sets_headers_and_status(api: Client) -> None:
    answer = await api.post("/rpc/greet", headers={"x-name": "Ada"})
    assert (answer.status, answer.json()) == (202, "Ada")
    assert answer.headers.get_all("x-greeting") == ["hello", "again"]


async def test_a_function_refuses_with_its_own_status(api: Client) -> None:
    answer = await api.post("/rpc/refuse", json={"code": "earl grey"})
    assert answer.status == 418
    assert answer.json() == {
        "code": "PT418",
        "details": None,
        "hint": "earl grey",
        "message": "short and stout",
    }


async def test_a_missing_function_is_named_with_a_near_one(api: Client) -> None:
    answer = await api.post("/rpc/films_sinse", json={"since": 1})
    assert (answer.status, answer.json()["code"]) == (404, "PGRST202")
    assert answer.json()["hint"] == "Perhaps you meant to call the function public.films_since"


async def test_headers_reach_a_function_as_utf8(api: Client) -> None:
    answer = await api.post("/rpc/greet", headers={"x-name": "Zoë".encode().decode("latin-1")})
    assert answer.json() == "Zoë"


async def test_a_count_is_a_number_whichever_way_it_is_asked(api: Client) -> None:
    for kind in ("exact", "planned", "estimated"):
        answer = await api.get("/rpc/films_since?since=1900", headers={"prefer": f"count={kind}"})
        assert answer.headers.get("content-range") == "0-3/4"


async def test_what_lost_against_another_transaction_is_tried_again(api: Client) -> None:
    answer = await api.post("/rpc/lose", json={"times": 2})
    assert (answer.status, answer.json()) == (200, 3)
    answer = await api.post("/rpc/lose", json={"times": 1000})
    assert (answer.status, answer.json()["code"]) == (500, "40001")


async def test_nothing_is_prepared_behind_a_pooler(make_rest: MakeRest) -> None:
    client = Client(await make_rest(db_prepared_statements=False, db_pool=1))
    for _ in range(3):
        assert (await client.get("/")).status == 200
        assert (await client.post("/rpc/count_prepared")).json() == 0


async def test_a_function_names_its_isolation_in_any_case(api: Client) -> None:
    assert (await api.get("/rpc/tell_isolation")).json() == "serializable"


async def test_a_scalar_can_be_filtered_by_its_name(api: Client) -> None:
    assert (await api.get("/rpc/add?a=2&pgrst_scalar=gt.2&select=pgrst_scalar")).json() == 3


async def test_other_methods_are_refused(api: Client) -> None:
    answer = await api.request("PATCH", "/rpc/add", json={})
    assert (answer.status, answer.json()["message"]) == (405, "Cannot use the PATCH method on RPC")
