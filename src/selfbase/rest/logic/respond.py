"""The respond stage: a result row becomes status, headers and body.

The body's bytes are passed on as PostgreSQL made them.  Source: reference/rest.md sections 2 and 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from selfbase.rest.errors import RestFailure, not_singular
from selfbase.rest.logic.compile import Compiled
from selfbase.rest.logic.database_errors import is_header
from selfbase.rest.logic.request import Window

HeaderList = list[tuple[str, str]]

# What caches must tell requests apart by; as PostgREST 16, since 14 says nothing.
_VARY = ("Vary", "Accept, Prefer, Range")


class Outcome(NamedTuple):
    """The row of the main statement, and the planner's estimate where one was asked for."""

    total: int | None
    page: int
    body: bytes
    headers: bytes | None
    status: bytes | None
    inserted: int | None
    location: bytes | None


def read_outcome(row: Sequence[bytes | None], *, octets: bool = False) -> Outcome:
    """From the columns `render_request` promises.  `octets` says that the body is a bytea."""
    body = row[2] or b""
    if octets and body.startswith(b"\\x"):
        body = bytes.fromhex(body[2:].decode())
    return Outcome(
        None if row[0] is None else int(row[0]),
        int(row[1] or 0),
        body,
        row[3],
        row[4],
        None if row[5] is None else int(row[5]),
        row[6],
    )


class Answer(NamedTuple):
    """`body` None says that the answer has none at all, not even an empty one."""

    status: int
    headers: HeaderList
    body: bytes


def decide_total(
    count: str | None, outcome: Outcome, estimate: int | None, rows_max: int | None
) -> int | None:
    """The total the client sees, by the kind of count it prefers."""
    if count == "planned":
        return estimate
    if count == "estimated" and outcome.total is not None:
        if estimate is not None and (rows_max is None or outcome.total > rows_max):
            return max(outcome.total, estimate)
        return outcome.total
    return outcome.total


def respond(
    compiled: Compiled,
    outcome: Outcome,
    window: Window,
    *,
    total: int | None,
    canonical: str,
) -> Answer:
    """`canonical` is the sorted query.  Raises RestFailure."""
    ask = compiled.ask
    if ask.action == "read":
        status, headers, body = _respond_read(compiled, outcome, window, total, canonical)
    elif ask.action == "call":
        status, headers, body = _respond_call(compiled, outcome, window, total)
    else:
        status, headers, body = _respond_write(compiled, outcome)
    headers.append(_VARY)
    if compiled.applied:
        headers.append(("Preference-Applied", compiled.applied))
    if outcome.headers is not None or outcome.status is not None:
        status, headers = _override(outcome, status, headers)
    return Answer(status, headers, body)


def _respond_read(
    compiled: Compiled, outcome: Outcome, window: Window, total: int | None, canonical: str
) -> tuple[int, HeaderList, bytes]:
    plan = compiled.plan
    if plan.handler.media.kind == "object" and outcome.page != 1:
        raise not_singular(outcome.page)
    status, content_range = _window_status(window, outcome.page, total)
    where = f"{compiled.address}?{canonical}" if canonical else compiled.address
    headers: HeaderList = [
        ("Content-Range", content_range),
        ("Content-Location", where),
        *compiled.content_headers,
    ]
    if plan.headers_only:
        return status, headers, b""
    return status, headers, outcome.body


def _window_status(window: Window, page: int, total: int | None) -> tuple[int, str]:
    """Raises RestFailure when the window begins behind the last row."""
    first = window.offset
    content_range = render_content_range(first, first + page - 1, total)
    if total is None:
        return 200, content_range
    if first > total:
        raise RestFailure(
            "PGRST103",
            416,
            "Requested range not satisfiable",
            f"An offset of {first} was requested, but there are only {total} rows.",
            headers=[("Content-Range", content_range)],
        )
    return (206 if page < total else 200), content_range


def render_content_range(first: int, last: int, total: int | None) -> str:
    rows = f"{first}-{last}" if first <= last and total != 0 else "*"
    return f"{rows}/{'*' if total is None else total}"


def _respond_call(
    compiled: Compiled, outcome: Outcome, window: Window, total: int | None
) -> tuple[int, HeaderList, bytes]:
    plan = compiled.plan
    assert plan.call is not None
    status, content_range = _window_status(window, outcome.page, total)
    headers: HeaderList = [("Content-Range", content_range)]
    if plan.call.function.returns_void:
        return 204, headers, b""
    headers += compiled.content_headers
    return status, headers, b"" if plan.headers_only else outcome.body


def _respond_write(compiled: Compiled, outcome: Outcome) -> tuple[int, HeaderList, bytes]:
    ask = compiled.ask
    full = ask.preferences.full
    headers: HeaderList = []
    total = outcome.page if ask.preferences.counting else None
    if ask.action == "insert":
        location = _render_location(compiled, outcome)
        if location:
            headers.append(("Location", location))
        headers.append(("Content-Range", render_content_range(1, 0, total)))
        merged = ask.preferences.resolution == "merge-duplicates"
        nothing_new = merged and (outcome.inserted or 0) <= 0
        status = 200 if nothing_new else 201
    elif ask.action == "update":
        headers.append(("Content-Range", render_content_range(0, outcome.page - 1, total)))
        status = 200 if full else 204
    elif ask.action == "upsert":
        fresh = outcome.inserted is not None and outcome.inserted > 0
        status = (201 if fresh else 200) if full else 204
    else:
        headers.append(("Content-Range", render_content_range(1, 0, total)))
        status = 200 if full else 204
    if full:
        headers += compiled.content_headers
        return status, headers, outcome.body
    return status, headers, b""


def _render_location(compiled: Compiled, outcome: Outcome) -> str:
    if outcome.location is None:
        return ""
    pairs = sorted(orjson.loads(outcome.location))
    query = "&".join(
        f"{quote(name, '')}={'is.null' if value is None else 'eq.' + quote(str(value), '')}"
        for name, value in pairs
    )
    return f"{compiled.address}?{query}" if query else ""


def _override(outcome: Outcome, status: int, headers: HeaderList) -> tuple[int, HeaderList]:
    """Applies `response.headers` and `response.status`, which win over our own."""
    given = _read_guc_headers(outcome.headers) if outcome.headers is not None else []
    names = {name.lower() for name, _ in given}
    kept = [(name, value) for name, value in headers if name.lower() not in names]
    if outcome.status is not None:
        status = _read_guc_status(outcome.status)
    return status, kept + given


def _read_guc_headers(raw: bytes) -> HeaderList:
    try:
        parsed: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    given: HeaderList = []
    if not isinstance(parsed, list):
        raise _bad_guc_headers()
    for item in parsed:
        if not isinstance(item, dict) or len(item) != 1:
            raise _bad_guc_headers()
        name, value = next(iter(item.items()))
        if not isinstance(value, str) or not is_header(name, value):
            raise _bad_guc_headers()
        given.append((name, value))
    return given


def _bad_guc_headers() -> RestFailure:
    return RestFailure(
        "PGRST111",
        500,
        "response.headers guc must be a JSON array composed of objects with a single key and a"
        " string value",
    )


def _read_guc_status(raw: bytes) -> int:
    if not raw.isdigit() or not 100 <= int(raw) <= 599:
        raise RestFailure("PGRST112", 500, "response.status guc must be a valid status code")
    return int(raw)
