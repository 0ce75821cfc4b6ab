"""Turn a database into that of a Supabase project: roles, schemas, privileges, extensions, passwords.

What is made stands in `sql/bootstrap/`. Running it again changes nothing; a newer release applies
only its new files. On a server whose administrator is no superuser it does what the rights allow and
reports the rest. Tables of auth, storage and realtime belong to those services' own migrations.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import cast

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from selfbase.database.extensions import list_own_files
from selfbase.database.migrations import SQL, apply_migrations, prepare, read_sql

SERVICE = "bootstrap"
BOOTSTRAP_FOLDER: Traversable = SQL / "bootstrap"
OLDEST_VERSION_NUM = 150000
EXTENSIONS_FILE = "080_extensions.sql"
# Extensions of ours whose objects are made without CREATE EXTENSION where a server has no way to
# find our files, in the order they need each other.
OWN_EXTENSIONS = ("uuid-ossp", "pgjwt")


class BootstrapError(Exception):
    """This server cannot hold a project; the message says what is missing."""


@dataclass(frozen=True)
class Skipped:
    """A statement the server refused us, and what a user will notice of it."""

    statement: str
    consequence: str
    reason: str


@dataclass(frozen=True)
class BootstrapReport:
    """What one run did."""

    applied: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    passwords_set: list[str] = field(default_factory=list)
    objects_without_extension: list[str] = field(default_factory=list)


def bootstrap(
    conninfo: str, passwords: Mapping[str, str], folder: Traversable = BOOTSTRAP_FOLDER
) -> BootstrapReport:
    """Bring the database up to this release and give the roles their passwords.

    `conninfo` connects as a superuser, or as an administrator with CREATEROLE who owns the database.
    Passwords leave this process only as SCRAM verifiers. Raises BootstrapError or MigrationError.
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:
        # The owner of the database may have set limits on it that are not meant for us.
        connection.execute("set statement_timeout = 0; set lock_timeout = 0")
        _check_rights(connection)
        with connection.transaction():
            with connection.cursor(row_factory=tuple_row) as cursor:
                prepare(cursor)
                cursor.execute(read_sql("prepare_helpers.sql"))
                if connection.info.server_version >= 160000:
                    # An administrator without superuser rights can use the roles it makes.
                    cursor.execute("set local createrole_self_grant = 'set, inherit'")
                cursor.execute("select _selfbase.retry_skipped()")
            applied = apply_migrations(connection, SERVICE, folder)
            made = _make_own_objects(connection) if EXTENSIONS_FILE in applied else []
            changed = _set_passwords(connection, passwords)
        return BootstrapReport(applied, _list_skipped(connection), changed, made)


def is_password_of(password: str, verifier: str | None) -> bool:
    """Whether a stored SCRAM-SHA-256 verifier was made of this password (RFC 5803)."""
    try:
        scheme, cost, keys = (verifier or "").split("$")
        iterations, salt = cost.split(":")
        stored_key = keys.split(":")[0]
    except ValueError:
        return False
    if scheme != "SCRAM-SHA-256":
        return False
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(salt), int(iterations)
    )
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    expected = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    return hmac.compare_digest(expected, stored_key)


def _check_rights(connection: psycopg.Connection[object]) -> None:
    if connection.info.server_version < OLDEST_VERSION_NUM:
        raise BootstrapError(
            f"The server is PostgreSQL {connection.info.server_version // 10000}; "
            "Selfbase needs 15 or newer."
        )
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "select r.rolname, r.rolsuper, r.rolcreaterole,"
            " pg_has_role(d.datdba, 'USAGE') as owns, current_database(), pg_is_in_recovery()"
            " from pg_roles as r, pg_database as d"
            " where r.rolname = current_user and d.datname = current_database()"
        )
        row = cursor.fetchone()
    assert row is not None
    name, is_superuser, may_create_roles, owns, database, is_standby = row
    if is_standby:
        raise BootstrapError(
            "The server is a read-only standby. Give the address of the primary "
            "(several hosts with target_session_attrs=read-write find it)."
        )
    if not is_superuser and not (may_create_roles and owns):
        raise BootstrapError(
            f"Role {name} can neither act as superuser nor create roles and own database "
            f"{database}. Connect as the server's administrator, or grant: "
            f"ALTER ROLE {name} CREATEROLE; ALTER DATABASE {database} OWNER TO {name};"
        )


def _make_own_objects(connection: psycopg.Connection[object]) -> list[str]:
    """Make the objects of our SQL-only extensions on servers that cannot find our files."""
    made = []
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("select extname from pg_extension")
        installed = {name for (name,) in cursor.fetchall()}
        files = list_own_files()
        for extension in OWN_EXTENSIONS:
            if extension in installed:
                continue
            script = next(
                text
                for name, text in sorted(files.items())
                if name.startswith(f"{extension}--") and name.endswith(".sql")
            )
            cursor.execute("set local search_path = extensions")
            cursor.execute(script.encode())
            cursor.execute("set local search_path = ''")
            made.append(extension)
    return made


def _set_passwords(
    connection: psycopg.Connection[object], passwords: Mapping[str, str]
) -> list[str]:
    """Set those passwords that differ from what the server has."""
    if not passwords:
        return []
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("select has_table_privilege('pg_catalog.pg_authid', 'select')")
        readable = cursor.fetchone() == (True,)
        known: dict[str, str | None] = {}
        if readable:
            cursor.execute(
                "select rolname, rolpassword from pg_authid where rolname = any(%s)",
                [list(passwords)],
            )
            known = {
                str(name): cast("str | None", verifier) for name, verifier in cursor.fetchall()
            }
        changed = [
            role
            for role, password in passwords.items()
            if not is_password_of(password, known.get(role))
        ]
        for role in changed:
            # libpq makes the verifier here, so that no log of the server sees the password.
            verifier = connection.pgconn.encrypt_password(
                passwords[role].encode(), role.encode(), b"scram-sha-256"
            ).decode()
            cursor.execute(
                sql.SQL("alter role {} password {}").format(
                    sql.Identifier(role), sql.Literal(verifier)
                )
            )
    return changed


def _list_skipped(connection: psycopg.Connection[object]) -> list[Skipped]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "select statement, consequence, reason from _selfbase.skipped order by position"
        )
        return [Skipped(str(a), str(b), str(c)) for a, b, c in cursor.fetchall()]
