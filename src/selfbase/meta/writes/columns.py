"""Adding, changing and dropping columns.

Expressions (`check`, a default of format `expression`) are SQL by design; they run as part of one
statement, so that nothing can be put behind them.
"""

from __future__ import annotations

from typing import Any

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import COLUMNS, TABLES, Object, load_object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.identifiers import (
    join_clauses,
    quote_identifier,
    quote_literal,
    quote_qualified,
    render_type,
)
from selfbase.meta.writes.kinds import Key, Writes, execute_all, render_behavior, wanted

GENERATIONS = ("BY DEFAULT", "ALWAYS")


async def create_column(connection: MetaConnection, body: Body) -> Key:
    if body.get("is_identity") and "default_value" in body:
        raise BadRequest("Columns cannot both be identity and have a default value")
    owner = await load_object(connection, TABLES, body["table_id"])
    table = quote_qualified(owner["schema"], owner["name"])
    column = quote_identifier(body["name"])
    nullability = ""
    if "is_nullable" in body:
        nullability = "NULL" if body["is_nullable"] else "NOT NULL"
    definition = join_clauses(
        [
            column,
            render_type(body["type"]),
            _render_default_clause(body),
            nullability,
            "PRIMARY KEY" if body.get("is_primary_key") else "",
            "UNIQUE" if body.get("is_unique") else "",
            f"CHECK ({body['check']})" if "check" in body else "",
        ]
    )
    await connection.execute(f"ALTER TABLE {table} ADD COLUMN {definition}")
    if "comment" in body:
        await connection.execute(
            f"COMMENT ON COLUMN {table}.{column} IS {quote_literal(body['comment'])}"
        )
    number: int = await connection.fetch_value(
        "select attnum from pg_attribute where attrelid = %(table)s and attname = %(name)s",
        {"table": owner["id"], "name": body["name"]},
    )
    return f"{owner['id']}.{number}"


def _render_default_clause(body: Body) -> str:
    if body.get("is_identity"):
        return f"GENERATED {body.get('identity_generation', 'BY DEFAULT')} AS IDENTITY"
    return f"DEFAULT {_render_default(body)}" if "default_value" in body else ""


def _render_default(body: Body) -> str:
    if body.get("default_value_format") == "EXPRESSION":
        return f"({body['default_value']})"
    return quote_literal(body["default_value"])


async def update_column(connection: MetaConnection, old: Object, body: Body) -> Key:
    table = quote_qualified(old["schema"], old["table"])
    column = quote_identifier(old["name"])
    alter = f"ALTER TABLE {table} ALTER COLUMN {column}"
    statements = []
    if "is_nullable" in body:
        statements.append(f"{alter} {'DROP' if body['is_nullable'] else 'SET'} NOT NULL")
    if "type" in body:
        new_type = render_type(body["type"])
        # USING makes conversions possible that are not implicit, such as int4 to text.
        statements.append(f"{alter} SET DATA TYPE {new_type} USING {column}::{new_type}")
    if body.get("drop_default"):
        statements.append(f"{alter} DROP DEFAULT")
    elif "default_value" in body:
        statements.append(f"{alter} SET DEFAULT {_render_default(body)}")
    statements.append(_plan_identity(alter, old, body))
    statements += await _plan_unique(connection, table, old, body)
    if "comment" in body:
        statements.append(f"COMMENT ON COLUMN {table}.{column} IS {quote_literal(body['comment'])}")
    await execute_all(connection, statements)
    if "check" in body:
        await _replace_check(connection, table, old, body["check"])
    if wanted(body, old, "name") != old["name"]:
        renamed = quote_identifier(body["name"])
        await connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO {renamed}")
    return str(old["id"])


def _plan_identity(alter: str, old: Object, body: Body) -> str:
    asked = body.get("is_identity")
    generation = body.get("identity_generation", "BY DEFAULT")
    if asked is False:
        return f"{alter} DROP IDENTITY IF EXISTS"
    if old["is_identity"]:
        # Parity: the default counts as asked for, so that any change sets BY DEFAULT again.
        return f"{alter} SET GENERATED {generation}"
    return f"{alter} ADD GENERATED {generation} AS IDENTITY" if asked else ""


async def _plan_unique(
    connection: MetaConnection, table: str, old: Object, body: Body
) -> list[str]:
    unique = wanted(body, old, "is_unique")
    if unique and not old["is_unique"]:
        return [f"ALTER TABLE {table} ADD UNIQUE ({quote_identifier(old['name'])})"]
    if old["is_unique"] and not unique:
        names = await _list_constraints(connection, old, "u")
        return [f"ALTER TABLE {table} DROP CONSTRAINT {quote_identifier(n)}" for n in names]
    return []


async def _replace_check(
    connection: MetaConnection, table: str, old: Object, check: str | None
) -> None:
    """Drops the first check of this column alone, and adds the new one if there is one."""
    present = await _list_constraints(connection, old, "c")
    if present:
        await connection.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {quote_identifier(present[0])}"
        )
    if check is None:
        return
    name = f"{old['table']}_{old['name']}_check"
    await connection.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT {quote_identifier(name)} CHECK ({check})"
    )
    # A long name is cut by the server, which is why the newest constraint is looked at.
    columns = await connection.fetch_value(
        "select coalesce(conkey, '{}') from pg_constraint"
        " where contype = 'c' and conrelid = %(table)s order by oid desc limit 1",
        {"table": old["table_id"]},
    )
    if not columns:
        raise BadRequest(f"{_CHECK_REFUSED}: check condition must refer to this column")
    if len(columns) > 1:
        raise BadRequest(f"{_CHECK_REFUSED}: check condition cannot refer to multiple columns")
    if columns[0] != old["ordinal_position"]:
        raise BadRequest(f"{_CHECK_REFUSED}: check condition cannot refer to other columns")


_CHECK_REFUSED = "error creating column constraint"


async def _list_constraints(connection: MetaConnection, old: Object, kind: str) -> list[str]:
    params: dict[str, Any] = {
        "table": old["table_id"],
        "column": old["ordinal_position"],
        "kind": kind,
    }
    rows = await connection.fetch(
        'select conname from pg_constraint where contype = %(kind)s::"char"'
        " and conrelid = %(table)s and conkey = array[%(column)s::int2] order by oid",
        params,
    )
    return [name for (name,) in rows]


def render_drop(old: Object, cascade: bool) -> str:
    table = quote_qualified(old["schema"], old["table"])
    column = quote_identifier(old["name"])
    return f"ALTER TABLE {table} DROP COLUMN {column} {render_behavior(cascade)}"


_SHARED_FIELDS = {
    "default_value": Field("any", null=True),
    "default_value_format": Field(choices=("LITERAL", "EXPRESSION")),
    "is_identity": Field("bool"),
    "identity_generation": Field(choices=GENERATIONS),
    "is_nullable": Field("bool"),
    "is_unique": Field("bool"),
    "comment": Field(null=True),
}
COLUMN_WRITES = Writes(
    kind=COLUMNS,
    create_fields={
        "table_id": Field("int", required=True),
        "name": Field(required=True),
        "type": Field(required=True),
        "is_primary_key": Field("bool"),
        "check": Field(),
        **_SHARED_FIELDS,
    },
    update_fields={
        "name": Field(),
        "type": Field(),
        "drop_default": Field("bool"),
        "check": Field(null=True),
        **_SHARED_FIELDS,
    },
    create=create_column,
    update=update_column,
    drop=render_drop,
)
