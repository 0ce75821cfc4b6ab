"""The metadata API of one project: its schema, its SQL editor, its generated types.

A request goes through `answer`: find the route, check that the caller is the service role, find the
database it is meant for, let the handler work on a connection of its own, render what went wrong in
`{"error": …}`.  Every connection's SQL becomes an event with its digest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from selfbase.http.values import BodyIncomplete, BodyTooLarge, Request, Response, WebSocket
from selfbase.identity.tokens import TokenInvalid, TokenVerifier
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.kit.failures import Failure
from selfbase.kit.routes import Access, NotFound, Route, Router
from selfbase.kit.settings import Layer, load_settings
from selfbase.meta.call import Call, answer_json
from selfbase.meta.connection import MetaConnection, open_connection
from selfbase.meta.errors import (
    ConnectRefused,
    DatabaseUnavailable,
    Forbidden,
    MetaFailure,
    Overloaded,
    ResultTooLarge,
    SqlRefused,
    Unauthorized,
)
from selfbase.meta.events import RequestRefused, SqlRun, UnexpectedFailure
from selfbase.meta.handlers.objects import Handler
from selfbase.meta.parser import Parser
from selfbase.meta.routes import ROUTES
from selfbase.meta.settings import MetaSettings, StandaloneSettings
from selfbase.meta.targets import (
    ProjectTargets,
    StandaloneTargets,
    Target,
    Targets,
)
from selfbase.project import Health, Project

_QUERY = "meta.query.run"


class Meta:
    """The metadata API.  `tokens` is None when it stands alone behind somebody else's gateway."""

    name = "meta"

    def __init__(
        self,
        settings: MetaSettings,
        targets: Targets,
        events: Events,
        clock: Clock,
        tokens: TokenVerifier | None,
    ) -> None:
        self.settings = settings
        self._targets = targets
        self._events = events
        self._clock = clock
        self._tokens = tokens
        self._router: Router[Handler] = Router(ROUTES)
        self._parser = Parser()
        self._places = asyncio.Semaphore(settings.requests_max)
        self._waiting = 0
        self._state = Health.STOPPED

    async def open(self) -> None:
        self._state = Health.HEALTHY

    async def close(self) -> None:
        self._state = Health.STOPPED
        await self._parser.close()
        self._targets.close()

    async def health(self) -> Health:
        return self._state

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(answer_json({"error": "Not found"}, 404))

    async def answer(self, request: Request) -> Response:
        # Parity: a list is found with and without a slash at its end.
        found = self._router.find(request.method, request.path.removesuffix("/") or "/")
        if isinstance(found, NotFound):
            return answer_json({"error": "Not found"}, 404)
        request.params = found.params
        operation = found.route.operation
        try:
            self._check_caller(found.route, request)
            return await found.route.handler(self._make_call(found.route, request))
        except Failure as failure:
            return render_failure(failure, request.method, operation)
        except Exception as error:
            self._events.emit(
                UnexpectedFailure(operation, type(error).__name__, _where(error), request.id)
            )
            return answer_json({"error": "Internal server error"}, 500)

    def _make_call(self, route: Route[Handler], request: Request) -> Call:
        """Raises ConnectionUnreadable, ConnectionMissing."""
        target = None
        if route.access is not Access.OPEN:
            target = self._targets.find(
                request.headers.find("x-connection-encrypted"),
                request.headers.get("x-pg-application-name"),
                read_only=self.settings.read_only,
            )
        return Call(
            request=request,
            settings=self.settings,
            operation=route.operation,
            target=target,
            open_connection=self._connect,
            parser=self._parser,
        )

    def _check_caller(self, route: Route[Handler], request: Request) -> None:
        """The service role and nobody else.  Raises Unauthorized, Forbidden."""
        if self._tokens is None or route.access is Access.OPEN:
            return
        scheme, _, token = request.headers.get("authorization").partition(" ")
        failure: MetaFailure | None = None
        try:
            if scheme.lower() != "bearer":
                raise TokenInvalid("empty")
            claims = self._tokens.verify(token.strip(), now_s=self._clock.now().timestamp())
            reason = f"role {claims.get('role')}"
            if claims.get("role") != "service_role":
                failure = Forbidden()
        except TokenInvalid as invalid:
            reason, failure = invalid.reason, Unauthorized()
        if failure is not None:
            self._events.emit(RequestRefused(route.operation, reason, request.client, request.id))
            raise failure

    @asynccontextmanager
    async def _connect(self, call: Call, timeout_s: float | None) -> AsyncIterator[MetaConnection]:
        target = call.target
        if target is None:
            raise RuntimeError(f"{call.operation} has no database")
        started_s = self._clock.monotonic_s()
        outcome, sql_digest = "cancelled", ""
        async with self._place():
            try:
                async with self._open(target, timeout_s) as connection:
                    try:
                        yield connection
                    finally:
                        sql_digest = connection.sql_digest
                outcome = "ok"
            except Failure as failure:
                outcome = _outcome(failure)
                raise
            finally:
                duration_ms = round((self._clock.monotonic_s() - started_s) * 1000, 3)
                self._events.emit(
                    SqlRun(
                        operation=call.operation,
                        sql_digest=sql_digest,
                        login=target.login,
                        read_only=target.read_only,
                        outcome=outcome,
                        duration_ms=duration_ms,
                        request_id=call.request.id,
                    )
                )

    def _open(self, target: Target, timeout_s: float | None) -> Any:
        return open_connection(
            target.conninfo,
            connect_timeout_s=self.settings.connect_timeout_s,
            query_timeout_s=timeout_s,
            result_bytes_max=self.settings.result_bytes_max,
            digest_key=self._targets.crypto_key.encode(),
        )

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places at the database.  Raises Overloaded instead of waiting for long."""
        if self._places.locked() and self._waiting >= self.settings.waiting_max:
            raise Overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(self.settings.connect_timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


def render_failure(failure: Failure, method: str, operation: str) -> Response:
    """`{"error": message}`; where the client sent the SQL, with all that PostgreSQL said."""
    if isinstance(failure, SqlRefused) and operation == _QUERY:
        return answer_json(failure.fields, failure.status)
    if isinstance(failure, SqlRefused | ConnectRefused) and method == "GET":
        # Parity: a list that fails is our fault, a write that fails the client's.
        return answer_json({"error": failure.message}, 500)
    if isinstance(failure, SqlRefused):
        return answer_json({"error": failure.message}, failure.status)
    if isinstance(failure, BodyTooLarge):
        return answer_json({"error": "Request body is too large"}, 413)
    if isinstance(failure, BodyIncomplete):
        return answer_json({"error": failure.message}, 400)
    body = {"error": failure.message}
    if isinstance(failure, DatabaseUnavailable | ResultTooLarge) and operation == _QUERY:
        body |= {"message": failure.message, **failure.fields}
    response = answer_json(body, failure.status)
    response.headers.extend(failure.headers)
    return response


def _outcome(failure: Failure) -> str:
    state = failure.fields.get("code") if isinstance(failure, MetaFailure) else None
    return str(state or failure.code)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def make_meta(project: Project) -> Meta:
    """The metadata API of a project: logs in as `postgres`, never as a superuser."""
    settings = load_settings(MetaSettings, project.layers, owner="meta")
    targets = ProjectTargets(project.database.conninfo_for, project.secrets.meta_crypto_key)
    return Meta(settings, targets, project.events, project.clock, project.tokens)


def make_standalone_meta(layers: Sequence[Layer], events: Events, clock: Clock) -> Meta:
    """The metadata API alone, for any database, at the root path and without authentication:
    whoever reaches it may do everything.  Raises ConfigurationError."""
    settings = load_settings(MetaSettings, layers, owner="meta")
    place = load_settings(StandaloneSettings, layers, owner="meta")
    return Meta(settings, StandaloneTargets(place), events, clock, None)
