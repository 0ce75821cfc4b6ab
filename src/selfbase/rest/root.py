"""Answers the root path with the OpenAPI document of what the caller may use.

Source: reference/rest.md section 7.1.
"""

from __future__ import annotations

import orjson

from selfbase.database.batch import Batch, Statement
from selfbase.database.database import Database
from selfbase.http.values import Request, Response
from selfbase.identity.caller import Caller
from selfbase.rest.errors import RestFailure, unacceptable_media
from selfbase.rest.logic.media import ANY, JSON, OPENAPI
from selfbase.rest.logic.openapi import RootOptions, build_root_document
from selfbase.rest.logic.request import Ask
from selfbase.rest.metrics import Stopwatch
from selfbase.rest.schema_cache import read_sql
from selfbase.rest.state import Active
from selfbase.rest.transaction import list_pre_request, list_request_settings


async def answer_root(
    active: Active,
    database: Database,
    login: str,
    request: Request,
    caller: Caller,
    ask: Ask,
    watch: Stopwatch,
) -> Response:
    """Raises RestFailure PGRST107, PGRST126, and DatabaseFailure."""
    settings, catalog = active.settings, active.catalog
    if settings.openapi_mode == "disabled":
        raise RestFailure("PGRST126", 404, "Root endpoint metadata is disabled")
    if not {ANY, JSON, OPENAPI} & set(ask.accept):
        raise unacceptable_media([media.text for media in ask.accept])
    tables = [table for name, table in sorted(catalog.tables.items()) if name.schema == ask.schema]
    functions = [
        function
        for name, several in sorted(catalog.functions.items())
        if name.schema == ask.schema
        for function in several
    ]
    description = catalog.schema_descriptions.get(ask.schema)
    watch.mark("plan")
    if settings.openapi_mode == "follow-privileges":
        names, oids = await _list_accessible(active, database, login, request, caller, ask.schema)
        tables = [table for table in tables if table.name.name in names]
        functions = [function for function in functions if function.oid in oids]
    watch.mark("transaction")
    options = RootOptions(
        settings.openapi_server_proxy_uri,
        settings.server_host,
        settings.server_port,
        settings.openapi_security_active,
    )
    headers = [("Content-Type", OPENAPI.content_type)]
    if ask.profiled:
        headers.append(("Content-Profile", ask.schema))
    if request.method == "HEAD":
        return Response(200, headers, b"")
    document = build_root_document(catalog, tables, functions, description, options)
    return Response(200, headers, orjson.dumps(document))


async def _list_accessible(
    active: Active,
    database: Database,
    login: str,
    request: Request,
    caller: Caller,
    schema: str,
) -> tuple[set[str], set[int]]:
    """The names of relations and oids of functions the caller has any right on."""
    statements = [
        *list_pre_request(active.settings),
        Statement(
            read_sql("accessible").encode(),
            (schema.encode(),),
            keep=active.settings.db_prepared_statements,
        ),
    ]
    frame = active.find_frame(caller, schema)
    batch = Batch(
        plan_key=frame.plan_key,
        settings=(
            *frame.settings,
            *list_request_settings(request),
            (b"transaction_read_only", b"on"),
        ),
        statements=tuple(statements),
        read_only=True,
    )
    results = await database.run(batch, login=login, cancellation=request.gone)
    if not results[-1].rows:
        return set(), set()
    relations, functions, _ = results[-1].rows[0]
    return set(orjson.loads(relations or b"[]")), set(orjson.loads(functions or b"[]"))
