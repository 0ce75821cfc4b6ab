"""Brings a database's `storage` schema up to this release.

The schema belongs to `supabase_storage_admin`, as it does in a project made by the reference
server; our own table of resumable uploads lies in `_selfbase`.
"""

from __future__ import annotations

from importlib import resources

import psycopg

from selfbase.database.migrations import apply_migrations

OWNER = "supabase_storage_admin"
_SQL = resources.files("selfbase.storage") / "sql"


def migrate_storage(conninfo: str) -> list[str]:
    """Applies what is missing; the names of the files applied.  Blocks: call it on a thread.

    `conninfo` connects as a superuser or as the owner of the schema.  Raises MigrationError and
    psycopg errors.
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:
        applied = apply_migrations(connection, "storage", _SQL / "migrations", role=OWNER)
        return applied + apply_migrations(connection, "storage_private", _SQL / "private")
