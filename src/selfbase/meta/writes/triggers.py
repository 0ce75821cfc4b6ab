"""Creating, changing and dropping triggers.  The condition is SQL by design."""

from __future__ import annotations

import re

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import TRIGGERS, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.identifiers import (
    join_clauses,
    quote_identifier,
    quote_literal,
    quote_qualified,
)
from selfbase.meta.writes.kinds import Key, Writes, execute_all, wanted

ACTIVATIONS = ("BEFORE", "AFTER", "INSTEAD OF")
ORIENTATIONS = ("ROW", "STATEMENT")
MODES = ("ORIGIN", "REPLICA", "ALWAYS", "DISABLED")
_EVENT = re.compile(
    r"^(INSERT|DELETE|TRUNCATE|UPDATE)(?:\s+OF\s+(.+))?$", re.IGNORECASE | re.DOTALL
)


async def create_trigger(connection: MetaConnection, body: Body) -> Key:
    schema = body.get("schema", "public")
    function = quote_qualified(body.get("function_schema", "public"), body["function_name"])
    arguments = ", ".join(quote_literal(item) for item in body.get("function_args", []))
    await connection.execute(
        join_clauses(
            [
                f"CREATE TRIGGER {quote_identifier(body['name'])}",
                body["activation"],
                " OR ".join(_render_event(event) for event in body["events"]),
                f"ON {quote_qualified(schema, body['table'])}",
                f"FOR EACH {body['orientation']}" if body.get("orientation") else "",
                f"WHEN ({body['condition']})" if body.get("condition") else "",
                f"EXECUTE FUNCTION {function}({arguments})",
            ]
        )
    )
    found: int = await connection.fetch_value(
        "select t.oid::int8 from pg_trigger t where t.tgname = %(name)s and t.tgrelid ="
        " format('%%I.%%I', %(schema)s::text, %(table)s::text)::regclass and not t.tgisinternal",
        {"name": body["name"], "schema": schema, "table": body["table"]},
    )
    return found


def _render_event(event: str) -> str:
    match = _EVENT.match(event.strip())
    if match is None:
        raise BadRequest(
            "body/events must hold INSERT, UPDATE, UPDATE OF columns, DELETE, TRUNCATE"
        )
    if match[2] is None:
        return match[1].upper()
    columns = ", ".join(_render_column(part.strip()) for part in match[2].split(","))
    return f"{match[1].upper()} OF {columns}"


def _render_column(text: str) -> str:
    """A column as the client wrote it, quoted or not."""
    if len(text) > 2 and text.startswith('"') and text.endswith('"'):
        return quote_identifier(text[1:-1].replace('""', '"'))
    return quote_identifier(text)


async def update_trigger(connection: MetaConnection, old: Object, body: Body) -> Key:
    table = quote_qualified(old["schema"], old["table"])
    trigger = quote_identifier(old["name"])
    statements = []
    mode = body.get("enabled_mode")
    if mode is not None:
        verb = {"ORIGIN": "ENABLE", "DISABLED": "DISABLE"}.get(mode, f"ENABLE {mode}")
        statements.append(f"ALTER TABLE {table} {verb} TRIGGER {trigger}")
    if wanted(body, old, "name") != old["name"]:
        renamed = quote_identifier(body["name"])
        statements.append(f"ALTER TRIGGER {trigger} ON {table} RENAME TO {renamed}")
    await execute_all(connection, statements)
    return int(old["id"])


def render_drop(old: Object, cascade: bool) -> str:
    table = quote_qualified(old["schema"], old["table"])
    behavior = " CASCADE" if cascade else ""
    return f"DROP TRIGGER {quote_identifier(old['name'])} ON {table}{behavior}"


TRIGGER_WRITES = Writes(
    kind=TRIGGERS,
    create_fields={
        "name": Field(required=True),
        "table": Field(required=True),
        "schema": Field(),
        "function_name": Field(required=True),
        "function_schema": Field(),
        "function_args": Field("texts"),
        "activation": Field(required=True, choices=ACTIVATIONS),
        "events": Field("texts", required=True),
        "orientation": Field(choices=ORIENTATIONS),
        "condition": Field(),
    },
    update_fields={"name": Field(), "enabled_mode": Field(choices=MODES)},
    create=create_trigger,
    update=update_trigger,
    drop=render_drop,
)
