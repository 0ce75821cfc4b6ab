"""The official command line against a running project: types, and migrations from both sides."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import Installation
from tests.support.node import JS

SHOP = """
create type genre as enum ('novel', 'essay');
create type price as (amount numeric, currency text);
create table author (id bigint generated always as identity primary key, name text not null);
create table book (
  id bigint generated always as identity primary key,
  title text not null, tag genre, cost price, author_id bigint references author
);
create table cover (book_id bigint primary key references book, design text);
create table shelf (id bigint primary key);
create table book_shelf (
  book_id bigint references book, shelf_id bigint references shelf, primary key (book_id, shelf_id)
);
create view novel as select id, title from book where tag = 'novel';
create function full_title(book) returns text language sql stable as $$ select $1.title $$;
create function search(term text) returns table (title text, found genre)
  language sql stable as $$ select title, tag from book where title ilike term $$;
create function add(a int, b int) returns int language sql as $$ select a + b $$;
create function add(a text, b text) returns text language sql as $$ select a || b $$;
"""

USE = """
import { createClient } from "@supabase/supabase-js"
import type { Database } from "./database.js"
const client = createClient<Database>("http://localhost", "key")
export async function read(): Promise<[string, string | null][]> {
  const { data } = await client.from("book").select("title, author(name), cover(design)")
  await client.rpc("search", { term: "x" })
  await client.from("author").insert({ name: "Ann" })
  // @ts-expect-error an identity that is always generated cannot be written
  await client.from("author").insert({ id: 1, name: "Ann" })
  return (data ?? []).map((book) => [book.title, book.cover?.design ?? null])
}
"""


class OfficialCli:
    """`supabase` for one installation's database, with a home of its own and without telemetry."""

    def __init__(self, installation: Installation, home: Path) -> None:
        self.installation = installation
        self.home = home
        self.program = JS / "node_modules" / ".bin" / "supabase"
        if shutil.which("node") is None or not self.program.exists():
            pytest.skip("the npm package `supabase` is not installed under tests/js")

    def run(self, *arguments: str) -> str:
        # Without sslmode the CLI tries TLS first and prints a notice into the generated types.
        url = self.installation.status()["DB_URL"] + "?sslmode=disable"
        done = subprocess.run(
            [str(self.program), *arguments, "--db-url", url],
            cwd=self.installation.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "SUPABASE_TELEMETRY_DISABLED": "1",
                "DO_NOT_TRACK": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def migrations(self) -> list[tuple[str, str]]:
        """(version in the folder, version in the database), as `migration list` pairs them."""
        rows = [line.split("|") for line in self.run("migration", "list").splitlines()]
        cells = [[cell.strip(" `") for cell in row] for row in rows if len(row) == 3]
        return [(local, remote) for local, remote, _ in cells if (local + remote).isdigit()]


def write_migration(installation: Installation, name: str, text: str) -> None:
    folder = installation.folder / "supabase" / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def compile_types(folder: Path, types: str) -> None:
    """Fails unless strict TypeScript accepts the types together with the official client."""
    (folder / "database.ts").write_text(types)
    (folder / "use.ts").write_text(USE)
    (folder / "node_modules").symlink_to(JS / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    options: dict[str, Any] = {"strict": True, "noEmit": True, "skipLibCheck": True}
    options |= {"module": "nodenext", "target": "es2022", "types": []}
    config = {"compilerOptions": options, "files": ["use.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    compiler = JS / "node_modules" / ".bin" / "tsc"
    done = subprocess.run(
        [str(compiler), "-p", str(folder)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout


def test_types_and_migrations(installation: Installation, tmp_path: Path) -> None:
    cli = OfficialCli(installation, tmp_path)
    write_migration(installation, "20260101000000_shop.sql", SHOP)
    installation.start()
    compile_types(tmp_path, cli.run("gen", "types", "typescript", "--schema", "public"))

    # The CLI adds to what we applied, we add to what the CLI applied, and each sees the other's.
    text = "create table pushed (id int primary key);\ninsert into pushed values (1);\n"
    write_migration(installation, "20260102000000_pushed.sql", text)
    cli.run("db", "push", "--yes")
    write_migration(installation, "20260103000000_ours.sql", text.replace("pushed", "ours"))
    installation.run("restart", "--port", "auto", "--detach")
    versions = ["20260101000000", "20260102000000", "20260103000000"]
    assert cli.migrations() == [(version, version) for version in versions]
    cli.run("db", "push", "--yes")
    recorded = installation.sql(
        "select name, statements from supabase_migrations.schema_migrations order by version"
    )
    (_, shop), (_, pushed), (_, ours) = recorded
    assert [name for name, _ in recorded] == ["shop", "pushed", "ours"]
    assert len(shop) == 12
    assert [statement.replace("pushed", "ours") for statement in pushed] == ours
