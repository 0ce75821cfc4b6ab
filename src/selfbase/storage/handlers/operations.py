"""Routes for those who run the service: health, version, purging a CDN in front.

Source: reference/storage.md section 1.8.
"""

from __future__ import annotations

import selfbase
from selfbase.database.failures import DatabaseFailure
from selfbase.http.values import Response, json_response
from selfbase.kit.routes import Access, Route
from selfbase.storage.access import REST
from selfbase.storage.call import Call, Handler
from selfbase.storage.cdn import purge_cdn
from selfbase.storage.logic.fields import Fields
from selfbase.storage.queries import SQL
from selfbase.storage.rows import by_service


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
    transformations = Fields(dict(call.request.query_pairs()), "querystring").boolean(
        "transformations", False
    )
    bucket_id, name = call.params.get("bucket", ""), call.params.get("name", "")
    await purge_cdn(call.context, bucket_id, name, transformations=transformations)
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
