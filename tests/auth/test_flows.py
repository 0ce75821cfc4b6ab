"""Flows from beginning to end: mail, phone, invitations, links, anonymous users, administration."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import bcrypt
import jwt
import pytest
from tests.auth.auth_server import PASSWORD, AuthServer, Mail
from tests.auth.conftest import Opener

from selfbase.auth.sms import SmsSender

SIGN_IN = "/token?grant_type=password"


class Phone:
    """A provider that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    async def send(self, phone: str, text: str, channel: str, code: str) -> str:
        self.sent.append((phone, text))
        return "message-1"

    async def check(self, phone: str, code: str) -> bool | None:
        return None

    @property
    def code(self) -> str:
        return self.sent[-1][1].rsplit(" ", 1)[-1]


async def with_phone(auth_with: Opener, **settings: str) -> tuple[AuthServer, Phone]:
    auth = await auth_with(EXTERNAL_PHONE_ENABLED="true", SMS_PROVIDER="fake", **settings)
    phone = Phone()
    auth.auth.core.sms = SmsSender(auth.auth.core.outgoing, {"fake": lambda *_: phone})
    return auth, phone


def fragment(location: str) -> dict[str, str]:
    members = parse_qs(urlsplit(location).fragment, keep_blank_values=True)
    return {name: values[0] for name, values in members.items()}


async def open_link(auth: AuthServer, link: str) -> str:
    answer = await auth.request("GET", "/verify?" + urlsplit(link).query)
    assert answer.status == 303
    return answer.headers.get("location")


async def test_a_confirmation_link_signs_in(auth: AuthServer) -> None:
    await auth.sign_up("ada@example.com")
    location = await open_link(auth, (await auth.last_mail()).link)
    assert location.startswith("https://app.test#access_token=")
    members = fragment(location)
    assert members.keys() == {
        "access_token", "expires_at", "expires_in", "refresh_token", "sb", "token_type", "type",
    }  # fmt: skip
    assert members["type"] == "signup"
    assert members["sb"] == ""
    user = await auth.ok("GET", "/user", bearer=members["access_token"])
    assert user["identities"][0]["identity_data"]["email_verified"] is True
    again = fragment(await open_link(auth, (await auth.last_mail()).link))
    assert again["error_code"] == "otp_expired"
    assert again["error"] == "access_denied"


async def test_a_magic_link_makes_an_account_and_later_signs_in(auth: AuthServer) -> None:
    await auth.ok("POST", "/otp", {"email": "ada@example.com", "data": {"a": 1}})
    mail = await auth.last_mail()
    assert mail.message["subject"] == "Confirm your email address"
    body = {"type": "email", "email": "ada@example.com", "token": mail.code}
    session = await auth.ok("POST", "/verify", body)
    assert session["user"]["user_metadata"]["a"] == 1
    await auth.ok("POST", "/otp", {"email": "ada@example.com"})
    mail = await auth.last_mail()
    assert mail.message["subject"] == "Your sign-in link"
    query = parse_qs(urlsplit(mail.link).query)
    by_hash = {"type": "email", "token_hash": query["token"][0]}
    assert (await auth.ok("POST", "/verify", by_hash))["access_token"]
    unknown = {"email": "nobody@example.com", "create_user": False}
    assert await auth.fails("POST", "/otp", unknown) == (422, "otp_disabled")


async def test_recovery_leads_to_a_new_password(auth: AuthServer) -> None:
    await auth.confirmed("ada@example.com")
    await auth.ok(
        "POST", "/recover?redirect_to=https://app.test/reset", {"email": "ada@example.com"}
    )
    location = await open_link(auth, (await auth.last_mail()).link)
    assert location.startswith("https://app.test/reset#")
    token = fragment(location)["access_token"]
    same = await auth.fails("PUT", "/user", {"password": PASSWORD}, bearer=token)
    assert same == (422, "same_password")
    await auth.ok("PUT", "/user", {"password": "a new password"}, bearer=token)
    assert (await auth.sign_in("ada@example.com", "a new password"))["access_token"]
    old = {"email": "ada@example.com", "password": PASSWORD}
    assert await auth.fails("POST", SIGN_IN, old) == (400, "invalid_credentials")


async def test_a_change_of_address_needs_both_addresses(auth: AuthServer) -> None:
    session = await auth.confirmed("ada@example.com")
    token = session["access_token"]
    pending = await auth.ok("PUT", "/user", {"email": "New@Example.com"}, bearer=token)
    assert pending["new_email"] == "new@example.com"
    assert pending["email"] == "ada@example.com"
    mails = {str(mail["to"]): Mail(mail) for mail in await auth.mails()}
    first = {
        "type": "email_change",
        "email": "new@example.com",
        "token": mails["new@example.com"].code,
    }
    half = await auth.ok("POST", "/verify", first)
    assert half["code"] == "200"
    assert (await auth.ok("GET", "/user", bearer=token))["email"] == "ada@example.com"
    # The same address cannot agree twice.
    assert await auth.fails("POST", "/verify", first) == (403, "otp_expired")
    location = await open_link(auth, mails["ada@example.com"].link)
    assert "access_token" in fragment(location)
    user = await auth.ok("GET", "/user", bearer=token)
    assert user["email"] == "new@example.com"
    assert user["identities"][0]["identity_data"]["email"] == "new@example.com"
    assert "new_email" not in user


async def test_an_address_that_is_taken_cannot_be_changed_to(auto: AuthServer) -> None:
    await auto.sign_up("bob@example.com")
    session = await auto.sign_up("ada@example.com")
    change = {"email": "BOB@example.com"}
    refused = await auto.fails("PUT", "/user", change, bearer=session["access_token"])
    assert refused == (422, "email_exists")


async def test_sign_up_and_in_by_phone(auth_with: Opener) -> None:
    auth, phone = await with_phone(auth_with)
    user = await auth.ok("POST", "/signup", {"phone": "+1 555 123 4567", "password": PASSWORD})
    assert user["phone"] == "15551234567"
    assert phone.sent[0][0] == "15551234567"
    body = {"type": "sms", "phone": "+15551234567", "token": phone.code}
    session = await auth.ok("POST", "/verify", body)
    assert session["user"]["phone_confirmed_at"]
    sign_in = {"phone": "15551234567", "password": PASSWORD}
    assert (await auth.ok("POST", SIGN_IN, sign_in))["access_token"]
    sent = await auth.ok("POST", "/otp", {"phone": "15551234567"})
    assert sent == {"message_id": "message-1"}
    assert await auth.fails("POST", "/otp", {"phone": "0123"}) == (400, "validation_failed")


async def test_a_change_of_phone(auth_with: Opener) -> None:
    auth, phone = await with_phone(auth_with)
    session = await auth.confirmed("ada@example.com")
    user = await auth.ok("PUT", "/user", {"phone": "15550001"}, bearer=session["access_token"])
    assert user["new_phone"] == "15550001"
    body = {"type": "phone_change", "phone": "15550001", "token": phone.code}
    changed = await auth.ok("POST", "/verify", body)
    assert changed["user"]["phone"] == "15550001"
    assert {i["provider"] for i in changed["user"]["identities"]} == {"email", "phone"}
    assert changed["user"]["app_metadata"]["providers"] == ["email", "phone"]


async def test_test_numbers_have_fixed_codes(auth_with: Opener) -> None:
    auth, phone = await with_phone(auth_with, SMS_TEST_OTP="15550009:123456")
    await auth.ok("POST", "/otp", {"phone": "15550009"})
    assert phone.sent == []
    body = {"type": "sms", "phone": "15550009", "token": "123456"}
    assert (await auth.ok("POST", "/verify", body))["user"]["phone"] == "15550009"


async def test_an_anonymous_user_becomes_a_permanent_one(auth_with: Opener) -> None:
    auth = await auth_with(EXTERNAL_ANONYMOUS_USERS_ENABLED="true")
    session = await auth.ok("POST", "/signup", {"data": {"cart": 1}})
    assert session["user"]["is_anonymous"] is True
    assert session["user"]["app_metadata"] == {}
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["is_anonymous"] is True
    assert claims["amr"][0]["method"] == "anonymous"
    token = session["access_token"]
    alone = await auth.fails("PUT", "/user", {"password": PASSWORD}, bearer=token)
    assert alone == (422, "validation_failed")
    await auth.ok("PUT", "/user", {"email": "ada@example.com"}, bearer=token)
    code = (await auth.last_mail()).code
    body = {"type": "email_change", "email": "ada@example.com", "token": code}
    changed = await auth.ok("POST", "/verify", body)
    assert changed["user"]["is_anonymous"] is False
    assert changed["user"]["id"] == session["user"]["id"]
    assert changed["user"]["identities"][0]["provider"] == "email"


async def test_anonymous_sign_in_is_off_by_default(auth: AuthServer) -> None:
    assert await auth.fails("POST", "/signup", {}) == (422, "anonymous_provider_disabled")


async def test_an_invited_person_sets_a_password(auth: AuthServer) -> None:
    body = {"email": "ada@example.com", "data": {"team": "x"}}
    user = await auth.ok("POST", "/invite", body, bearer=auth.admin())
    assert user["invited_at"]
    location = await open_link(auth, (await auth.last_mail()).link)
    token = fragment(location)["access_token"]
    await auth.ok("PUT", "/user", {"password": PASSWORD}, bearer=token)
    session = await auth.sign_in("ada@example.com")
    assert session["user"]["user_metadata"]["team"] == "x"
    again = await auth.fails("POST", "/invite", body, bearer=auth.admin())
    assert again == (422, "email_exists")


@pytest.mark.parametrize("kind", ["signup", "invite", "magiclink", "recovery"])
async def test_generated_links_work(auth: AuthServer, kind: str) -> None:
    if kind == "recovery":
        await auth.confirmed("ada@example.com")
    body = {"type": kind, "email": "ada@example.com"}
    if kind == "signup":
        body["password"] = PASSWORD
    link = await auth.ok("POST", "/admin/generate_link", body, bearer=auth.admin())
    assert link["email"] == "ada@example.com"
    assert link["verification_type"] == ("signup" if kind == "magiclink" else kind)
    assert link["action_link"].startswith("https://project.test/auth/v1/verify?token=")
    assert await auth.mails() == []
    proof = {"type": link["verification_type"], "token_hash": link["hashed_token"]}
    assert (await auth.ok("POST", "/verify", proof))["access_token"]


async def test_generated_links_for_a_change_of_address(auth: AuthServer) -> None:
    await auth.confirmed("ada@example.com")
    links = {}
    for kind in ("email_change_current", "email_change_new"):
        body = {"type": kind, "email": "ada@example.com", "new_email": "new@example.com"}
        links[kind] = await auth.ok("POST", "/admin/generate_link", body, bearer=auth.admin())
    for index, link in enumerate(links.values()):
        proof = {"type": "email_change", "token_hash": link["hashed_token"]}
        answer = await auth.ok("POST", "/verify", proof)
        assert ("access_token" in answer) is (index == 1)
    assert answer["user"]["email"] == "new@example.com"


async def test_reauthentication_before_an_old_session_changes_the_password(
    auth_with: Opener,
) -> None:
    auth = await auth_with(SECURITY_UPDATE_PASSWORD_REQUIRE_REAUTHENTICATION="true")
    session = await auth.confirmed("ada@example.com")
    auth.clock.step(hours=25)
    refreshed = await auth.ok(
        "POST", "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    token = refreshed["access_token"]
    change = {"password": "another pass 2"}
    needed = await auth.fails("PUT", "/user", change, bearer=token)
    assert needed == (400, "reauthentication_needed")
    await auth.ok("GET", "/reauthenticate", bearer=token)
    wrong = await auth.fails("PUT", "/user", {**change, "nonce": "000000"}, bearer=token)
    assert wrong == (422, "reauthentication_not_valid")
    code = (await auth.last_mail()).code
    await auth.ok("PUT", "/user", {**change, "nonce": code}, bearer=token)


async def test_the_current_password_may_be_asked_for(auth_with: Opener) -> None:
    auth = await auth_with(SECURITY_UPDATE_PASSWORD_REQUIRE_CURRENT_PASSWORD="true")
    token = (await auth.confirmed("ada@example.com"))["access_token"]
    change = {"password": "another pass 2"}
    missing = await auth.fails("PUT", "/user", change, bearer=token)
    assert missing == (400, "current_password_required")
    wrong = await auth.fails("PUT", "/user", {**change, "current_password": "no"}, bearer=token)
    assert wrong == (400, "current_password_invalid")
    await auth.ok("PUT", "/user", {**change, "current_password": PASSWORD}, bearer=token)


async def test_metadata_is_merged_and_null_removes(auto: AuthServer) -> None:
    token = (await auto.sign_up("ada@example.com", data={"a": 1, "b": 2}))["access_token"]
    user = await auto.ok("PUT", "/user", {"data": {"a": None, "c": {"d": [1]}}}, bearer=token)
    assert "a" not in user["user_metadata"]
    assert user["user_metadata"]["b"] == 2
    assert user["user_metadata"]["c"] == {"d": [1]}


async def test_identities_can_be_unlinked_but_never_the_last(auth_with: Opener) -> None:
    auth, phone = await with_phone(auth_with, SECURITY_MANUAL_LINKING_ENABLED="true")
    session = await auth.confirmed("ada@example.com")
    token = session["access_token"]
    own = session["user"]["identities"][0]["identity_id"]
    last = await auth.fails("DELETE", f"/user/identities/{own}", bearer=token)
    assert last == (422, "single_identity_not_deletable")
    await auth.ok("PUT", "/user", {"phone": "15550001"}, bearer=token)
    await auth.ok(
        "POST", "/verify", {"type": "phone_change", "phone": "15550001", "token": phone.code}
    )
    user = await auth.ok("GET", "/user", bearer=token)
    by_phone = next(i for i in user["identities"] if i["provider"] == "phone")
    await auth.ok("DELETE", f"/user/identities/{by_phone['identity_id']}", {}, bearer=token)
    user = await auth.ok("GET", "/user", bearer=token)
    assert [i["provider"] for i in user["identities"]] == ["email"]
    assert user["phone"] == ""
    assert user["app_metadata"]["providers"] == ["email"]


async def test_administrators_manage_users(auth: AuthServer) -> None:
    admin = auth.admin()
    made = await auth.ok(
        "POST", "/admin/users",
        {"email": "ada@example.com", "password": PASSWORD, "email_confirm": True,
         "user_metadata": {"a": 1}, "app_metadata": {"plan": "pro"}}, bearer=admin,
    )  # fmt: skip
    assert made["app_metadata"]["plan"] == "pro"
    twice = await auth.fails("POST", "/admin/users", {"email": "ADA@example.com"}, bearer=admin)
    assert twice == (422, "email_exists")
    path = f"/admin/users/{made['id']}"
    session = await auth.sign_in("ada@example.com")
    changed = await auth.ok(
        "PUT", path, {"email": "new@example.com", "app_metadata": {"plan": None}}, bearer=admin
    )
    assert changed["email"] == "new@example.com"
    assert "plan" not in changed["app_metadata"]
    await auth.ok("PUT", path, {"password": "set by admin"}, bearer=admin)
    gone = await auth.fails("GET", "/user", bearer=session["access_token"])
    assert gone == (403, "session_not_found")
    assert (await auth.sign_in("new@example.com", "set by admin"))["user"]["id"] == made["id"]
    assert await auth.fails("GET", "/admin/users/nonsense", bearer=admin) == (
        404,
        "validation_failed",
    )
    await auth.ok("DELETE", path, {}, bearer=admin)
    assert await auth.fails("GET", path, bearer=admin) == (404, "user_not_found")
    actions = {e["payload"]["action"] for e in await auth.ok("GET", "/admin/audit", bearer=admin)}
    assert {"user_signedup", "login", "user_modified", "user_deleted"} <= actions


async def test_users_come_in_pages(auth: AuthServer) -> None:
    for number in range(5):
        body = {"email": f"user{number}@example.com"}
        await auth.ok("POST", "/admin/users", body, bearer=auth.admin())
    answer = await auth.request("GET", "/admin/users?page=2&per_page=2", bearer=auth.admin())
    assert [user["email"] for user in answer.json()["users"]] == [
        "user2@example.com",
        "user1@example.com",
    ]
    assert answer.headers.get("x-total-count") == "5"
    assert answer.headers.get("link") == (
        '</admin/users?page=3&per_page=2>; rel="next", </admin/users?page=3&per_page=2>; rel="last"'
    )
    found = await auth.ok("GET", "/admin/users?filter=user3", bearer=auth.admin())
    assert [user["email"] for user in found["users"]] == ["user3@example.com"]
    assert found["users"][0]["identities"]
    for query in ("page=-1", "sort=email", "sort=created_at%20up"):
        bad = await auth.fails("GET", f"/admin/users?{query}", bearer=auth.admin())
        assert bad == (400, "validation_failed")


async def test_users_come_behind_a_cursor(auth_with: Opener) -> None:
    auth = await auth_with(EXPERIMENTAL_CURSOR_PAGINATION_ENABLED="true")
    for number in range(5):
        body = {"email": f"user{number}@example.com"}
        await auth.ok("POST", "/admin/users", body, bearer=auth.admin())
    seen, path = [], "/admin/users?limit=2&sort=created_at%20asc"
    for more in (True, True, False):
        answer = await auth.request("GET", path, bearer=auth.admin())
        seen += [user["email"] for user in answer.json()["users"]]
        pagination = answer.json()["pagination"]
        assert pagination["has_more"] is more
        assert ("next_cursor" in pagination) is more
        link = answer.headers.find("link")
        assert (link is not None) is more
        if link is not None:
            path = link[1:].partition(">")[0]
            assert pagination["next_cursor"] in path
    assert seen == [f"user{number}@example.com" for number in range(5)]
    latest = await auth.ok("GET", "/admin/users?limit=1", bearer=auth.admin())
    assert [user["email"] for user in latest["users"]] == ["user4@example.com"]
    numbered = await auth.request("GET", "/admin/users?page=1", bearer=auth.admin())
    assert numbered.headers.get("x-total-count") == "5"
    for query in ("limit=0", "limit=x", "cursor=nonsense", "cursor=e30"):
        bad = await auth.fails("GET", f"/admin/users?{query}", bearer=auth.admin())
        assert bad == (400, "validation_failed")


async def test_an_address_set_by_an_administrator_proves_nothing(auth_with: Opener) -> None:
    auth = await auth_with(EXTERNAL_ANONYMOUS_USERS_ENABLED="true")
    for sure in (False, True):
        user = (await auth.ok("POST", "/signup", {}))["user"]
        body = {"email": f"{sure}@example.com".lower(), "email_confirm": sure}
        path = f"/admin/users/{user['id']}"
        changed = await auth.ok("PUT", path, body, bearer=auth.admin())
        assert changed["is_anonymous"] is not sure
        assert changed["identities"][0]["identity_data"]["email_verified"] is sure
    weak = await auth.fails("PUT", path, {"password": ""}, bearer=auth.admin())
    assert weak == (422, "weak_password")


async def test_soft_deletion_leaves_nothing_that_tells_who_it_was(auth: AuthServer) -> None:
    session = await auth.confirmed("ada@example.com")
    path = f"/admin/users/{session['user']['id']}"
    await auth.ok("DELETE", path, {"should_soft_delete": True}, bearer=auth.admin())
    rows = auth.sql(
        "select u::text from auth.users u union all select i::text from auth.identities i"
    )
    assert len(rows) == 2
    assert not any("ada@" in row[0] for row in rows)
    assert auth.sql("select count(*) from auth.sessions") == [(0,)]
    assert (await auth.sign_up("ada@example.com"))["identities"]
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await auth.fails("POST", SIGN_IN, body))[0] == 400


async def test_rows_inserted_by_hand_can_sign_in(auth: AuthServer) -> None:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
    auth.sql(
        """insert into auth.users (instance_id, id, aud, role, email, encrypted_password,
             email_confirmed_at, created_at, updated_at)
           values ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated',
             'authenticated', 'seed@example.com', %s, now(), now(), now())""",
        hashed,
    )
    session = await auth.sign_in("seed@example.com")
    assert session["user"]["app_metadata"] == {}
    assert (await auth.ok("GET", "/user", bearer=session["access_token"]))["phone"] == ""


async def test_a_trigger_that_raises_undoes_the_sign_up_and_is_named(auto: AuthServer) -> None:
    auto.sql(
        """create function public.no_guests() returns trigger language plpgsql as
           $$ begin raise exception 'guests are not welcome'; end $$"""
    )
    auto.sql(
        "create trigger t after insert on auth.users for each row execute function public.no_guests()"
    )
    body = {"email": "ada@example.com", "password": PASSWORD}
    answer = await auto.request("POST", "/signup", body)
    assert answer.status == 500
    assert answer.json()["message"] == "Database error saving new user: guests are not welcome"
    assert auto.sql("select count(*) from auth.users") == [(0,)]


async def test_error_bodies_follow_the_version_asked_for(auth: AuthServer) -> None:
    new = await auth.request("POST", "/token?grant_type=password", {"email": "a@b.test"})
    assert new.headers.get("x-supabase-api-version") == "2024-01-01"
    assert new.json() == {"code": "invalid_credentials", "message": "Invalid login credentials"}
    old = await auth.client.request("POST", SIGN_IN, json={"email": "a@b.test"})
    assert old.json() == {
        "code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials",
    }  # fmt: skip
    assert old.headers.get("x-sb-error-code") == "invalid_credentials"
    assert (await auth.request("GET", "/nowhere")).status == 404
    assert (await auth.request("PATCH", "/user")).headers.get("allow") == "GET, PUT"


async def test_weak_passwords_are_refused_with_reasons(auth_with: Opener) -> None:
    auth = await auth_with(
        PASSWORD_MIN_LENGTH="8",
        PASSWORD_REQUIRED_CHARACTERS="abcdefghijklmnopqrstuvwxyz:0123456789",
    )
    answer = await auth.request("POST", "/signup", {"email": "a@b.test", "password": "SHORT"})
    assert answer.status == 422
    assert answer.json()["weak_password"] == {"reasons": ["length", "characters"]}
    long = {"email": "a@b.test", "password": "a1" * 40}
    assert await auth.fails("POST", "/signup", long) == (400, "validation_failed")


async def test_mail_to_one_person_keeps_its_distance(auth_with: Opener) -> None:
    auth = await auth_with(SMTP_MAX_FREQUENCY="60s")
    await auth.sign_up("ada@example.com")
    answer = await auth.request("POST", "/resend", {"type": "signup", "email": "ada@example.com"})
    assert answer.json()["code"] == "over_email_send_rate_limit"
    assert "For security purposes, you can only request this after" in answer.json()["message"]
    auth.clock.step(seconds=61)
    await auth.ok("POST", "/resend", {"type": "signup", "email": "ada@example.com"})


async def test_the_project_has_a_quota_of_mails(auth_with: Opener) -> None:
    auth = await auth_with(RATE_LIMIT_EMAIL_SENT="2")
    for number in range(2):
        await auth.sign_up(f"user{number}@example.com")
    third = {"email": "user3@example.com", "password": PASSWORD}
    assert await auth.fails("POST", "/signup", third) == (429, "over_email_send_rate_limit")
    assert auth.sql("select count(*) from auth.users") == [(2,)]
