"""Uploads: a multipart form or a raw body, plain or by a signed URL.

Source: reference/storage.md sections 1.3 and 1.7.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson

from selfbase.http.values import Request, Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Actor, Call, Handler, make_actor
from selfbase.storage.errors import EntityTooLarge, InvalidRequest, NoSuchBucket
from selfbase.storage.logic.forms import OVERHEAD_MAX, Form
from selfbase.storage.logic.headers import (
    check_content_type,
    check_header_value,
    check_robots_tag,
)
from selfbase.storage.logic.limits import USER_METADATA_BYTES_MAX, decide_bytes_max
from selfbase.storage.logic.names import check_bucket_id
from selfbase.storage.rows import caller_of_owner
from selfbase.storage.signing import Scope, verify_url_token
from selfbase.storage.types import (
    DEFAULT_CACHE_CONTROL,
    DEFAULT_MIME_TYPE,
    ByteStream,
    StoredObject,
    Upload,
)

_FORM_AHEAD_BYTES = 256 * 1024


async def upload_object(call: Call) -> Response:
    """POST: new, or replacing with `x-upsert`; PUT: always replacing."""
    upsert = call.request.method == "PUT" or wants_upsert(call.request)
    name = call.params["name"]
    stored = await _receive(call, call.actor, call.params["bucket"], name, upsert=upsert)
    return json_response({"Id": stored.id, "Key": f"{stored.bucket_id}/{stored.name}"})


async def upload_signed(call: Call) -> Response:
    """PUT with a token: the token is the proof, and names the owner."""
    bucket_id, name = call.params["bucket"], call.params["name"]
    token = call.request.query_value("token") or ""
    claims = verify_url_token(call.context, token, bucket_id, name, Scope.UPLOAD)
    owner = claims.get("owner")
    caller = caller_of_owner(owner if isinstance(owner, str) else None)
    actor = make_actor(caller, call.actor.operation, call.request)
    stored = await _receive(call, actor, bucket_id, name, upsert=claims.get("upsert") is True)
    return json_response({"Key": f"{stored.bucket_id}/{stored.name}"})


async def _receive(
    call: Call, actor: Actor, bucket_id: str, name: str, *, upsert: bool
) -> StoredObject:
    request = call.request
    objects = call.context.objects
    check_bucket_id(bucket_id)
    objects.check_key(name)
    settle: Callable[[], Upload] | None = None
    if request.headers.get("content-type").lower().startswith("multipart/form-data"):
        form, body = await _open_form(call, actor, bucket_id, name)
        pieces = _read_file(form, body)

        def settle() -> Upload:
            return replace(_plan_form(request, form), upsert=upsert)

        upload = settle()
    else:
        upload, pieces = _open_raw(request)
        upload = replace(upload, upsert=upsert)
    return await objects.put(actor, bucket_id, name, upload, pieces, standard=True, settle=settle)


def _open_raw(request: Request) -> tuple[Upload, ByteStream]:
    headers = request.headers
    upload = Upload(
        mime_type=check_content_type(headers.get("content-type") or DEFAULT_MIME_TYPE),
        cache_control=check_header_value(
            "cache-control", headers.get("cache-control") or DEFAULT_CACHE_CONTROL
        ),
        user_metadata=parse_user_metadata(headers.find("x-metadata")),
        declared_bytes=declared_length(request),
        x_robots_tag=_robots_tag(request),
    )
    return upload, request.body.stream()


async def _open_form(
    call: Call, actor: Actor, bucket_id: str, name: str
) -> tuple[Form, AsyncIterator[bytes]]:
    """The form up to its file, and the first bytes of that: a small form is read to its end, so
    that fields behind the file speak before anything is decided."""
    request = call.request
    # A form shows its type and fields only while it is read, so its size is bounded first.
    bucket = await call.context.buckets.find_as_service(actor, bucket_id)
    if bucket is None:
        raise NoSuchBucket
    settings = call.context.settings
    limit = decide_bytes_max(
        bucket, name, settings.file_size_limit, settings.file_size_limit_standard
    )
    form = Form(request.headers.get("content-type"))
    body = request.body.stream(limit + OVERHEAD_MAX)
    async for piece in body:
        form.feed(piece)
        if form.state.file_type is not None and form.waiting_bytes >= _FORM_AHEAD_BYTES:
            break
    if form.state.file_type is None:
        form.close()
        raise InvalidRequest("No content provided")
    return form, body


def _plan_form(request: Request, form: Form) -> Upload:
    """What the fields that have come so far say."""
    fields = form.state.fields
    cache_s = fields.get("cacheControl")
    return Upload(
        mime_type=check_header_value(
            "content-type", fields.get("contentType") or form.state.file_type or DEFAULT_MIME_TYPE
        ),
        cache_control=check_header_value(
            "cache-control", f"max-age={cache_s}" if cache_s else DEFAULT_CACHE_CONTROL
        ),
        user_metadata=_parse_form_metadata(fields.get("metadata", fields.get("userMetadata"))),
        announced_bytes=declared_length(request),
        x_robots_tag=_robots_tag(request),
    )


async def _read_file(form: Form, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in form.take():
        yield piece
    async for data in body:
        form.feed(data)
        for piece in form.take():
            yield piece
    form.close()


def wants_upsert(request: Request) -> bool:
    return request.headers.get("x-upsert") == "true"


def declared_length(request: Request) -> int | None:
    """The announced length of the body, or None when it comes in chunks."""
    text = request.headers.get("content-length")
    return int(text) if text.isascii() and text.isdigit() else None


def parse_user_metadata(encoded: str | None) -> dict[str, Any] | None:
    """`x-metadata`: base64 of a JSON object; anything else is ignored, as clients expect."""
    if encoded is None:
        return None
    try:
        return _metadata_object(b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (binascii.Error, ValueError):
        return None


def _parse_form_metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    if len(text.encode()) > USER_METADATA_BYTES_MAX:
        raise EntityTooLarge("The user_metadata exceeded the maximum allowed size")
    return _metadata_object(text.encode())


def _metadata_object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and b"\\u0000" not in raw else None


def _robots_tag(request: Request) -> str | None:
    value = request.headers.find("x-robots-tag")
    return None if not value else check_robots_tag(value)


ROUTES: tuple[Route[Handler], ...] = (
    Route(
        "POST",
        "/object/{bucket}/{name:rest}",
        upload_object,
        "storage.object.upload",
        Access.BEARER,
        limit="file_size_limit",
        extra=REST,
    ),
    Route(
        "PUT",
        "/object/{bucket}/{name:rest}",
        upload_object,
        "storage.object.upload_update",
        Access.BEARER,
        limit="file_size_limit",
        extra=REST,
    ),
    Route(
        "PUT",
        "/object/upload/sign/{bucket}/{name:rest}",
        upload_signed,
        "storage.object.upload_signed",
        Access.OPEN,
        limit="file_size_limit",
        extra=REST,
    ),
)
