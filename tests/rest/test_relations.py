"""Reading and writing tables over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from selfbase.http.testing import Client

RETURN = {"prefer": "return=representation"}

READS: list[tuple[str, Any]] = [
    ("/directors?select=name&id=eq.2", [{"name": "Akira Kurosawa"}]),
    ("/films?select=id&year=gte.1970&order=id.desc", [{"id": 3}, {"id": 2}]),
    ("/films?select=id&year=not.is.null&order=year,id&limit=2", [{"id": 4}, {"id": 1}]),
    ("/films?select=id&title=in.(Ran,Ikiru)&order=id", [{"id": 3}, {"id": 4}]),
    ("/films?select=id&title=in.(%22Lost%20%5C%22reel%5C%22,%20(fragment)%22)", [{"id": 5}]),
    ("/films?select=id&tags=cs.{war}", [{"id": 3}]),
    (
        "/films?select=id&or=(year.lt.1960,and(year.eq.1985,title.like.R*))&order=id",
        [{"id": 3}, {"id": 4}],
    ),
    ("/films?select=id,facts->crew->>camera&facts->length=eq.90", [{"id": 1, "camera": "Rabier"}]),
    ("/films?select=id,decade&id=eq.1", [{"id": 1, "decade": 1960}]),
    ("/films?select=kind:title,y:year::text&id=eq.3", [{"kind": "Ran", "y": "1985"}]),
    (
        "/films?select=title,directors(name)&id=eq.3",
        [{"title": "Ran", "directors": {"name": "Akira Kurosawa"}}],
    ),
    (
        "/directors?select=name,films(title)&id=eq.1&films.order=year.desc",
        [{"name": "Agnès Varda", "films": [{"title": "Vagabond"}, {"title": "Cléo from 5 to 7"}]}],
    ),
    (
        "/films?select=title,actors(name)&id=eq.1",
        [{"title": "Cléo from 5 to 7", "actors": [{"name": "Corinne Marchand"}]}],
    ),
    (
        "/directors?select=id,passports(number)&order=id",
        [
            {"id": 1, "passports": {"number": "FR1"}},
            {"id": 2, "passports": {"number": "JP1"}},
            {"id": 3, "passports": None},
        ],
    ),
    ("/directors?select=id,films!inner()&films.year=eq.1985&order=id", [{"id": 1}, {"id": 2}]),
    ("/directors?select=id,films()&films=is.null", [{"id": 3}]),
    (
        "/films?select=title,...directors(by:name)&id=eq.3",
        [{"title": "Ran", "by": "Akira Kurosawa"}],
    ),
    (
        "/people?select=name,people(name)&id=eq.1",
        [{"name": "Ann", "people": [{"name": "Bob"}, {"name": "Cid"}]}],
    ),
    ("/people?select=name,boss:boss_id(name)&id=eq.2", [{"name": "Bob", "boss": {"name": "Ann"}}]),
    (
        "/old_films?select=title,directors(name)&order=id&limit=1",
        [{"title": "Cléo from 5 to 7", "directors": {"name": "Agnès Varda"}}],
    ),
]


@pytest.mark.parametrize(("path", "expected"), READS, ids=[path for path, _ in READS])
async def test_reads(api: Client, path: str, expected: Any) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.json()) == (200, expected)


async def test_exact_count_makes_a_partial_answer(api: Client) -> None:
    answer = await api.get("/films?select=id&order=id&limit=2", headers={"prefer": "count=exact"})
    assert answer.status == 206
    assert answer.headers.get("content-range") == "0-1/5"
    assert answer.headers.get("preference-applied") == "count=exact"


async def test_an_offset_past_the_end_is_refused(api: Client) -> None:
    answer = await api.get("/films?offset=9", headers={"prefer": "count=exact"})
    assert answer.status == 416
    assert answer.headers.get("content-range") == "*/5"
    assert answer.json()["details"] == "An offset of 9 was requested, but there are only 5 rows."


async def test_a_single_object_is_exactly_one_row(api: Client) -> None:
    one = {"accept": "application/vnd.pgrst.object+json"}
    found = await api.get("/films?id=eq.3&select=title", headers=one)
    assert found.json() == {"title": "Ran"}
    several = await api.get("/films?year=eq.1985", headers=one)
    assert (several.status, several.json()["code"]) == (406, "PGRST116")
    assert several.json()["details"] == "The result contains 2 rows"


async def test_rows_are_written_and_returned(service: Client) -> None:
    made = await service.post(
        "/films?select=title,directors(name)",
        json={"title": "Dodes'ka-den", "director_id": 2},
        headers=RETURN,
    )
    assert made.status == 201
    assert made.json() == [{"title": "Dodes'ka-den", "directors": {"name": "Akira Kurosawa"}}]
    changed = await service.request(
        "PATCH", "/films?title=eq.Dodes'ka-den", json={"year": 1970}, headers=RETURN
    )
    assert (changed.status, changed.json()[0]["year"]) == (200, 1970)
    gone = await service.request("DELETE", "/films?year=eq.1970")
    assert (gone.status, gone.body) == (204, b"")


async def test_an_upsert_merges_and_says_whether_anything_is_new(service: Client) -> None:
    merge = {"prefer": "resolution=merge-duplicates,return=representation"}
    fresh = await service.post("/actors", json=[{"id": 50, "name": "x"}], headers=merge)
    again = await service.post("/actors", json=[{"id": 50, "name": "y"}], headers=merge)
    assert (fresh.status, again.status) == (201, 200)
    assert again.json() == [{"id": 50, "name": "y"}]
    await service.request("DELETE", "/actors?id=eq.50")


async def test_a_refused_single_write_leaves_nothing(
    service: Client, execute: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    answer = await service.post(
        "/actors",
        json=[{"id": 60, "name": "x"}, {"id": 61, "name": "y"}],
        headers={"accept": "application/vnd.pgrst.object+json", **RETURN},
    )
    assert (answer.status, answer.json()["code"]) == (406, "PGRST116")
    assert execute("select count(*) from actors where id >= 60") == [(0,)]


async def test_put_writes_the_row_its_address_names(service: Client) -> None:
    made = await service.request(
        "PUT", "/actors?id=eq.70", json={"id": 70, "name": "z"}, headers=RETURN
    )
    assert (made.status, made.json()) == (201, [{"id": 70, "name": "z"}])
    other = await service.request("PUT", "/actors?id=eq.70", json={"id": 71, "name": "z"})
    assert (other.status, other.json()["code"]) == (400, "PGRST115")
    await service.request("DELETE", "/actors?id=eq.70")
