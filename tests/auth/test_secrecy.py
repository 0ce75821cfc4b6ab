"""What must not show: who has an account by the time of an answer, secrets by the time of a
comparison, codes in the database; and old keys to an account after its owner has changed it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import bcrypt
import pytest
from tests.auth.auth_server import PASSWORD, AuthServer, Mail
from tests.auth.conftest import Opener

from selfbase.auth.logic.totp import code_at, step_at

SIGN_IN = "/token?grant_type=password"
REFRESH = "/token?grant_type=refresh_token"
PKCE = "/token?grant_type=pkce"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-long"


async def test_nobody_costs_as_much_as_somebody(
    auth: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash for every answer, at the cost of a real one."""
    work: list[int] = []
    real_check, real_hash = bcrypt.checkpw, bcrypt.hashpw

    def check(password: bytes, stored: bytes) -> bool:
        work.append(int(stored.split(b"$")[2]))
        return real_check(password, stored)

    def make(password: bytes, salt: bytes) -> bytes:
        work.append(int(salt.split(b"$")[2]))
        return real_hash(password, salt)

    await auth.confirmed("ada@example.com")
    await auth.confirmed("gone@example.com")
    await auth.confirmed("passwordless@example.com")
    await auth.sign_up("unconfirmed@example.com")
    auth.sql("update auth.users set deleted_at = now() where email like 'gone%%'")
    auth.sql("update auth.users set encrypted_password = '' where email like 'passwordless%%'")
    await auth.fails("POST", SIGN_IN, {"email": "first@example.com", "password": "makes a decoy"})
    monkeypatch.setattr(bcrypt, "checkpw", check)
    monkeypatch.setattr(bcrypt, "hashpw", make)
    for name in ("ada", "gone", "passwordless", "unconfirmed", "nobody"):
        body = {"email": f"{name}@example.com", "password": "wrong"}
        assert await auth.fails("POST", SIGN_IN, body) == (400, "invalid_credentials")
        assert work == [4], name
        work.clear()
    for name in ("ada", "unconfirmed", "new"):
        await auth.sign_up(f"{name}@example.com")
        assert work == [4], name
        work.clear()


async def test_answers_that_could_tell_keep_to_a_floor(auth: AuthServer) -> None:
    """Every one of them waits until the same moment, however soon it is ready."""
    await auth.confirmed("ada@example.com")
    runtime, floor_s = auth.auth.core.runtime, 0.03
    runtime.settings = replace(runtime.settings, answer_floor_s=floor_s)
    loop = asyncio.get_running_loop()
    for path, more in (
        ("/signup", {"password": PASSWORD}), ("/recover", {}), ("/otp", {}), ("/magiclink", {}),
        ("/resend", {"type": "signup"}),
    ):  # fmt: skip
        for email in ("ada@example.com", "nobody@example.com"):
            started_s = loop.time()
            await auth.request("POST", path, {"email": email, **more})
            assert loop.time() - started_s >= floor_s, (path, email)


async def test_secrets_are_compared_in_constant_time(
    auth_with: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stored secret a caller can guess at goes through the comparison that does not tell."""
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", OAUTH_SERVER_ENABLED="true",
        SECURITY_REFRESH_TOKEN_ALGORITHM_VERSION="2",
    )  # fmt: skip
    compared: set[str] = set()
    real = hmac.compare_digest

    def compare(one: Any, other: Any) -> bool:
        compared.update(
            value if isinstance(value, str) else bytes(value).hex() for value in (one, other)
        )
        return real(one, other)

    def was_compared(*secrets: str | bytes) -> bool:
        wanted = {item.encode().hex() if isinstance(item, str) else item.hex() for item in secrets}
        return wanted <= compared

    monkeypatch.setattr(hmac, "compare_digest", compare)
    session = await auth.sign_up("ada@example.com")
    bearer = session["access_token"]
    challenge = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    flow = {"code_challenge": challenge, "code_challenge_method": "s256"}
    await auth.ok("POST", "/otp", {"email": "ada@example.com", **flow})
    ((stored,),) = auth.sql("select recovery_token from auth.users")
    body = {"type": "email", "email": "ada@example.com", "token": "000000"}
    await auth.fails("POST", "/verify", body)
    assert was_compared(stored.removeprefix("pkce_")) or was_compared(stored)

    answer = await auth.request("GET", f"/verify?token={stored}&type=magiclink")
    code = parse_qs(urlsplit(answer.headers.get("location")).query)["code"][0]
    # The challenge itself is public: as a verifier it must not do.
    for wrong in (challenge, "x" * 43):
        guess = {"auth_code": code, "code_verifier": wrong}
        assert await auth.fails("POST", PKCE, guess) == (400, "bad_code_verifier")
    assert was_compared(challenge)
    assert await auth.ok("POST", PKCE, {"auth_code": code, "code_verifier": VERIFIER})

    factor = await auth.ok("POST", "/factors", {"factor_type": "totp"}, bearer=bearer)
    path = f"/factors/{factor['id']}"
    asked = await auth.ok("POST", f"{path}/challenge", bearer=bearer)
    now_s = auth.clock.now().timestamp()
    right = {code_at(factor["totp"]["secret"], step_at(now_s) + n) for n in (-1, 0, 1)}
    wrong = next(text for text in ("000000", "111111", "222222", "333333") if text not in right)
    proof = {"challenge_id": asked["id"], "code": wrong}
    await auth.fails("POST", f"{path}/verify", proof, bearer=bearer)
    assert was_compared(code_at(factor["totp"]["secret"], step_at(now_s)), wrong)

    made = {
        "client_name": "App",
        "redirect_uris": ["https://client.test/back"],
        "token_endpoint_auth_method": "client_secret_post",
    }
    client = await auth.ok("POST", "/admin/oauth/clients", made, bearer=auth.admin())
    guess = {"grant_type": "authorization_code", "client_id": client["client_id"], "code": "x"}
    await auth.fails("POST", "/oauth/token", {**guess, "client_secret": "wrong"})
    assert was_compared(hashlib.sha256(client["client_secret"].encode()).digest())

    await auth.ok("POST", REFRESH, {"refresh_token": session["refresh_token"]})
    token = session["refresh_token"] + "=" * (-len(session["refresh_token"]) % 4)
    signature = urlsafe_b64decode(token)[-20:-4]
    assert was_compared(signature)


async def test_every_kind_of_code_is_stored_as_a_hash(auth_with: Opener) -> None:
    auth = await auth_with(SMS_TEST_OTP="4152127777:424242", EXTERNAL_PHONE_ENABLED="true")
    session = await auth.confirmed("ada@example.com")
    bearer = session["access_token"]
    await auth.ok("POST", "/recover", {"email": "ada@example.com"})
    await auth.ok("GET", "/reauthenticate", bearer=bearer)
    await auth.ok("PUT", "/user", {"email": "new@example.com"}, bearer=bearer)
    await auth.ok("PUT", "/user", {"phone": "4152127777"}, bearer=bearer)
    await auth.sign_up("bob@example.com")
    codes = {Mail(message).code for message in await auth.mails()} | {"424242"}
    assert len(codes) >= 5
    kinds = auth.sql("select token_type::text, token_hash from auth.one_time_tokens")
    assert len(kinds) >= 5
    assert all(re.fullmatch(r"(pkce_)?[0-9a-f]{56}", stored) for _, stored in kinds)
    columns = "confirmation_token, recovery_token, email_change_token_new, phone_change_token, \
        email_change_token_current, reauthentication_token"
    rows = auth.sql(f"select {columns} from auth.users")
    assert not codes & {value for row in rows for value in row}


async def test_an_intruders_change_of_address_ends_with_a_new_password(auth: AuthServer) -> None:
    """Somebody who was in for a minute must not come back by a link they had sent to themselves."""
    stolen = await auth.confirmed("ada@example.com")
    change = {"email": "evil@example.com"}
    await auth.ok("PUT", "/user", change, bearer=stolen["access_token"])
    mails = [Mail(message) for message in await auth.mails()]
    await auth.ok("POST", "/recover", {"email": "ada@example.com"})
    body = {"type": "recovery", "email": "ada@example.com", "token": (await auth.last_mail()).code}
    owner = await auth.ok("POST", "/verify", body)
    await auth.ok("PUT", "/user", {"password": "another pass 2"}, bearer=owner["access_token"])
    for mail in mails:
        link = urlsplit(mail.link)
        answer = await auth.request("GET", f"/verify?{link.query}")
        assert "error_code=otp_expired" in answer.headers.get("location")
    assert auth.sql("select email from auth.users") == [("ada@example.com",)]
    for method, path, sent in (
        ("GET", "/user", None),
        ("PUT", "/user", {"email": "evil@example.com"}),
    ):
        gone = await auth.fails(method, path, sent, bearer=stolen["access_token"])
        assert gone == (403, "session_not_found")
    used = await auth.fails("POST", REFRESH, {"refresh_token": stolen["refresh_token"]})
    assert used == (400, "refresh_token_not_found")
