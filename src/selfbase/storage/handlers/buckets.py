"""Buckets: create, list, get, update, empty, delete.  Source: reference/storage.md section 1.2."""

from __future__ import annotations

import re
from typing import Any

from selfbase.http.values import Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.buckets import UNSET, BucketChange, BucketPage, NewBucket, Unset
from selfbase.storage.call import Call, Handler
from selfbase.storage.errors import InvalidRequest
from selfbase.storage.logic.fields import Fields
from selfbase.storage.types import Bucket

BODY_MAX = 1024 * 1024
_STORAGE3 = re.compile(r"supabase-py/storage3 v(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)
_SUPABASE_PY = re.compile(r"supabase-py/(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)


async def create_bucket(call: Call) -> Response:
    body = Fields(await call.request.json(BODY_MAX))
    new = NewBucket(
        name=body.required_text("name"),
        id=body.text_or_none("id"),
        public=body.boolean("public", False),
        type=body.choice("type", ("STANDARD", "ANALYTICS"), "STANDARD"),
        file_size_limit=body.size_or_none("file_size_limit"),
        allowed_mime_types=body.texts_or_none("allowed_mime_types"),
    )
    return json_response({"name": await call.context.buckets.create(call.actor, new)})


async def list_buckets(call: Call) -> Response:
    query = Fields(dict(reversed(call.request.query_pairs())), "querystring")
    page = BucketPage(
        limit=query.integer("limit", 0, least=1) or None,
        offset=query.integer("offset", 0, least=0),
        sort_column=query.choice("sortColumn", ("id", "name", "created_at", "updated_at"), "name"),
        ascending=query.choice("sortOrder", ("asc", "desc"), "asc") == "asc",
        search=query.text_or_none("search"),
    )
    with_type = _knows_types(call)
    buckets = await call.context.buckets.list(call.actor, page)
    return json_response([render_bucket(bucket, with_type=with_type) for bucket in buckets])


async def get_bucket(call: Call) -> Response:
    bucket = await call.context.buckets.get(call.actor, call.params["bucket"])
    return json_response(render_bucket(bucket, with_type=False))


async def update_bucket(call: Call) -> Response:
    body = Fields(await call.request.json(BODY_MAX))
    if not any(body.has(name) for name in ("public", "file_size_limit", "allowed_mime_types")):
        raise InvalidRequest("No content provided")
    limit: int | str | Unset | None = UNSET
    types: list[str] | Unset | None = UNSET
    if body.has("file_size_limit"):
        limit = body.size_or_none("file_size_limit")
    if body.has("allowed_mime_types"):
        types = body.texts_or_none("allowed_mime_types")
    change = BucketChange(
        public=body.boolean("public", False) if body.has("public") else None,
        file_size_limit=limit,
        allowed_mime_types=types,
    )
    await call.context.buckets.update(call.actor, call.params["bucket"], change)
    return json_response({"message": "Successfully updated"})


async def delete_bucket(call: Call) -> Response:
    await call.context.buckets.delete(call.actor, call.params["bucket"])
    return json_response({"message": "Successfully deleted"})


async def empty_bucket(call: Call) -> Response:
    await call.context.buckets.empty(call.actor, call.params["bucket"])
    return json_response(
        {"message": "Empty bucket has been queued. Completion may take up to an hour."}
    )


def render_bucket(bucket: Bucket, *, with_type: bool) -> dict[str, Any]:
    """A bucket on the wire.  A missing owner is empty text: storage3 insists on text."""
    shown: dict[str, Any] = {
        "id": bucket.id,
        "name": bucket.name,
        "public": bucket.public,
        "owner": bucket.owner or "",
        "created_at": bucket.created_at,
        "updated_at": bucket.updated_at,
        "file_size_limit": bucket.file_size_limit,
        "allowed_mime_types": bucket.allowed_mime_types,
    }
    if with_type:
        shown["type"] = bucket.type
    return shown


def _knows_types(call: Call) -> bool:
    """Old Python clients fail on a field they do not know."""
    library = _SUPABASE_PY.search(call.request.headers.get("x-client-info"))
    agent = _STORAGE3.search(call.request.headers.get("user-agent"))
    if library and tuple(map(int, library.groups())) < (2, 18, 0):
        return False
    return not (agent and tuple(map(int, agent.groups())) < (0, 12, 1))


def _route(
    method: str, path: str, handler: Handler, verb: str, access: Access = Access.BEARER
) -> Route[Handler]:
    return Route(method, path, handler, f"storage.bucket.{verb}", access, extra=REST)


ROUTES: tuple[Route[Handler], ...] = (
    _route("POST", "/bucket", create_bucket, "create"),
    _route("GET", "/bucket", list_buckets, "list"),
    _route("GET", "/bucket/{bucket}", get_bucket, "get"),
    _route("PUT", "/bucket/{bucket}", update_bucket, "update"),
    _route("DELETE", "/bucket/{bucket}", delete_bucket, "delete"),
    _route("POST", "/bucket/{bucket}/empty", empty_bucket, "empty", Access.SERVICE),
)
