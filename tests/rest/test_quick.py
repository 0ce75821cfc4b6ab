"""Reads answered without a task tell what the ordinary way tells."""

from __future__ import annotations

import asyncio

import pytest

from selfbase.http.headers import Headers
from selfbase.http.values import Request, Response
from selfbase.rest.service import Rest

SINGULAR = {"accept": "application/vnd.pgrst.object+json"}


@pytest.mark.parametrize(
    ("target", "fields", "taken"),
    [
        ("/films?select=id,title&id=eq.3", {"cookie": "a=1; b=2", "accept": "text/csv"}, True),
        ("/films?select=id&id=eq.3", SINGULAR, True),
        ("/films?select=id&id=eq.3", {"origin": "https://app.test"}, True),
        # No row, a value of the wrong type: failures of a request that is known otherwise.
        ("/films?select=id&id=eq.0", SINGULAR, True),
        ("/films?select=id&id=eq.x", SINGULAR, True),
        ("/films?select=id&id=eq.3", {"prefer": "count=exact", "range": "0-1"}, True),
        ("/films?select=id&id=eq.3", {"authorization": "Bearer nothing"}, False),
    ],
)
async def test_quick_answers_are_the_same(
    rest: Rest,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    fields: dict[str, str],
    taken: bool,
) -> None:
    monkeypatch.setattr("selfbase.database.executor._QUICK_S", 60.0)
    shared = Headers(fields.items())

    def make_request(method: str) -> Request:
        path, _, query = target.partition("?")
        return Request(method, path, query, headers=shared.share(), full_path=path)

    for method in ("GET", "HEAD"):
        for _ in ("streamed, since nobody knows how long it is", "timed"):
            known = make_request(method)
            known.query = known.query.replace("eq.0", "eq.3").replace("eq.x", "eq.3")
            await rest.answer(known)
        ended: asyncio.Future[Response | Exception] = asyncio.Future()
        assert rest.answer_quickly(make_request(method), ended.set_result) is taken
        if taken:
            told = await asyncio.wait_for(ended, 10)
            assert told == await rest.answer(make_request(method))


async def test_what_is_not_known_is_left_to_the_ordinary_way(rest: Rest) -> None:
    def refuse(outcome: Response | Exception) -> None:
        raise AssertionError(outcome)

    assert not rest.answer_quickly(Request("GET", "/films", "select=year&id=eq.9"), refuse)
    assert not rest.answer_quickly(Request("POST", "/films"), refuse)
