"""The user's migrations and seeds on a real database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support.postgres import FreshDatabase

from selfbase.workspace.migrations import (
    MigrationFailed,
    apply_migrations,
    apply_seeds,
    find_seeds,
    list_migrations,
)


def rows(database: FreshDatabase, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.conninfo("postgres")) as connection:
        return connection.execute(sql.encode()).fetchall()


def run(database: FreshDatabase, folder: Path) -> list[str]:
    said: list[str] = []
    return apply_migrations(database.conninfo("postgres"), list_migrations(folder), said.append)


def test_files_are_applied_once_in_order_and_recorded_as_the_cli_does(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "20240101000000_first.sql").write_text(
        "-- the table\ncreate table todos (id int);\n\ninsert into todos values (1);\n"
    )
    (tmp_path / "20240102000000_second.sql").write_text("alter table todos add done bool;")
    (tmp_path / "README.md").write_text("not a migration")
    assert run(fresh_database, tmp_path) == ["20240101000000", "20240102000000"]
    assert run(fresh_database, tmp_path) == []
    assert rows(
        fresh_database,
        "select version, name, statements from supabase_migrations.schema_migrations order by 1",
    ) == [
        (
            "20240101000000",
            "first",
            ["-- the table\ncreate table todos (id int)", "insert into todos values (1)"],
        ),
        ("20240102000000", "second", ["alter table todos add done bool"]),
    ]
    assert rows(fresh_database, "select id from todos") == [(1,)]


def test_a_failing_file_leaves_nothing_and_names_its_statement(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "1_bad.sql").write_text("create table a (n int);\nselect 1,\n  nonsense;")
    with pytest.raises(MigrationFailed) as raised:
        run(fresh_database, tmp_path)
    assert raised.value.message.splitlines() == [
        '1_bad.sql, statement 2: column "nonsense" does not exist',
        "select 1,",
        "  nonsense",
        "  ^",
    ]
    assert rows(fresh_database, "select to_regclass('public.a')") == [(None,)]
    (tmp_path / "1_bad.sql").write_text("create table a (n int);")
    assert run(fresh_database, tmp_path) == ["1"]


def test_an_error_in_a_long_line_shows_what_is_near_it(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    many = ", ".join(["(1)"] * 50_000)
    (tmp_path / "1_long.sql").write_text(f"select * from (values {many}, (nonsense), {many}) as t")
    with pytest.raises(MigrationFailed) as raised:
        run(fresh_database, tmp_path)
    said, shown, mark = raised.value.message.splitlines()
    assert said.endswith('column "nonsense" does not exist')
    assert shown[mark.index("^") :].startswith("nonsense")
    assert len(shown) < 200


def test_a_setting_of_one_file_does_not_reach_the_next(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "1_a.sql").write_text("select set_config('search_path', '', false);")
    (tmp_path / "2_b.sql").write_text("create table unqualified (n int);")
    run(fresh_database, tmp_path)
    assert rows(fresh_database, "select to_regclass('public.unqualified') is not null") == [(True,)]


def test_histories_that_do_not_fit_are_refused(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "5_later.sql").write_text("select 1")
    run(fresh_database, tmp_path)
    (tmp_path / "3_early.sql").write_text("select 1")
    with pytest.raises(MigrationFailed, match=r"older than the newest one applied: 3_early\.sql"):
        run(fresh_database, tmp_path)
    (tmp_path / "5_later.sql").unlink()
    with pytest.raises(MigrationFailed, match="not in supabase/migrations: 5"):
        run(fresh_database, tmp_path)


def test_the_user_of_migrations_is_postgres_and_cannot_leave(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "1_attack.sql").write_text("alter role postgres superuser;")
    with pytest.raises(MigrationFailed, match="statement 1"):
        run(fresh_database, tmp_path)


def test_seeds_run_once_and_a_changed_one_is_only_noted(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    supabase = tmp_path / "supabase"
    (supabase / "seeds").mkdir(parents=True)
    (supabase / "seed.sql").write_text(
        "create table seeded (n int); insert into seeded values (1);"
    )
    (supabase / "seeds" / "b.sql").write_text("insert into seeded values (3);")
    (supabase / "seeds" / "a.sql").write_text("insert into seeded values (2);")
    paths = find_seeds(supabase, ["./seed.sql", "./seeds/*.sql", "./none.sql"])
    said: list[str] = []

    def seed() -> list[str]:
        return apply_seeds(fresh_database.conninfo("postgres"), tmp_path, paths, said.append)

    assert seed() == ["supabase/seed.sql", "supabase/seeds/a.sql", "supabase/seeds/b.sql"]
    assert seed() == []
    (supabase / "seed.sql").write_text("insert into seeded values (4);")
    assert seed() == []
    assert said[-1] == "supabase/seed.sql has changed since it was run; it is not run again"
    assert rows(fresh_database, "select n from seeded order by n") == [(1,), (2,), (3,)]


def test_the_first_dump_of_old_versions_of_the_cli_is_passed_over(tmp_path: Path) -> None:
    for name in ("20211208000000_init.sql", "20211208000001_init.sql", "20211210000000_t.sql"):
        (tmp_path / name).write_text("select 1")
    assert [m.version for m in list_migrations(tmp_path)] == ["20211208000001", "20211210000000"]
    (tmp_path / "20211208000000_init.sql").rename(tmp_path / "20211208000000_start.sql")
    assert len(list_migrations(tmp_path)) == 3
