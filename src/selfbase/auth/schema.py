"""Brings the schemas `auth` and `_selfbase_auth` up to date."""

from __future__ import annotations

from importlib import resources

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from selfbase.database.migrations import apply_migrations

MIGRATIONS = resources.files("selfbase.auth") / "sql" / "migrations"
OWNER = "supabase_auth_admin"


def migrate_auth(connection: psycopg.Connection[object]) -> list[str]:
    """Applies what is missing; the names of the files applied.

    Objects belong to supabase_auth_admin where the login may become it, else to the login itself.
    The connection is in autocommit mode.  Raises MigrationError, psycopg.Error.
    """
    owner = OWNER if _may_become(connection, OWNER) else None
    with connection.transaction():
        # The lock of all migrations: several processes may start on one new database at once.
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended('selfbase migrations', 0))"
        )
        for schema in ("auth", "_selfbase_auth"):
            if not _exists(connection, schema):
                _create(connection, schema, owner)
    return apply_migrations(connection, "auth", MIGRATIONS, role=owner)


def _create(connection: psycopg.Connection[object], schema: str, owner: str | None) -> None:
    name = sql.Identifier(schema)
    connection.execute(sql.SQL("create schema {}").format(name))
    if owner is not None:
        grant = sql.SQL("grant all on schema {} to {}")
        connection.execute(grant.format(name, sql.Identifier(owner)))


def _exists(connection: psycopg.Connection[object], schema: str) -> bool:
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("select to_regnamespace(%s) is not null", [schema])
        row = cursor.fetchone()
        return bool(row and row[0])


def _may_become(connection: psycopg.Connection[object], role: str) -> bool:
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            """select pg_catalog.pg_has_role(current_user, oid, 'member')
               from pg_catalog.pg_roles where rolname = %s""",
            [role],
        )
        row = cursor.fetchone()
        return bool(row and row[0])
