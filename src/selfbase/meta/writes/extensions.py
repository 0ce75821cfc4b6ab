"""Creating, changing and dropping extensions; their key is the name."""

from __future__ import annotations

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import EXTENSIONS, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.logic.identifiers import join_clauses, quote_identifier, quote_text
from selfbase.meta.writes.kinds import Key, Writes, execute_all, render_behavior


async def create_extension(connection: MetaConnection, body: Body) -> Key:
    await connection.execute(
        join_clauses(
            [
                f"CREATE EXTENSION {quote_identifier(body['name'])}",
                f"SCHEMA {quote_identifier(body['schema'])}" if "schema" in body else "",
                f"VERSION {quote_text(body['version'])}" if "version" in body else "",
                "CASCADE" if body.get("cascade") else "",
            ]
        )
    )
    return str(body["name"])


async def update_extension(connection: MetaConnection, old: Object, body: Body) -> Key:
    alter = f"ALTER EXTENSION {quote_identifier(old['name'])}"
    statements = []
    if body.get("update"):
        version = f" TO {quote_text(body['version'])}" if "version" in body else ""
        statements.append(f"{alter} UPDATE{version}")
    if "schema" in body:
        statements.append(f"{alter} SET SCHEMA {quote_identifier(body['schema'])}")
    await execute_all(connection, statements)
    return str(old["name"])


def render_drop(old: Object, cascade: bool) -> str:
    return f"DROP EXTENSION {quote_identifier(old['name'])} {render_behavior(cascade)}"


EXTENSION_WRITES = Writes(
    kind=EXTENSIONS,
    create_fields={
        "name": Field(required=True),
        "schema": Field(),
        "version": Field(),
        "cascade": Field("bool"),
    },
    update_fields={"update": Field("bool"), "version": Field(), "schema": Field()},
    create=create_extension,
    update=update_extension,
    drop=render_drop,
)
