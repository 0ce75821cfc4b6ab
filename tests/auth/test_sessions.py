"""Sign-up, sign-in, refresh, sign-out: sessions from their beginning to their end."""

from __future__ import annotations

import jwt
import pytest
from tests.auth.auth_server import PASSWORD, SECRET, AuthServer
from tests.auth.conftest import Opener

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
