"""Apply a service's numbered `.sql` files to a database, each once, and notice when one was changed.

One transaction holds them all: either everything is applied or nothing is, and an advisory lock
makes a second process wait and then find nothing to do. Every file is one message to the server.
Works on a synchronous psycopg connection: migrations run before a service serves.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

import psycopg
from psycopg.rows import tuple_row

SQL = resources.files("selfbase.database") / "sql"


class MigrationError(Exception):
    """A migration cannot be applied; the message names the file and what to do."""


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def apply_migrations(
    connection: psycopg.Connection[object],
    service: str,
    folder: Traversable,
    *,
    role: str | None = None,
) -> list[str]:
    """Apply the files of `folder` that this database does not have yet; return their names.

    Files run in the order of their names, with an empty search path (`pg_catalog` only), as `role`
    when one is given. Raises MigrationError, with nothing applied, when a file fails, or when one
    that was applied has another content now. The connection must not be in a transaction.
    """
    migrations = list_migrations(folder)
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        prepare(cursor)
        cursor.execute(
            "select name, checksum from _selfbase.migrations where service = %s", [service]
        )
        applied = {str(name): str(checksum) for name, checksum in cursor.fetchall()}
        pending = plan_pending(migrations, applied, service)
        if not pending:
            return []
        if role is not None:
            cursor.execute("select set_config('role', %s, true)", [role])
        for migration in pending:
            _apply(cursor, service, migration)
        if role is not None:
            cursor.execute("reset role")
        cursor.executemany(
            "insert into _selfbase.migrations (service, name, checksum) values (%s, %s, %s)",
            [(service, migration.name, migration.checksum) for migration in pending],
        )
    return [migration.name for migration in pending]


def list_migrations(folder: Traversable) -> list[Migration]:
    """The `.sql` files of a folder in the order they apply."""
    return sorted(
        (
            Migration(file.name, file.read_text(encoding="utf-8"))
            for file in folder.iterdir()
            if file.name.endswith(".sql")
        ),
        key=lambda migration: migration.name,
    )


def plan_pending(
    migrations: list[Migration], applied: dict[str, str], service: str
) -> list[Migration]:
    """Those still to apply. Raises MigrationError when an applied one was edited."""
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"Migration {migration.name} of {service} was changed after it had been applied to "
                "this database. Restore the file as it was, and put the change into a new file "
                "with a higher number."
            )
    # Files applied here but unknown to us come from a newer release. Going back is the operator's
    # decision and is not hindered.
    return [migration for migration in migrations if migration.name not in applied]


def prepare(cursor: psycopg.Cursor[tuple[object, ...]]) -> None:
    """Take the lock of all migrations and make our own schema, inside the caller's transaction."""
    cursor.execute(
        # Settings of the database or role, which its owner may have changed, must not stop us.
        "set local statement_timeout = 0; set local lock_timeout = 0; set local search_path = '';"
        "set local client_min_messages = warning"
    )
    try:
        cursor.execute(read_sql("prepare_migrations.sql"))
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationError(
            f"{error.diag.message_primary}. This login may not make the schema _selfbase, in which "
            "applied migrations are recorded. As the server's administrator run once: "
            "CREATE SCHEMA _selfbase; GRANT ALL ON SCHEMA _selfbase TO <this login>;"
        ) from error


def read_sql(name: str) -> bytes:
    """One of our own `.sql` files, as psycopg takes it."""
    return (SQL / name).read_bytes()


def _apply(cursor: psycopg.Cursor[tuple[object, ...]], service: str, migration: Migration) -> None:
    try:
        cursor.execute(migration.text.encode())
        cursor.execute("set local search_path = ''")
    except psycopg.Error as error:
        where = error.diag.statement_position
        line = migration.text.count("\n", 0, int(where)) + 1 if where else None
        at = f" (line {line})" if line else ""
        raise MigrationError(
            f"Migration {migration.name}{at} of {service} failed: {error}"
        ) from error
