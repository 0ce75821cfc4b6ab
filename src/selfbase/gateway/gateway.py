"""The gateway: one request from the port to the service that answers it.

The order of steps is that of reference/gateway-and-stack.md section 2.1.  A request never leaves
the process between here and the service.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from selfbase.gateway.cors import add_cors, answer_preflight, is_preflight
from selfbase.gateway.events import RequestServed, ServiceFailed
from selfbase.gateway.health import is_ready, probe_project
from selfbase.gateway.keys import check_gate, find_shown_key, translate_key
from selfbase.gateway.ratelimit import RateLimiter
from selfbase.gateway.routes import (
    ROUTES,
    Gate,
    Match,
    PathRefused,
    RouteTable,
    Row,
)
from selfbase.gateway.settings import GatewaySettings
from selfbase.http.headers import Headers
from selfbase.http.values import Request, Response, WebSocket, json_response
from selfbase.identity.apikeys import ApiKey, KeyRing
from selfbase.kit.events import Events
from selfbase.kit.failures import Failure, describe_origin
from selfbase.project import Project, Service

# Only the gateway may say these: a client's own are dropped.
_RESERVED = frozenset({"sb-api-key", "x-api-key"})
_FORWARDED = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})
_OWN = frozenset({"/health", "/live", "/ready"})


class Projects(Protocol):
    """Which project a host name belongs to."""

    def find(self, host: str) -> Project | None: ...


class OneProject:
    """The registry of a process that serves a single project under every name."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def find(self, host: str) -> Project | None:
        return self._project


class NotBuilt(Failure):
    code = "not_implemented"
    status = 501

    def __init__(self, service: str) -> None:
        super().__init__(
            f"The {service} service is not part of this version of Selfbase",
            details={"service": service},
        )


class Gateway:
    """Answers every request of the public port."""

    def __init__(
        self,
        projects: Projects,
        settings: GatewaySettings,
        events: Events,
        routes: tuple[Row, ...] = ROUTES,
    ) -> None:
        self._projects = projects
        self._routes = RouteTable(routes)
        self._settings = settings
        self._events = events
        self._proxies = [ipaddress.ip_network(text) for text in settings.trusted_proxies]
        self._limiter: RateLimiter | None = None
        if settings.rate_limit_per_s > 0:
            burst = settings.rate_limit_burst or max(1, int(settings.rate_limit_per_s * 2))
            self._limiter = RateLimiter(settings.rate_limit_per_s, burst)

    async def answer(self, request: Request) -> Response:
        passage = Passage()
        response = self._enter(request, passage)
        if response is not None:
            return self._leave(request, passage, response)
        return await self._pass_on(request, passage)

    def begin(
        self, request: Request, done: Callable[[Response | Exception], None]
    ) -> Awaitable[Response] | None:
        """`answer`, without a task where the service can do without (`QuickService`)."""
        passage = Passage()
        response = self._enter(request, passage)
        if response is not None:
            done(self._leave(request, passage, response))
            return None
        quickly = getattr(passage.service, "answer_quickly", None)
        if quickly is None:
            return self._pass_on(request, passage)

        def leave(outcome: Response | Exception) -> None:
            if not isinstance(outcome, Response):
                self._report(request, passage, outcome)
                outcome = render_failure(Failure(code="internal"))
            done(self._leave(request, passage, outcome))

        return None if quickly(request, leave) else self._pass_on(request, passage)

    def _enter(self, request: Request, passage: Passage) -> Response | None:
        """The way to the service; a response when the gateway has one itself by then."""
        if is_preflight(request.method, request.headers):
            passage.preflight = True
            return answer_preflight(request.headers)
        try:
            self._admit(request, passage)
        except Failure as failure:
            return render_failure(failure)
        return None

    async def _pass_on(self, request: Request, passage: Passage) -> Response:
        try:
            response = await self._ask(request, passage)
        except Failure as failure:
            response = render_failure(failure)
        return self._leave(request, passage, response)

    async def _ask(self, request: Request, passage: Passage) -> Response:
        service, match = passage.service, passage.match
        if service is None:
            return await self._answer_own(match.whole, request.method, passage.project)
        try:
            if match.row.timeout_s is None:
                return await service.answer(request)
            async with asyncio.timeout(match.row.timeout_s):
                return await service.answer(request)
        except TimeoutError:
            raise Failure("The upstream server is timing out", code="timeout", status=504) from None
        except Failure:
            raise
        except Exception as error:
            self._report(request, passage, error)
            raise Failure(code="internal") from error

    def _leave(self, request: Request, passage: Passage, response: Response) -> Response:
        if "origin" in request.headers and not passage.preflight:
            add_cors(response)
        response.headers.append(("sb-request-id", request.id))
        self._log(request, passage, response.status)
        return response

    async def connect(self, socket: WebSocket) -> None:
        passage = Passage()
        status = 101
        try:
            self._admit(socket.request, passage, socket=True)
            if passage.service is None:
                path, method = passage.match.whole, socket.request.method
                response = await self._answer_own(path, method, passage.project)
                status = response.status
                await socket.reject(response)
                return
            await passage.service.connect(socket)
        except Failure as failure:
            status = failure.status
            await socket.reject(render_failure(failure))
        finally:
            self._log(socket.request, passage, status)

    def _admit(self, request: Request, passage: Passage, *, socket: bool = False) -> None:
        """Steps 2 to 10: after this the request is the service's, or the gateway's own when there
        is none in `passage`."""
        if request.headers.has_any(_FORWARDED):
            self._believe_proxies(request)
        project = self._projects.find(request.host)
        if project is None:
            raise Failure("No project at this address", code="not_found", status=404)
        passage.project = project
        passage.match = match = _find_match(request, self._routes)
        row = match.row
        passage.upstream = row.service
        if match.whole in _OWN:
            return
        if row.keys:
            self._translate(request, row, project, passage, socket=socket)
        else:
            request.headers.replace("sb-api-key", None)
        if self._limiter is not None:
            self._limit(self._limiter, request, project, passage)
        passage.service = project.services.get(row.service)
        if passage.service is None:
            raise NotBuilt(row.service)
        if row.gate is Gate.BASIC:
            self._check_login(request, project)
        request.path = match.path
        request.prefix = match.prefix

    def _translate(
        self, request: Request, row: Row, project: Project, passage: Passage, *, socket: bool
    ) -> None:
        """Key translation; what a lasting key makes of fields that a client repeats is remembered
        with them."""
        notes = None if socket or "apikey=" in request.query else request.headers.notes
        known: Translation | None = notes.get(row.prefix) if notes is not None else None
        if known is None or known.ring is not project.keys:
            self._translate_new(request, row, project, passage, socket=socket)
            if notes is None or passage.key is None or not passage.key.lasting:
                return
            from_key = request.state.get("bearer_from_key")
            known = Translation(project.keys, passage.key, from_key, request.headers)
            notes[row.prefix] = known
        passage.key = known.key
        if known.from_key is not None:
            request.state["bearer_from_key"] = known.from_key
        request.headers = known.headers.share()

    def _translate_new(
        self, request: Request, row: Row, project: Project, passage: Passage, *, socket: bool
    ) -> None:
        headers = request.headers
        if headers.has_any(_RESERVED):
            for name in _RESERVED:
                headers.replace(name, None)
        header = headers.get("apikey")
        shown = find_shown_key(header, request.query) if "apikey=" in request.query else header
        authorization = headers.find("authorization")
        done = translate_key(header, authorization, request.query, project.keys, keep_query=socket)
        check_gate(row.gate, done.key, shown, required=self._settings.key_required)
        request.query = done.query
        if done.authorization != authorization and row.gate is not Gate.BASIC:
            headers.replace("authorization", done.authorization)
            request.state["bearer_from_key"] = done.authorization is not None
        if done.key is not None:
            passage.key = done.key
            if socket:
                headers.replace("x-api-key", done.key.token)
            if header:
                headers.replace("apikey", done.key.token)

    def _limit(
        self, limiter: RateLimiter, request: Request, project: Project, passage: Passage
    ) -> None:
        key_id = passage.key.id if passage.key else ""
        verdict = limiter.decide((project.ref, key_id, request.client), time.monotonic())
        if not verdict.allowed:
            raise Failure(
                "API rate limit exceeded",
                code="over_request_rate_limit",
                status=429,
                headers=[
                    ("retry-after", str(verdict.retry_after_s)),
                    ("x-ratelimit-limit", str(verdict.limit)),
                    ("x-ratelimit-remaining", str(verdict.remaining)),
                ],
            )

    def _check_login(self, request: Request, project: Project) -> None:
        scheme, _, encoded = request.headers.get("authorization").partition(" ")
        wanted_name = self._settings.dashboard_username or project.secrets.dashboard_username
        wanted = self._settings.dashboard_password or project.secrets.dashboard_password
        try:
            given = b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            given = b""
        if not hmac.compare_digest(given, f"{wanted_name}:{wanted}".encode()):
            raise Failure(
                "Log in to open the dashboard",
                code="unauthorized",
                status=401,
                headers=[("www-authenticate", 'Basic realm="Selfbase", charset="UTF-8"')],
            )
        request.headers.replace("authorization", None)

    async def _answer_own(self, path: str, method: str, project: Project | None) -> Response:
        if method not in ("GET", "HEAD"):
            raise Failure("Method not allowed", code="method_not_allowed", status=405)
        if path == "/live":
            return json_response({"status": "LIVE"})
        assert project is not None
        report = await probe_project(project)
        well = is_ready(report) if path == "/ready" else report["status"] == "HEALTHY"
        return json_response(report, 200 if well else 503)

    def _believe_proxies(self, request: Request) -> None:
        """Takes address, scheme and host from a proxy we trust."""
        headers = request.headers
        forwarded = headers.find("x-forwarded-for")
        proto = headers.find("x-forwarded-proto")
        host = headers.find("x-forwarded-host")
        if not self._is_trusted(request.client):
            return
        if forwarded:
            for part in reversed(forwarded.split(",")):
                request.client = part.strip()
                if not self._is_trusted(request.client):
                    break
        if proto in ("http", "https"):
            request.scheme = proto
        if host:
            request.host = host.split(",")[0].strip()

    def _is_trusted(self, address: str) -> bool:
        if not address:
            return True  # a Unix socket
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._proxies)

    def _report(self, request: Request, passage: Passage, error: Exception) -> None:
        self._events.emit(
            ServiceFailed(
                request_id=request.id,
                project=passage.project.ref if passage.project else "",
                upstream=passage.upstream,
                error=f"{type(error).__name__}: {error}",
                where=describe_origin(error),
            )
        )

    def _log(self, request: Request, passage: Passage, status: int) -> None:
        wanted = self._settings.access_log
        if wanted == "off" or (wanted == "errors" and status < 400):
            return
        self._events.emit(
            RequestServed(
                request_id=request.id,
                project=passage.project.ref if passage.project else "",
                upstream=passage.upstream,
                method=request.method,
                path=request.full_path,
                status=status,
                took_ms=round((time.monotonic() - passage.started_s) * 1000, 2),
                client=request.client,
                key=passage.key.name if passage.key else "",
                user_agent=request.headers.get("user-agent"),
            )
        )


class Passage:
    """What is learnt about one request on its way."""

    __slots__ = ("key", "match", "preflight", "project", "service", "started_s", "upstream")

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.project: Project | None = None
        self.match = _NOWHERE
        self.upstream = ""
        self.service: Service | None = None
        self.key: ApiKey | None = None
        self.preflight = False


_NOWHERE = Match(ROUTES[-1], "", "", "")


class Translation(NamedTuple):
    """What key translation by `ring` made of a client's header fields."""

    ring: KeyRing
    key: ApiKey | None
    from_key: bool | None
    headers: Headers


def _find_match(request: Request, routes: RouteTable) -> Match:
    try:
        return routes.match(request.path)
    except PathRefused as refused:
        raise Failure(
            f"This path is not accepted: {refused}", code="bad_request", status=400
        ) from None


def render_failure(failure: Failure) -> Response:
    """The gateway's own errors: `{"message", "hint"?, "code", ...}`."""
    body: dict[str, object] = {"message": failure.message, "code": failure.code}
    if failure.hint:
        body["hint"] = failure.hint
    if isinstance(failure.details, dict):
        body.update(failure.details)
    return json_response(body, failure.status, list(failure.headers))
