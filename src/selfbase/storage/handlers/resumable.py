"""The tus protocol 1.0.0 at /upload/resumable, with a token or with a signed upload.

Source: reference/storage.md section 2.
"""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate
from urllib.parse import urlsplit

from selfbase.http.values import Request, Response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import authenticate
from selfbase.storage.access import render_failure as render_rest_failure
from selfbase.storage.call import Actor, Call, Handler, Surface
from selfbase.storage.errors import InvalidSignature, SchemaInvalid, StorageError, TokenRefused
from selfbase.storage.handlers.upload import wants_upsert
from selfbase.storage.logic.headers import check_header_value
from selfbase.storage.logic.names import check_bucket_id
from selfbase.storage.logic.tus import (
    EXTENSIONS,
    OFFSET_STREAM,
    VERSION,
    Creation,
    check_version,
    describe_upload,
    parse_creation,
    parse_number,
    parse_offset,
    parse_public_id,
    render_location,
    render_public_id,
)
from selfbase.storage.resumable import Resumable
from selfbase.storage.rows import caller_of_owner
from selfbase.storage.signing import Scope, verify_url_token
from selfbase.storage.types import StoredObject

_PROXY_HEADERS = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port")


def render_failure(failure: StorageError, request: Request) -> Response:
    """Plain text and the truthful status; only a bad bearer token is answered as on REST."""
    if isinstance(failure, (TokenRefused, SchemaInvalid)):
        return render_rest_failure(failure, request)
    headers = [
        *failure.headers,
        ("tus-resumable", VERSION),
        ("cache-control", "no-store"),
        ("content-type", "text/plain; charset=utf-8"),
    ]
    body = b"" if request.method == "HEAD" else failure.message.encode()
    return Response(failure.status, headers, body)


TUS = Surface("tus", authenticate, render_failure)


async def get_options(call: Call) -> Response:
    """What the server can do; also a browser's preflight where nobody in front answers it."""
    headers = [
        ("tus-resumable", VERSION),
        ("tus-version", VERSION),
        ("tus-extension", EXTENSIONS),
        ("tus-max-size", str(call.context.settings.file_size_limit)),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST, HEAD, PATCH, OPTIONS, DELETE"),
        (
            "access-control-allow-headers",
            "Authorization, Content-Type, Location, Tus-Extension, Tus-Max-Size, Tus-Resumable,"
            " Tus-Version, Upload-Concat, Upload-Defer-Length, Upload-Length, Upload-Metadata,"
            " Upload-Offset, X-HTTP-Method-Override, X-Requested-With, X-Forwarded-Host,"
            " X-Forwarded-Proto, Forwarded, x-upsert, x-signature, apikey",
        ),
        ("access-control-max-age", "86400"),
    ]
    return Response(204, headers)


async def create_upload(call: Call) -> Response:
    request, uploads = call.request, call.context.resumables
    check_version(request.headers)
    wanted = _checked(call, parse_creation(request.headers))
    actor, upsert = _prove(call, wanted.bucket_id, wanted.name)
    found: Resumable | StoredObject = await uploads.create(actor, wanted, upsert=upsert)
    assert isinstance(found, Resumable)
    key = (found.bucket_id, found.name, found.id)
    headers = [("location", _location(call, key)), ("tus-resumable", VERSION)]
    with_body = request.headers.get("content-type") == OFFSET_STREAM
    if with_body or wanted.length == 0:
        found = await uploads.append(actor, key, None, request.body.stream())
        headers.append(("upload-offset", str(_received(found))))
    return Response(201, [*headers, *_progress(found)])


async def get_offset(call: Call) -> Response:
    check_version(call.request.headers)
    key = parse_public_id(call.params["id"])
    actor, _ = _prove(call, key[0], key[1])
    uploads = call.context.resumables
    await uploads.find(actor, key)
    # A request that still works on it may yet record more: the offset must be final.
    await uploads.settle(key[2])
    found = await uploads.find(actor, key)
    headers = [("cache-control", "no-store"), ("tus-resumable", VERSION)]
    if isinstance(found, StoredObject):
        return Response(200, [*headers, *describe_upload(found.size, found.size, "", None)])
    expires = formatdate(found.expires_at, usegmt=True)
    told = describe_upload(found.received, found.length, found.raw_metadata, expires)
    return Response(200, [*headers, *told])


async def append_upload(call: Call) -> Response:
    request = call.request
    check_version(request.headers)
    key = parse_public_id(call.params["id"])
    offset = parse_offset(request.headers)
    given = request.headers.find("upload-length")
    length = None if given is None else parse_number(given, "Upload-Length")
    actor, _ = _prove(call, key[0], key[1])
    found = await call.context.resumables.append(
        actor, key, offset, request.body.stream(), length=length
    )
    headers = [("tus-resumable", VERSION), ("upload-offset", str(_received(found)))]
    return Response(204, [*headers, *_progress(found)])


async def terminate_upload(call: Call) -> Response:
    check_version(call.request.headers)
    key = parse_public_id(call.params["id"])
    actor, _ = _prove(call, key[0], key[1])
    await call.context.resumables.terminate(actor, key)
    return Response(204, [("tus-resumable", VERSION)])


def _checked(call: Call, wanted: Creation) -> Creation:
    check_bucket_id(wanted.bucket_id)
    call.context.objects.check_key(wanted.name)
    check_header_value("content-type", wanted.mime_type)
    return wanted


def _prove(call: Call, bucket_id: str, name: str) -> tuple[Actor, bool]:
    """Who acts, and whether an object may be replaced: by bearer, or by the signed token."""
    if not call.actor.operation.endswith("_signed"):
        return call.actor, wants_upsert(call.request)
    token = call.request.headers.get("x-signature")
    if not token:
        raise InvalidSignature("Missing x-signature header")
    claims = verify_url_token(call.context, token, bucket_id, name, Scope.UPLOAD)
    owner = claims.get("owner")
    caller = caller_of_owner(owner if isinstance(owner, str) else None)
    return replace(call.actor, caller=caller), claims.get("upsert") is True


def _location(call: Call, key: tuple[str, str, str]) -> str:
    request, settings = call.request, call.context.settings
    suffix = "/sign" if call.actor.operation.endswith("_signed") else ""
    tail = f"{settings.tus_url_path}{suffix}/{render_public_id(*key)}"
    prefix = request.prefix.rstrip("/")
    if settings.public_url and urlsplit(settings.public_url).path.strip("/"):
        prefix = ""
    return render_location(
        {name: request.headers.get(name) for name in _PROXY_HEADERS},
        scheme=request.scheme,
        host=request.host,
        public_url=settings.public_url,
        path=prefix + tail,
    )


def _received(found: Resumable | StoredObject) -> int:
    return found.size if isinstance(found, StoredObject) else found.received


def _progress(found: Resumable | StoredObject) -> list[tuple[str, str]]:
    if isinstance(found, StoredObject):
        return [("tus-complete", "1")]
    return [("upload-expires", formatdate(found.expires_at, usegmt=True))]


def _routes(base: str, suffix: str, access: Access) -> tuple[Route[Handler], ...]:
    def route(method: str, path: str, handler: Handler, verb: str) -> Route[Handler]:
        operation = f"storage.tus.{verb}{suffix}"
        limit = "file_size_limit"
        granted = Access.OPEN if verb == "options" else access
        return Route(method, path, handler, operation, granted, limit=limit, extra=TUS)

    one = f"{base}/{{id}}"
    return (
        route("OPTIONS", base, get_options, "options"),
        route("OPTIONS", one, get_options, "options"),
        route("POST", base, create_upload, "upload.create"),
        route("HEAD", one, get_offset, "upload.get"),
        route("PATCH", one, append_upload, "upload.part"),
        route("DELETE", one, terminate_upload, "upload.delete"),
    )


ROUTES: tuple[Route[Handler], ...] = (
    *_routes("/upload/resumable", "", Access.BEARER),
    *_routes("/upload/resumable/sign", "_signed", Access.OPEN),
)
