"""What each role is, what it may, and the ways in which it must not get further."""

from collections.abc import Iterator
from typing import LiteralString, cast

import psycopg
import pytest
from psycopg import errors
from tests.database.cluster_makers import find_available, made_cluster
from tests.support.postgres import FreshDatabase

from selfbase.database.bootstrap import bootstrap
from selfbase.database.cluster import Cluster

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(
    scope="module", params=find_available(), ids=lambda found: f"{found.kind}{found.version}"
)
def project(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A bootstrapped cluster of each version, with stand-ins for the tables of services."""
    with made_cluster(request.param, durable=False) as cluster:
        cluster.start()
        bootstrap(cluster.superuser_dsn(), {})
        with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
            connection.execute(
                "set role supabase_auth_admin; create table auth.users (id uuid, email text)"
            )
            connection.execute(
                "set role supabase_storage_admin; create table storage.objects (id uuid, name text)"
            )
            connection.execute("alter table storage.objects enable row level security")
        yield cluster


def connect(cluster: Cluster, user: str) -> Connection:
    return psycopg.connect(cluster.superuser_dsn(user=user), autocommit=True)


@pytest.fixture
def owner(project: Cluster) -> Iterator[Connection]:
    with connect(project, "postgres") as connection:
        yield connection


@pytest.fixture
def anon(project: Cluster) -> Iterator[Connection]:
    with connect(project, "authenticator") as connection:
        connection.execute("set role anon")
        yield connection


def text(statement: str) -> LiteralString:
    return cast(LiteralString, statement)


ATTRIBUTES = {
    # login, superuser, inherit, createdb, replication, bypassrls
    "supabase_admin": (True, True, True, True, True, True),
    "postgres": (True, False, True, True, True, True),
    "anon": (False, False, True, False, False, False),
    "authenticated": (False, False, True, False, False, False),
    "service_role": (False, False, True, False, False, True),
    "authenticator": (True, False, False, False, False, False),
    "supabase_auth_admin": (True, False, False, False, False, False),
    "supabase_storage_admin": (True, False, False, False, False, False),
    "supabase_functions_admin": (True, False, False, False, False, False),
    "supabase_realtime_admin": (False, False, False, False, False, False),
    "supabase_replication_admin": (True, False, True, False, True, False),
    "supabase_etl_admin": (True, False, True, False, True, True),
    "supabase_read_only_user": (True, False, True, False, False, True),
    "dashboard_user": (False, False, True, True, True, False),
    "pgbouncer": (True, False, True, False, False, False),
}


@pytest.mark.parametrize("role", ATTRIBUTES)
def test_attributes(project: Cluster, role: str) -> None:
    with connect(project, "supabase_admin") as connection:
        row = connection.execute(
            "select rolcanlogin, rolsuper, rolinherit, rolcreatedb, rolreplication, rolbypassrls"
            " from pg_roles where rolname = %s",
            [role],
        ).fetchone()
        assert row == ATTRIBUTES[role]


def test_only_owner_of_a_safe_version_creates_roles(project: Cluster) -> None:
    """Before 16, CREATEROLE would let postgres grant itself pg_execute_server_program."""
    with connect(project, "supabase_admin") as connection:
        row = connection.execute(
            "select rolcreaterole from pg_roles where rolname = 'postgres'"
        ).fetchone()
    assert row == (project.binaries.version >= 16,)


@pytest.mark.parametrize(
    ("role", "setting", "value"),
    [
        ("anon", "statement_timeout", "3s"),
        ("authenticated", "statement_timeout", "8s"),
        ("authenticator", "statement_timeout", "8s"),
        ("authenticator", "lock_timeout", "8s"),
        ("supabase_auth_admin", "idle_in_transaction_session_timeout", "60000"),
        ("supabase_auth_admin", "search_path", "auth"),
        ("postgres", "search_path", '"$user", public, extensions'),
        ("supabase_admin", "search_path", '"$user", public, auth, extensions'),
    ],
)
def test_settings(project: Cluster, role: str, setting: str, value: str) -> None:
    with connect(project, "supabase_admin") as connection:
        row = connection.execute(
            "select s.rolconfig from pg_roles as s where rolname = %s", [role]
        ).fetchone()
    assert row is not None
    assert f"{setting}={value}" in cast(list[str], row[0])


def test_authenticator_becomes_the_api_roles_and_nobody_else(project: Cluster) -> None:
    with connect(project, "authenticator") as connection:
        for role in ("anon", "authenticated", "service_role"):
            connection.execute(text(f"set role {role}"))
        for role in ("postgres", "supabase_admin", "supabase_auth_admin", "supabase_storage_admin"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(text(f"set role {role}"))


def test_tables_of_the_owner_are_open_to_the_api_roles_and_rows_are_not(project: Cluster) -> None:
    with connect(project, "postgres") as owner:
        owner.execute("create table todos (id int generated always as identity, who text)")
        owner.execute("alter table todos enable row level security")
        owner.execute(
            "create policy own on todos for all to authenticated using (who = auth.jwt() ->> 'email')"
        )
        owner.execute("insert into todos (who) values ('a@x'), ('b@x')")
    with connect(project, "authenticator") as caller:
        caller.execute("set role anon")
        assert caller.execute("select * from todos").fetchall() == []
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            caller.execute("insert into todos (who) values ('a@x')")
        caller.execute("set role authenticated")
        caller.execute("""select set_config('request.jwt.claims', '{"email": "a@x"}', false)""")
        assert caller.execute("select who from todos").fetchall() == [("a@x",)]
        caller.execute("insert into todos (who) values ('a@x')")
        caller.execute("set role service_role")
        assert caller.execute("select count(*) from todos").fetchone() == (3,)


ANON_ATTACKS = [
    "create table public.mine (n int)",
    "create schema mine",
    "create function public.f() returns int language sql as 'select 1'",
    "select * from pg_authid",
    "select * from auth.users",
    "select * from _selfbase.migrations",
    "select * from pgbouncer.get_auth('postgres')",
    "select _selfbase.attempt('select 1', 'x')",
    "select pg_read_file('postgresql.conf')",
    "copy (select 1) to program 'true'",
    "copy (select 1) to '/tmp/out'",
    "alter role anon superuser",
    "create role mine",
    "create extension file_fdw",
    "create extension pg_trgm",
    "select extensions.pg_stat_statements_reset()",
    "drop event trigger guard_platform_drops",
    "do language plpython3u 'pass'",
    "set session_replication_role to replica",
]


@pytest.mark.parametrize("attack", ANON_ATTACKS)
def test_anon_cannot(anon: Connection, attack: str) -> None:
    with pytest.raises((errors.InsufficientPrivilege, errors.UndefinedObject)):
        anon.execute(text(attack))


OWNER_ATTACKS = [
    "alter role postgres superuser",
    "create role mine superuser login",
    "set role supabase_admin",
    "set session authorization supabase_admin",
    "grant supabase_admin to postgres",
    "grant pg_execute_server_program to postgres",
    "grant pg_read_server_files to postgres",
    "grant pg_write_server_files to postgres",
    "alter role supabase_admin password 'mine'",
    "alter role supabase_admin set search_path to public",
    "alter role supabase_auth_admin password 'mine'",
    "alter role supabase_storage_admin rename to mine",
    "alter role pgbouncer password 'mine'",
    "drop role supabase_replication_admin",
    "alter role authenticator superuser",
    "alter system set archive_command to 'true'",
    "alter database postgres set session_preload_libraries to 'x'",
    "load '/tmp/evil.so'",
    "create function evil() returns int language c as '/tmp/evil.so'",
    "create function evil() returns int language internal as 'int4in'",
    "copy (select 1) to program 'true'",
    "copy (select 1) to '/tmp/out'",
    "select pg_read_file('postgresql.conf')",
    "select pg_read_binary_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select lo_import('/etc/passwd')",
    "update pg_authid set rolsuper = true where rolname = 'postgres'",
    "create event trigger mine on ddl_command_end execute function extensions.pgrst_ddl_watch()",
    "alter event trigger guard_platform_objects disable",
    "drop event trigger guard_platform_objects",
    "create or replace function _selfbase.is_platform_session() returns boolean language sql as 'select true'",
    "drop function _selfbase.is_platform_session() cascade",
    "create table _selfbase.mine (n int)",
    "delete from _selfbase.migrations",
    "create extension file_fdw",
    "create extension plpython3u",
    "create extension amcheck",
    "create extension pageinspect",
    "create extension pg_surgery",
    # The platform's own objects, on which postgres has the privileges of the owners.
    "drop table auth.users",
    "alter table auth.users add column mine int",
    "alter table auth.users rename to mine",
    "alter table auth.users set schema public",
    "alter table auth.users owner to postgres",
    "alter table storage.objects disable row level security",
    "create table storage.mine (n int)",
    "create index on storage.objects (name)",
    "create view auth.mine as select 1",
    "create or replace function auth.uid() returns uuid language sql as 'select null::uuid'",
    "drop function auth.uid() cascade",
    "alter function auth.uid() set schema public",
    "alter function auth.uid() owner to postgres",
    "drop schema auth cascade",
    "alter schema auth rename to mine",
    "set role supabase_auth_admin; drop table auth.users",
    "set session_replication_role to replica; drop table auth.users",
    "do $$ begin execute 'drop table storage.objects'; end $$",
]


@pytest.mark.parametrize("attack", OWNER_ATTACKS)
def test_owner_of_a_project_cannot(owner: Connection, attack: str) -> None:
    with pytest.raises(
        (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.UndefinedObject)
    ):
        owner.execute(text(attack))
    with psycopg.connect(owner.info.dsn) as fresh:
        assert fresh.execute(
            "select rolsuper from pg_roles where rolname = 'postgres'"
        ).fetchone() == (False,)
        assert fresh.execute("select to_regclass('auth.users')::text").fetchone() == ("auth.users",)


OWNER_WORK = [
    "create policy p on storage.objects for select to anon using (name = 'x')",
    "alter policy p on storage.objects using (name = 'y')",
    "drop policy p on storage.objects",
    "create policy u on auth.users for select using (id = auth.uid())",
    "create function public.hello() returns trigger language plpgsql as 'begin return new; end'",
    "create trigger hi after insert on auth.users for each row execute function public.hello()",
    "comment on trigger hi on auth.users is 'mine'",
    "drop trigger hi on auth.users",
    "insert into auth.users (email) values ('x')",
    "create table public.profiles (id int primary key)",
    "alter publication supabase_realtime add table public.profiles",
    "alter publication supabase_realtime drop table public.profiles",
    "create schema private",
    "create function extensions.mine() returns int language sql as 'select 1'",
    "alter role anon set statement_timeout to '3s'",
    "alter role authenticator set pgrst.db_aggregates_enabled to 'true'",
    "alter role authenticator reset pgrst.db_aggregates_enabled",
    "create role reader nologin",
    "grant anon to reader",
    "grant select on public.profiles to reader",
    "set session_replication_role to replica",
    "set session_replication_role to default",
    "select pg_reload_conf()",
    "select * from pg_stat_activity",
    "select * from extensions.pg_stat_statements",
    "select extensions.pg_stat_statements_reset()",
    'drop extension if exists "uuid-ossp"',
    'create extension "uuid-ossp" with schema extensions',
    "create database another",
    "drop database another",
    "set role service_role",
    "set role postgres",
]
NEEDS_CREATEROLE = (
    "alter role",
    "create role",
    "grant anon",
    "grant select on public.profiles to reader",
)


def test_everyday_work_of_the_owner(project: Cluster, owner: Connection) -> None:
    for statement in OWNER_WORK:
        if project.binaries.version < 16 and statement.startswith(NEEDS_CREATEROLE):
            continue
        owner.execute(text(statement))


def test_owner_cannot_log_in_as_superuser_from_inside(project: Cluster, owner: Connection) -> None:
    """The server trusts its private socket, and its own backends can reach it."""
    address = f"host={project.socket_dir} port={project.port} dbname=postgres user=supabase_admin"
    owner.execute("create extension dblink with schema extensions")
    owner.execute("create extension postgres_fdw with schema extensions")
    refused = (
        errors.InsufficientPrivilege,
        errors.SqlclientUnableToEstablishSqlconnection,
        errors.lookup("2F003"),
    )
    for attack in (
        f"select dblink_connect('{address}')",
        f"select dblink_connect('{address} password=x')",
        f"select dblink_exec('{address} password=x', 'alter role postgres superuser')",
        f"select dblink_connect_u('{address}')",
        f"select dblink_connect_u('x', '{address}')",
    ):
        with pytest.raises(refused):
            owner.execute(text(attack))
    owner.execute(
        text(
            f"create server inside foreign data wrapper postgres_fdw options (host '{project.socket_dir}', port '{project.port}', dbname 'postgres')"
        )
    )
    owner.execute(
        "create user mapping for postgres server inside options (user 'supabase_admin', password 'x')"
    )
    owner.execute(
        "create foreign table public.inside (rolname name) server inside options (schema_name 'pg_catalog', table_name 'pg_authid')"
    )
    with pytest.raises(refused):
        owner.execute("select * from public.inside")
    with pytest.raises(refused):
        owner.execute(
            "alter user mapping for postgres server inside options (add password_required 'false')"
        )


def test_functions_an_extension_keeps_from_public_stay_from_the_api(
    owner: Connection, anon: Connection
) -> None:
    owner.execute("create extension pgstattuple schema public")
    owner.execute("create function public.mine() returns int language sql as 'select 1'")
    anon.execute("select public.mine()")  # default privileges in public do reach anon
    with pytest.raises(errors.InsufficientPrivilege):
        anon.execute("select * from public.pgstattuple('pg_class')")
    owner.execute("select * from public.pgstattuple('pg_class')")


def test_pooler_learns_verifiers_of_those_who_may_log_in(fresh_database: FreshDatabase) -> None:
    with psycopg.connect(fresh_database.conninfo("pgbouncer")) as connection:
        row = connection.execute("select * from pgbouncer.get_auth('postgres')").fetchone()
        assert row is not None
        assert row[0] == "postgres"
        assert str(row[1]).startswith("SCRAM-SHA-256$")
        assert connection.execute("select * from pgbouncer.get_auth('anon')").fetchall() == []
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("select * from pg_authid")


def test_read_only_user_reads_everything_and_writes_nothing(project: Cluster) -> None:
    with connect(project, "supabase_read_only_user") as connection:
        connection.execute("select * from auth.users")
        connection.execute("set default_transaction_read_only to off")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("insert into auth.users (email) values ('x')")
