"""Sign-up, sign-in, refresh, sign-out: sessions from their beginning to their end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import jwt
import orjson
import pytest
from tests.auth.auth_server import PASSWORD, SECRET, AuthServer
from tests.auth.conftest import Opener
from tests.support.postgres import FreshDatabase

from selfbase.auth.service import RequestFailed, make_standalone_auth
from selfbase.auth.settings import load_auth_settings
from selfbase.auth.signing_keys import make_jwk
from selfbase.auth.tokens import load_keys
from selfbase.http.testing import Client
from selfbase.identity.tokens import TokenInvalid, TokenVerifier, key_from_jwk, sign_token
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer

REFRESH = "/token?grant_type=refresh_token"


async def refresh(auth: AuthServer, token: str) -> dict[str, object]:
    answer: dict[str, object] = await auth.ok("POST", REFRESH, {"refresh_token": token})
    return answer


async def test_sign_up_with_autoconfirm_gives_a_session(auto: AuthServer) -> None:
    session = await auto.sign_up("Ada@Example.com", data={"nick": "ada"})
    assert session["token_type"] == "bearer"
    assert session["expires_in"] == 3600
    user = session["user"]
    assert user["email"] == "ada@example.com"
    assert user["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert user["user_metadata"]["nick"] == "ada"
    assert user["user_metadata"]["email_verified"] is True
    assert user["identities"][0]["identity_data"]["sub"] == user["id"]
    claims = jwt.decode(session["access_token"], SECRET, ["HS256"], audience="authenticated")
    assert claims["sub"] == user["id"]
    assert claims["aal"] == "aal1"
    assert claims["amr"][0]["method"] == "password"
    assert claims["iss"] == "https://project.test/auth/v1"
    assert claims["is_anonymous"] is False


async def test_sign_up_without_autoconfirm_gives_a_user_and_a_mail(auth: AuthServer) -> None:
    user = await auth.sign_up("ada@example.com")
    assert "access_token" not in user
    assert user["confirmation_sent_at"]
    status, code = await auth.fails(
        "POST", "/token?grant_type=password", {"email": "ada@example.com", "password": PASSWORD}
    )
    assert (status, code) == (400, "email_not_confirmed")
    mail = await auth.last_mail()
    assert mail.message["to"] == "ada@example.com"
    assert mail.link.startswith("https://project.test/auth/v1/verify?token=")
    session = await auth.ok(
        "POST", "/verify", {"type": "signup", "email": "ada@example.com", "token": mail.code}
    )
    assert session["user"]["email_confirmed_at"]
    assert (await auth.sign_in("ada@example.com"))["access_token"]


async def test_refresh_rotates_and_keeps_the_session(auto: AuthServer) -> None:
    first = await auto.sign_up("ada@example.com")
    second = await refresh(auto, first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    one = jwt.decode(first["access_token"], options={"verify_signature": False})
    two = jwt.decode(second["access_token"], options={"verify_signature": False})  # type: ignore[arg-type]
    assert one["session_id"] == two["session_id"]


async def test_get_user_needs_a_live_session(auto: AuthServer) -> None:
    session = await auto.sign_up("ada@example.com")
    token = session["access_token"]
    assert (await auto.ok("GET", "/user", bearer=token))["email"] == "ada@example.com"
    await auto.ok("POST", "/logout", bearer=token)
    assert await auto.fails("GET", "/user", bearer=token) == (403, "session_not_found")
    gone = await auto.fails("POST", REFRESH, {"refresh_token": session["refresh_token"]})
    assert gone == (400, "refresh_token_not_found")


@pytest.mark.parametrize(
    ("scope", "own", "other"),
    [("local", False, True), ("others", True, False), ("global", False, False)],
)
async def test_logout_scopes(auto: AuthServer, scope: str, own: bool, other: bool) -> None:
    await auto.sign_up("ada@example.com")
    mine, theirs = await auto.sign_in("ada@example.com"), await auto.sign_in("ada@example.com")
    await auto.ok("POST", f"/logout?scope={scope}", bearer=mine["access_token"])
    for session, alive in ((mine, own), (theirs, other)):
        answer = await auto.request("GET", "/user", bearer=session["access_token"])
        assert (answer.status == 200) is alive


async def test_signed_refresh_tokens(auth_with: Opener) -> None:
    auth = await auth_with(MAILER_AUTOCONFIRM="true", SECURITY_REFRESH_TOKEN_ALGORITHM_VERSION="2")
    first = await auth.sign_up("ada@example.com")
    second = await refresh(auth, first["refresh_token"])
    third = await refresh(auth, second["refresh_token"])  # type: ignore[arg-type]
    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    auth.clock.step(minutes=5)
    late = await auth.fails("POST", REFRESH, {"refresh_token": first["refresh_token"]})
    assert late == (400, "refresh_token_already_used")
    gone = await auth.fails("POST", REFRESH, {"refresh_token": third["refresh_token"]})
    assert gone == (400, "refresh_token_not_found")


async def test_one_session_for_each_group_of_tags(auth_with: Opener) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", SESSIONS_SINGLE_PER_USER="true", SESSIONS_TAGS="web,mobile"
    )
    await auth.sign_up("ada@example.com")
    sessions = [await auth.sign_in("ada@example.com") for _ in range(3)]
    ids = [jwt.decode(s["access_token"], options={"verify_signature": False})["session_id"]
           for s in sessions]  # fmt: skip
    for session_id, tag in zip(ids, ("mobile", None, "a group of nobody"), strict=True):
        auth.sql("update auth.sessions set tag = %s where id = %s", tag, session_id)
    # The first is alone in its group; the others share the group of those without one.
    await refresh(auth, sessions[0]["refresh_token"])
    newer = await auth.request("POST", REFRESH, {"refresh_token": sessions[1]["refresh_token"]})
    assert newer.json()["message"] == (
        "Invalid Refresh Token: Session Expired (Revoked by Newer Login)"
    )
    await refresh(auth, sessions[2]["refresh_token"])


async def test_a_password_may_bring_an_identity_by_address(auth_with: Opener) -> None:
    name = "EXPERIMENTAL_CREATE_EMAIL_IDENTITY_ON_PASSWORD_SET_ENABLED"
    auth = await auth_with(**{name: "true"})
    for email, confirmed in (("ada@example.com", True), ("bob@example.com", False)):
        session = await auth.confirmed(email)
        auth.sql("delete from auth.identities where email = %s", email)
        moment = "2024-01-01" if confirmed else None
        auth.sql(
            "update auth.users set encrypted_password = '', email_confirmed_at = %s "
            "where email = %s", moment, email,
        )  # fmt: skip
        body = {"password": "another pass 2"}
        user = await auth.ok("PUT", "/user", body, bearer=session["access_token"])
        assert [one["provider"] for one in user["identities"]] == (["email"] if confirmed else [])
        if confirmed:
            assert user["identities"][0]["identity_data"]["email_verified"] is True
            assert user["app_metadata"]["providers"] == ["email"]


def test_algorithms_that_are_not_valid_verify_nothing() -> None:
    made = [make_jwk(algorithm, algorithm) for algorithm in ("ES256", "RS256", "HS256")]
    for jwk in made[1:]:
        jwk["key_ops"] = ["verify"]
    variables = {"GOTRUE_JWT_KEYS": orjson.dumps(made).decode()}
    tokens = {jwk["alg"]: sign_token(key_from_jwk(jwk), {"sub": "x"}) for jwk in made}

    def verified(methods: str) -> set[str]:
        layer = EnvLayer({**variables, "GOTRUE_JWT_VALID_METHODS": methods})
        signing, keys = load_keys(load_auth_settings([layer]))
        assert signing in keys
        found = set()
        for algorithm, token in tokens.items():
            with suppress(TokenInvalid):
                TokenVerifier(keys).verify(token)
                found.add(algorithm)
        return found

    assert verified("") == {"ES256", "RS256", "HS256"}
    assert verified("ES256,RS256") == {"ES256", "RS256"}
    with pytest.raises(ConfigurationError, match="GOTRUE_JWT_VALID_METHODS"):
        verified("HS256")


async def test_auth_alone_answers_browsers_and_takes_request_ids(
    fresh_database: FreshDatabase,
) -> None:
    variables = {
        "DATABASE_URL": fresh_database.conninfo(), "GOTRUE_JWT_SECRET": SECRET,
        "GOTRUE_CORS_ALLOWED_HEADERS": "X-Ours", "REQUEST_ID_HEADER": "X-Id",
    }  # fmt: skip
    seen: list[Event] = []
    auth = make_standalone_auth([EnvLayer(variables)], Events(seen.append))
    await auth.open()
    client = Client(auth)
    try:
        origin = {"origin": "https://app.test"}
        asked = {**origin, "access-control-request-method": "POST"}
        answer = await client.request("OPTIONS", "/signup", headers=asked)
        assert answer.status == 204
        assert answer.headers.get("access-control-allow-origin") == "*"
        allowed = answer.headers.get("access-control-allow-headers")
        assert "authorization" in allowed
        assert "x-ours" in allowed
        assert answer.headers.find("access-control-allow-credentials") is None
        answer = await client.request("GET", "/settings", headers=origin)
        assert answer.headers.get("access-control-allow-origin") == "*"
        assert "X-Total-Count" in answer.headers.get("access-control-expose-headers")
        plain = await client.request("GET", "/settings")
        assert plain.headers.find("access-control-allow-origin") is None
        auth.core.database.settings = replace(
            auth.core.database.settings, conninfo="host=/nowhere dbname=x"
        )
        await auth.core.database.close()
        await client.request("POST", "/recover", json={"email": "a@b.test"}, headers={"x-id": "me"})
        assert [e.request_id for e in seen if isinstance(e, RequestFailed)] == ["me"]
    finally:
        await auth.close()
