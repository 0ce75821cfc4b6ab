"""The admin endpoints: is it alive, is it ready, what does it know, how is it doing.

Served on a port of their own, never to the public.  Source: reference/rest.md section 7.3.
"""

from __future__ import annotations

from typing import Any

import orjson

from selfbase.http.server import LOCALHOST, Address, is_listening
from selfbase.http.values import Handler, Request, Response, WebSocket
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.routes import Found, Route, Router
from selfbase.rest.logic.catalog import Catalog, ComputedRelationship
from selfbase.rest.service import Rest

TEXT = "text/plain; charset=utf-8"

# What stands for all addresses of a machine, as warp names them.
_ANY_HOST = {"*": "0.0.0.0", "*4": "0.0.0.0", "!4": "0.0.0.0", "*6": "::", "!6": "::"}  # noqa: S104


def list_addresses(rest: Rest, host: str, port: int | None) -> list[tuple[Handler, Address]]:
    """Where the service alone listens, and its admin port.  Raises ConfigurationError."""
    settings = rest.reloader.settings
    api_host = host or settings.server_host or LOCALHOST
    api_port = settings.server_port if port is None else port
    try:
        mode = int(settings.server_unix_socket_mode, 8)
    except ValueError:
        mode = -1
    if not 0o600 <= mode <= 0o777:
        raise ConfigurationError("rest: server-unix-socket-mode is not between 600 and 777")
    main = Address(_expand(api_host), api_port, settings.server_unix_socket, mode)
    found: list[tuple[Handler, Address]] = [(rest, main)]
    admin_port = settings.admin_server_port
    if admin_port is not None:
        if admin_port == api_port and not settings.server_unix_socket:
            raise ConfigurationError("rest: admin-server-port cannot be the same as server-port")
        admin_host = settings.admin_server_host or api_host
        found.append((RestAdmin(rest, main), Address(_expand(admin_host), admin_port)))
    return found


def _expand(host: str) -> str:
    return _ANY_HOST.get(host, host)


class RestAdmin:
    """The handler of the admin port of a service that listens at `main`."""

    def __init__(self, rest: Rest, main: Address) -> None:
        self._rest = rest
        self._main = main
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
        return await found.route.handler()

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404))

    async def _live(self) -> Response:
        return Response(200 if await is_listening(self._main) else 500)

    async def _ready(self) -> Response:
        if not await is_listening(self._main):
            return Response(500)
        reloader = self._rest.reloader
        return Response(200 if reloader.active is not None and not reloader.failing else 503)

    async def _schema_cache(self) -> Response:
        active = self._rest.reloader.active
        body = orjson.dumps(dump_catalog(active.catalog)) if active else b""
        return Response(200, [("Content-Type", "application/json; charset=utf-8")], body)

    async def _metrics(self) -> Response:
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
