"""The user's own migrations and seeds, recorded exactly as the official CLI records them.

`supabase_migrations.schema_migrations(version, name, statements)` and
`supabase_migrations.seed_files(path, hash)`.  Each file is one transaction; a failing file leaves
nothing behind and names its statement.  Source: supabase CLI, pkg/migration (2026-10).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from selfbase.kit.failures import Failure
from selfbase.workspace.statements import split_statements

SHOWN_MAX, SHOWN_BEFORE_MAX = 160, 80

_FILE = re.compile(r"^([0-9]+)_(.*)\.sql$")
_LOCK = 7_332_145_310  # any number of ours: one process at a time applies migrations

_PREPARE = (
    "set lock_timeout = '4s'",
    "create schema if not exists supabase_migrations",
    "create table if not exists supabase_migrations.schema_migrations"
    " (version text not null primary key)",
    "alter table supabase_migrations.schema_migrations add column if not exists statements text[]",
    "alter table supabase_migrations.schema_migrations add column if not exists name text",
    "create table if not exists supabase_migrations.seed_files"
    " (path text not null primary key, hash text not null)",
)


class MigrationFailed(Failure):
    code = "migration_failed"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` is the number in front of its name."""

    version: str
    name: str
    path: Path


def list_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder in the order of their names; other files are passed over, and so
    is the dump of the whole schema with which old versions of the CLI began a folder."""
    if not folder.is_dir():
        return []
    found = []
    for number, path in enumerate(sorted(folder.iterdir(), key=lambda item: item.name)):
        match = _FILE.match(path.name)
        is_old_dump = number == 0 and match and match[2] == "init" and _is_before_2021_12(match[1])
        if match and path.is_file() and not is_old_dump:
            found.append(Migration(match[1], match[2], path))
    return found


def _is_before_2021_12(version: str) -> bool:
    return len(version) == 14 and version < "20211209000000"


def plan_pending(local: Sequence[Migration], applied: Sequence[str]) -> list[Migration]:
    """What is still to be applied.

    Raises MigrationFailed when the database holds versions the folder has not, or when the folder
    has new files older than the newest applied one, as the CLI does.
    """
    known = {migration.version for migration in local}
    missing = [version for version in applied if version not in known]
    if missing:
        raise MigrationFailed(
            "The database has migrations that are not in supabase/migrations: "
            + ", ".join(missing),
            hint="Restore the files, or remove the rows from supabase_migrations.schema_migrations.",
        )
    done = set(applied)
    pending = [migration for migration in local if migration.version not in done]
    newest = max(applied, default="")
    early = [migration.path.name for migration in pending if migration.version < newest]
    if early:
        raise MigrationFailed(
            "These migrations are older than the newest one applied: " + ", ".join(early),
            hint="Give them a newer number, so that every database applies them in one order.",
        )
    return pending


def apply_migrations(
    conninfo: str, local: Sequence[Migration], say: Callable[[str], None]
) -> list[str]:
    """Applies what is pending; the versions applied now.  Raises MigrationFailed."""
    if not local:
        return []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", [_LOCK])
        for statement in _PREPARE:
            connection.execute(statement)
        rows = connection.execute(
            "select version from supabase_migrations.schema_migrations order by version"
        ).fetchall()
        pending = plan_pending(local, [str(row[0]) for row in rows])
        for migration in pending:
            say(f"Applying migration {migration.path.name}")
            connection.execute("reset all")
            _apply(connection, migration)
        return [migration.version for migration in pending]


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    statements = split_statements(migration.path.read_text())
    _run_file(
        connection,
        migration.path,
        statements,
        "insert into supabase_migrations.schema_migrations(version, name, statements)"
        " values (%s, %s, %s)",
        [migration.version, migration.name, statements],
    )


def _run_file(
    connection: psycopg.Connection,
    path: Path,
    statements: Sequence[str],
    record: LiteralString,
    values: Sequence[object],
) -> None:
    number = 0
    connection.execute("begin")
    try:
        for statement in statements:
            number += 1
            connection.execute(statement.encode(), prepare=False)
        connection.execute(record, values)
        connection.execute("commit")
    except psycopg.Error as error:
        if not connection.closed:
            connection.execute("rollback")
        raise MigrationFailed(
            _describe(error, path.name, number, statements), internal=error.sqlstate
        ) from error


def _describe(error: psycopg.Error, name: str, number: int, statements: Sequence[str]) -> str:
    lines = [f"{name}, statement {number}: {error.diag.message_primary or str(error).strip()}"]
    if error.diag.message_detail:
        lines.append(error.diag.message_detail)
    if error.diag.message_hint:
        lines.append(f"Hint: {error.diag.message_hint}")
    if 0 < number <= len(statements):
        lines.append(_mark(statements[number - 1], error.diag.statement_position))
    return "\n".join(lines)


def _mark(statement: str, position: str | None) -> str:
    """The statement's lines around the error, with a caret under its place.  Long lines, as seeds
    have them, are cut to what is near it."""
    if position is None:
        return statement[:400]
    offset = int(position) - 1
    before = statement[:offset]
    line = before.count("\n")
    column = offset - (before.rfind("\n") + 1)
    lines = statement.split("\n")
    start = max(0, column - SHOWN_BEFORE_MAX)
    shown = [text[start : start + SHOWN_MAX] for text in lines[max(0, line - 2) : line + 1]]
    return "\n".join([*shown, " " * (column - start) + "^"])


def apply_seeds(
    conninfo: str, root: Path, paths: Sequence[Path], say: Callable[[str], None]
) -> list[str]:
    """Runs each seed file once; one that changed later is only noted, as the CLI does."""
    done: list[str] = []
    if not paths:
        return done
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", [_LOCK])
        for statement in _PREPARE:
            connection.execute(statement)
        connection.execute("reset all")
        rows = connection.execute(
            "select path, hash from supabase_migrations.seed_files"
        ).fetchall()
        known = {str(path): str(digest) for path, digest in rows}
        for path in paths:
            name = path.relative_to(root).as_posix()
            text = path.read_text()
            digest = hashlib.sha256(text.encode()).hexdigest()
            if known.get(name) == digest:
                continue
            if name in known:
                say(f"{name} has changed since it was run; it is not run again")
            else:
                say(f"Seeding data from {name}")
                done.append(name)
            _run_file(
                connection,
                path,
                [] if name in known else split_statements(text),
                "insert into supabase_migrations.seed_files(path, hash) values (%s, %s)"
                " on conflict (path) do update set hash = excluded.hash",
                [name, digest],
            )
    return done


def find_seeds(supabase_dir: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of `[db.seed] sql_paths`, in order, each once; patterns are relative to the folder."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        for path in sorted(supabase_dir.glob(pattern.removeprefix("./"))):
            if path.is_file():
                found[path] = None
    return list(found)
