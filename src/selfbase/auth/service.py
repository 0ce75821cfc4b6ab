"""Auth of one project: opens, answers, closes.  Read this first.

A request: find the route, take the settings in force, check the caller as the route asks, apply
the route's limit and captcha, run its handler, render what went wrong in the shape clients know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import psycopg

from selfbase.auth.authenticate import is_admin_bearer, require_admin, require_user
from selfbase.auth.captcha import Captcha
from selfbase.auth.cleanup import Sweeper
from selfbase.auth.context import AuthRoute, Context, Core
from selfbase.auth.cors import add_cors, answer_preflight, is_preflight
from selfbase.auth.errors import (
    API_VERSION_2024,
    API_VERSION_HEADER,
    AuthFailure,
    Conflict,
    RequestTimeout,
    UnexpectedFailure,
    render_failure,
)
from selfbase.auth.hooks import Hooks
from selfbase.auth.issuers import Issuers
from selfbase.auth.limits import Buckets, Limiter, MemoryBuckets
from selfbase.auth.mail.delivery import MailSink, Outbox, SmtpSink
from selfbase.auth.mail.mailer import Mailer
from selfbase.auth.outgoing import Outgoing
from selfbase.auth.passwords import Passwords
from selfbase.auth.routes import CAPTCHA, OFFLINE, ROUTES
from selfbase.auth.runtime import RuntimeSettings
from selfbase.auth.schema import migrate_auth
from selfbase.auth.settings import AuthSettings
from selfbase.auth.signing_keys import SigningKeys
from selfbase.auth.sms import SmsSender
from selfbase.auth.sms_providers import PROVIDERS
from selfbase.auth.standalone import load_standalone
from selfbase.auth.tokens import TokenIssuer, load_keys
from selfbase.database.database import Database, DatabaseSettings
from selfbase.database.failures import (
    ConnectionLost,
    DatabaseFailure,
    DatabaseUnavailable,
    PoolTimeout,
    SerializationFailure,
    UniqueViolation,
)
from selfbase.http.values import Request, Response, WebSocket, json_response
from selfbase.identity.tokens import Key
from selfbase.kit.clock import Clock, SystemClock
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import Failure
from selfbase.kit.routes import Access, NotFound, Router
from selfbase.kit.settings import Layer, ValuesLayer
from selfbase.project import Health, Project


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request ended in a failure of ours; `internal` is for the log only."""

    name: ClassVar[str] = "auth.request.failed"
    level: ClassVar = "error"
    service: ClassVar[str] = "auth"
    operation: str
    request_id: str
    code: str
    internal: str


class Auth:
    """The service.  `core` is what its handlers share."""

    name = "auth"

    def __init__(self, core: Core, *, migrate_as: str, follow_s: float | None = None) -> None:
        """`follow_s` is how often to look for changed settings and keys without being asked."""
        self.core = core
        self._follow_s = follow_s
        self._following: asyncio.Task[None] | None = None
        self._router = Router(ROUTES)
        self._migrate_as = migrate_as
        self._health = Health.STARTING

    async def open(self) -> None:
        """Brings the schema up to date.  Raises MigrationError, DatabaseUnavailable."""
        await asyncio.to_thread(self._migrate)
        await self.core.runtime.current()
        if self._follow_s is not None:
            self._following = asyncio.create_task(self._follow(self._follow_s))
        self._health = Health.HEALTHY

    async def _follow(self, every_s: float) -> None:
        """For the other services of this process, which verify tokens but never ask Auth."""
        while True:
            await asyncio.sleep(every_s)
            with suppress(DatabaseFailure):
                await self.core.runtime.current()

    def _migrate(self) -> None:
        conninfo = self.core.database.conninfo_for(self._migrate_as)
        try:
            with psycopg.connect(conninfo, autocommit=True) as connection:
                migrate_auth(connection)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error).strip()) from error

    async def close(self) -> None:
        """Sends waiting mail for a short while, then ends everything."""
        self._health = Health.STOPPED
        await self.core.sweeper.close()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.core.mailer.outbox.close()
        await self.core.outgoing.close()
        self.core.passwords.close()

    async def health(self) -> Health:
        if self._health is not Health.HEALTHY:
            return self._health
        try:
            await self.core.read(b"select 'true'::text")
        except DatabaseFailure:
            return Health.UNHEALTHY
        return Health.HEALTHY

    async def connect(self, socket: WebSocket) -> None:
        """Auth speaks no WebSocket."""
        await socket.reject(json_response({"code": 404, "msg": "Not found"}, 404))

    async def answer(self, request: Request) -> Response:
        """One request.  Every failure is rendered; nothing is raised."""
        operation = "unknown"
        try:
            found = self._router.find(request.method, request.path)
            if isinstance(found, NotFound):
                raise _no_route(found)
            operation = found.route.operation
            request.params = found.params
            response = await self._run(request, found.route)
        except AuthFailure as failure:
            self._report(request, operation, failure)
            return render_failure(failure, _api_version(request), request.id)
        if _api_version(request) is not None and response.header(API_VERSION_HEADER) is None:
            response.headers.append((API_VERSION_HEADER, API_VERSION_2024))
        return response

    async def _run(self, request: Request, route: AuthRoute) -> Response:
        try:
            # Routes for users look for new settings while they load the user.
            settings = (
                self.core.runtime.settings
                if route.access is Access.USER
                else await self._find_settings(route)
            )
            ctx = Context(
                core=self.core, request=request, settings=settings, now=self.core.clock.now()
            )
            async with asyncio.timeout(settings.api_max_request_duration):
                await self._admit(ctx, route)
                response = await route.handler(ctx)
            if request.method != "GET":
                self.core.sweeper.nudge(settings)
            return response
        except AuthFailure:
            raise
        except TimeoutError:
            raise RequestTimeout from None
        except (DatabaseUnavailable, PoolTimeout, ConnectionLost) as error:
            raise UnexpectedFailure(
                "The database is not available, please try again",
                status=error.status, headers=[("Retry-After", "1")], internal=str(error),
            ) from None  # fmt: skip
        except (UniqueViolation, SerializationFailure) as error:
            # Two requests wanted the same at once; the words of the server are not for clients.
            raise Conflict("Another request changed the same, please retry") from error
        except DatabaseFailure as error:
            raise UnexpectedFailure(
                "Database error", internal=f"{error.sqlstate} {error.message}"
            ) from error
        except Failure as error:
            if error.status < 500:
                raise AuthFailure(error.message, code=error.code, status=error.status) from None
            raise UnexpectedFailure(
                internal=f"{type(error).__name__} {error.code} {error.message}"
            ) from error
        except Exception as error:
            # The last line: a fault of ours must be an answer and a log line, not a cut connection.
            raise UnexpectedFailure(internal=f"{type(error).__name__}: {error}"[:500]) from error

    async def _find_settings(self, route: AuthRoute) -> AuthSettings:
        """The settings in force; without a database the last known, for routes that need no rows."""
        try:
            return await self.core.runtime.current()
        except (DatabaseUnavailable, PoolTimeout, ConnectionLost):
            if route.extra != OFFLINE:
                raise
            return self.core.runtime.settings

    async def _admit(self, ctx: Context, route: AuthRoute) -> None:
        """Who calls, how often, and whether a person does."""
        if route.access is Access.USER:
            await require_user(ctx)
        elif route.access is Access.SERVICE:
            await require_admin(ctx)
        if route.limit is not None:
            await self.core.limiter.check_address(ctx, route.limit, route.operation)
        asked = route.extra == CAPTCHA and ctx.settings.security_captcha_enabled
        if asked and not is_admin_bearer(ctx):
            await self.core.captcha.check(ctx)

    def _report(self, request: Request, operation: str, failure: AuthFailure) -> None:
        if failure.status >= 500:
            self.core.events.emit(
                RequestFailed(operation, request.id, failure.code, failure.internal or "")
            )


def _no_route(found: NotFound) -> AuthFailure:
    if found.allowed:
        return AuthFailure(
            "Method not allowed", code="unknown", status=405,
            headers=[("Allow", ", ".join(found.allowed))],
        )  # fmt: skip
    return AuthFailure("Not found", code="unknown", status=404)


def _api_version(request: Request) -> str | None:
    version = request.headers.find(API_VERSION_HEADER)
    if version is None or len(version) != 10 or version < API_VERSION_2024:
        return None
    return version


def _sealing(settings: AuthSettings) -> bytes:
    """The secret stored signing keys are encrypted under: one that every worker is given."""
    return (settings.jwt_secret or settings.jwt_keys).reveal().encode()


def make_core(
    database: Database,
    layers: Sequence[Layer],
    events: Events,
    clock: Clock,
    *,
    keys: Sequence[Key] = (),
    sealing: bytes = b"",
    on_keys: Callable[[Sequence[Key]], None] | None = None,
    sink: MailSink | None = None,
    buckets: Buckets | None = None,
) -> Core:
    """The parts handlers share, none of them started."""
    runtime = RuntimeSettings(database, layers, events)
    signing, verifying = load_keys(runtime.settings, keys)
    issuer = TokenIssuer(signing, verifying)
    own = (signing, *(key for key in verifying if key is not signing))
    signing_keys = SigningKeys(
        database,
        issuer,
        events,
        own=own,
        sealing=sealing or _sealing(runtime.settings),
        on_change=on_keys,
    )
    runtime.followers.append(signing_keys.load)
    outgoing = Outgoing()
    outbox = Outbox(sink or SmtpSink(), events, clock)
    return Core(
        database=database,
        events=events,
        clock=clock,
        runtime=runtime,
        tokens=issuer,
        signing_keys=signing_keys,
        passwords=Passwords(runtime.settings.password_threads_max),
        mailer=Mailer(outbox, outgoing, events, clock),
        sms=SmsSender(outgoing, PROVIDERS),
        limiter=Limiter(buckets or MemoryBuckets()),
        captcha=Captcha(outgoing),
        hooks=Hooks(outgoing),
        outgoing=outgoing,
        issuers=Issuers(outgoing, clock),
        sweeper=Sweeper(database, events, clock),
    )


def make_auth(
    project: Project,
    *,
    catcher: tuple[str, int] | None = None,
    buckets: Buckets | None = None,
    follow_s: float | None = None,
) -> Auth:
    """Auth of a project.

    `catcher` is the host and port of the mail catcher, used while no mail server is set.
    `buckets` are shared rate limits (default: this process's own; give PostgresBuckets when
    several workers serve).
    `follow_s` makes this process look for changed keys by itself: where several workers serve.
    """
    own = ValuesLayer({"api_external_url": f"{project.api_url}/auth/v1"}, name="project")
    core = make_core(
        project.database,
        (*project.layers, own),
        project.events,
        project.clock,
        keys=project.secrets.keys(),
        sealing=project.secrets.jwt_secret.encode(),
        on_keys=project.tokens.replace,
        sink=SmtpSink(catcher),
        buckets=buckets,
    )
    return Auth(core, migrate_as="supabase_admin", follow_s=follow_s)


class StandaloneAuth(Auth):
    """Auth alone against an external database, which it closes at the end.  What a gateway does
    for Auth in a project it does itself: request ids and cross-origin rules."""

    async def answer(self, request: Request) -> Response:
        settings = self.core.runtime.settings
        if name := settings.request_id_header.lower():
            request.id = request.headers.get(name)[:100] or request.id
        if is_preflight(request.method, request.headers):
            return answer_preflight(settings.cors_allowed_headers)
        response = await super().answer(request)
        if "origin" in request.headers:
            add_cors(response)
        return response

    async def close(self) -> None:
        await super().close()
        await self.core.database.close()


def make_standalone_auth(
    layers: Sequence[Layer], events: Events, clock: Clock | None = None
) -> StandaloneAuth:
    """Auth from `GOTRUE_*` names alone, at the root path.  Raises ConfigurationError."""
    settings = load_standalone(layers)
    database = Database(
        DatabaseSettings(conninfo=settings.url.reveal(), user="", search_path="auth"), events
    )
    core = make_core(database, layers, events, clock or SystemClock())
    return StandaloneAuth(core, migrate_as="")
