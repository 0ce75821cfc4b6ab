"""Granting and revoking rights on relations and on single columns."""

from __future__ import annotations

from typing import Any

from selfbase.meta.bodies import Body, Field, read_fields
from selfbase.meta.catalog import COLUMN_PRIVILEGES, TABLE_PRIVILEGES, Page, list_objects
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.identifiers import quote_identifier, quote_qualified, quote_role

TABLE_RIGHTS = (
    *("ALL", "SELECT", "INSERT", "UPDATE", "DELETE"),
    *("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"),
)
COLUMN_RIGHTS = ("ALL", "SELECT", "INSERT", "UPDATE", "REFERENCES")
CHANGES_MAX = 10_000

TABLE_FIELDS = {
    "relation_id": Field("int", required=True),
    "grantee": Field(required=True),
    "privilege_type": Field(required=True, choices=TABLE_RIGHTS),
    "is_grantable": Field("bool"),
}
COLUMN_FIELDS = {
    "column_id": Field("id", required=True),
    "grantee": Field(required=True),
    "privilege_type": Field(required=True, choices=COLUMN_RIGHTS),
    "is_grantable": Field("bool"),
}


async def change_table_rights(connection: MetaConnection, body: Any, *, grant: bool) -> list[bytes]:
    """Grants or revokes all of them, or none; the relations touched, as they are now."""
    changes = _read_changes(body, TABLE_FIELDS)
    for change in changes:
        relation = await _find_relation(connection, change["relation_id"])
        await connection.execute(_render_change(change, "", f"TABLE {relation}", grant=grant))
    ids = list(dict.fromkeys(change["relation_id"] for change in changes))
    return await list_objects(connection, TABLE_PRIVILEGES, Page(params={"ids": ids}))


async def change_column_rights(
    connection: MetaConnection, body: Any, *, grant: bool
) -> list[bytes]:
    """As `change_table_rights`, for columns."""
    changes = _read_changes(body, COLUMN_FIELDS)
    for change in changes:
        table_id, number = change["column_id"].split(".")
        relation = await _find_relation(connection, int(table_id))
        column = await connection.fetch_value(
            "select attname from pg_attribute"
            " where attrelid = %(table)s and attnum = %(number)s and not attisdropped",
            {"table": int(table_id), "number": int(number)},
        )
        if column is None:
            raise BadRequest(f"Cannot find a column with ID {change['column_id']}", status=404)
        target = f" ({quote_identifier(column)})"
        await connection.execute(_render_change(change, target, relation, grant=grant))
    ids = list(dict.fromkeys(change["column_id"] for change in changes))
    return await list_objects(connection, COLUMN_PRIVILEGES, Page(params={"ids": ids}))


def _read_changes(body: Any, fields: dict[str, Field]) -> list[Body]:
    if not isinstance(body, list) or len(body) > CHANGES_MAX:
        raise BadRequest(f"body must be array of at most {CHANGES_MAX} changes")
    return [read_fields(item, fields) for item in body]


def _render_change(change: Body, columns: str, target: str, *, grant: bool) -> str:
    right = f"{change['privilege_type']}{columns} ON {target}"
    if not grant:
        return f"REVOKE {right} FROM {quote_role(change['grantee'])}"
    option = " WITH GRANT OPTION" if change.get("is_grantable") else ""
    return f"GRANT {right} TO {quote_role(change['grantee'])}{option}"


async def _find_relation(connection: MetaConnection, relation_id: int) -> str:
    rows = await connection.fetch(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid::int8 = %(id)s",
        {"id": relation_id},
    )
    if not rows:
        raise BadRequest(f"Cannot find a relation with ID {relation_id}", status=404)
    return quote_qualified(*rows[0])
