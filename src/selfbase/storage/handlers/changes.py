"""Move, copy, delete.  Source: reference/storage.md section 1.6."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from selfbase.http.values import Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Call, Handler
from selfbase.storage.errors import InvalidRequest
from selfbase.storage.handlers.buckets import BODY_MAX
from selfbase.storage.handlers.upload import parse_user_metadata, wants_upsert
from selfbase.storage.logic.fields import Fields
from selfbase.storage.logic.headers import check_header_value
from selfbase.storage.logic.names import check_bucket_id
from selfbase.storage.objects import CopyChange
from selfbase.storage.types import StoredObject

_DELETE_MAX = 1000
_DELETE_BODY_MAX = 64 * 1024 * 1024


async def move_object(call: Call) -> Response:
    source, target = _read_ends(Fields(await call.request.json(BODY_MAX)))
    await call.context.objects.move(call.actor, source, target)
    return json_response({"message": "Successfully moved"})


async def copy_object(call: Call) -> Response:
    body = Fields(await call.request.json(BODY_MAX))
    source, target = _read_ends(body)
    change = None
    if not body.boolean("copyMetadata", True):
        system = body.inner("metadata") or Fields({})
        change = CopyChange(
            mime_type=_header(system, "mimetype"),
            cache_control=_header(system, "cacheControl"),
            replace_user_metadata=True,
            user_metadata=parse_user_metadata(call.request.headers.find("x-metadata")),
        )
    copied = await call.context.objects.copy(
        call.actor, source, target, upsert=wants_upsert(call.request), change=change
    )
    shown = {"Id": copied.id, "Key": f"{copied.bucket_id}/{copied.name}", **render_object(copied)}
    return json_response(shown)


async def delete_object(call: Call) -> Response:
    check_bucket_id(call.params["bucket"])
    await call.context.objects.delete(call.actor, call.params["bucket"], call.params["name"])
    return json_response({"message": "Successfully deleted"})


async def delete_objects(call: Call) -> Response:
    """`prefixes` are exact names, despite the word."""
    bucket_id = check_bucket_id(call.params["bucket"])
    limited = call.context.settings.hard_limits
    body = Fields(await call.request.json(_DELETE_BODY_MAX))
    names = body.texts("prefixes", least=1)
    if limited and len(names) > _DELETE_MAX:
        raise InvalidRequest(
            f"Bulk object requests are limited to {_DELETE_MAX} objects per request."
        )
    removed = await call.context.objects.delete_many(call.actor, bucket_id, names)
    return json_response([render_object(item) for item in removed])


def _read_ends(body: Fields) -> tuple[tuple[str, str], tuple[str, str]]:
    bucket_id = check_bucket_id(body.required_text("bucketId"))
    source = body.required_text("sourceKey")
    target_bucket = check_bucket_id(body.text_or_none("destinationBucket") or bucket_id)
    return (bucket_id, source), (target_bucket, body.required_text("destinationKey"))


def _header(system: Fields, name: str) -> str | None:
    value = system.text_or_none(name)
    return None if value is None else check_header_value(name, value)


def render_object(found: StoredObject) -> dict[str, Any]:
    """A row of `storage.objects` on the wire."""
    return {**asdict(found), "owner": found.owner or "", "owner_id": found.owner_id or ""}


def _route(method: str, path: str, handler: Handler, verb: str) -> Route[Handler]:
    return Route(method, path, handler, f"storage.object.{verb}", Access.BEARER, extra=REST)


ROUTES: tuple[Route[Handler], ...] = (
    _route("POST", "/object/move", move_object, "move"),
    _route("POST", "/object/copy", copy_object, "copy"),
    _route("DELETE", "/object/{bucket}/{name:rest}", delete_object, "delete"),
    _route("DELETE", "/object/{bucket}", delete_objects, "delete_many"),
)
