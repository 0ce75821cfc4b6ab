"""Auth on a database that supabase/auth has used: its rows, its schema, perhaps an older one."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from tests.auth.auth_server import PASSWORD, AuthServer, open_auth

FORGET_US = (
    "drop schema _selfbase_auth cascade",
    "delete from _selfbase.migrations where service = 'auth'",
)
# What upstream added over the years; a database of an earlier release lacks it.
OLDER = (
    "drop table auth.one_time_tokens, auth.webauthn_credentials, auth.webauthn_challenges,"
    " auth.custom_oauth_providers, auth.oauth_client_states",
    "alter table auth.users drop column is_anonymous",
    "alter table auth.sessions drop column scopes, drop column refresh_token_hmac_key,"
    " drop column refresh_token_counter, drop column oauth_client_id cascade",
    "alter table auth.flow_state drop column auth_code_issued_at, drop column referrer",
    "drop table auth.oauth_consents, auth.oauth_authorizations, auth.oauth_clients",
    "drop type auth.one_time_token_type, auth.oauth_client_type",
    "delete from auth.schema_migrations where version > '20240427000000'",
)


@pytest.mark.parametrize("changes", [(), OLDER], ids=["current", "older"])
async def test_users_and_sessions_go_on(auto: AuthServer, changes: tuple[str, ...]) -> None:
    session = await auto.sign_up("ada@example.com", data={"a": 1})
    for statement in (*FORGET_US, *changes):
        auto.sql(statement)
    taken = await open_auth(auto.conninfo, MAILER_AUTOCONFIRM="true")
    try:
        user = await taken.ok("GET", "/user", bearer=session["access_token"])
        assert user["user_metadata"]["a"] == 1
        refresh = {"refresh_token": session["refresh_token"]}
        assert await taken.ok("POST", "/token?grant_type=refresh_token", refresh)
        assert await taken.sign_in("ada@example.com")
        await taken.ok("POST", "/otp", {"email": "ada@example.com"})
        code = (await taken.last_mail()).code
        proof = {"type": "email", "email": "ada@example.com", "token": code}
        assert await taken.ok("POST", "/verify", proof)
        newest = taken.sql("select max(version) from auth.schema_migrations")
        assert newest == [("20260625000000",)]
    finally:
        await taken.close()


# The tables of 2018, in short: what has been renamed, retyped or bound since then.
FIRST_RELEASE = """
drop schema auth cascade;
create schema auth authorization supabase_auth_admin;
set role supabase_auth_admin;
create table auth.users (
  instance_id uuid, id uuid primary key, aud varchar(255), role varchar(255),
  email varchar(255) constraint users_email_key unique, encrypted_password varchar(255),
  confirmed_at timestamptz, invited_at timestamptz, confirmation_token varchar(255),
  confirmation_sent_at timestamptz, recovery_token varchar(255), recovery_sent_at timestamptz,
  email_change_token varchar(255), email_change varchar(255), email_change_sent_at timestamptz,
  last_sign_in_at timestamptz, raw_app_meta_data jsonb, raw_user_meta_data jsonb,
  is_super_admin boolean, created_at timestamptz, updated_at timestamptz);
create index users_instance_id_email_idx on auth.users (instance_id, email);
create table auth.refresh_tokens (
  instance_id uuid, id bigserial primary key, token varchar(255), user_id varchar(255),
  revoked boolean, created_at timestamptz, updated_at timestamptz);
create index refresh_tokens_token_idx on auth.refresh_tokens (token);
create table auth.audit_log_entries (
  instance_id uuid, id uuid primary key, payload json, created_at timestamptz);
create table auth.schema_migrations (version varchar(255) primary key);
reset role;
insert into auth.users (instance_id, id, aud, role, email, encrypted_password, confirmed_at)
  values ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-00000000000a',
    'authenticated', 'authenticated', 'ada@example.com', extensions.crypt('{PASSWORD}',
    extensions.gen_salt('bf', 4)), now())
"""
# Tables of 2023 to 2025, with a row each where a later column must be filled.
BETWEEN = """
alter table auth.flow_state alter column code_challenge set not null,
  alter column code_challenge_method set not null, alter column auth_code set not null;
alter table auth.identities drop constraint identities_pkey, drop column id,
  drop constraint identities_provider_id_provider_unique;
alter table auth.identities rename column provider_id to id;
alter table auth.identities add constraint identities_pkey primary key (provider, id);
alter table auth.oauth_clients drop column token_endpoint_auth_method,
  alter column client_secret_hash set not null;
insert into auth.oauth_clients
  (id, client_secret_hash, registration_type, redirect_uris, grant_types, client_type)
  values (gen_random_uuid(), 'x', 'manual', 'https://a.test', 'authorization_code', 'public');
alter table auth.sessions drop constraint sessions_scopes_length;
alter index auth.unique_phone_factor_per_user rename to unique_verified_phone_factor
"""
SHAPE = """
select table_name, column_name, data_type, is_nullable, is_generated
  from information_schema.columns where table_schema = 'auth'
union all select conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
  from pg_constraint where connamespace = 'auth'::regnamespace and contype <> 'n'
union all select tablename, indexname, indexdef, '', '' from pg_indexes where schemaname = 'auth'
"""


@pytest.mark.parametrize("older", [FIRST_RELEASE, BETWEEN], ids=["first", "between"])
async def test_any_older_layout_becomes_the_newest(auto: AuthServer, older: str) -> None:
    await auto.sign_up("ada@example.com")
    newest = set(auto.sql(SHAPE))
    for statement in FORGET_US:
        auto.sql(statement)
    with psycopg.connect(auto.conninfo, autocommit=True) as connection:
        connection.execute(older.replace("{PASSWORD}", PASSWORD).encode())
    assert set(auto.sql(SHAPE)) != newest
    taken = await open_auth(auto.conninfo)
    try:
        assert set(taken.sql(SHAPE)) == newest
        session = await taken.sign_in("ada@example.com")
        assert [one["provider"] for one in session["user"]["identities"]] == ["email"]
        # A sign-in by provider without PKCE keeps its state too.
        await taken.auth.core.runtime.update(
            {"EXTERNAL_GITHUB_ENABLED": True, "EXTERNAL_GITHUB_CLIENT_ID": "x",
             "EXTERNAL_GITHUB_SECRET": "y"}
        )  # fmt: skip
        assert (await taken.request("GET", "/authorize?provider=github")).status == 302
    finally:
        await taken.close()


async def test_grants_are_those_that_users_rely_on(auth: AuthServer) -> None:
    def allowed(role: str, right: str, table: str) -> bool:
        query = "select has_table_privilege(%s, %s, %s)"
        return bool(auth.sql(query, role, f"auth.{table}", right)[0][0])

    for role in ("anon", "authenticated", "service_role"):
        assert not any(allowed(role, right, "users") for right in ("select", "insert", "update"))
        assert auth.sql("select has_schema_privilege(%s, 'auth', 'usage')", role) == [(True,)]
        hidden = "select has_schema_privilege(%s, '_selfbase_auth', 'usage')"
        assert auth.sql(hidden, role) == [(False,)]
    for right in ("select", "insert", "update", "delete", "trigger"):
        assert allowed("postgres", right, "users")
    owner = "select tableowner from pg_tables where schemaname = 'auth' and tablename = 'users'"
    assert auth.sql(owner) == [("supabase_auth_admin",)]


async def test_several_configurations_may_start_on_a_new_database_at_once(
    auth: AuthServer,
) -> None:
    auth.sql("drop schema _selfbase_auth, auth cascade")
    auth.sql("delete from _selfbase.migrations where service = 'auth'")
    together = await asyncio.gather(*(open_auth(auth.conninfo) for _ in range(3)))
    try:
        for one in together:
            assert await one.ok("GET", "/settings")
        await together[0].confirmed("ada@example.com")
        assert await together[2].sign_in("ada@example.com")
    finally:
        for one in together:
            await one.close()
