"""Passkeys: registering, signing in, looking after them, and answers that must not hold."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from tests.auth.auth_server import AuthServer
from tests.auth.authenticator import Authenticator
from tests.auth.conftest import Opener

from selfbase.auth.logic import totp


@pytest.fixture
async def auth(auth_with: Opener) -> AuthServer:
    return await auth_with(MAILER_AUTOCONFIRM="true", PASSKEY_ENABLED="true")


async def register(auth: AuthServer, session: dict[str, Any], device: Authenticator) -> Any:
    bearer = session["access_token"]
    begun = await auth.ok("POST", "/passkeys/registration/options", {}, bearer=bearer)
    assert begun["options"]["authenticatorSelection"]["residentKey"] == "required"
    body = {"challenge_id": begun["challenge_id"], "credential": device.create(begun["options"])}
    return await auth.request("POST", "/passkeys/registration/verify", body, bearer=bearer)


async def sign_in(auth: AuthServer, device: Authenticator) -> Any:
    begun = await auth.ok("POST", "/passkeys/authentication/options", {})
    assert begun["options"]["allowCredentials"] == []
    body = {"challenge_id": begun["challenge_id"], "credential": device.get(begun["options"])}
    return await auth.request("POST", "/passkeys/authentication/verify", body)


async def test_a_passkey_signs_in(auth: AuthServer) -> None:
    session, device = await auth.sign_up("ada@example.com"), Authenticator()
    made = await register(auth, session, device)
    assert made.status == 200, auth.events[-3:]
    assert made.json()["friendly_name"] == "Passkey"
    for _ in range(2):
        answer = await sign_in(auth, device)
        assert answer.status == 200, answer.text
        fresh = answer.json()
        assert fresh["user"]["id"] == session["user"]["id"]
        claims = jwt.decode(fresh["access_token"], options={"verify_signature": False})
        assert (claims["amr"][0]["method"], claims["aal"]) == ("passkey", "aal1")
    again = await register(auth, session, device)
    assert (again.status, again.json()["code"]) == (422, "webauthn_credential_exists")


async def test_forged_answers_are_refused(auth: AuthServer) -> None:
    session, device = await auth.sign_up("ada@example.com"), Authenticator()
    await register(auth, session, device)
    other = await auth.sign_up("mallory@example.com")
    known = {"credential_id": device.credential_id, "user_handle": device.user_handle}
    mallory = other["user"]["id"].encode()
    forged = [
        Authenticator(**known),
        Authenticator(**known, key=device.key, origin="https://evil.test"),
        Authenticator(**known, key=device.key, rp_id="evil.test"),
        Authenticator(credential_id=b"unknown", user_handle=device.user_handle, key=device.key),
        Authenticator(credential_id=device.credential_id, user_handle=mallory, key=device.key),
        Authenticator(credential_id=device.credential_id, user_handle=b"", key=device.key),
    ]
    for attacker in forged:
        answer = await sign_in(auth, attacker)
        assert (answer.status, answer.json()["code"]) == (400, "webauthn_verification_failed")


async def test_a_cloned_device_is_noticed(auth: AuthServer) -> None:
    session, device = await auth.sign_up("ada@example.com"), Authenticator()
    await register(auth, session, device)
    device.count = 10
    assert (await sign_in(auth, device)).status == 200
    device.count = 3
    assert (await sign_in(auth, device)).json()["code"] == "webauthn_verification_failed"


async def test_challenges_work_once_and_in_time(auth: AuthServer) -> None:
    session, device = await auth.sign_up("ada@example.com"), Authenticator()
    await register(auth, session, device)
    begun = await auth.ok("POST", "/passkeys/authentication/options", {})
    body = {"challenge_id": begun["challenge_id"], "credential": device.get(begun["options"])}
    path = "/passkeys/authentication/verify"
    await auth.ok("POST", path, body)
    assert await auth.fails("POST", path, body) == (400, "webauthn_challenge_not_found")
    begun = await auth.ok("POST", "/passkeys/authentication/options", {})
    auth.clock.step(seconds=301)
    body = {"challenge_id": begun["challenge_id"], "credential": device.get(begun["options"])}
    assert await auth.fails("POST", path, body) == (400, "webauthn_challenge_expired")
    # A registration's challenge does not sign in.
    session = await auth.sign_in("ada@example.com")
    begun = await auth.ok(
        "POST", "/passkeys/registration/options", {}, bearer=session["access_token"]
    )
    body = {"challenge_id": begun["challenge_id"], "credential": device.get(begun["options"])}
    assert await auth.fails("POST", path, body) == (400, "webauthn_challenge_not_found")


RUBBISH: tuple[Any, ...] = (
{}, {"challenge_id": "x", "credential": {}}, {"challenge_id": "x", "credential": {"id": 1}},
     {"challenge_id": 7}, {"credential": {"rawId": "AA"}})  # fmt: skip


async def test_rubbish_is_a_clear_error(auth: AuthServer) -> None:
    for body in RUBBISH:
        status, code = await auth.fails("POST", "/passkeys/authentication/verify", body)
        assert status == 400
        assert code in ("validation_failed", "bad_json")


async def test_looking_after_passkeys(auth: AuthServer) -> None:
    session, device = await auth.sign_up("ada@example.com"), Authenticator()
    bearer = session["access_token"]
    passkey = (await register(auth, session, device)).json()
    (listed,) = await auth.ok("GET", "/passkeys", bearer=bearer)
    assert listed["id"] == passkey["id"]
    path = f"/passkeys/{passkey['id']}"
    renamed = await auth.ok("PATCH", path, {"friendly_name": "laptop"}, bearer=bearer)
    assert renamed["friendly_name"] == "laptop"
    assert (await auth.fails("PATCH", path, {"friendly_name": "n" * 121}, bearer=bearer))[0] == 400
    mallory = await auth.sign_up("mallory@example.com")
    for method in ("PATCH", "DELETE"):
        body = {"friendly_name": "x"} if method == "PATCH" else None
        found = await auth.fails(method, path, body, bearer=mallory["access_token"])
        assert found == (404, "validation_failed")
    owned = f"/admin/users/{session['user']['id']}/passkeys"
    assert len(await auth.ok("GET", owned, bearer=auth.admin())) == 1
    assert (await auth.request("DELETE", path, bearer=bearer)).status == 204
    assert await auth.ok("GET", owned, bearer=auth.admin()) == []
    assert (await sign_in(auth, device)).status == 400


async def test_who_may_register(auth_with: Opener) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", PASSKEY_ENABLED="true", PASSKEY_MAX_PASSKEYS_PER_USER="1",
        EXTERNAL_ANONYMOUS_USERS_ENABLED="true",
    )  # fmt: skip
    path = "/passkeys/registration/options"
    nobody = await auth.ok("POST", "/signup", {})
    assert (await auth.fails("POST", path, {}, bearer=nobody["access_token"]))[0] == 403
    session = await auth.sign_up("ada@example.com")
    await register(auth, session, Authenticator())
    found = await auth.fails("POST", path, {}, bearer=session["access_token"])
    assert found == (422, "too_many_passkeys")
    # With a verified factor, only at aal2.
    holder = await auth.sign_up("eve@example.com")
    factor = await auth.ok(
        "POST", "/factors", {"factor_type": "totp"}, bearer=holder["access_token"]
    )
    challenge = await auth.ok(
        "POST", f"/factors/{factor['id']}/challenge", {}, bearer=holder["access_token"]
    )
    code = totp.code_at(factor["totp"]["secret"], totp.step_at(auth.clock.now().timestamp()))
    await auth.ok(
        "POST", f"/factors/{factor['id']}/verify",
        {"challenge_id": challenge["id"], "code": code}, bearer=holder["access_token"],
    )  # fmt: skip
    low = await auth.sign_in("eve@example.com")
    found = await auth.fails("POST", path, {}, bearer=low["access_token"])
    assert found == (403, "insufficient_aal")


async def test_passkeys_can_be_off(auto: AuthServer) -> None:
    found = await auto.fails("POST", "/passkeys/authentication/options", {})
    assert found == (404, "passkey_disabled")
