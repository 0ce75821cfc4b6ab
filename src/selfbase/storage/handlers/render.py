"""Transformed images, with the rights of downloads.  Source: reference/storage.md section 6.1.

Which transformation, for whom and of what is decided here; pixels are the business of the port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.utils import formatdate

from selfbase.http.values import FileBody, Response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.blobs import BlobNotFound, object_key
from selfbase.storage.call import Call, Handler
from selfbase.storage.errors import FeatureNotEnabled, InvalidRequest, RouteNotFound, StorageError
from selfbase.storage.filebody import read_file_body
from selfbase.storage.handlers.download import find_as_service, find_for_caller, find_public
from selfbase.storage.logic.conditions import decide_condition
from selfbase.storage.logic.fields import Fields
from selfbase.storage.logic.headers import (
    render_cache_control,
    render_disposition,
    render_last_modified,
)
from selfbase.storage.logic.transformations import (
    parse_transformation,
    read_transformation,
    render_applied,
)
from selfbase.storage.ports import ImageFailed, ImageSource, ImageTransformer, Transformation
from selfbase.storage.signing import Scope, split_signed_path, verify_url_token
from selfbase.storage.types import StoredObject


class ImageRefused(StorageError):
    """The transformer would not, or could not.  Its status is shown as it is when it says more
    than that the request was wrong."""

    code, error = "InvalidRequest", "InvalidRequest"

    @property
    def rest_status(self) -> int:
        return self.status if self.status in (408, 429, 500) else 400


async def render_image(call: Call) -> Response:
    _check_enabled(call)
    wanted = _read_query(call)
    return await _render(call, await find_for_caller(call), wanted)


async def render_public_image(call: Call) -> Response:
    _check_enabled(call)
    wanted = _read_query(call)
    return await _render(call, await find_public(call), wanted)


async def render_signed_image(call: Call) -> Response:
    """What was signed is rendered; the query has no say."""
    _check_enabled(call)
    token = call.request.query_value("token") or ""
    claims = verify_url_token(
        call.context, token, call.params["bucket"], call.params["name"], Scope.DOWNLOAD
    )
    signed = str(claims.get("transformations") or "")
    chosen = str(claims.get("format") or "")
    wanted = parse_transformation(signed, chosen, call.context.settings)
    found = await find_as_service(call, *split_signed_path(claims))
    return await _render(call, found, wanted, formatdate(int(claims["exp"]), usegmt=True))


def _check_enabled(call: Call) -> None:
    if not call.context.settings.image_transformation:
        raise RouteNotFound(f"Route {call.request.method}:{call.request.path} not found")


def _read_query(call: Call) -> Transformation:
    query = Fields(dict(reversed(call.request.query_pairs())), "querystring")
    return read_transformation(query, call.context.settings)


async def _render(
    call: Call, found: StoredObject, wanted: Transformation, expires: str | None = None
) -> Response:
    images = _transformer(call)
    source = _source(call, found)
    try:
        image = await images.transform(source, wanted, call.request.headers.get("accept"))
    except ImageFailed as failure:
        refused = ImageRefused(failure.message, status=failure.status)
        if failure.status == 429:
            refused.code, refused.error = "SlowDown", "SlowDown"
        raise refused from None
    settings = call.context.settings
    headers = [
        ("content-type", image.mime_type),
        ("etag", image.etag),
        ("last-modified", render_last_modified(found)),
        ("x-robots-tag", str(found.metadata.get("xRobotsTag") or "none")),
        ("x-content-type-options", "nosniff"),
        ("x-transformations", render_applied(wanted)),
    ]
    if image.mime_type.startswith("image/svg"):
        headers.append(("content-security-policy", "sandbox; default-src 'none'"))
    if image.varies:
        headers.append(("vary", "Accept"))
    if expires is not None:
        headers.append(("expires", expires))
    else:
        value = render_cache_control(
            found, call.request.headers, settings.etag_header, settings.response_s_maxage
        )
        headers.append(("cache-control", value))
    download = call.request.query_value("download")
    if download is not None:
        headers.append(("content-disposition", render_disposition(download)))
    status = decide_condition(call.request.headers, image.etag, found.modified_at)
    if status != 200:
        return Response(status, headers)
    return Response(200, headers, image.body)


def _transformer(call: Call) -> ImageTransformer:
    images = call.context.images
    if images is None:
        raise FeatureNotEnabled("The feature Image Transformation is not enabled for this resource")
    return images


def _source(call: Call, found: StoredObject) -> ImageSource:
    context = call.context
    try:
        path = context.blobs.find_path(object_key(found.version))
    except BlobNotFound:
        raise InvalidRequest("The source image is invalid or unsupported for rendering") from None

    async def read() -> AsyncIterator[bytes]:
        body = await context.objects.open(found, 0, found.size)
        pieces = read_file_body(body) if isinstance(body, FileBody) else body
        async for piece in pieces:
            yield piece

    return ImageSource(
        cache_scope=context.project_ref,
        etag=f"{found.version}:{found.etag}",
        size=found.size,
        mime_type=found.mime_type,
        path=path,
        open=read,
    )


def _routes(path: str, handler: Handler, verb: str, access: Access) -> tuple[Route[Handler], ...]:
    operation = f"storage.render.{verb}"
    return tuple(
        Route(method, path, handler, operation, access, extra=REST) for method in ("GET", "HEAD")
    )


ROUTES: tuple[Route[Handler], ...] = (
    *_routes(
        "/render/image/authenticated/{bucket}/{name:rest}",
        render_image,
        "image_authenticated",
        Access.BEARER,
    ),
    *_routes(
        "/render/image/public/{bucket}/{name:rest}",
        render_public_image,
        "image_public",
        Access.OPEN,
    ),
    *_routes(
        "/render/image/sign/{bucket}/{name:rest}", render_signed_image, "image_sign", Access.OPEN
    ),
)
