"""Creating, changing and dropping functions.

Arguments and the return type are SQL by design (`"a integer default 1"`, `"setof users"`); each
statement stands alone, so that nothing can be put behind them.
"""

from __future__ import annotations

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import FUNCTIONS, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.identifiers import (
    quote_identifier,
    quote_literal,
    quote_qualified,
    quote_setting,
    quote_setting_value,
)
from selfbase.meta.writes.kinds import Key, Writes, render_behavior, wanted

BEHAVIORS = ("IMMUTABLE", "STABLE", "VOLATILE")


async def create_function(connection: MetaConnection, body: Body) -> Key:
    schema = body.get("schema", "public")
    arguments = ", ".join(body.get("args", []))
    await connection.execute(_render_create("CREATE", schema, arguments, body))
    # The row this transaction wrote: overloads of the same name are older.
    found: int = await connection.fetch_value(
        "select p.oid::int8 from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = %(schema)s and p.proname = %(name)s"
        " and p.xmin = pg_current_xact_id()::xid order by p.oid desc limit 1",
        {"schema": schema, "name": body["name"]},
    )
    return found


def _render_create(verb: str, schema: str, arguments: str, body: Body) -> str:
    settings = [
        f"SET {quote_setting(name)} FROM CURRENT"
        if value == "FROM CURRENT"
        else f"SET {quote_setting(name)} TO {quote_setting_value(value)}"
        for name, value in (body.get("config_params") or {}).items()
    ]
    clauses = [
        f"{verb} FUNCTION {quote_qualified(schema, body['name'])}({arguments})",
        f"RETURNS {body.get('return_type', 'void')}",
        f"AS {quote_literal(body.get('definition'))}",
        f"LANGUAGE {quote_identifier(body.get('language', 'sql').lower())}",
        body.get("behavior", "VOLATILE"),
        "CALLED ON NULL INPUT",
        "SECURITY DEFINER" if body.get("security_definer") else "SECURITY INVOKER",
        *settings,
    ]
    return "\n".join(clauses)


async def update_function(connection: MetaConnection, old: Object, body: Body) -> Key:
    arguments = old["identity_argument_types"]
    if "definition" in body:
        renewed = {**old, "definition": body["definition"]}
        await connection.execute(
            _render_create("CREATE OR REPLACE", old["schema"], old["argument_types"], renewed)
        )
        await _check_same_function(connection, old)
    name = wanted(body, old, "name")
    if name != old["name"]:
        await connection.execute(
            f"ALTER FUNCTION {quote_qualified(old['schema'], old['name'])}({arguments})"
            f" RENAME TO {quote_identifier(name)}"
        )
    if wanted(body, old, "schema") != old["schema"]:
        await connection.execute(
            f"ALTER FUNCTION {quote_qualified(old['schema'], name)}({arguments})"
            f" SET SCHEMA {quote_identifier(body['schema'])}"
        )
    return int(old["id"])


async def _check_same_function(connection: MetaConnection, old: Object) -> None:
    """A replacement that made a second function beside the first must not stay."""
    written = await connection.fetch_value(
        "select p.xmin = pg_current_xact_id()::xid from pg_proc p where p.oid = %(id)s",
        {"id": old["id"]},
    )
    if not written:
        raise BadRequest(
            f'Cannot find function "{old["schema"]}"."{old["name"]}"'
            f"({old['identity_argument_types']})"
        )


def render_drop(old: Object, cascade: bool) -> str:
    function = quote_qualified(old["schema"], old["name"])
    return f"DROP FUNCTION {function}({old['identity_argument_types']}) {render_behavior(cascade)}"


FUNCTION_WRITES = Writes(
    kind=FUNCTIONS,
    create_fields={
        "name": Field(required=True),
        # Parity: PostgreSQL says what it thinks of a function without a body.
        "definition": Field(),
        "args": Field("texts"),
        "behavior": Field(choices=BEHAVIORS),
        "config_params": Field("settings"),
        "schema": Field(),
        "language": Field(),
        "return_type": Field(),
        "security_definer": Field("bool"),
    },
    update_fields={"name": Field(), "schema": Field(), "definition": Field()},
    create=create_function,
    update=update_function,
    drop=render_drop,
)
