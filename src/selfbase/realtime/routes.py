"""The HTTP surface of Realtime.  Paths are those behind the gateway's prefix, and those of the
service alone (`/api/…`, `/socket/websocket`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from selfbase.http.values import Request, Response
from selfbase.kit.routes import Access, Route
from selfbase.realtime import handlers

if TYPE_CHECKING:
    from selfbase.realtime.service import Realtime

Handler = Callable[["Realtime", Request], Awaitable[Response]]

SOCKET_PATHS = frozenset({"/websocket", "/socket/websocket"})

ROUTES: tuple[Route[Handler], ...] = (
    Route(
        "POST",
        "/api/broadcast",
        handlers.broadcast_batch,
        "realtime.broadcast.batch",
        Access.BEARER,
        limit="payload_bytes_max",
    ),
    Route(
        "POST",
        "/api/broadcast/{topic}/events/{event}",
        handlers.broadcast_single,
        "realtime.broadcast.single",
        Access.BEARER,
        limit="payload_bytes_max",
    ),
    Route("GET", "/api/ping", handlers.ping, "realtime.ping", Access.BEARER),
    Route("GET", "/api/tenants", handlers.list_tenants, "realtime.tenants.list", Access.SERVICE),
    Route("GET", "/api/tenants/{id}", handlers.get_tenant, "realtime.tenants.get", Access.SERVICE),
    Route(
        "GET",
        "/api/tenants/{id}/health",
        handlers.get_tenant_health,
        "realtime.tenants.health",
        Access.BEARER,
    ),
    Route(
        "HEAD",
        "/api/tenants/{id}/health",
        handlers.get_tenant_health,
        "realtime.tenants.health_head",
        Access.BEARER,
    ),
    Route(
        "POST",
        "/api/tenants/{id}/reload",
        handlers.disconnect_tenant,
        "realtime.tenants.reload",
        Access.SERVICE,
    ),
    Route(
        "POST",
        "/api/tenants/{id}/shutdown",
        handlers.disconnect_tenant,
        "realtime.tenants.shutdown",
        Access.SERVICE,
    ),
    Route("GET", "/metrics", handlers.show_metrics, "realtime.metrics", Access.SERVICE),
    Route("GET", "/healthcheck", handlers.check, "realtime.healthcheck", Access.OPEN),
    Route("HEAD", "/healthcheck", handlers.check, "realtime.healthcheck_head", Access.OPEN),
)
