"""Preferences, media types, profiles, ranges, and the root document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.rest.conftest import MakeRest, make_token

from selfbase.http.testing import Client

PLAN = "application/vnd.pgrst.plan+json"


async def test_rows_come_as_csv(api: Client) -> None:
    answer = await api.get(
        "/films?select=id,title&id=in.(3,5)&order=id", headers={"accept": "text/csv"}
    )
    assert answer.headers.get("content-type") == "text/csv; charset=utf-8"
    assert answer.text == 'id,title\n3,Ran\n5,"Lost ""reel"", (fragment)"'


async def test_nulls_are_left_out_when_asked(api: Client) -> None:
    accept = {"accept": "application/vnd.pgrst.array+json;nulls=stripped"}
    answer = await api.get("/films?select=id,year&id=eq.5", headers=accept)
    assert answer.json() == [{"id": 5}]


async def test_an_unknown_media_type_is_refused(api: Client) -> None:
    answer = await api.get("/films", headers={"accept": "image/png"})
    assert (answer.status, answer.json()["code"]) == (406, "PGRST107")


async def test_the_better_accepted_type_wins(api: Client) -> None:
    accept = {"accept": "text/csv;q=0.3, application/json;q=0.9, image/png"}
    answer = await api.get("/films?select=id&id=eq.1", headers=accept)
    assert answer.headers.get("content-type") == "application/json; charset=utf-8"


async def test_plans_are_shown_only_when_enabled(api: Client, make_rest: MakeRest) -> None:
    refused = await api.get("/films", headers={"accept": PLAN})
    assert refused.status == 406
    enabled = Client(await make_rest(db_plan_enabled=True))
    shown = await enabled.get("/films", headers={"accept": PLAN})
    assert "Plan" in shown.json()[0]
    trailing = 'application/vnd.pgrst.plan+text; for="application/json"; options=analyze|verbose;'
    text = await enabled.get("/films", headers={"accept": trailing})
    assert "Aggregate" in text.text


async def test_a_profile_chooses_the_schema(api: Client) -> None:
    answer = await api.get("/films", headers={"accept-profile": "private_api"})
    assert answer.json() == [{"id": 1, "secret": "other schema"}]
    assert answer.headers.get("content-profile") == "private_api"
    hidden = await api.get("/films", headers={"accept-profile": "auth"})
    assert (hidden.status, hidden.json()["code"]) == (406, "PGRST106")
    assert hidden.json()["hint"] == "Only the following schemas are exposed: public, private_api"


async def test_a_range_header_pages(api: Client) -> None:
    answer = await api.get("/films?select=id&order=id", headers={"range": "1-2"})
    assert answer.json() == [{"id": 2}, {"id": 3}]
    assert answer.headers.get("content-range") == "1-2/*"
    assert answer.headers.get("vary") == "Accept, Prefer, Range"
    empty = await api.get("/films", headers={"range": "2-1"})
    assert (empty.status, empty.json()["code"]) == (416, "PGRST103")


async def test_a_strict_client_hears_of_unknown_preferences(api: Client) -> None:
    strict = {"prefer": "handling=strict, no-such=thing"}
    answer = await api.get("/films", headers=strict)
    assert (answer.status, answer.json()["details"]) == (400, "Invalid preferences: no-such=thing")


async def test_too_many_affected_rows_are_none(
    service: Client, execute: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    answer = await service.request(
        "DELETE", "/actors?id=gt.0", headers={"prefer": "handling=strict, max-affected=1"}
    )
    assert (answer.status, answer.json()["code"]) == (400, "PGRST124")
    assert answer.json()["details"] == "The query affects 3 rows"
    assert execute("select count(*) from actors") == [(3,)]


async def test_a_rollback_leaves_nothing_when_allowed(
    make_rest: MakeRest, service: Client, execute: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    rest = await make_rest(db_tx_end="commit-allow-override")
    client = Client(rest, service.headers)
    undo = {"prefer": "tx=rollback, return=representation"}
    answer = await client.post("/actors", json={"id": 90, "name": "x"}, headers=undo)
    assert (answer.status, answer.json()) == (201, [{"id": 90, "name": "x"}])
    assert answer.headers.get("preference-applied") == "return=representation, tx=rollback"
    assert execute("select count(*) from actors where id = 90") == [(0,)]


async def test_a_time_zone_is_taken_over(api: Client) -> None:
    answer = await api.get("/films?select=id&limit=1", headers={"prefer": "timezone=Asia/Tokyo"})
    assert answer.headers.get("preference-applied") == "timezone=Asia/Tokyo"
    unknown = {"prefer": "handling=strict, timezone=Moon/Base"}
    assert (await api.get("/films", headers=unknown)).status == 400


async def test_missing_values_take_their_defaults_when_asked(service: Client) -> None:
    answer = await service.post(
        '/films?columns="title","rating"',
        json=[{"title": "a"}, {"title": "b", "rating": 7}],
        headers={"prefer": "return=representation, missing=default, tx=commit"},
    )
    assert [row["rating"] for row in answer.json()] == [5.0, 7.0]
    await service.request("DELETE", "/films?title=in.(a,b)")


async def test_csv_and_forms_are_bodies_too(service: Client) -> None:
    csv = {"content-type": "text/csv", "prefer": "return=representation"}
    made = await service.post("/actors", content=b"id,name\n80,NULL_\n81,two\n", headers=csv)
    assert made.json() == [{"id": 80, "name": "NULL_"}, {"id": 81, "name": "two"}]
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await service.post("/actors", content=b"id=82&name=x+y", headers=form)).status == 201
    await service.request("DELETE", "/actors?id=gte.80")
    ragged = await service.post("/actors", content=b"id,name\n80\n", headers=csv)
    assert ragged.json()["message"] == "All lines must have same number of fields"


async def test_head_has_headers_only(api: Client) -> None:
    answer = await api.request("HEAD", "/films?id=eq.1", headers={"prefer": "count=exact"})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers.get("content-range") == "0-0/1"


async def test_estimates_come_from_the_planner(api: Client) -> None:
    answer = await api.get("/films?select=id", headers={"prefer": "count=planned"})
    assert int(answer.headers.get("content-range").rpartition("/")[2]) > 0


async def test_options_tell_the_methods(api: Client) -> None:
    films = await api.request("OPTIONS", "/films")
    assert films.headers.get("allow") == "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"
    call = await api.request("OPTIONS", "/rpc/rename_film?film=1&title=x")
    assert call.headers.get("allow") == "OPTIONS,POST"


async def test_a_preflight_is_answered_for_any_origin(api: Client) -> None:
    asked = {
        "origin": "https://app.test",
        "access-control-request-method": "POST",
        "access-control-request-headers": "Content-Type, apikey",
    }
    answer = await api.request("OPTIONS", "/films", headers=asked)
    assert answer.headers.get("access-control-allow-origin") == "*"
    assert "apikey" in answer.headers.get("access-control-allow-headers")


async def test_aggregates_group_and_must_be_enabled(api: Client, make_rest: MakeRest) -> None:
    refused = await api.get("/films?select=year.max()")
    assert (refused.status, refused.json()["code"]) == (400, "PGRST123")
    client = Client(await make_rest(db_aggregates_enabled=True))
    answer = await client.get(
        "/films?select=director_id,count(),year.max()&director_id=not.is.null&order=director_id"
    )
    assert answer.json() == [
        {"director_id": 1, "count": 2, "max": 1985},
        {"director_id": 2, "count": 2, "max": 1985},
    ]
    lifted = await client.get(
        "/films?select=...directors(name),count()&directors=not.is.null&order=directors(name)"
    )
    assert {row["name"]: row["count"] for row in lifted.json()} == {
        "Agnès Varda": 2,
        "Akira Kurosawa": 2,
    }


async def test_a_to_many_spread_makes_arrays(api: Client) -> None:
    answer = await api.get(
        "/directors?select=name,...films(titles:title)&films.order=year&id=in.(1,3)&order=id"
    )
    assert answer.json() == [
        {"name": "Agnès Varda", "titles": ["Cléo from 5 to 7", "Vagabond"]},
        {"name": "Nobody", "titles": []},
    ]


async def test_the_root_describes_what_the_caller_may_use(api: Client) -> None:
    document = (await api.get("/")).json()
    assert document["swagger"] == "2.0"
    films = document["definitions"]["films"]
    assert films["properties"]["id"]["description"] == "Note:\nThis is a Primary Key.<pk/>"
    assert films["properties"]["director_id"]["description"] == (
        "Note:\nThis is a Foreign Key to `directors.id`.<fk table='directors' column='id'/>"
    )
    assert set(document["paths"]["/films"]) == {"get", "post", "patch", "delete"}
    assert set(document["paths"]["/rpc/rename_film"]) == {"post"}


async def test_times_are_told_when_enabled(make_rest: MakeRest) -> None:
    client = Client(await make_rest(server_timing_enabled=True, server_trace_header="X-Trace"))
    for _ in range(2):
        answer = await client.get("/films?limit=1", headers={"x-trace": "abc"})
    parts = [part.partition(";dur=")[0] for part in answer.headers.get("server-timing").split(", ")]
    assert parts == ["jwt", "parse", "plan", "transaction", "response"]
    assert answer.headers.get("x-trace") == "abc"


@pytest.mark.parametrize(
    ("method", "path", "parts"),
    [
        ("GET", "/", ["jwt", "parse", "plan", "transaction", "response"]),
        ("OPTIONS", "/films", ["jwt", "parse", "response"]),
    ],
)
async def test_times_are_told_of_what_is_no_query(
    make_rest: MakeRest, method: str, path: str, parts: list[str]
) -> None:
    client = Client(await make_rest(server_timing_enabled=True))
    answer = await client.request(method, path)
    told = answer.headers.get("server-timing").split(", ")
    assert [part.partition(";dur=")[0] for part in told] == parts


async def test_all_rows_are_changed_only_where_filters_are_not_required(
    make_rest: MakeRest,
) -> None:
    caller = {"authorization": f"Bearer {make_token('service_role')}"}
    client = Client(await make_rest(filters_required=True), caller)
    for method, verb in (("DELETE", "DELETE"), ("PATCH", "UPDATE")):
        refused = await client.request(method, "/roles", json={"part": "x"})
        assert (refused.status, refused.json()) == (
            400,
            {
                "code": "21000",
                "details": None,
                "hint": None,
                "message": f"{verb} requires a WHERE clause",
            },
        )
    assert (await client.request("PATCH", "/roles", json={})).status == 204
    assert (await client.delete("/roles?film_id=eq.77")).status == 204
    rolled_back = {"prefer": "tx=rollback"}
    loose = Client(await make_rest(db_tx_end="commit-allow-override"), caller)
    assert (await loose.delete("/roles", headers=rolled_back)).status == 204


async def test_rows_are_capped_on_every_level(make_rest: MakeRest) -> None:
    client = Client(await make_rest(db_max_rows=1))
    answer = await client.get("/directors?select=id,films(id)&order=id&films.order=id&limit=5")
    assert answer.json() == [{"id": 1, "films": [{"id": 1}]}]
