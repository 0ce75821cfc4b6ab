"""Bootstrap as a whole: idempotent, upgradeable, safe under two processes, honest about refusals."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.database.cluster_makers import find_available, made_cluster
from tests.support.postgres import DatabaseTemplates, FreshDatabase

from selfbase.database.binaries import find_binaries
from selfbase.database.bootstrap import (
    BOOTSTRAP_FOLDER,
    BootstrapError,
    bootstrap,
    is_password_of,
)
from selfbase.database.cluster import Cluster
from selfbase.database.migrations import MigrationError, apply_migrations


@pytest.fixture
def empty_database(database_templates: DatabaseTemplates) -> Iterator[FreshDatabase]:
    """A database that has seen no bootstrap, in a cluster that has (its roles exist)."""
    name = database_templates.clone("template1", owner="supabase_admin")
    yield FreshDatabase(database_templates.cluster, name)
    database_templates.drop(name)


def count_applied(database: FreshDatabase, service: str) -> int:
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute(
            "select count(*) from _selfbase.migrations where service = %s", [service]
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    "binaries", find_available(), ids=lambda found: f"{found.kind}{found.version}"
)
def test_new_cluster_needs_nothing_skipped(binaries: object) -> None:
    with made_cluster(binaries, durable=False) as cluster:  # type: ignore[arg-type]
        cluster.start()
        report = bootstrap(cluster.superuser_dsn(), {"postgres": "one", "authenticator": "two"})
        assert len(report.applied) == len(list(BOOTSTRAP_FOLDER.iterdir()))
        assert report.skipped == []
        assert report.objects_without_extension == []
        assert sorted(report.passwords_set) == ["authenticator", "postgres"]
        with psycopg.connect(cluster.superuser_dsn()) as connection:
            names = {row[0] for row in connection.execute("select extname from pg_extension")}
            assert {"pgcrypto", "uuid-ossp", "pgjwt", "pg_stat_statements"} <= names
            connection.execute("select * from extensions.pg_stat_statements limit 1")


def test_second_run_changes_nothing(fresh_database: FreshDatabase) -> None:
    report = bootstrap(fresh_database.conninfo(), {"postgres": "test-password"})
    assert report.applied == []
    assert report.passwords_set == []
    assert report.skipped == []


def test_second_database_of_a_cluster(empty_database: FreshDatabase) -> None:
    report = bootstrap(empty_database.conninfo(), {})
    assert report.skipped == []
    with psycopg.connect(empty_database.conninfo("postgres")) as connection:
        assert connection.execute("select auth.uid()").fetchone() == (None,)


RUN = "import sys; from selfbase.database.bootstrap import bootstrap; print(len(bootstrap(sys.argv[1], {}).applied))"


def test_two_processes_at_once(empty_database: FreshDatabase) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, empty_database.conninfo()],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(2)
    ]
    counts = sorted(int(process.communicate(timeout=60)[0]) for process in running)
    assert all(process.returncode == 0 for process in running)
    assert counts == [0, len(list(BOOTSTRAP_FOLDER.iterdir()))]


def test_later_files_are_added_and_edited_ones_refused(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "001_first.sql").write_text("create table public.a (n int);")
    (tmp_path / "notes.txt").write_text("not SQL")
    with psycopg.connect(fresh_database.conninfo(), autocommit=True) as connection:
        assert apply_migrations(connection, "mine", tmp_path) == ["001_first.sql"]
        (tmp_path / "002_second.sql").write_text("insert into public.a values (1);")
        assert apply_migrations(connection, "mine", tmp_path) == ["002_second.sql"]
        assert apply_migrations(connection, "mine", tmp_path) == []
        assert connection.execute("select count(*) from public.a").fetchone() == (1,)
        (tmp_path / "001_first.sql").write_text("create table public.a (n bigint);")
        (tmp_path / "003_third.sql").write_text("insert into public.a values (2);")
        with pytest.raises(MigrationError, match=r"001_first\.sql of mine was changed"):
            apply_migrations(connection, "mine", tmp_path)
        assert connection.execute("select count(*) from public.a").fetchone() == (1,)


def test_failing_file_applies_nothing_and_names_its_line(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "001_good.sql").write_text("create table public.a (n int);")
    (tmp_path / "002_bad.sql").write_text("select 1;\n\nselect nonsense;\n")
    with psycopg.connect(fresh_database.conninfo(), autocommit=True) as connection:
        with pytest.raises(
            MigrationError, match=r"002_bad\.sql \(line 3\) of mine failed: .*nonsense"
        ):
            apply_migrations(connection, "mine", tmp_path)
        assert connection.execute("select to_regclass('public.a')").fetchone() == (None,)
    assert count_applied(fresh_database, "mine") == 0


def test_migrations_can_run_as_the_owner_of_a_schema(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "001_users.sql").write_text("create table auth.things (n int);")
    with psycopg.connect(fresh_database.conninfo(), autocommit=True) as connection:
        apply_migrations(connection, "auth", tmp_path, role="supabase_auth_admin")
        owner = connection.execute(
            "select tableowner from pg_tables where tablename = 'things'"
        ).fetchone()
        assert owner == ("supabase_auth_admin",)
        assert connection.execute("select current_user").fetchone() == ("supabase_admin",)


def test_passwords_change_and_are_never_sent_in_the_clear(fresh_database: FreshDatabase) -> None:
    conninfo = fresh_database.conninfo()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("create role password_test login")
        try:
            assert bootstrap(conninfo, {"password_test": "first-4711"}).passwords_set == [
                "password_test"
            ]
            with psycopg.connect(fresh_database.tcp_conninfo("password_test", "first-4711")):
                pass
            assert bootstrap(conninfo, {"password_test": "first-4711"}).passwords_set == []
            assert bootstrap(conninfo, {"password_test": "sécond-4711"}).passwords_set == [
                "password_test"
            ]
            with psycopg.connect(fresh_database.tcp_conninfo("password_test", "sécond-4711")):
                pass
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(fresh_database.tcp_conninfo("password_test", "first-4711"))
            seen = connection.execute(
                "select count(*) from extensions.pg_stat_statements where query ilike '%4711%' and query not ilike '%ilike%'"
            ).fetchone()
            assert seen == (0,)
            assert "4711" not in fresh_database.cluster.log_path.read_text()
        finally:
            connection.execute("drop role password_test")


def test_verifier_check_refuses_what_is_no_verifier() -> None:
    assert not is_password_of("x", None)
    assert not is_password_of("x", "")
    assert not is_password_of("x", "md5d41d8cd98f00b204e9800998ecf8427e")
    assert not is_password_of("x", "SCRAM-SHA-1$1:AA==$AA==:AA==")


def test_hindering_settings_of_the_database_do_not_stop_bootstrap(
    empty_database: FreshDatabase,
) -> None:
    with psycopg.connect(empty_database.conninfo(), autocommit=True) as connection:
        name = empty_database.name
        connection.execute(f"alter database {name} set statement_timeout to '20ms'")  # type: ignore[arg-type]
        connection.execute(f"alter database {name} set search_path to nowhere")  # type: ignore[arg-type]
    assert bootstrap(empty_database.conninfo(), {}).applied


# A server that is not ours: no superuser, only an administrator such as clouds give.


@pytest.fixture(params=find_available(), ids=lambda found: f"{found.kind}{found.version}")
def rented_server(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with made_cluster(request.param, durable=False) as cluster:
        cluster.start()
        with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
            connection.execute("create role cloud_admin login createrole createdb")
            connection.execute("create role stranger login")
            connection.execute(
                "grant pg_monitor, pg_read_all_data, pg_signal_backend to cloud_admin with admin option"
            )
            connection.execute("create database app owner cloud_admin")
        yield cluster


def test_administrator_without_superuser_rights(rented_server: Cluster) -> None:
    conninfo = rented_server.superuser_dsn("app", "cloud_admin")
    report = bootstrap(conninfo, {"authenticator": "secret"})
    consequences = " ".join(skipped.consequence for skipped in report.skipped)
    assert "REST notices schema changes only when told" in consequences
    assert "role service_role lacks some of its attributes" in consequences
    assert all(skipped.reason for skipped in report.skipped)
    assert bootstrap(conninfo, {"authenticator": "secret"}).applied == []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("create table public.todos (id int)")
        connection.execute("alter table public.todos enable row level security")
    with psycopg.connect(rented_server.superuser_dsn("app", "authenticator")) as connection:
        connection.execute("set role anon")
        assert connection.execute("select auth.uid(), extensions.uuid_nil()").fetchone() is not None
        assert connection.execute("select * from public.todos").fetchall() == []


def test_rights_given_later_are_used(rented_server: Cluster) -> None:
    conninfo = rented_server.superuser_dsn("app", "cloud_admin")
    before = bootstrap(conninfo, {}).skipped
    with psycopg.connect(rented_server.superuser_dsn("app"), autocommit=True) as connection:
        connection.execute("alter role cloud_admin superuser")
    assert before
    assert bootstrap(conninfo, {}).skipped == []
    with psycopg.connect(conninfo) as connection:
        triggers = {row[0] for row in connection.execute("select evtname from pg_event_trigger")}
        assert {"pgrst_ddl_watch", "guard_platform_objects"} <= triggers
        row = connection.execute(
            "select rolbypassrls from pg_roles where rolname = 'service_role'"
        ).fetchone()
        assert row == (True,)


def test_administrator_called_postgres_stays_what_it_is(rented_server: Cluster) -> None:
    with psycopg.connect(rented_server.superuser_dsn("app"), autocommit=True) as connection:
        connection.execute("alter role cloud_admin rename to postgres")
    conninfo = rented_server.superuser_dsn("app", "postgres")
    report = bootstrap(conninfo, {})
    assert "role postgres keeps the attributes this server gave it" in {
        skipped.consequence for skipped in report.skipped
    }
    assert bootstrap(conninfo, {}).applied == []


def test_stranger_is_told_what_is_missing(rented_server: Cluster) -> None:
    with pytest.raises(BootstrapError, match="Role stranger can neither"):
        bootstrap(rented_server.superuser_dsn("app", "stranger"), {})


def test_server_whose_superuser_is_called_postgres() -> None:
    """What `--db-url` usually points at: the distribution's own server."""
    with made_cluster(find_binaries("embedded"), durable=False) as cluster:
        cluster.start()
        with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
            connection.execute("create role helper superuser login")
            connection.execute("alter database template1 owner to supabase_admin")
        with psycopg.connect(cluster.superuser_dsn(user="helper"), autocommit=True) as connection:
            connection.execute("alter role supabase_admin rename to postgres")
        conninfo = make_conninfo(cluster.superuser_dsn(user="postgres"))
        report = bootstrap(conninfo, {"authenticator": "secret"})
        assert [skipped.consequence for skipped in report.skipped] == [
            "role postgres keeps the attributes this server gave it"
        ]
        with psycopg.connect(conninfo) as connection:
            row = connection.execute(
                "select rolsuper from pg_roles where rolname = 'supabase_admin'"
            ).fetchone()
            assert row == (True,)
