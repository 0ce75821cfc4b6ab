"""Listing objects, v1 and v2.  Source: reference/storage.md section 1.5."""

from __future__ import annotations

from typing import Any

from selfbase.http.values import JSON_UTF8, Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Call, Handler
from selfbase.storage.errors import SchemaInvalid
from selfbase.storage.handlers.buckets import BODY_MAX
from selfbase.storage.listing import V2_LIMIT_MAX, Page, Search, list_page, search_objects
from selfbase.storage.logic.cursors import Cursor, parse_cursor, render_cursor
from selfbase.storage.logic.fields import Fields
from selfbase.storage.logic.names import check_bucket_id

_COLUMNS = ("name", "updated_at", "created_at", "last_accessed_at")
_INT_MAX = 2**31 - 1


async def list_v1(call: Call) -> Response:
    bucket_id = check_bucket_id(call.params["bucket"])
    body = Fields(await call.request.json(BODY_MAX))
    sort = body.inner("sortBy")
    wanted = Search(
        prefix=_clean(body.required_text("prefix")),
        limit=min(body.integer("limit", 100, least=1), _INT_MAX),
        offset=min(body.integer("offset", 0, least=0), _INT_MAX),
        search=_clean(body.text("search")),
        sort_column=sort.choice("column", _COLUMNS, "name") if sort else "name",
        sort_order=sort.choice("order", ("asc", "desc"), "asc") if sort else "asc",
    )
    found = await search_objects(call.context, call.actor, bucket_id, wanted)
    return Response(200, [("content-type", JSON_UTF8)], found)


async def list_v2(call: Call) -> Response:
    bucket_id = check_bucket_id(call.params["bucket"])
    body = Fields(await call.request.json(BODY_MAX))
    limit = min(body.integer("limit", V2_LIMIT_MAX, least=1), V2_LIMIT_MAX)
    sort = body.inner("sortBy")
    asked = Cursor(
        column=sort.choice("column", _COLUMNS[:3], "name") if sort else "name",
        order=sort.choice("order", ("asc", "desc"), "asc") if sort else "asc",
    )
    given = body.text("cursor")
    page = Page(
        prefix=_clean(body.text("prefix")),
        limit=limit,
        cursor=parse_cursor(given) if given else asked,
        with_folders=body.boolean("with_delimiter", False),
    )
    entries, after = await list_page(call.context, call.actor, bucket_id, page)
    answer: dict[str, Any] = {"hasNext": after is not None}
    if after is not None:
        answer["nextCursor"] = render_cursor(after)
        answer["nextCursorKey"] = after.last
    answer["folders"] = [entry for entry in entries if entry["id"] is None]
    answer["objects"] = [_show(entry) for entry in entries if entry["id"] is not None]
    return json_response(answer)


def _show(entry: dict[str, Any]) -> dict[str, Any]:
    shown = ("key", "name", "id", "updated_at", "created_at", "last_accessed_at", "metadata")
    return {name: entry[name] for name in shown if name in entry}


def _clean(text: str) -> str:
    if "\0" in text:
        raise SchemaInvalid("body must not hold null characters")
    return text


ROUTES: tuple[Route[Handler], ...] = (
    Route(
        "POST", "/object/list/{bucket}", list_v1, "storage.object.list", Access.BEARER, extra=REST
    ),
    Route(
        "POST",
        "/object/list-v2/{bucket}",
        list_v2,
        "storage.object.list_v2",
        Access.BEARER,
        extra=REST,
    ),
)
