"""Creating, changing and dropping row level security policies.  Their expressions are SQL."""

from __future__ import annotations

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import POLICIES, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.logic.identifiers import (
    join_clauses,
    quote_identifier,
    quote_qualified,
)
from selfbase.meta.writes.kinds import Key, Writes, execute_all, wanted

ACTIONS = ("PERMISSIVE", "RESTRICTIVE")
COMMANDS = ("ALL", "SELECT", "INSERT", "UPDATE", "DELETE")


async def create_policy(connection: MetaConnection, body: Body) -> Key:
    schema = body.get("schema", "public")
    table = quote_qualified(schema, body["table"])
    await connection.execute(
        join_clauses(
            [
                f"CREATE POLICY {quote_identifier(body['name'])} ON {table}",
                f"AS {body.get('action', 'PERMISSIVE')}",
                f"FOR {body.get('command', 'ALL')}",
                f"TO {_render_roles(body.get('roles', ['public']))}",
                f"USING ({body['definition']})" if "definition" in body else "",
                f"WITH CHECK ({body['check']})" if "check" in body else "",
            ]
        )
    )
    found: int = await connection.fetch_value(
        "select p.oid::int8 from pg_policy p where p.polname = %(name)s and p.polrelid ="
        " format('%%I.%%I', %(schema)s::text, %(table)s::text)::regclass",
        {"name": body["name"], "schema": schema, "table": body["table"]},
    )
    return found


def _render_roles(roles: list[str]) -> str:
    # Only this spelling is the keyword: a role may be called "Public".
    return ", ".join(
        "PUBLIC" if r == "public" else quote_identifier(r) for r in roles or ["public"]
    )


async def update_policy(connection: MetaConnection, old: Object, body: Body) -> Key:
    table = quote_qualified(old["schema"], old["table"])
    alter = f"ALTER POLICY {quote_identifier(old['name'])} ON {table}"
    statements = []
    if "definition" in body:
        statements.append(f"{alter} USING ({body['definition']})")
    if "check" in body:
        statements.append(f"{alter} WITH CHECK ({body['check']})")
    if "roles" in body:
        statements.append(f"{alter} TO {_render_roles(body['roles'])}")
    if wanted(body, old, "name") != old["name"]:
        statements.append(f"{alter} RENAME TO {quote_identifier(body['name'])}")
    await execute_all(connection, statements)
    return int(old["id"])


def render_drop(old: Object, cascade: bool) -> str:
    table = quote_qualified(old["schema"], old["table"])
    return f"DROP POLICY {quote_identifier(old['name'])} ON {table}"


_EXPRESSIONS = {"definition": Field(), "check": Field(), "roles": Field("texts")}
POLICY_WRITES = Writes(
    kind=POLICIES,
    create_fields={
        "name": Field(required=True),
        "table": Field(required=True),
        "schema": Field(),
        "action": Field(choices=ACTIONS),
        "command": Field(choices=COMMANDS),
        **_EXPRESSIONS,
    },
    update_fields={"name": Field(), **_EXPRESSIONS},
    create=create_policy,
    update=update_policy,
    drop=render_drop,
)
