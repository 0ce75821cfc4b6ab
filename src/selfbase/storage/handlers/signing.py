"""Signing URLs for downloads, one or many, and for uploads.

Source: reference/storage.md section 1.7.
"""

from __future__ import annotations

from typing import Any

from selfbase.http.values import Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Call, Handler
from selfbase.storage.handlers.buckets import BODY_MAX
from selfbase.storage.handlers.upload import declared_length, parse_user_metadata, wants_upsert
from selfbase.storage.logic.fields import Fields
from selfbase.storage.logic.names import check_bucket_id
from selfbase.storage.logic.transformations import read_transformation, render_transformation
from selfbase.storage.queries import SQL
from selfbase.storage.rows import by_caller
from selfbase.storage.signing import Scope, render_signed_path, sign_url_token
from selfbase.storage.types import DEFAULT_MIME_TYPE, Upload

_PATHS_MAX = 1000
_NOT_FOUND = "Either the object does not exist or you do not have access to it"


async def sign_url(call: Call) -> Response:
    bucket_id, name = call.params["bucket"], call.params["name"]
    body = Fields(await call.request.json(BODY_MAX))
    expires_s = body.required_integer("expiresIn", least=1)
    wanted = body.inner("transform")
    check_bucket_id(bucket_id)
    found = await call.context.objects.find(call.actor, bucket_id, name)
    settings = call.context.settings
    applied, chosen = "", None
    if wanted is not None and settings.image_transformation:
        transformation = read_transformation(wanted, settings)
        applied, chosen = render_transformation(transformation), transformation.format
    token = sign_url_token(
        call.context,
        Scope.DOWNLOAD,
        bucket_id,
        found.name,
        expires_s,
        transformations=applied or None,
        format=chosen,
    )
    prefix = "/render/image/sign" if applied else "/object/sign"
    return json_response({"signedURL": render_signed_path(prefix, bucket_id, found.name, token)})


async def sign_urls(call: Call) -> Response:
    bucket_id = call.params["bucket"]
    body = Fields(await call.request.json(BODY_MAX * 4))
    expires_s = body.required_integer("expiresIn", least=1)
    paths = body.texts("paths", least=1, most=_PATHS_MAX)
    check_bucket_id(bucket_id)
    storable = [path for path in paths if "\0" not in path]
    (names,) = await call.context.rows.run(
        call.actor, by_caller(SQL["list_names"], bucket_id, storable), read_only=True
    )
    visible = set(names)
    return json_response([_signed(call, bucket_id, path, visible, expires_s) for path in paths])


def _signed(
    call: Call, bucket_id: str, path: str, visible: set[str], expires_s: int
) -> dict[str, Any]:
    if path not in visible:
        return {"error": _NOT_FOUND, "path": path, "signedURL": None}
    token = sign_url_token(call.context, Scope.DOWNLOAD, bucket_id, path, expires_s)
    url = render_signed_path("/object/sign", bucket_id, path, token)
    return {"error": None, "path": path, "signedURL": url}


async def sign_upload(call: Call) -> Response:
    bucket_id, name = call.params["bucket"], call.params["name"]
    request = call.request
    check_bucket_id(bucket_id)
    upload = Upload(
        mime_type=request.headers.get("content-type") or DEFAULT_MIME_TYPE,
        user_metadata=parse_user_metadata(request.headers.find("x-metadata")),
        declared_bytes=declared_length(request),
        upsert=wants_upsert(request),
    )
    await call.context.objects.authorize_upload(
        call.actor, bucket_id, name, upload, with_limits=False
    )
    token = sign_url_token(
        call.context,
        Scope.UPLOAD,
        bucket_id,
        name,
        call.context.settings.signed_upload_expiry_s,
        owner=call.actor.caller.user_id,
        upsert=upload.upsert,
    )
    url = render_signed_path("/object/upload/sign", bucket_id, name, token)
    return json_response({"url": url, "token": token})


def _route(path: str, handler: Handler, verb: str) -> Route[Handler]:
    return Route("POST", path, handler, f"storage.object.{verb}", Access.BEARER, extra=REST)


ROUTES: tuple[Route[Handler], ...] = (
    _route("/object/sign/{bucket}/{name:rest}", sign_url, "sign"),
    _route("/object/sign/{bucket}", sign_urls, "sign_many"),
    _route("/object/upload/sign/{bucket}/{name:rest}", sign_upload, "sign_upload_url"),
)
