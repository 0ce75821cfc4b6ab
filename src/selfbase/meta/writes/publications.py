"""Creating, changing and dropping publications of logical replication."""

from __future__ import annotations

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import PUBLICATIONS, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.logic.identifiers import quote_identifier, quote_qualified, quote_relation
from selfbase.meta.writes.kinds import Key, Writes, execute_all, wanted

OPERATIONS = ("insert", "update", "delete", "truncate")


async def create_publication(connection: MetaConnection, body: Body) -> Key:
    publication = quote_identifier(body["name"])
    operations = _render_operations({op: body.get(f"publish_{op}", False) for op in OPERATIONS})
    await connection.execute(
        f"CREATE PUBLICATION {publication} {_render_tables(body.get('tables'))} WITH ({operations})"
    )
    return await _find_publication(connection, body["name"])


def _render_operations(published: dict[str, bool]) -> str:
    return f"publish = '{', '.join(op for op in OPERATIONS if published[op])}'"


def _render_tables(tables: list[str] | None) -> str:
    if tables is None:
        return "FOR ALL TABLES"
    return f"FOR TABLE {', '.join(quote_relation(t) for t in tables)}" if tables else ""


async def update_publication(connection: MetaConnection, old: Object, body: Body) -> Key:
    publication = quote_identifier(old["name"])
    statements = _plan_tables(publication, old, body["tables"]) if "tables" in body else []
    operations = {op: wanted(body, old, f"publish_{op}") for op in OPERATIONS}
    statements.append(f"ALTER PUBLICATION {publication} SET ({_render_operations(operations)})")
    # A publication that was made anew belongs to us: it gets its old owner back.
    owner = quote_identifier(wanted(body, old, "owner"))
    statements.append(f"ALTER PUBLICATION {publication} OWNER TO {owner}")
    name = wanted(body, old, "name")
    if name != old["name"]:
        statements.append(f"ALTER PUBLICATION {publication} RENAME TO {quote_identifier(name)}")
    await execute_all(connection, statements)
    return await _find_publication(connection, name)


def _plan_tables(publication: str, old: Object, tables: list[str] | None) -> list[str]:
    """All tables and a list of tables cannot be turned into each other: that makes it anew."""
    publishes_all = old["tables"] is None
    if tables is None:
        if publishes_all:
            return []
        return [
            f"DROP PUBLICATION {publication}",
            f"CREATE PUBLICATION {publication} FOR ALL TABLES",
        ]
    statements = []
    if publishes_all:
        statements = [f"DROP PUBLICATION {publication}", f"CREATE PUBLICATION {publication}"]
    elif old["tables"]:
        present = ", ".join(quote_qualified(t["schema"], t["name"]) for t in old["tables"])
        statements = [f"ALTER PUBLICATION {publication} DROP TABLE {present}"]
    if tables:
        added = ", ".join(quote_relation(t) for t in tables)
        statements.append(f"ALTER PUBLICATION {publication} ADD TABLE {added}")
    return statements


async def _find_publication(connection: MetaConnection, name: str) -> int:
    found: int = await connection.fetch_value(
        "select oid::int8 from pg_publication where pubname = %(name)s", {"name": name}
    )
    return found


def render_drop(old: Object, cascade: bool) -> str:
    return f"DROP PUBLICATION IF EXISTS {quote_identifier(old['name'])}"


_SHARED_FIELDS = {
    **{f"publish_{op}": Field("bool") for op in OPERATIONS},
    "tables": Field("texts", null=True),
}
PUBLICATION_WRITES = Writes(
    kind=PUBLICATIONS,
    create_fields={"name": Field(required=True), **_SHARED_FIELDS},
    update_fields={"name": Field(), "owner": Field(), **_SHARED_FIELDS},
    create=create_publication,
    update=update_publication,
    drop=render_drop,
)
