"""The admin endpoints: is it alive, is it ready, what does it know, how is it doing.

Served on a port of their own, never to the public.  Source: reference/rest.md section 7.3.
"""

from __future__ import annotations

from typing import Any

import orjson

from selfbase.http.values import Request, Response, WebSocket
from selfbase.kit.routes import Found, Route, Router
from selfbase.rest.logic.catalog import Catalog, ComputedRelationship
from selfbase.rest.service import Rest

TEXT = "text/plain; charset=utf-8"


class RestAdmin:
    """The handler of the admin port."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._router = Router(
            Route(method, path, handler, f"rest.admin.{path[1:]}")
            for method in ("GET", "HEAD")
            for path, handler in (
                ("/live", self._live),
                ("/ready", self._ready),
                ("/schema_cache", self._schema_cache),
                ("/metrics", self._metrics),
            )
        )

    async def answer(self, request: Request) -> Response:
        found = self._router.find(request.method, request.path)
        if not isinstance(found, Found):
            return Response(404)
        return found.route.handler()

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404))

    def _live(self) -> Response:
        return Response(200)

    def _ready(self) -> Response:
        reloader = self._rest.reloader
        if reloader.active is not None and not reloader.failing:
            return Response(200)
        return Response(503)

    def _schema_cache(self) -> Response:
        active = self._rest.reloader.active
        body = orjson.dumps(dump_catalog(active.catalog)) if active else b""
        return Response(200, [("Content-Type", "application/json; charset=utf-8")], body)

    def _metrics(self) -> Response:
        return Response(200, [("Content-Type", TEXT)], self._rest.render_metrics().encode())


def dump_catalog(catalog: Catalog) -> dict[str, Any]:
    """What the service knows of the schemas, for people who look for a missing table."""
    return {
        "dbTables": [
            {
                "schema": name.schema,
                "name": name.name,
                "primaryKey": table.primary_key,
                "columns": list(table.columns),
                "insertable": table.insertable,
                "updatable": table.updatable,
                "deletable": table.deletable,
            }
            for name, table in sorted(catalog.tables.items())
        ],
        "dbRelationships": [
            {
                "table": str(name),
                "target": str(one.target),
                "kind": "computed"
                if isinstance(one, ComputedRelationship)
                else one.cardinality.value,
                "name": str(one.function)
                if isinstance(one, ComputedRelationship)
                else one.constraint,
            }
            for name, several in sorted(catalog.relationships.items())
            for one in several
        ],
        "dbRoutines": [
            {
                "name": str(name),
                "parameters": [parameter.name for parameter in one.parameters],
                "volatility": one.volatility,
            }
            for name, several in sorted(catalog.functions.items())
            for one in several
        ],
        "dbRepresentations": [list(pair) for pair in catalog.representations],
        "dbMediaHandlers": [
            [str(target) if target else "anyelement", media] for target, media in catalog.handlers
        ],
    }
