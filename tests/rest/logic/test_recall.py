"""What is recalled by text is what reading the request again would have made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from selfbase.http.headers import Headers
from selfbase.http.values import Request
from selfbase.rest.errors import RestFailure
from selfbase.rest.logic.compile import Compiled
from selfbase.rest.logic.recall import Memory, Prepared, sight
from selfbase.rest.logic.request import decide_window
from selfbase.rest.logic.scan import render_canonical, scan_query

COMPILED = cast("Compiled", SimpleNamespace(ask=SimpleNamespace(action="read")))

keys = st.sampled_from(
    [
        "id",
        "a.b",
        "select",
        "order",
        "limit",
        "offset",
        "and",
        "t.limit",
        "t.order",
        "or",
        "a=b",
        "",
    ]
)
operators = st.sampled_from(
    ["=eq.", "=not.eq.", "=lt.", "=gte.", "=like.", "=in.", "=is.", "=eq(any).", "=", "==eq.", ""]
)
words = st.text("aZ9_-.,()*%+{}operandend0000 ", max_size=12)
parameters = st.builds(lambda *parts: "".join(parts), keys, operators, words)
queries = st.lists(parameters, max_size=4).map("&".join)


def ask(query: str, **headers: str) -> Request:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request("GET", "/things", query, Headers(pairs))


def prepare(request: Request) -> Prepared:
    scan = scan_query(request.query)
    window = decide_window("GET", scan, request.headers.find("range"), None)
    return Prepared(COMPILED, scan, window, render_canonical(request.query))


def remember(memory: Memory, query: str, **headers: str) -> None:
    request = ask(query, **headers)
    sighting = sight(request)
    assert sighting is not None
    memory.keep(sighting, query, prepare(request))


def recall(memory: Memory, query: str, **headers: str) -> Prepared | None:
    sighting = sight(ask(query, **headers))
    assert sighting is not None
    return memory.recall(sighting)


@given(queries, st.data())
def test_recalled_is_what_reading_again_makes(query: str, data: Any) -> None:
    memory = Memory()
    try:
        remember(memory, query)
    except RestFailure:
        return
    sighting = sight(ask(query))
    assert sighting is not None
    other = query
    for operand in sighting.operands:
        fresh = data.draw(st.text("abz019_-", min_size=1, max_size=8))
        other = other.replace(f".{operand}", f".{fresh}", 1)
    found = recall(memory, other)
    if found is not None:
        assert found == prepare(ask(other))


def test_a_read_that_differs_in_an_operand_is_recalled() -> None:
    memory = Memory()
    remember(memory, "select=*&id=eq.1&n=gte.5&order=id&limit=3")
    found = recall(memory, "select=*&id=eq.77&n=gte.-2&order=id&limit=3")
    assert found == prepare(ask("select=*&id=eq.77&n=gte.-2&order=id&limit=3"))
    assert found is not None
    assert found.scan.values == [b"77", b"-2"]


def test_what_decides_the_plan_is_never_an_operand() -> None:
    memory = Memory()
    for query in (
        "select=eq.a",
        "order=eq.a",
        "a=like.eq.b",
        "a=in.(1)&b=eq.1",
        "limit=3&x=is.null",
    ):
        remember(memory, query)
    for query in (
        "select=eq.b",
        "order=eq.b",
        "a=like.eq.c",
        "a=in.(2)&b=eq.2",
        "limit=4&x=is.null",
    ):
        assert recall(memory, query) is None


def test_headers_tell_kinds_apart() -> None:
    memory = Memory()
    remember(memory, "id=eq.1")
    for headers in (
        {"accept": "text/csv"},
        {"prefer": "count=exact"},
        {"accept_profile": "other"},
        {"range": "0-1"},
        {"content_type": "text/csv"},
    ):
        assert recall(memory, "id=eq.2", **headers) is None
        remember(memory, "id=eq.1", **headers)
        assert recall(memory, "id=eq.2", **headers) is not None


def test_only_reads_by_get_and_head_are_looked_at() -> None:
    assert sight(Request("DELETE", "/things", "id=eq.1")) is None
    assert sight(Request("HEAD", "/things", "id=eq.1")) is not None


def test_long_texts_are_not_remembered() -> None:
    memory = Memory()
    query = "id=eq.1&order=" + "y" * 2000
    remember(memory, query)
    assert recall(memory, query) is None
