"""Downloads, HEAD and info, for callers, for everyone, and by signed URL.

Everything but the bytes comes from the row.  Source: reference/storage.md sections 1.4 and 1.7.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate

from selfbase.http.values import Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Call, Handler
from selfbase.storage.errors import BlobMissing, NoSuchBucket
from selfbase.storage.logic.conditions import Plan, plan_download
from selfbase.storage.logic.headers import (
    SANDBOX,
    is_active,
    render_cache_control,
    render_content_type,
    render_disposition,
    render_last_modified,
)
from selfbase.storage.logic.names import check_bucket_id
from selfbase.storage.signing import Scope, split_signed_path, verify_url_token
from selfbase.storage.types import StoredObject

Find = Callable[[], Awaitable[StoredObject]]

# An upload between the row and its bytes replaces both; what is there then is as good.
_REPLACED_TRIES = 3


async def download(call: Call) -> Response:
    """With a token as the caller, without one from public buckets only."""
    return await send_object(call, lambda: find_for_caller(call))


async def download_public(call: Call) -> Response:
    return await send_object(call, lambda: find_public(call))


async def download_signed(call: Call) -> Response:
    """The token is the proof: policies are not asked again."""
    token = call.request.query_value("token") or ""
    claims = verify_url_token(
        call.context, token, call.params["bucket"], call.params["name"], Scope.DOWNLOAD
    )
    bucket_id, name = split_signed_path(claims)
    expires = formatdate(int(claims["exp"]), usegmt=True)
    return await send_object(call, lambda: find_as_service(call, bucket_id, name), expires)


async def get_info(call: Call) -> Response:
    return _render_info(await find_for_caller(call))


async def get_public_info(call: Call) -> Response:
    return _render_info(await find_public(call))


async def find_for_caller(call: Call) -> StoredObject:
    """What the caller may read; nobody in particular may read public buckets."""
    bucket_id, name = _target(call)
    objects = call.context.objects
    if not call.actor.caller.token:
        return await objects.find_public(call.actor, bucket_id, name)
    return await objects.find_readable(call.actor, bucket_id, name)


async def find_public(call: Call) -> StoredObject:
    bucket_id, name = _target(call)
    return await call.context.objects.find_public(call.actor, bucket_id, name)


async def find_as_service(call: Call, bucket_id: str, name: str) -> StoredObject:
    return await call.context.objects.find_as_service(call.actor, bucket_id, name)


def _target(call: Call) -> tuple[str, str]:
    bucket_id = call.params["bucket"]
    if "\0" in bucket_id:
        raise NoSuchBucket
    check_bucket_id(bucket_id)
    return bucket_id, call.params["name"]


async def send_object(call: Call, find: Find, expires: str | None = None) -> Response:
    """The object, or a part of it, or the news that the client has it already."""
    for attempt in range(_REPLACED_TRIES):
        found = await find()
        plan = plan_download(call.request.headers, found.etag, found.modified_at, found.size)
        headers = _render_headers(call, found, plan, expires)
        if plan.status in (304, 412) or call.request.method == "HEAD":
            return Response(plan.status, headers)
        try:
            body = await call.context.objects.open(found, plan.offset, plan.length)
        except BlobMissing:
            if attempt == _REPLACED_TRIES - 1:
                raise
            continue
        return Response(plan.status, headers, body)
    raise BlobMissing


def _render_headers(
    call: Call, found: StoredObject, plan: Plan, expires: str | None
) -> list[tuple[str, str]]:
    settings = call.context.settings
    content_type = render_content_type(found.mime_type, html_as_text=settings.html_as_text)
    headers = [
        ("accept-ranges", "bytes"),
        ("content-type", content_type),
        ("etag", found.etag),
        ("last-modified", render_last_modified(found)),
        ("x-robots-tag", str(found.metadata.get("xRobotsTag") or "none")),
        ("x-content-type-options", "nosniff"),
    ]
    if is_active(content_type):
        headers.append(("content-security-policy", SANDBOX))
    if expires is not None:
        headers.append(("expires", expires))
    else:
        etag_header, s_maxage = settings.etag_header, settings.response_s_maxage
        value = render_cache_control(found, call.request.headers, etag_header, s_maxage)
        headers.append(("cache-control", value))
    download = call.request.query_value("download")
    if download is not None:
        headers.append(("content-disposition", render_disposition(download)))
    if plan.status == 206:
        last = plan.offset + plan.length - 1
        headers.append(("content-range", f"bytes {plan.offset}-{last}/{found.size}"))
    if plan.status in (200, 206):
        headers.append(("content-length", str(plan.length)))
    return headers


def _render_info(found: StoredObject) -> Response:
    shown = {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "bucket_id": found.bucket_id,
        "size": found.size,
        "content_type": found.mime_type,
        "cache_control": found.cache_control,
        "etag": found.etag,
        "metadata": found.user_metadata or {},
        "last_modified": found.updated_at,
        "created_at": found.created_at,
    }
    headers = [("etag", found.etag), ("last-modified", render_last_modified(found))]
    return json_response(shown, headers=headers)


def _routes(
    path: str, handler: Handler, operation: str, access: Access, head: str | None = None
) -> tuple[Route[Handler], ...]:
    return (
        Route("GET", path, handler, operation, access, extra=REST),
        Route("HEAD", path, handler, head or operation, access, extra=REST),
    )


_GET = "storage.object.get_authenticated"
_HEAD = "object.head_authenticated_info"
_INFO = "object.get_authenticated_info"
_PUBLIC_INFO = "storage.object.info_public"

ROUTES: tuple[Route[Handler], ...] = (
    *_routes("/object/{bucket}/{name:rest}", download, _GET, Access.KEY, _HEAD),
    *_routes("/object/authenticated/{bucket}/{name:rest}", download, _GET, Access.BEARER, _HEAD),
    *_routes(
        "/object/public/{bucket}/{name:rest}",
        download_public,
        "storage.object.get_public",
        Access.OPEN,
        _PUBLIC_INFO,
    ),
    *_routes(
        "/object/sign/{bucket}/{name:rest}",
        download_signed,
        "storage.object.get_signed",
        Access.OPEN,
    ),
    *_routes("/object/info/{bucket}/{name:rest}", get_info, _INFO, Access.KEY),
    *_routes("/object/info/authenticated/{bucket}/{name:rest}", get_info, _INFO, Access.BEARER),
    *_routes(
        "/object/info/public/{bucket}/{name:rest}", get_public_info, _PUBLIC_INFO, Access.OPEN
    ),
)
