"""A compiled request with its values becomes the one batch that is sent.

Order matters: settings, `db-pre-request`, the main statement, the estimate, and where the work is
undone the check of deferred constraints.  Source: reference/rest.md sections 3.1 and 3.4.
"""

from __future__ import annotations

import orjson

from selfbase.database.batch import Batch, Statement
from selfbase.http.headers import Headers
from selfbase.http.values import Request
from selfbase.identity.caller import Caller
from selfbase.rest.logic.compile import Compiled, bind_values
from selfbase.rest.logic.media import OCTETS
from selfbase.rest.logic.payload import Payload
from selfbase.rest.logic.preferences import Preferences
from selfbase.rest.logic.request import Window, decode_header
from selfbase.rest.logic.scan import Scan
from selfbase.rest.schema_cache import quote_function
from selfbase.rest.settings import RestSettings
from selfbase.rest.state import Active

_ISOLATION = frozenset({"read committed", "read uncommitted", "repeatable read", "serializable"})

Pairs = list[tuple[bytes, bytes]]


def make_batch(
    active: Active,
    request: Request,
    caller: Caller,
    compiled: Compiled,
    scan: Scan,
    window: Window,
    payload: Payload | None,
    *,
    streaming: bool = False,
) -> Batch:
    """The batch of a request; with `streaming` in the form whose rows come one by one.

    Its results are those of `db-pre-request` (when there is one), the main statement, and the
    estimate (when one is wanted).
    """
    settings, plan = active.settings, compiled.plan
    preferences = compiled.ask.preferences
    keep = settings.db_prepared_statements
    octets = compiled.ask.content_type == OCTETS
    statements = list_pre_request(settings)
    main = compiled.stream if streaming else compiled.rendered.main
    for rendered in (main, compiled.rendered.estimate):
        if rendered is not None:
            values = bind_values(rendered, scan.values, window, payload, octets=octets)
            statements.append(Statement(rendered.sql, values, keep))
    rollback = is_rolled_back(settings, preferences)
    if rollback and not plan.read_only:
        statements.append(Statement(b"set constraints all immediate", keep=False))
    frame = active.find_frame(caller, compiled.ask.schema)
    isolation = plan.isolation or frame.isolation
    begin = None
    if rollback or isolation or streaming:
        level = f" isolation level {isolation}" if isolation in _ISOLATION else ""
        begin = f"begin{level} {'read only' if plan.read_only else 'read write'}".encode()
    pairs = [
        *frame.settings,
        *list_request_settings(request),
        *((name.encode(), value.encode()) for name, value in plan.settings),
    ]
    if preferences.timezone is not None:
        pairs.append((b"timezone", preferences.timezone.encode()))
    if plan.read_only and begin is None:
        pairs.append((b"transaction_read_only", b"on"))
    return Batch(
        plan_key=frame.plan_key,
        settings=tuple(pairs),
        statements=tuple(statements),
        read_only=plan.read_only,
        begin=begin,
        end=b"rollback" if rollback else b"commit",
    )


def list_pre_request(settings: RestSettings) -> list[Statement]:
    """The call of the function every transaction begins with, if there is one."""
    if not settings.db_pre_request:
        return []
    call = f"select {quote_function(settings.db_pre_request)}()"
    return [Statement(call.encode(), keep=settings.db_prepared_statements)]


def is_rolled_back(settings: RestSettings, preferences: Preferences) -> bool:
    """Whether the transaction ends in a rollback although all went well."""
    if settings.tx_override_allowed and preferences.tx is not None:
        return preferences.tx == "rollback"
    return settings.tx_rollback


def list_request_settings(request: Request) -> Pairs:
    """The settings that tell functions and policies about the HTTP request."""
    notes = request.headers.notes
    told: tuple[bytes, bytes] | None = notes.get("rest.told") if notes is not None else None
    if told is None:
        told = _render_fields(request.headers)
        if notes is not None:
            notes["rest.told"] = told
    headers, cookies = told
    return [
        (b"request.method", request.method.encode()),
        (b"request.path", request.path.encode()),
        (b"request.headers", headers),
        (b"request.cookies", cookies),
    ]


def _render_fields(fields: Headers) -> tuple[bytes, bytes]:
    """Header fields and cookies as two JSON objects."""
    headers: dict[str, str] = {}
    cookies: dict[str, str] = {}
    for name, value in fields:
        if name != "cookie":
            headers[name] = value if value.isascii() else decode_header(value) or ""
            continue
        for pair in value.split(";"):
            key, found, text = pair.strip().partition("=")
            if found:
                cookies[key] = text
    return orjson.dumps(headers), orjson.dumps(cookies)
