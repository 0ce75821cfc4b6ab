"""Reads the schema cache and the settings that live in the database.

All catalog queries run in one read-only transaction with an empty search path, so that every name
comes out qualified.  Source: reference/rest.md section 4.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib.resources import files
from typing import Any

import orjson
import psycopg
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader

from selfbase.database.batch import Batch, Statement
from selfbase.database.database import Database
from selfbase.database.failures import failure_from_psycopg
from selfbase.rest.logic.build_catalog import CatalogRows, View, build_catalog
from selfbase.rest.logic.catalog import Catalog
from selfbase.rest.logic.names import quote_ident
from selfbase.rest.settings import RestSettings

Cursor = psycopg.AsyncCursor[tuple[Any, ...]]


def read_sql(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    text = files("selfbase.rest").joinpath("sql", f"{name}.sql").read_text()
    return text


async def load_catalog(
    database: Database, login: str, settings: RestSettings, generation: int
) -> Catalog:
    """The catalog of the exposed schemas.  Raises DatabaseFailure."""
    try:
        async with database.connect(login) as connection:
            connection.adapters.register_loader("json", TextLoader)
            async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(
                    "select set_config('search_path', '', true),"
                    " set_config('transaction_read_only', 'on', true),"
                    " set_config('statement_timeout', '0', true),"
                    " set_config('jit', 'off', true)"
                )
                texts, views = await _read_all(cursor, settings, connection.info.server_version)
    except psycopg.Error as error:
        raise failure_from_psycopg(error) from error
    return await asyncio.to_thread(_build, texts, views, settings, generation)


async def _read_all(
    cursor: Cursor, settings: RestSettings, version: int
) -> tuple[dict[str, str | None], list[tuple[Any, ...]]]:
    exposed = list(settings.db_schemas)
    parameters = {
        "schemas": exposed,
        "hoisted": list(settings.db_hoisted_tx_settings),
    }
    texts: dict[str, str | None] = {}
    names = ["tables", "keys", "computed_relationships", "functions", "representations", "handlers"]
    for name in names:
        await cursor.execute(read_sql(name), parameters)
        row = await cursor.fetchone()
        texts[name] = row[0] if row else None
    may_set = (
        "has_parameter_privilege(current_user, s.name, 'set')" if version >= 150000 else "false"
    )
    roles = read_sql("roles").replace("{may_set}", may_set)
    await cursor.execute(roles)
    row = await cursor.fetchone()
    texts["roles"] = row[0] if row else None
    await cursor.execute(read_sql("login"))
    row = await cursor.fetchone()
    texts["login"] = row[0] if row else None
    await cursor.execute(
        "select json_agg(json_build_array(nspname, obj_description(oid, 'pg_namespace')))"
        " from pg_namespace where nspname = any(%(schemas)s::text[])",
        parameters,
    )
    row = await cursor.fetchone()
    texts["schemas"] = row[0] if row else None
    searched = [*exposed, *settings.db_extra_search_path]
    await cursor.execute(read_sql("views"), {"schemas": searched})
    return texts, await cursor.fetchall()


def _build(
    texts: dict[str, str | None],
    views: list[tuple[Any, ...]],
    settings: RestSettings,
    generation: int,
) -> Catalog:
    login = texts.pop("login") or ""
    parsed = {name: orjson.loads(text) if text else [] for name, text in texts.items()}
    rows = CatalogRows(
        tables=parsed["tables"],
        keys=parsed["keys"],
        views=[View(oid, orjson.loads(columns or "{}"), action) for oid, columns, action in views],
        computed=parsed["computed_relationships"],
        functions=parsed["functions"],
        representations=parsed["representations"],
        handlers=parsed["handlers"],
        roles=parsed["roles"],
        schemas=parsed["schemas"],
    )
    return replace(build_catalog(rows, settings.db_schemas, generation), login_settings=login)


async def load_config(database: Database, login: str, pre_config: str) -> dict[str, str]:
    """Settings given to the login role in the database, by name without their prefix; those made
    by the function `pre_config` are the weakest of them.  Raises DatabaseFailure."""
    found: dict[str, str] = {}
    prefix = "pgrst."
    try:
        async with (
            database.connect(login) as connection,
            connection.transaction(),
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            if pre_config:
                await cursor.execute(f"select {quote_function(pre_config)}()")
                for name in _PRE_CONFIG_NAMES:
                    await cursor.execute(
                        "select nullif(current_setting(%s, true), '')", (prefix + name,)
                    )
                    row = await cursor.fetchone()
                    if row is not None and row[0] is not None:
                        found[name] = row[0]
            await cursor.execute(read_sql("config"), {"prefix": prefix})
            found.update(dict(await cursor.fetchall()))
    except psycopg.Error as error:
        raise failure_from_psycopg(error) from error
    return found


_PRE_CONFIG_NAMES = [
    "db_aggregates_enabled",
    "db_anon_role",
    "db_extra_search_path",
    "db_max_rows",
    "db_plan_enabled",
    "db_pre_request",
    "db_prepared_statements",
    "db_root_spec",
    "db_schemas",
    "db_tx_end",
    "jwt_aud",
    "jwt_cache_max_entries",
    "jwt_role_claim_key",
    "jwt_secret",
    "jwt_secret_is_base64",
    "openapi_mode",
    "openapi_security_active",
    "openapi_server_proxy_uri",
    "server_cors_allowed_origins",
    "server_timing_enabled",
    "server_trace_header",
    "db_hoisted_tx_settings",
    "client_error_verbosity",
]


async def list_timezones(database: Database, login: str) -> frozenset[str]:
    """The names of time zones the server knows.  Raises DatabaseFailure."""
    try:
        async with (
            database.connect(login) as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            await cursor.execute("select name from pg_timezone_names")
            return frozenset(row[0] for row in await cursor.fetchall())
    except psycopg.Error as error:
        raise failure_from_psycopg(error) from error


def quote_function(name: str) -> str:
    """A configured function name, perhaps with a schema, as an identifier."""
    schema, found, function = name.partition(".")
    return f"{quote_ident(schema)}.{quote_ident(function)}" if found else quote_ident(name)


async def count_objects(
    database: Database, login: str, schema: str, name: str, *, is_function: bool
) -> int:
    """How many relations (or functions) of this name there are now.  Raises DatabaseFailure."""
    catalog = (
        "pg_proc o join pg_namespace n on n.oid = o.pronamespace where o.prokind = 'f' and proname"
        if is_function
        else "pg_class o join pg_namespace n on n.oid = o.relnamespace"
        " where o.relkind in ('r', 'v', 'm', 'f', 'p') and relname"
    )
    statement = Statement(
        f"select count(*) from {catalog} = $1 and nspname = $2".encode(),  # noqa: S608
        (name.encode("utf-8", "replace"), schema.encode()),
    )
    results = await database.run(Batch("", (), (statement,), read_only=True), login=login)
    return int(results[0].rows[0][0] or 0)
