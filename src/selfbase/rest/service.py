"""The REST service: read this first.

A request is scanned into a shape and its values (`logic/scan`), becomes an `Ask` (`logic/request`),
is planned against the catalog (`logic/plan_request`) and rendered to SQL (`logic/render_request`);
the two together are kept as a compiled request, so that the next of its kind goes straight on.
A read whose text was seen before but for its operands skips even the scan (`logic/recall`).
Settings and main statement then make one round trip (`Database.run`), and the row that comes back
is the answer (`logic/respond`): its body is sent as PostgreSQL made it.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
from psycopg.conninfo import conninfo_to_dict

from selfbase.database.batch import Batch, Result
from selfbase.database.database import AUTHENTICATOR, Database, DatabaseSettings
from selfbase.database.executor import ExecutorSettings
from selfbase.database.failures import DatabaseFailure, SerializationFailure
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
from selfbase.rest.cors import (
    add_cors_headers,
    add_trace_header,
    answer_preflight,
    is_preflight,
)
from selfbase.rest.errors import RestFailure, schema_cache_missing
from selfbase.rest.events import RequestAnswered, RequestFailed, StatementRun
from selfbase.rest.logic.compile import Compiled
from selfbase.rest.logic.database_errors import render_database_failure
from selfbase.rest.logic.describe import list_methods
from selfbase.rest.logic.grammar import parse_columns
from selfbase.rest.logic.media import JSON, parse_accept, parse_media_type
from selfbase.rest.logic.names import Name
from selfbase.rest.logic.payload import Payload, parse_payload
from selfbase.rest.logic.plan_read import find_text
from selfbase.rest.logic.preferences import Preferences, parse_preferences
from selfbase.rest.logic.recall import Prepared, sight
from selfbase.rest.logic.render_request import VERDICT
from selfbase.rest.logic.request import (
    Ask,
    Window,
    choose_action,
    choose_schema,
    decide_window,
    decode_header,
    parse_path,
    shape_body,
)
from selfbase.rest.logic.respond import Answer, decide_total, read_outcome, respond
from selfbase.rest.logic.scan import Scan, render_canonical, scan_query
from selfbase.rest.metrics import Stopwatch, render_metrics
from selfbase.rest.root import answer_root
from selfbase.rest.schema_cache import count_objects
from selfbase.rest.settings import load_rest_settings, pin_streams
from selfbase.rest.state import Active, Reloader
from selfbase.rest.streaming import STREAM_BYTES, RowPieces
from selfbase.rest.transaction import make_batch

FIRST_LOAD_WAIT_S = 10.0
RELOAD_WAIT_S = 5.0
SERIALIZATION_RETRIES_MAX = 4

# The lowest status of requests that are logged, by `log-level`.
LOGGED_FROM = {"crit": 600, "error": 500, "warn": 400, "info": 0, "debug": 0}

# No such table, no such function: perhaps not yet.
_ON_MISS = frozenset({"PGRST205", "PGRST202"})

# What the platform sets where the project says nothing.
PLATFORM = ValuesLayer(
    {
        "db_schemas": ("public", "graphql_public"),
        "db_extra_search_path": ("public", "extensions"),
        "db_anon_role": "anon",
        "db_max_rows": 1000,
        "filters_required": True,
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
        self._next_probe_s = 0.0
        self._pool_timeouts = 0
        self._streams: set[RowPieces] = set()
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

    def want_reload(self) -> None:
        """Reads settings and schema again, soon."""
        self.reloader.want_reload()

    async def health(self) -> Health:
        if self.reloader.failing:
            return Health.UNHEALTHY
        return Health.HEALTHY if self.reloader.active is not None else Health.STARTING

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
        return self._finish(request, response)

    def begin(
        self, request: Request, done: Callable[[Response | Exception], None]
    ) -> Awaitable[Response] | None:
        """`answer`, without a task where that is possible: for a server of this service alone."""
        return None if self.answer_quickly(request, done) else self.answer(request)

    def _finish(self, request: Request, response: Response) -> Response:
        """What every answer gets, whichever way it came."""
        active = self.reloader.active
        if active is not None:
            add_trace_header(request, response, active.settings.server_trace_header)
            if self._alone:
                add_cors_headers(request, response, active.settings.server_cors_allowed_origins)
                if response.status >= LOGGED_FROM[active.settings.log_level]:
                    self._log(request, response)
        return response

    def _log(self, request: Request, response: Response) -> None:
        path = f"{request.path}?{request.query}" if request.query else request.path
        self._events.emit(
            RequestAnswered(
                client=request.client, method=request.method, path=path, status=response.status
            )
        )

    def answer_quickly(
        self, request: Request, done: Callable[[Response | Exception], None]
    ) -> bool:
        """`answer`, without a task: a read whose kind is known, in one quick statement."""
        active = self.reloader.active
        sighting = sight(request)
        if active is None or not active.is_plain or sighting is None:
            return False
        prepared = active.memory.recall(sighting)
        if prepared is None:
            return False
        compiled, scan, window, _ = prepared
        if active.sizes.is_streamed(compiled, window, len(self._streams)):
            return False
        now_s = self._clock.now().timestamp()
        try:
            caller = active.callers.identify(request.headers.find("authorization"), now_s)
        except RestFailure:
            return False

        def tell(outcome: list[Result] | DatabaseFailure) -> Response:
            try:
                if isinstance(outcome, DatabaseFailure):
                    raise self._explain(active, caller, outcome)
                response = self._conclude(active, prepared, outcome)
            except RestFailure as failure:
                response = self._render_failure(request, failure)
            return self._finish(request, response)

        def end(outcome: list[Result] | DatabaseFailure) -> None:
            told: Response | Exception
            try:
                told = tell(outcome)
            except Exception as error:
                told = error
            done(told)

        batch = make_batch(active, request, caller, compiled, scan, window, None)
        return self._database.begin(batch, end, login=self._login)

    async def _answer(self, request: Request) -> Response:
        active = self.reloader.active or await self.reloader.wait_active(FIRST_LOAD_WAIT_S)
        if active is None:
            raise schema_cache_missing()
        watch = Stopwatch(self._clock if active.settings.server_timing_enabled else None)
        now_s = self._clock.now().timestamp()
        caller = active.callers.identify(request.headers.find("authorization"), now_s)
        watch.mark("jwt")
        sighting = sight(request)
        prepared = active.memory.recall(sighting) if sighting else None
        payload = None
        try:
            if prepared is None:
                preferences = await self._read_preferences(active, request)
                scan, window, payload, ask = await self._read(active, request, preferences)
                watch.mark("parse")
                if ask.action == "info":
                    return _add_timing(self._describe(active, ask), active, watch)
                if ask.action == "root":
                    response = await answer_root(
                        active, self._database, self._login, request, caller, ask, watch
                    )
                    return _add_timing(response, active, watch)
                compiled = await self._compile(active, ask)
                canonical = render_canonical(request.query) if ask.action == "read" else ""
                prepared = Prepared(compiled, scan, window, canonical)
                if sighting:
                    active.memory.keep(sighting, request.query, prepared)
            else:
                watch.mark("parse")
            compiled, scan, window, _ = prepared
            watch.mark("plan")
            if active.sizes.is_streamed(compiled, window, len(self._streams)):
                response = await self._stream(active, request, caller, prepared)
                watch.mark("transaction")
                return _add_timing(response, active, watch)
            batch = make_batch(active, request, caller, compiled, scan, window, payload)
            if active.settings.log_query:
                self._events.emit(StatementRun(sql=compiled.rendered.main.sql.decode()))
            results = await self._run(batch, request)
            watch.mark("transaction")
        except DatabaseFailure as failure:
            raise self._explain(active, caller, failure) from failure
        return _add_timing(self._conclude(active, prepared, results), active, watch)

    def _explain(self, active: Active, caller: Caller, failure: DatabaseFailure) -> RestFailure:
        authenticated = caller.role != active.settings.db_anon_role
        return render_database_failure(failure, authenticated=authenticated, mark=self._mark)

    async def _run(self, batch: Batch, request: Request) -> list[Result]:
        """Runs a batch.  One that lost against another transaction was undone: it is tried again."""
        for _ in range(SERIALIZATION_RETRIES_MAX):
            with suppress(SerializationFailure):
                return await self._database.run(batch, login=self._login, cancellation=request.gone)
        return await self._database.run(batch, login=self._login, cancellation=request.gone)

    async def _stream(
        self,
        active: Active,
        request: Request,
        caller: Caller,
        prepared: Prepared,
    ) -> Response:
        """Answers with rows as they come, when they are too many to be held."""
        compiled, scan, window, canonical = prepared
        batch = make_batch(active, request, caller, compiled, scan, window, None, streaming=True)
        rows = await self._database.stream(batch, login=self._login, cancellation=request.gone)
        pieces = RowPieces(rows, self._streams)
        try:
            outcome = read_outcome(await pieces.start())
            answer = respond(compiled, outcome, window, total=outcome.total, canonical=canonical)
            whole = await pieces.read_small()
        except BaseException:
            await pieces.aclose()
            raise
        active.sizes.note(compiled, STREAM_BYTES if whole is None else len(whole))
        return Response(answer.status, answer.headers, pieces if whole is None else whole)

    async def _compile(self, active: Active, ask: Ask) -> Compiled:
        """The compiled request.  What is not in the catalog may have been made a moment ago: then
        the catalog is read again before the client hears that it does not exist."""
        try:
            return active.compile(ask)
        except RestFailure as failure:
            if failure.code not in _ON_MISS or not await self._is_behind(active, ask):
                raise
        newer = await self.reloader.reload_past(active.catalog.generation, RELOAD_WAIT_S)
        return (newer or active).compile(ask)

    async def _is_behind(self, active: Active, ask: Ask) -> bool:
        """Whether the database has what the catalog lacks; asked at most once a second."""
        now_s = self._clock.monotonic_s()
        if now_s < self._next_probe_s:
            return False
        self._next_probe_s = now_s + 1.0
        known = len(active.catalog.functions.get(Name(ask.schema, ask.name), ()))
        found = await count_objects(
            self._database, self._login, ask.schema, ask.name, is_function=ask.calling
        )
        return found > known

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
            decode_header(headers.find("accept-profile")),
            decode_header(headers.find("content-profile")),
            settings.db_schemas,
        )
        if target == "root" and settings.db_root_spec:
            target, name = "function", settings.db_root_spec.rpartition(".")[2]
        action = choose_action(target, method)
        reading = action == "read" or action == "call"
        rows_max = settings.db_max_rows if reading else None
        scan = scan_query(
            request.query, calling=target == "function" and method != "POST", rows_max=rows_max
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

    # Answering

    def _conclude(self, active: Active, prepared: Prepared, results: list[Result]) -> Response:
        if active.settings.db_pre_request:
            results = results[1:]
        status, headers, body = self._respond(active, prepared, results)
        active.sizes.note(prepared.compiled, len(body))
        return Response(status, headers, body)

    def _respond(self, active: Active, prepared: Prepared, results: list[Result]) -> Answer:
        compiled, _, window, canonical = prepared
        media = compiled.plan.handler.media
        if media.kind == "plan":
            body = b"\n".join(row[0] or b"" for row in results[0].rows)
            return Answer(200, list(compiled.content_headers), body)
        octets = compiled.plan.handler.octets
        outcome = read_outcome(results[0].rows[0], octets=octets)
        estimate = None
        if compiled.rendered.estimate is not None:
            explained = orjson.loads(results[1].rows[0][0] or b"[]")
            estimate = int(explained[0]["Plan"]["Plan Rows"])
        total = decide_total(compiled.plan.count, outcome, estimate, active.settings.db_max_rows)
        return respond(compiled, outcome, window, total=total, canonical=canonical)

    def _describe(self, active: Active, ask: Ask) -> Response:
        """OPTIONS: the methods that make sense here."""
        methods = list_methods(ask, active.catalog)
        headers = [("Allow", methods), ("Access-Control-Allow-Origin", "*")]
        return Response(200, headers, b"")

    def render_metrics(self) -> str:
        """The figures of the service in Prometheus' text format."""
        active = self.reloader.active
        tokens = active.callers.tokens if active else None
        return render_metrics(
            loads=self.reloader.loads,
            load_s=self.reloader.load_s,
            links_max=self._database.settings.executor.links_max,
            links_open=self._database.count_links(self._login),
            waiting=self._database.count_waiting(self._login),
            timeouts=self._pool_timeouts,
            hits=active.callers.hits + tokens.hits if active and tokens else 0,
            misses=tokens.misses if tokens else 0,
            evictions=active.callers.evictions if active else 0,
        )

    def _render_failure(self, request: Request, failure: RestFailure) -> Response:
        if failure.code == "PGRST003":
            self._pool_timeouts += 1
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


def _add_timing(response: Response, active: Active, watch: Stopwatch) -> Response:
    if active.settings.server_timing_enabled:
        watch.mark("response")
        response.headers.append(("Server-Timing", watch.render()))
    return response


def make_rest(project: Project) -> Rest:
    """The REST service of a project."""
    address = ValuesLayer(
        {"openapi_server_proxy_uri": f"{project.api_url}/rest/v1"}, name="platform"
    )
    return Rest(
        project.database,
        (*project.layers, PLATFORM, address),
        project.events,
        project.clock,
        login=AUTHENTICATOR,
        tokens=project.tokens,
        alone=False,
    )


def make_standalone_rest(layers: Sequence[Layer], events: Events, clock: Clock) -> Rest:
    """The REST service alone, against any database, configured as PostgREST is."""
    layers = pin_streams(layers)
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
                lifetime_s=settings.db_pool_max_lifetime,
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
