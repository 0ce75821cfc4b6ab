"""What user SQL relies on in a project's database: claims, reload notices, publication, dumps."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from tests.support.postgres import FreshDatabase

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def owner(fresh_database: FreshDatabase) -> Iterator[Connection]:
    with psycopg.connect(fresh_database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


USER_ID = uuid.UUID("3fa85f64-5717-4562-b3fc-2c963f66afa6")
ASK = "select auth.uid(), auth.role(), auth.email(), auth.jwt() ->> 'aal'"


def test_claims_are_null_without_a_caller(owner: Connection) -> None:
    assert owner.execute(ASK).fetchone() == (None, None, None, None)
    owner.execute(
        "select set_config('request.jwt.claims', '', false), set_config('request.jwt.claim.sub', '', false)"
    )
    assert owner.execute(ASK).fetchone() == (None, None, None, None)


def test_claims_of_a_request(owner: Connection) -> None:
    claims = f'{{"sub": "{USER_ID}", "role": "authenticated", "email": "a@x", "aal": "aal2"}}'
    owner.execute("select set_config('request.jwt.claims', %s, false)", [claims])
    assert owner.execute(ASK).fetchone() == (USER_ID, "authenticated", "a@x", "aal2")


def test_claims_in_single_settings_win(owner: Connection) -> None:
    owner.execute(
        """select set_config('request.jwt.claims', '{"role": "anon", "email": "b@x"}', false)"""
    )
    for claim, value in (("sub", str(USER_ID)), ("role", "service_role"), ("email", "a@x")):
        owner.execute("select set_config(%s, %s, false)", [f"request.jwt.claim.{claim}", value])
    assert owner.execute("select auth.uid(), auth.role(), auth.email()").fetchone() == (
        USER_ID,
        "service_role",
        "a@x",
    )


def test_claims_in_a_policy_are_evaluated_as_an_index_condition(owner: Connection) -> None:
    owner.execute("create table notes (user_id uuid primary key)")
    plan = owner.execute("explain select from notes where user_id = (select auth.uid())").fetchall()
    assert any("Index" in str(line[0]) for line in plan)


NOTICED = [
    "create table t (n int)",
    "alter table t add column m int",
    "comment on table t is 'x'",
    "create view v as select * from t",
    "create function f() returns int language sql as 'select 1'",
    "create or replace function f() returns int language sql as 'select 2'",
    "create type mood as enum ('fine')",
    "alter type mood add value 'better'",
    "grant select on t to anon",
    "drop function f()",
    "drop view v",
    "drop table t",
    "create schema s",
    "drop schema s",
    "create table made as select 1 as n",
]
UNNOTICED = [
    "create temporary table x (n int)",
    "alter table x add column m int",
    "drop table x",
    "insert into kept values (1)",
    "set role supabase_auth_admin; create table auth.x (n int); drop table auth.x; reset role",
]


def is_noticed(listener: Connection, worker: Connection, statement: str) -> bool:
    worker.execute(statement.encode())
    worker.execute("notify pgrst, 'end of test'")
    seen = []
    for notice in listener.notifies(timeout=10):
        if notice.payload == "end of test":
            return "reload schema" in seen
        seen.append(notice.payload)
    raise AssertionError("no notification arrived")


def test_schema_changes_are_noticed_and_nothing_else(fresh_database: FreshDatabase) -> None:
    with (
        psycopg.connect(fresh_database.conninfo("authenticator"), autocommit=True) as listener,
        psycopg.connect(fresh_database.conninfo("postgres"), autocommit=True) as worker,
        psycopg.connect(fresh_database.conninfo(), autocommit=True) as platform,
    ):
        worker.execute("create table kept (n int)")
        listener.execute("listen pgrst")
        for statement in NOTICED:
            assert is_noticed(listener, worker, statement), statement
        for statement in UNNOTICED:
            connection = platform if statement.startswith("set role") else worker
            assert not is_noticed(listener, connection, statement), statement


def test_publication_belongs_to_the_owner_and_starts_empty(owner: Connection) -> None:
    listed = "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
    assert owner.execute(listed).fetchall() == []
    owner.execute("create table shown (n int primary key)")
    owner.execute("alter publication supabase_realtime add table shown")
    assert owner.execute(listed).fetchall() == [("shown",)]


def test_graphql_entry_point_says_that_it_is_off(owner: Connection) -> None:
    owner.execute("set role anon")
    row = owner.execute("select graphql_public.graphql(query => '{ __typename }')").fetchone()
    assert row == ({"errors": [{"message": "pg_graphql extension is not enabled."}]},)


# The shape of what `supabase db dump` and pg_dump write for a hosted project, in our own words.
DUMP = """
SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET row_security = off;
SET session_replication_role = replica;
CREATE EXTENSION IF NOT EXISTS "pg_stat_statements" WITH SCHEMA "extensions";
CREATE EXTENSION IF NOT EXISTS "pgcrypto" WITH SCHEMA "extensions";
CREATE EXTENSION IF NOT EXISTS "pgjwt" WITH SCHEMA "extensions";
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA "extensions";
CREATE EXTENSION IF NOT EXISTS "moddatetime" WITH SCHEMA "extensions";
CREATE TABLE IF NOT EXISTS "public"."profiles" (
    "id" "uuid" DEFAULT "extensions"."uuid_generate_v4"() NOT NULL,
    "user_id" "uuid" DEFAULT "auth"."uid"(),
    "updated_at" timestamp with time zone
);
ALTER TABLE "public"."profiles" OWNER TO "postgres";
ALTER TABLE ONLY "public"."profiles" ADD CONSTRAINT "profiles_pkey" PRIMARY KEY ("id");
CREATE OR REPLACE TRIGGER "touch" BEFORE UPDATE ON "public"."profiles" FOR EACH ROW
    EXECUTE FUNCTION "extensions"."moddatetime"('updated_at');
CREATE POLICY "mine" ON "public"."profiles" TO "authenticated"
    USING (( SELECT "auth"."uid"() AS "uid") = "user_id");
ALTER TABLE "public"."profiles" ENABLE ROW LEVEL SECURITY;
ALTER PUBLICATION "supabase_realtime" OWNER TO "postgres";
ALTER PUBLICATION "supabase_realtime" ADD TABLE ONLY "public"."profiles";
GRANT USAGE ON SCHEMA "public" TO "postgres";
GRANT USAGE ON SCHEMA "public" TO "anon";
GRANT ALL ON TABLE "public"."profiles" TO "anon";
GRANT ALL ON TABLE "public"."profiles" TO "authenticated";
GRANT ALL ON TABLE "public"."profiles" TO "service_role";
ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" GRANT ALL ON SEQUENCES TO "anon";
ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" GRANT ALL ON FUNCTIONS TO "service_role";
INSERT INTO "public"."profiles" ("user_id") VALUES (NULL);
SET session_replication_role = DEFAULT;
RESET ALL;
"""


def test_dump_of_a_hosted_project_restores_as_postgres(owner: Connection) -> None:
    owner.execute(DUMP.encode())
    assert owner.execute("select count(*) from public.profiles").fetchone() == (1,)
    owner.execute("set role anon")
    assert owner.execute("select * from public.profiles").fetchall() == []


def test_our_own_functions_choose_where_they_look(owner: Connection) -> None:
    """`supabase db advisors` warns of functions that take the caller's search path."""
    free = owner.execute(
        "select proname from pg_proc where pronamespace = '_selfbase'::regnamespace"
        " and not coalesce(proconfig::text, '') like '%search_path=%'"
    )
    assert free.fetchall() == []
