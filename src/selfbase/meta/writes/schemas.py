"""Creating, changing and dropping schemas."""

from __future__ import annotations

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import SCHEMAS, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.logic.identifiers import quote_identifier
from selfbase.meta.writes.kinds import Key, Writes, execute_all, render_behavior, wanted


async def create_schema(connection: MetaConnection, body: Body) -> Key:
    name, owner = body["name"], body.get("owner", "postgres")
    await connection.execute(
        f"CREATE SCHEMA {quote_identifier(name)} AUTHORIZATION {quote_identifier(owner)}"
    )
    found: int = await connection.fetch_value(
        "select oid::int8 from pg_namespace where nspname = %(name)s", {"name": name}
    )
    return found


async def update_schema(connection: MetaConnection, old: Object, body: Body) -> Key:
    alter = f"ALTER SCHEMA {quote_identifier(old['name'])}"
    statements = []
    if "owner" in body:
        statements.append(f"{alter} OWNER TO {quote_identifier(body['owner'])}")
    if wanted(body, old, "name") != old["name"]:
        statements.append(f"{alter} RENAME TO {quote_identifier(body['name'])}")
    await execute_all(connection, statements)
    return int(old["id"])


def render_drop(old: Object, cascade: bool) -> str:
    return f"DROP SCHEMA {quote_identifier(old['name'])} {render_behavior(cascade)}"


SCHEMA_WRITES = Writes(
    kind=SCHEMAS,
    create_fields={"name": Field(required=True), "owner": Field()},
    update_fields={"name": Field(), "owner": Field()},
    create=create_schema,
    update=update_schema,
    drop=render_drop,
)
