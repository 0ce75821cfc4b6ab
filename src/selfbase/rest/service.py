"""The REST service: read this first.

A request is scanned into a shape and its values (`logic/scan`), becomes an `Ask` (`logic/request`),
is planned against the catalog (`logic/plan_request`) and rendered to SQL (`logic/render_request`);
the two together are kept as a compiled request, so that the next of its kind goes straight on.
Settings and main statement then make one round trip (`Database.run`), and the row that comes back
is the answer (`logic/respond`): its body is sent as PostgreSQL made it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import orjson
from psycopg.conninfo import conninfo_to_dict

from selfbase.database.batch import Batch, Result, Statement
from selfbase.database.database import AUTHENTICATOR, Database, DatabaseSettings
from selfbase.database.executor import ExecutorSettings
from selfbase.database.failures import DatabaseFailure
from selfbase.http.values import (
    JSON_UTF8,
    BodyIncomplete,
    BodyTooLarge,
    Request,
    Response,
    WebSocket,
)
from selfbase.identity.caller import Caller
from selfbase.identity.tokens import TokenVerifier
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.kit.settings import Layer, ValuesLayer
from selfbase.project import Health, Project
from selfbase.rest.cors import add_cors_headers, answer_preflight, is_preflight
from selfbase.rest.errors import RestFailure, schema_cache_missing
from selfbase.rest.events import RequestFailed
from selfbase.rest.logic.compile import Compiled, bind_values
from selfbase.rest.logic.database_errors import render_database_failure
from selfbase.rest.logic.describe import list_methods
from selfbase.rest.logic.grammar import parse_columns
from selfbase.rest.logic.media import JSON, OCTETS, parse_accept, parse_media_type
from selfbase.rest.logic.payload import Payload, parse_payload
from selfbase.rest.logic.plan_read import find_text
from selfbase.rest.logic.preferences import Preferences, parse_preferences
from selfbase.rest.logic.render_request import VERDICT
from selfbase.rest.logic.request import (
    Ask,
    Window,
    choose_action,
    choose_schema,
    decide_window,
    parse_path,
    shape_body,
)
from selfbase.rest.logic.respond import Answer, decide_total, read_outcome, respond
from selfbase.rest.logic.scan import Scan, render_canonical, scan_query
from selfbase.rest.schema_cache import quote_function
from selfbase.rest.settings import load_rest_settings
from selfbase.rest.state import Active, Reloader

FIRST_LOAD_WAIT_S = 10.0

# What the platform sets where the project says nothing.
PLATFORM = ValuesLayer(
    {
        "db_schemas": ("public", "graphql_public"),
        "db_extra_search_path": ("public", "extensions"),
        "db_anon_role": "anon",
        "db_max_rows": 1000,
    },
    name="platform",
)


class Rest:
    """The REST service of one database."""

    name = "rest"

    def __init__(
        self,
        database: Database,
        layers: Sequence[Layer],
        events: Events,
        clock: Clock,
        *,
        login: str,
        tokens: TokenVerifier | None,
        alone: bool,
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._login = login
        self._alone = alone
        # Nobody outside can write this word, so nobody can fake a verdict.
        self._mark = f"{VERDICT}-{secrets.token_hex(8)}"
        self.reloader = Reloader(
            database, login, layers, events, clock, tokens=tokens, mark=self._mark
        )

    async def open(self) -> None:
        self.reloader.open()

    async def close(self) -> None:
        await self.reloader.close()
        if self._alone:
            await self._database.close()

    async def health(self) -> Health:
        if self.reloader.active is None:
            return Health.STARTING
        return Health.HEALTHY

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404))

    async def answer(self, request: Request) -> Response:
        if self._alone and is_preflight(request):
            active = self.reloader.active
            origins = active.settings.server_cors_allowed_origins if active else ()
            return answer_preflight(request, origins)
        try:
            response = await self._answer(request)
        except RestFailure as failure:
            response = self._render_failure(request, failure)
        if self._alone:
            active = self.reloader.active
            if active is not None:
                add_cors_headers(request, response, active.settings.server_cors_allowed_origins)
        return response

    async def _answer(self, request: Request) -> Response:
        active = self.reloader.active or await self.reloader.wait_active(FIRST_LOAD_WAIT_S)
        if active is None:
            raise schema_cache_missing()
        now_s = self._clock.now().timestamp()
        caller = active.callers.identify(request.headers.find("authorization"), now_s)
        preferences = await self._read_preferences(active, request)
        scan, window, payload, ask = await self._read(active, request, preferences)
        if ask.action == "info":
            return self._describe(active, ask)
        if ask.action == "root":
            raise RestFailure("PGRST126", 404, "Root endpoint metadata is disabled")
        compiled = active.compile(ask)
        try:
            results = await self._run(active, request, caller, compiled, scan, window, payload)
        except DatabaseFailure as failure:
            authenticated = caller.role != active.settings.db_anon_role
            raise render_database_failure(
                failure, authenticated=authenticated, mark=self._mark
            ) from failure
        answer = self._conclude(active, request, compiled, window, results)
        return Response(answer.status, answer.headers, answer.body)

    # Reading the request

    async def _read(
        self, active: Active, request: Request, preferences: Preferences
    ) -> tuple[Scan, Window, Payload | None, Ask]:
        """Everything the client asks for, in the order in which it is judged."""
        settings, headers, method = active.settings, request.headers, request.method
        raw = b""
        if method in ("POST", "PATCH", "PUT"):
            raw = await self._read_body(request, settings.body_bytes_max)
        target, name = parse_path(request.path)
        schema, profiled = choose_schema(
            method,
            headers.find("accept-profile"),
            headers.find("content-profile"),
            settings.db_schemas,
        )
        if target == "root" and settings.db_root_spec:
            target, name = "function", settings.db_root_spec.rpartition(".")[2]
        action = choose_action(target, method)
        reading = action == "read" or action == "call"
        rows_max = settings.db_max_rows if reading else None
        scan = scan_query(
            request.query, calling=action == "call" and method != "POST", rows_max=rows_max
        )
        window = decide_window(method, scan, headers.find("range"), rows_max)
        content_type = headers.find("content-type")
        media = parse_media_type(content_type) if content_type else JSON
        payload = None
        if action in ("insert", "update", "upsert") or (action == "call" and method == "POST"):
            listed = None if action == "upsert" else find_text(scan.shape, "columns")
            columns = parse_columns(listed, "columns parameter") if listed is not None else None
            payload = parse_payload(raw, media, columns, calling=action == "call")
        ask = Ask(
            method=method,
            action=action,
            target=target,
            name=name,
            schema=schema,
            profiled=profiled,
            shape=scan.shape,
            accept=parse_accept(headers.get("accept", "*/*")),
            preferences=preferences,
            content_type=media,
            body=shape_body(payload),
            limited=window.limit is not None,
            offset=window.offset > 0,
        )
        return scan, window, payload, ask

    async def _read_body(self, request: Request, bytes_max: int) -> bytes:
        try:
            return await request.body.read(bytes_max)
        except (BodyTooLarge, BodyIncomplete) as failure:
            raise RestFailure("PGRST102", failure.status, failure.message) from None

    async def _read_preferences(self, active: Active, request: Request) -> Preferences:
        given = request.headers.get_all("prefer")
        preferences = parse_preferences(",".join(given) if given else "")
        if preferences.timezone is None:
            return preferences
        try:
            known = await self.reloader.list_timezones(active)
        except DatabaseFailure as failure:
            raise render_database_failure(
                failure, authenticated=False, mark=self._mark
            ) from failure
        return preferences.without_timezone() if preferences.timezone not in known else preferences

    # Running it

    async def _run(
        self,
        active: Active,
        request: Request,
        caller: Caller,
        compiled: Compiled,
        scan: Scan,
        window: Window,
        payload: Payload | None,
    ) -> list[Result]:
        settings, plan = active.settings, compiled.plan
        keep = settings.db_prepared_statements
        octets = compiled.ask.content_type == OCTETS
        statements = []
        if settings.db_pre_request:
            call = f"select {quote_function(settings.db_pre_request)}()"
            statements.append(Statement(call.encode(), keep=keep))
        for rendered in (compiled.rendered.main, compiled.rendered.estimate):
            if rendered is not None:
                values = bind_values(rendered, scan.values, window, payload, octets=octets)
                statements.append(Statement(rendered.sql, values, keep))
        rollback = self._is_rolled_back(active, compiled.ask.preferences)
        if rollback:
            statements.append(Statement(b"set constraints all immediate", keep=False))
        isolation = plan.isolation or active.find_role(caller.role).isolation
        begin = None
        if rollback or isolation:
            level = f" isolation level {isolation}" if isolation in _ISOLATION else ""
            begin = f"begin{level} {'read only' if plan.read_only else 'read write'}".encode()
        pairs = [
            *active.list_caller_settings(caller, compiled.ask.schema),
            *_describe_request(request),
            *((name.encode(), value.encode()) for name, value in plan.settings),
        ]
        if compiled.ask.preferences.timezone is not None:
            pairs.append((b"timezone", compiled.ask.preferences.timezone.encode()))
        if plan.read_only and begin is None:
            pairs.append((b"transaction_read_only", b"on"))
        batch = Batch(
            plan_key=f"{caller.role}|{compiled.ask.schema}",
            settings=tuple(pairs),
            statements=tuple(statements),
            read_only=plan.read_only,
            begin=begin,
            end=b"rollback" if rollback else b"commit",
        )
        results = await self._database.run(batch, login=self._login, cancellation=request.gone)
        return results[1:] if settings.db_pre_request else results

    def _is_rolled_back(self, active: Active, preferences: Preferences) -> bool:
        if active.settings.tx_override_allowed and preferences.tx is not None:
            return preferences.tx == "rollback"
        return active.settings.tx_rollback

    # Answering

    def _conclude(
        self,
        active: Active,
        request: Request,
        compiled: Compiled,
        window: Window,
        results: list[Result],
    ) -> Answer:
        media = compiled.plan.handler.media
        if media.kind == "plan":
            body = b"\n".join(row[0] or b"" for row in results[0].rows)
            headers = [("Content-Type", media.content_type)]
            if compiled.ask.profiled:
                headers.append(("Content-Profile", compiled.ask.schema))
            return Answer(200, headers, body)
        octets = compiled.plan.handler.octets
        outcome = read_outcome(results[0].rows[0], octets=octets)
        estimate = None
        if compiled.rendered.estimate is not None:
            explained = orjson.loads(results[1].rows[0][0] or b"[]")
            estimate = int(explained[0]["Plan"]["Plan Rows"])
        total = decide_total(compiled.plan.count, outcome, estimate, active.settings.db_max_rows)
        canonical = render_canonical(request.query) if compiled.ask.action == "read" else ""
        return respond(
            compiled,
            outcome,
            window,
            total=total,
            canonical=canonical,
            tx=active.settings.tx_override_allowed,
            timezone=True,
        )

    def _describe(self, active: Active, ask: Ask) -> Response:
        """OPTIONS: the methods that make sense here."""
        methods = list_methods(ask, active.catalog)
        headers = [("Allow", methods), ("Access-Control-Allow-Origin", "*")]
        return Response(200, headers, b"")

    def _render_failure(self, request: Request, failure: RestFailure) -> Response:
        if failure.status >= 500:
            self._events.emit(
                RequestFailed(
                    method=request.method,
                    path=request.path,
                    code=failure.code,
                    error=failure.message,
                )
            )
        active = self.reloader.active
        body: dict[str, Any] = {"code": failure.code, "message": failure.message}
        if active is None or active.settings.client_error_verbosity == "verbose":
            body |= {"details": failure.details, "hint": failure.hint}
        headers = [
            ("Content-Type", JSON_UTF8),
            ("Proxy-Status", f"PostgREST; error={failure.code}"),
            *failure.headers,
        ]
        if request.method == "HEAD":
            return Response(failure.status, headers, b"")
        return Response(failure.status, headers, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


_ISOLATION = frozenset({"read committed", "read uncommitted", "repeatable read", "serializable"})


def _describe_request(request: Request) -> list[tuple[bytes, bytes]]:
    """The settings that tell functions and policies about the HTTP request."""
    headers: dict[str, str] = {}
    cookies: dict[str, str] = {}
    for name, value in request.headers:
        if name != "cookie":
            headers[name] = value
            continue
        for pair in value.split(";"):
            key, found, text = pair.strip().partition("=")
            if found:
                cookies[key] = text
    return [
        (b"request.method", request.method.encode()),
        (b"request.path", request.path.encode()),
        (b"request.headers", orjson.dumps(headers)),
        (b"request.cookies", orjson.dumps(cookies)),
    ]


def make_rest(project: Project) -> Rest:
    """The REST service of a project."""
    return Rest(
        project.database,
        (*project.layers, PLATFORM),
        project.events,
        project.clock,
        login=AUTHENTICATOR,
        tokens=project.tokens,
        alone=False,
    )


def make_standalone_rest(layers: Sequence[Layer], events: Events, clock: Clock) -> Rest:
    """The REST service alone, against any database, configured as PostgREST is."""
    settings = load_rest_settings(layers)
    uri = settings.db_uri.reveal()
    user = str(conninfo_to_dict(uri).get("user") or "") or None
    database = Database(
        DatabaseSettings(
            conninfo=uri,
            user=user or AUTHENTICATOR,
            executor=ExecutorSettings(
                links_max=settings.db_pool,
                acquire_timeout_s=settings.db_pool_acquisition_timeout,
                idle_timeout_s=settings.db_pool_max_idletime,
            ),
            pool_max=settings.db_pool,
        ),
        events,
    )
    return Rest(
        database,
        layers,
        events,
        clock,
        login=user or AUTHENTICATOR,
        tokens=None,
        alone=True,
    )
