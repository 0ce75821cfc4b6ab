"""Auth on a database that supabase/auth has used: its rows, its schema, perhaps an older one."""

from __future__ import annotations

import pytest
from tests.auth.auth_server import AuthServer, open_auth

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
