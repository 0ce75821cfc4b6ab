"""What has expired goes, what is alive stays, and nothing goes that nobody asked to remove."""

from __future__ import annotations

from tests.auth.auth_server import AuthServer
from tests.auth.conftest import Opener

from selfbase.auth.queries.cleanup import SWEEPS

OLD = """
insert into auth.flow_state (id, provider_type, authentication_method, created_at)
  values (gen_random_uuid(), 'x', 'oauth', now() - interval '2 days'),
    (gen_random_uuid(), 'x', 'oauth', now());
insert into auth.webauthn_challenges (id, challenge_type, session_data, created_at, expires_at)
  values (gen_random_uuid(), 'authentication', '{}', now() - interval '1 hour', now() - interval '1 minute');
insert into auth.users (instance_id, id, aud, role, is_anonymous, created_at)
  values ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated',
    'authenticated', true, now() - interval '40 days');
"""


async def sweep_all(auth: AuthServer) -> None:
    core = auth.auth.core
    for _ in SWEEPS:
        await core.sweeper.sweep(core.runtime.settings)


def counts(auth: AuthServer) -> tuple[int, ...]:
    tables = ("flow_state", "webauthn_challenges", "users", "sessions", "refresh_tokens")
    return tuple(auth.sql(f"select count(*) from auth.{table}")[0][0] for table in tables)


async def test_sweeps_take_what_is_over(auth_with: Opener) -> None:
    auth = await auth_with(MAILER_AUTOCONFIRM="true")
    session = await auth.sign_up("ada@example.com")
    await auth.ok(
        "POST", "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    for statement in OLD.strip().split(";\n"):
        auth.sql(statement)
    auth.sql("update auth.refresh_tokens set updated_at = now() - interval '2 days' where revoked")
    await sweep_all(auth)
    assert counts(auth) == (1, 0, 2, 1, 2)
    asked = await auth_with(
        DB_CLEANUP_ENABLED="true", EXTERNAL_ANONYMOUS_USERS_ENABLED="true",
        SESSIONS_TIMEBOX="1h", SESSIONS_INACTIVITY_TIMEOUT="1h",
    )  # fmt: skip
    await sweep_all(asked)
    assert counts(asked) == (1, 0, 1, 1, 1)
    asked.clock.step(hours=26)
    await sweep_all(asked)
    assert counts(asked)[3:] == (0, 0)


async def test_a_write_starts_a_sweep(auto: AuthServer) -> None:
    for statement in OLD.strip().split(";\n"):
        auto.sql(statement)
    for _ in SWEEPS:
        auto.clock.step(seconds=6)
        assert (await auto.request("POST", "/recover", {"email": "a@example.com"})).status == 200
        task = auto.auth.core.sweeper._task
        assert task is not None
        await task
    assert counts(auto)[:2] == (1, 0)
