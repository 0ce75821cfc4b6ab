"""Second factors: enrolling, proving, removing, and the ways around them that must not work."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from tests.auth.auth_server import AuthServer
from tests.auth.authenticator import Authenticator
from tests.auth.conftest import Opener

from selfbase.auth.logic import totp
from selfbase.auth.sms_providers import PROVIDERS

Session = dict[str, Any]


def claims_of(session: Session) -> dict[str, Any]:
    return jwt.decode(session["access_token"], options={"verify_signature": False})


class Holder:
    """A signed-in person with a TOTP app."""

    def __init__(self, auth: AuthServer, session: Session) -> None:
        self.auth, self.session = auth, session
        self.factor: dict[str, Any] = {}

    @property
    def bearer(self) -> str:
        return str(self.session["access_token"])

    async def enroll(self, name: str = "phone app") -> dict[str, Any]:
        body = {"factor_type": "totp", "friendly_name": name}
        self.factor = await self.auth.ok("POST", "/factors", body, bearer=self.bearer)
        return self.factor

    def code(self, steps: int = 0) -> str:
        step = totp.step_at(self.auth.clock.now().timestamp()) + steps
        return totp.code_at(self.factor["totp"]["secret"], step)

    async def challenge(self) -> dict[str, Any]:
        path = f"/factors/{self.factor['id']}/challenge"
        return await self.auth.ok("POST", path, {}, bearer=self.bearer)

    async def answer(self, code: str, challenge_id: str | None = None, **options: Any) -> Any:
        challenge_id = challenge_id or (await self.challenge())["id"]
        path = f"/factors/{self.factor['id']}/verify"
        body = {"challenge_id": challenge_id, "code": code}
        return await self.auth.request("POST", path, body, bearer=self.bearer, **options)

    async def verify(self) -> Session:
        answer = await self.answer(self.code())
        assert answer.status == 200, answer.text
        self.session = answer.json()
        return self.session


@pytest.fixture
async def holder(auto: AuthServer) -> Holder:
    return Holder(auto, await auto.sign_up("ada@example.com"))


def refused(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json()["code"]


async def test_a_proven_factor_raises_the_session(holder: Holder) -> None:
    auth, other = holder.auth, await holder.auth.sign_in("ada@example.com")
    factor = await holder.enroll()
    assert factor["type"] == "totp"
    assert factor["totp"]["qr_code"].startswith("<svg")
    assert factor["totp"]["uri"].startswith("otpauth://totp/app.test:ada@example.com?")
    before = claims_of(holder.session)
    session = await holder.verify()
    claims = claims_of(session)
    assert claims["aal"] == "aal2"
    assert claims["amr"][0]["method"] == "totp"
    assert claims["session_id"] == before["session_id"]
    assert session["user"]["factors"][0]["status"] == "verified"
    # Every session that has not proven the factor ends.
    gone = await auth.fails("GET", "/user", bearer=other["access_token"])
    assert gone == (403, "session_not_found")
    refreshed = await auth.ok(
        "POST", "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    assert claims_of(refreshed)["aal"] == "aal2"


async def test_secrets_can_be_sealed_in_their_column(auth_with: Opener) -> None:
    key = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE"
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", SECURITY_DB_ENCRYPTION_ENCRYPT="true",
        SECURITY_DB_ENCRYPTION_ENCRYPTION_KEY_ID="k", SECURITY_DB_ENCRYPTION_ENCRYPTION_KEY=key,
        SECURITY_DB_ENCRYPTION_DECRYPTION_KEYS=f"k:{key}",
    )  # fmt: skip
    holder = Holder(auth, await auth.sign_up("ada@example.com"))
    factor = await holder.enroll()
    ((stored,),) = auth.sql("select secret from auth.mfa_factors")
    assert factor["totp"]["secret"] not in stored
    assert claims_of(await holder.verify())["aal"] == "aal2"


async def test_a_new_sign_in_begins_at_aal1(holder: Holder) -> None:
    await holder.enroll()
    await holder.verify()
    low = await holder.auth.sign_in("ada@example.com")
    assert claims_of(low)["aal"] == "aal1"
    for method, path, body in (
        ("POST", "/factors", {"factor_type": "totp"}),
        ("PUT", "/user", {"password": "another pass 2"}),
    ):
        status, code = await holder.auth.fails(method, path, body, bearer=low["access_token"])
        assert code == "insufficient_aal"
        assert status in (401, 403)
    path = f"/factors/{holder.factor['id']}"
    assert await holder.auth.fails("DELETE", path, bearer=low["access_token"]) == (
        422, "insufficient_aal",
    )  # fmt: skip


async def test_a_code_works_once(holder: Holder) -> None:
    await holder.enroll()
    code = holder.code()
    assert (await holder.answer(code)).status == 200
    holder.session = await holder.auth.sign_in("ada@example.com")
    assert refused(await holder.answer(code)) == (422, "mfa_verification_failed")
    holder.auth.clock.step(seconds=60)
    assert (await holder.answer(holder.code())).status == 200


async def test_a_challenge_works_once_in_time_and_from_its_address(holder: Holder) -> None:
    await holder.enroll()
    challenge = await holder.challenge()
    assert (await holder.answer(holder.code(), challenge["id"])).status == 200
    holder.session = await holder.auth.sign_in("ada@example.com")
    holder.auth.clock.step(seconds=60)
    again = await holder.answer(holder.code(), challenge["id"])
    assert refused(again) == (422, "mfa_ip_address_mismatch")
    challenge = await holder.challenge()
    holder.auth.clock.step(seconds=301)
    late = await holder.answer(holder.code(), challenge["id"])
    assert refused(late) == (422, "mfa_challenge_expired")
    gone = await holder.answer(holder.code(), challenge["id"])
    assert refused(gone) == (422, "mfa_factor_not_found")


async def test_a_challenge_belongs_to_an_address(auth_with: Opener) -> None:
    auth = await auth_with(MAILER_AUTOCONFIRM="true", RATE_LIMIT_HEADER="x-address")
    holder = Holder(auth, await auth.sign_up("ada@example.com"))
    await holder.enroll()
    challenge = await auth.ok(
        "POST", f"/factors/{holder.factor['id']}/challenge", {}, bearer=holder.bearer,
        headers={"x-address": "192.0.2.1"},
    )  # fmt: skip
    answer = await holder.answer(holder.code(), challenge["id"], headers={"x-address": "192.0.2.2"})
    assert refused(answer) == (422, "mfa_ip_address_mismatch")
    answer = await holder.answer(holder.code(), challenge["id"], headers={"x-address": "192.0.2.1"})
    assert answer.status == 200


async def test_guessing_is_stopped_from_whatever_address(auth_with: Opener) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", RATE_LIMIT_HEADER="x-address", MFA_ATTEMPTS_MAX="5"
    )
    holder = Holder(auth, await auth.sign_up("ada@example.com"))
    await holder.enroll()
    outcomes = []
    for number in range(8):
        headers = {"x-address": f"192.0.2.{number}"}
        challenge = await auth.ok(
            "POST", f"/factors/{holder.factor['id']}/challenge", {}, bearer=holder.bearer,
            headers=headers,
        )  # fmt: skip
        wrong = str((int(holder.code()) + 1 + number) % 10**6).zfill(6)
        outcomes.append(refused(await holder.answer(wrong, challenge["id"], headers=headers)))
    assert outcomes[0] == (422, "mfa_verification_failed")
    assert outcomes[-1] == (429, "over_request_rate_limit")
    # The right code is refused, too: otherwise the limit would tell it apart.
    assert refused(await holder.answer(holder.code())) == (429, "over_request_rate_limit")


async def test_another_persons_factor_is_not_there(holder: Holder) -> None:
    await holder.enroll()
    challenge = await holder.challenge()
    mallory = await holder.auth.sign_up("mallory@example.com")
    for method, path, body in (
        ("POST", f"/factors/{holder.factor['id']}/challenge", {}),
        (
            "POST",
            f"/factors/{holder.factor['id']}/verify",
            {"challenge_id": challenge["id"], "code": holder.code()},
        ),
        ("DELETE", f"/factors/{holder.factor['id']}", None),
    ):
        found = await holder.auth.fails(method, path, body, bearer=mallory["access_token"])
        assert found == (404, "mfa_factor_not_found")
    # A challenge of one factor proves no other.
    thief = Holder(holder.auth, mallory)
    await thief.enroll()
    answer = await thief.answer(thief.code(), challenge["id"])
    assert refused(answer) == (422, "mfa_factor_not_found")


async def test_unenrolling_takes_the_session_down(holder: Holder) -> None:
    await holder.enroll()
    session = await holder.verify()
    gone = await holder.auth.ok("DELETE", f"/factors/{holder.factor['id']}", bearer=holder.bearer)
    assert gone == {"id": holder.factor["id"]}
    refreshed = await holder.auth.ok(
        "POST", "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    claims = claims_of(refreshed)
    assert claims["aal"] == "aal1"
    assert "totp" not in [entry["method"] for entry in claims["amr"]]


async def test_limits_and_names(auth_with: Opener) -> None:
    auth = await auth_with(MAILER_AUTOCONFIRM="true", MFA_MAX_ENROLLED_FACTORS="2")
    holder = Holder(auth, await auth.sign_up("ada@example.com"))
    await holder.enroll("one")
    same = {"factor_type": "totp", "friendly_name": "one"}
    found = await auth.fails("POST", "/factors", same, bearer=holder.bearer)
    assert found == (422, "mfa_factor_name_conflict")
    await holder.enroll("two")
    third = {"factor_type": "totp", "friendly_name": "three"}
    found = await auth.fails("POST", "/factors", third, bearer=holder.bearer)
    assert found == (422, "too_many_enrolled_mfa_factors")
    # What was never verified does not count for ever.
    auth.clock.step(seconds=400)
    holder.session = await auth.sign_in("ada@example.com")
    await holder.enroll("three")


BAD_ENROLLMENTS: tuple[Any, ...] = (
    ({"factor_type": "carrier pigeon"}, "validation_failed"),
    ({"factor_type": "phone", "phone": "+15551234567"}, "mfa_phone_enroll_not_enabled"),
    ({"factor_type": "webauthn"}, "mfa_webauthn_enroll_not_enabled"),
    ({"factor_type": "totp", "friendly_name": "n" * 300}, "validation_failed"),
    ({"factor_type": 7}, "bad_json"),
    ({}, "validation_failed"),
)  # fmt: skip


async def test_bad_enrollments(holder: Holder) -> None:
    for body, code in BAD_ENROLLMENTS:
        assert (await holder.auth.fails("POST", "/factors", body, bearer=holder.bearer))[1] == code


async def test_anonymous_people_have_no_factors(auth_with: Opener) -> None:
    auth = await auth_with(EXTERNAL_ANONYMOUS_USERS_ENABLED="true")
    session = await auth.ok("POST", "/signup", {})
    found = await auth.fails(
        "POST", "/factors", {"factor_type": "totp"}, bearer=session["access_token"]
    )
    assert found == (403, "no_authorization")


async def test_phone_codes_are_stored_hashed_and_work_once(auth_with: Opener) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", MFA_PHONE_ENROLL_ENABLED="true",
        MFA_PHONE_VERIFY_ENABLED="true", SMS_TEST_OTP="15551234567=111111,15551234567:123456",
    )  # fmt: skip
    holder = Holder(auth, await auth.sign_up("ada@example.com"))
    body = {"factor_type": "phone", "phone": "+1 555 1234567", "friendly_name": "mobile"}
    holder.factor = await auth.ok("POST", "/factors", body, bearer=holder.bearer)
    assert holder.factor["phone"] == "+1 555 1234567"
    challenge = await holder.challenge()
    (stored,) = auth.sql("select otp_code from auth.mfa_challenges")[0]
    assert "123456" not in stored
    assert refused(await holder.answer("654321", challenge["id"])) == (
        422, "mfa_verification_failed",
    )  # fmt: skip
    answer = await holder.answer("123456", challenge["id"])
    assert answer.status == 200
    session = answer.json()
    assert claims_of(session)["amr"][0]["method"] == "mfa/phone"
    again = await auth.fails("POST", "/factors", body, bearer=session["access_token"])
    assert again == (422, "mfa_verified_factor_exists")


async def test_webauthn_factors(auth_with: Opener) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", MFA_WEB_AUTHN_ENROLL_ENABLED="true",
        MFA_WEB_AUTHN_VERIFY_ENABLED="true",
    )  # fmt: skip
    holder = Holder(auth, await auth.sign_up("ada@example.com"))
    body = {"factor_type": "webauthn", "friendly_name": "key"}
    holder.factor = await auth.ok("POST", "/factors", body, bearer=holder.bearer)
    device = Authenticator()

    async def prove(kind: str, answer: dict[str, Any], challenge_id: str) -> Any:
        return await auth.request(
            "POST", f"/factors/{holder.factor['id']}/verify",
            {"challenge_id": challenge_id, "webauthn": {"type": kind, "credential_response": answer}},
            bearer=holder.bearer,
        )  # fmt: skip

    challenge = await holder.challenge()
    assert challenge["webauthn"]["type"] == "create"
    options = challenge["webauthn"]["credential_options"]["publicKey"]
    for attack in (Authenticator(origin="https://evil.test"), Authenticator(rp_id="evil.test")):
        mine = await holder.challenge()
        wanted = mine["webauthn"]["credential_options"]["publicKey"]
        found = await prove("create", attack.create(wanted), mine["id"])
        assert refused(found) == (422, "mfa_verification_failed")
    # Another ceremony's answer does not fit.
    other = await holder.challenge()
    assert (await prove("create", device.create(options), other["id"])).status == 422
    created = await prove("create", device.create(options), challenge["id"])
    assert created.status == 200, created.text
    holder.session = created.json()
    assert claims_of(holder.session)["amr"][0]["method"] == "mfa/webauthn"

    holder.session = await auth.sign_in("ada@example.com")
    challenge = await holder.challenge()
    assert challenge["webauthn"]["type"] == "request"
    options = challenge["webauthn"]["credential_options"]["publicKey"]
    # A verified factor never takes a new key.
    swap = await holder.challenge()
    assert (await prove("create", Authenticator().create(
        {"challenge": options["challenge"], "user": {"id": "AA"}}), swap["id"])).status == 422  # fmt: skip
    stranger = Authenticator(credential_id=device.credential_id, user_handle=device.user_handle)
    forged = await holder.challenge()
    wanted = forged["webauthn"]["credential_options"]["publicKey"]
    assert (await prove("request", stranger.get(wanted), forged["id"])).status == 422
    answer = device.get(options)
    assert (await prove("request", answer, challenge["id"])).status == 200
    # The same answer again: the challenge is gone.
    assert (await prove("request", answer, challenge["id"])).status == 422


async def test_the_hook_can_reject_and_ends_all_sessions(auth_with: Opener) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", HOOK_MFA_VERIFICATION_ATTEMPT_ENABLED="true",
        HOOK_MFA_VERIFICATION_ATTEMPT_URI="pg-functions://postgres/public/judge",
    )  # fmt: skip
    auth.sql(
        """create function public.judge(event jsonb) returns jsonb language sql as
           $$ select '{"decision": "reject", "message": "not today"}'::jsonb $$"""
    )
    auth.sql("grant execute on function public.judge to supabase_auth_admin")
    holder = Holder(auth, await auth.sign_up("ada@example.com"))
    await holder.enroll()
    answer = await holder.answer(holder.code())
    assert refused(answer) == (403, "mfa_verification_rejected")
    assert answer.json()["message"] == "not today"
    assert (await auth.fails("GET", "/user", bearer=holder.bearer))[1] == "session_not_found"


async def test_administrators_see_and_remove_factors(holder: Holder) -> None:
    auth = holder.auth
    await holder.enroll()
    await holder.verify()
    path = f"/admin/users/{holder.session['user']['id']}/factors"
    listed = await auth.ok("GET", path, bearer=auth.admin())
    assert [factor["id"] for factor in listed] == [holder.factor["id"]]
    assert "secret" not in listed[0]
    one = f"{path}/{holder.factor['id']}"
    renamed = await auth.ok("PUT", one, {"friendly_name": "new"}, bearer=auth.admin())
    assert renamed["friendly_name"] == "new"
    assert (await auth.fails("DELETE", one, bearer=holder.bearer))[1] == "not_admin"
    await auth.ok("DELETE", one, bearer=auth.admin())
    assert await auth.ok("GET", path, bearer=auth.admin()) == []


def test_every_sms_company_can_be_chosen() -> None:
    assert set(PROVIDERS) == {"twilio", "twilio_verify", "messagebird", "textlocal", "vonage"}
