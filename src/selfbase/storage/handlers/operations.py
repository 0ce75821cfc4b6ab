"""Routes for those who run the service: health, version, purging a CDN in front.

Source: reference/storage.md section 1.8.
"""

from __future__ import annotations

from typing import Any

import httpx

import selfbase
from selfbase.database.failures import DatabaseFailure
from selfbase.http.values import Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Call, Handler
from selfbase.storage.errors import InternalError, MissingParameter
from selfbase.storage.queries import SQL
from selfbase.storage.rows import by_service

_PURGE_TIMEOUT_S = 10.0


async def get_health(call: Call) -> Response:
    try:
        await call.context.rows.run(call.actor, by_service(SQL["check_health"]), read_only=True)
    except DatabaseFailure:
        return json_response({"healthy": False})
    return json_response({"healthy": True})


async def get_status(call: Call) -> Response:
    return Response(200)


async def get_version(call: Call) -> Response:
    return Response(200, [("content-type", "text/plain; charset=utf-8")], _version())


def _version() -> bytes:
    return str(getattr(selfbase, "__version__", "0")).encode()


async def purge_cache(call: Call) -> Response:
    """Asks the CDN to forget a project's, a bucket's or an object's copies."""
    settings = call.context.settings
    if not settings.cdn_purge_url:
        raise MissingParameter("Missing Required Parameter CDN_PURGE_ENDPOINT_URL is not set")
    bucket_id, name = call.params.get("bucket"), call.params.get("name")
    if bucket_id and name:
        await call.context.objects.find(call.actor, bucket_id, name)
    elif bucket_id:
        await call.context.buckets.get(call.actor, bucket_id)
    body: dict[str, Any] = {
        "type": "object" if name else "bucket" if bucket_id else "tenant",
        "tenant": {"ref": call.context.project_ref},
    }
    if bucket_id:
        body["bucketId"] = bucket_id
    if name:
        body["objectName"] = name
    if call.request.query_value("transformations") == "true":
        body["type"] = f"{body['type']}-transformations"
    key = settings.cdn_purge_key.reveal() if settings.cdn_purge_key else ""
    try:
        async with httpx.AsyncClient(timeout=_PURGE_TIMEOUT_S, trust_env=False) as client:
            answer = await client.post(
                f"{settings.cdn_purge_url.rstrip('/')}/purge",
                json=body,
                headers={"authorization": f"Bearer {key}"},
            )
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise InternalError(internal=f"CDN purge: {type(error).__name__}") from error
    return json_response({"message": "success"})


def _purge(path: str, what: str) -> Route[Handler]:
    return Route(
        "DELETE", path, purge_cache, f"storage.cdn.purge_{what}_cache", Access.SERVICE, extra=REST
    )


ROUTES: tuple[Route[Handler], ...] = (
    Route("GET", "/health", get_health, "storage.health", Access.BEARER, extra=REST),
    Route("GET", "/status", get_status, "storage.status", Access.OPEN, extra=REST),
    Route("GET", "/version", get_version, "storage.version", Access.OPEN, extra=REST),
    _purge("/cdn", "tenant"),
    _purge("/cdn/{bucket}", "bucket"),
    _purge("/cdn/{bucket}/{name:rest}", "object"),
)
