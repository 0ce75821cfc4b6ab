"""What a handler is given: the request, who acts, and the parts of the service it may use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from selfbase.http.values import Request, Response
from selfbase.identity.caller import Caller
from selfbase.kit.failures import Failure
from selfbase.kit.routes import Access
from selfbase.storage.errors import StorageError

if TYPE_CHECKING:
    from selfbase.storage.context import Context

# Policies may read `request.headers`; what proves identity is already in the claims.
_HIDDEN_HEADERS = frozenset({"authorization", "apikey", "cookie", "x-signature"})
_DRAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does what: the caller and the settings that users' policies can read about the request.

    `operation` is the name `storage.operation()` answers with.
    """

    caller: Caller
    operation: str
    method: str = ""
    path: str = ""
    headers_json: str = "{}"

    @property
    def is_service(self) -> bool:
        return self.caller.is_service

    def settings(self) -> tuple[tuple[str, str], ...]:
        """The transaction settings besides role and claims (reference/storage.md section 4.1)."""
        return (
            ("request.jwt", self.caller.token),
            ("request.jwt.claims", self.caller.claims_json),
            ("request.jwt.claim.sub", self.caller.user_id or ""),
            ("request.jwt.claim.role", self.caller.role),
            ("request.headers", self.headers_json),
            ("request.method", self.method),
            ("request.path", self.path),
            ("storage.operation", self.operation),
            ("storage.allow_delete_query", "true"),
        )


def make_actor(caller: Caller, operation: str, request: Request) -> Actor:
    """The actor of a request."""
    headers = {name: value for name, value in request.headers if name not in _HIDDEN_HEADERS}
    return Actor(
        caller,
        operation,
        request.method,
        request.path,
        orjson.dumps(headers).decode(),
    )


@dataclass(slots=True)
class Call:
    """One request on its way through a handler."""

    request: Request
    actor: Actor
    context: Context
    params: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Surface:
    """One protocol of the service: how its requests prove who calls, and how failures look.

    `authenticate` raises StorageError.  Stands in `Route.extra` of every route.
    """

    name: str
    authenticate: Callable[[Request, Context, Access], Awaitable[Caller]]
    render_failure: Callable[[StorageError, Request], Response]


async def drain(request: Request) -> None:
    """Reads on for a moment after a refusal, unless the client waits to be asked: one that is still
    sending would see its connection reset instead of the answer."""
    if request.method not in ("PUT", "POST", "PATCH") or "expect" in request.headers:
        return
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for _ in request.body.stream():
                continue
    except (TimeoutError, Failure):
        return  # slow or gone: it gets the answer, or not
