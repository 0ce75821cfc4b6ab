"""Creating, changing and dropping tables.  A new table is empty; columns come one by one."""

from __future__ import annotations

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import TABLES, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.identifiers import quote_identifier, quote_literal, quote_qualified
from selfbase.meta.writes.kinds import Key, Writes, execute_all, render_behavior, wanted

REPLICA_IDENTITIES = ("DEFAULT", "INDEX", "FULL", "NOTHING")


async def create_table(connection: MetaConnection, body: Body) -> Key:
    schema, name = body.get("schema", "public"), body["name"]
    table = quote_qualified(schema, name)
    await connection.execute(f"CREATE TABLE {table} ()")
    if "comment" in body:
        await connection.execute(f"COMMENT ON TABLE {table} IS {quote_literal(body['comment'])}")
    found: int = await connection.fetch_value(
        "select format('%%I.%%I', %(schema)s::text, %(name)s::text)::regclass::oid::int8",
        {"schema": schema, "name": name},
    )
    return found


async def update_table(connection: MetaConnection, old: Object, body: Body) -> Key:
    alter = f"ALTER TABLE {quote_qualified(old['schema'], old['name'])}"
    statements = [*_plan_security(alter, body), _plan_replica_identity(alter, body)]
    if "primary_keys" in body:
        statements += await _plan_primary_key(connection, alter, old, body)
    if "comment" in body:
        table = quote_qualified(old["schema"], old["name"])
        statements.append(f"COMMENT ON TABLE {table} IS {quote_literal(body['comment'])}")
    # The new schema and the new name come last, because everything before uses the old ones.
    schema = wanted(body, old, "schema")
    if schema != old["schema"]:
        statements.append(f"{alter} SET SCHEMA {quote_identifier(schema)}")
    if wanted(body, old, "name") != old["name"]:
        moved = quote_qualified(schema, old["name"])
        statements.append(f"ALTER TABLE {moved} RENAME TO {quote_identifier(body['name'])}")
    await execute_all(connection, statements)
    return int(old["id"])


def _plan_security(alter: str, body: Body) -> list[str]:
    statements = []
    if "rls_enabled" in body:
        verb = "ENABLE" if body["rls_enabled"] else "DISABLE"
        statements.append(f"{alter} {verb} ROW LEVEL SECURITY")
    if "rls_forced" in body:
        verb = "FORCE" if body["rls_forced"] else "NO FORCE"
        statements.append(f"{alter} {verb} ROW LEVEL SECURITY")
    return statements


def _plan_replica_identity(alter: str, body: Body) -> str:
    identity = body.get("replica_identity")
    if identity != "INDEX":
        return f"{alter} REPLICA IDENTITY {identity}" if identity else ""
    if "replica_identity_index" not in body:
        raise BadRequest("replica_identity INDEX needs replica_identity_index")
    index = quote_identifier(body["replica_identity_index"])
    return f"{alter} REPLICA IDENTITY USING INDEX {index}"


async def _plan_primary_key(
    connection: MetaConnection, alter: str, old: Object, body: Body
) -> list[str]:
    statements = []
    present = await connection.fetch_value(
        "select conname from pg_constraint where contype = 'p' and conrelid = %(id)s",
        {"id": old["id"]},
    )
    if present is not None:
        statements.append(f"{alter} DROP CONSTRAINT {quote_identifier(present)}")
    if body["primary_keys"]:
        names = ", ".join(quote_identifier(key["name"]) for key in body["primary_keys"])
        statements.append(f"{alter} ADD PRIMARY KEY ({names})")
    return statements


def render_drop(old: Object, cascade: bool) -> str:
    return f"DROP TABLE {quote_qualified(old['schema'], old['name'])} {render_behavior(cascade)}"


TABLE_WRITES = Writes(
    kind=TABLES,
    create_fields={
        "name": Field(required=True),
        "schema": Field(),
        "comment": Field(null=True),
    },
    update_fields={
        "name": Field(),
        "schema": Field(),
        "rls_enabled": Field("bool"),
        "rls_forced": Field("bool"),
        "replica_identity": Field(choices=REPLICA_IDENTITIES),
        "replica_identity_index": Field(),
        "primary_keys": Field("names"),
        "comment": Field(null=True),
    },
    create=create_table,
    update=update_table,
    drop=render_drop,
)
