"""Attacks on accounts and tokens: each test is what somebody would try."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from tests.auth.auth_server import PASSWORD, SECRET, AuthServer, Mail, make_token
from tests.auth.conftest import Opener

from selfbase.auth.limits import PostgresBuckets
from selfbase.auth.routes import ROUTES
from selfbase.kit.routes import Access

SIGN_IN = "/token?grant_type=password"
REFRESH = "/token?grant_type=refresh_token"


async def test_sign_in_says_the_same_for_nobody_and_for_a_wrong_password(auth: AuthServer) -> None:
    await auth.confirmed("ada@example.com")
    wrong = {"email": "ada@example.com", "password": "wrong"}
    nobody = {"email": "bob@example.com", "password": "wrong"}
    one = await auth.request("POST", SIGN_IN, wrong)
    other = await auth.request("POST", SIGN_IN, nobody)
    assert (one.status, one.body) == (other.status, other.body)


async def test_a_ban_shows_only_to_who_knows_the_password(auth: AuthServer) -> None:
    session = await auth.confirmed("ada@example.com")
    path = f"/admin/users/{session['user']['id']}"
    await auth.ok("PUT", path, {"ban_duration": "24h"}, bearer=auth.admin())
    guess = {"email": "ada@example.com", "password": "wrong"}
    assert await auth.fails("POST", SIGN_IN, guess) == (400, "invalid_credentials")
    known = {"email": "ada@example.com", "password": PASSWORD}
    assert await auth.fails("POST", SIGN_IN, known) == (400, "user_banned")
    assert await auth.fails("GET", "/user", bearer=session["access_token"]) == (403, "user_banned")
    again = await auth.fails("POST", REFRESH, {"refresh_token": session["refresh_token"]})
    assert again == (400, "user_banned")


async def test_sign_up_looks_the_same_for_a_taken_address(auth: AuthServer) -> None:
    await auth.confirmed("ada@example.com")
    fresh = await auth.sign_up("new@example.com", data={"a": 1})
    taken = await auth.sign_up("ada@example.com", data={"a": 1})
    assert taken["identities"] == []
    assert taken["role"] == ""
    assert fresh.keys() == taken.keys()
    assert auth.sql("select count(*) from auth.users") == [(2,)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/recover", {}),
        ("/resend", {"type": "signup"}),
        ("/resend", {"type": "email_change"}),
        ("/otp", {}),
        ("/magiclink", {}),
    ],
)
async def test_asking_for_mail_says_the_same_for_everybody(
    auth_with: Opener, path: str, body: dict[str, str]
) -> None:
    auth = await auth_with(SMTP_MAX_FREQUENCY="60s")
    await auth.confirmed("ada@example.com")
    answers = []
    for email in ("ada@example.com", "nobody@example.com"):
        for _ in range(2):
            answer = await auth.request("POST", path, {"email": email, **body})
            answers.append((answer.status, re.sub(rb"\d+ seconds", b"N seconds", answer.body)))
    assert answers[:2] == answers[2:]


async def test_guessing_a_code_ends_after_ten_tries_over_all_workers(auth_with: Opener) -> None:
    one, two = await auth_with(), await auth_with()
    await one.sign_up("ada@example.com")
    code = (await one.last_mail()).code
    wrong = "000000" if code != "000000" else "111111"
    body = {"type": "signup", "email": "ada@example.com"}
    for turn in range(10):
        worker = (one, two)[turn % 2]
        failed = await worker.fails("POST", "/verify", {**body, "token": wrong})
        assert failed == (403, "otp_expired")
    assert await two.fails("POST", "/verify", {**body, "token": code}) == (403, "otp_expired")
    await one.ok("POST", "/resend", {"type": "signup", "email": "ada@example.com"})
    code = (await one.last_mail()).code
    await two.ok("POST", "/verify", {**body, "token": code})


async def test_a_code_works_once_and_not_too_late(auth: AuthServer) -> None:
    await auth.confirmed("ada@example.com")
    await auth.ok("POST", "/recover", {"email": "ada@example.com"})
    body = {"type": "recovery", "email": "ada@example.com", "token": (await auth.last_mail()).code}
    await auth.ok("POST", "/verify", body)
    assert await auth.fails("POST", "/verify", body) == (403, "otp_expired")
    await auth.ok("POST", "/recover", {"email": "ada@example.com"})
    late = {**body, "token": (await auth.last_mail()).code}
    auth.clock.step(hours=1, seconds=5)
    assert await auth.fails("POST", "/verify", late) == (403, "otp_expired")


async def test_a_stolen_refresh_token_ends_the_session_for_both(auto: AuthServer) -> None:
    first = await auto.sign_up("ada@example.com")
    second = await auto.ok("POST", REFRESH, {"refresh_token": first["refresh_token"]})
    third = await auto.ok("POST", REFRESH, {"refresh_token": second["refresh_token"]})
    auto.clock.step(minutes=1)
    stolen = await auto.fails("POST", REFRESH, {"refresh_token": first["refresh_token"]})
    assert stolen == (400, "refresh_token_already_used")
    mine = await auto.fails("POST", REFRESH, {"refresh_token": third["refresh_token"]})
    assert mine == (400, "refresh_token_already_used")


async def test_a_client_that_lost_the_answer_gets_the_active_token_again(auto: AuthServer) -> None:
    first = await auto.sign_up("ada@example.com")
    second = await auto.ok("POST", REFRESH, {"refresh_token": first["refresh_token"]})
    auto.clock.step(hours=5)
    again = await auto.ok("POST", REFRESH, {"refresh_token": first["refresh_token"]})
    assert again["refresh_token"] == second["refresh_token"]


async def test_forged_and_foreign_tokens_are_refused(auto: AuthServer) -> None:
    session = await auto.sign_up("ada@example.com")
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    foreign_kid = jwt.encode(claims, SECRET, "HS256", headers={"kid": "somebody-elses"})
    forged = [
        make_token(claims, "another-secret-of-forty-characters-000000"),
        jwt.encode(claims, "", "none"),
        foreign_kid,
        make_token({**claims, "exp": 1}),
        session["access_token"][:-4] + "AAAA",
        "a.b.c",
        "x" * 100_000,
    ]
    for token in forged:
        assert await auto.fails("GET", "/user", bearer=token) == (403, "bad_jwt")
    anon = make_token({"role": "anon", "iss": "supabase"})
    assert await auto.fails("GET", "/user", bearer=anon) == (403, "bad_jwt")
    assert await auto.fails("GET", "/user") == (401, "no_authorization")
    nobody = make_token({**claims, "sub": "00000000-0000-0000-0000-00000000000a"})
    assert await auto.fails("GET", "/user", bearer=nobody) == (403, "user_not_found")
    other = make_token({**claims, "session_id": "00000000-0000-0000-0000-00000000000a"})
    assert await auto.fails("GET", "/user", bearer=other) == (403, "session_not_found")


async def test_administration_is_for_administrators(auto: AuthServer) -> None:
    session = await auto.sign_up("ada@example.com")
    forged = make_token({"role": "service_role"}, "another-secret-of-forty-characters-000000")
    tried = 0
    for route in ROUTES:
        if route.access is not Access.SERVICE:
            continue
        path = re.sub(r"\{[^}]+\}", session["user"]["id"], route.path)
        assert await auto.fails(route.method, path, {}) == (401, "no_authorization")
        for token in (make_token({"role": "anon"}), session["access_token"]):
            refused = await auto.fails(route.method, path, {}, bearer=token)
            assert refused == (403, "not_admin"), route
        assert await auto.fails(route.method, path, {}, bearer=forged) == (403, "bad_jwt")
        tried += 1
    assert tried >= 9


async def test_routes_of_users_want_a_user(auto: AuthServer) -> None:
    for route in ROUTES:
        if route.access is not Access.USER:
            continue
        path = re.sub(r"\{[^}]+\}", "00000000-0000-0000-0000-00000000000a", route.path)
        assert await auto.fails(route.method, path, {}) == (401, "no_authorization")
        for role in ("anon", "service_role"):
            token = make_token({"role": role})
            refused = await auto.fails(route.method, path, {}, bearer=token)
            assert refused == (403, "bad_jwt"), route


async def test_nobody_promotes_themselves(auto: AuthServer) -> None:
    session = await auto.sign_up(
        "ada@example.com",
        role="service_role",
        aud="admin",
        app_metadata={"role": "admin"},
        data={"role": "service_role", "is_super_admin": True},
    )
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["role"] == "authenticated"
    assert claims["app_metadata"] == {"provider": "email", "providers": ["email"]}
    token = session["access_token"]
    change = {"app_metadata": {"role": "admin"}}
    assert await auto.fails("PUT", "/user", change, bearer=token) == (403, "not_admin")
    user = await auto.ok("PUT", "/user", {"role": "service_role", "data": {"x": 1}}, bearer=token)
    assert user["role"] == "authenticated"
    assert auto.sql("select role, is_super_admin from auth.users") == [("authenticated", None)]


EVIL_TARGETS = [
    "https://evil.test",
    "https://app.test.evil.test",
    "https://app.test@evil.test",
    "https://app.test:pw@evil.test/",
    "https://evil.test\\@app.test",
    "//evil.test",
    "https:evil.test",
    "https://APP.TEST.evil.test/",
    "https://app%2etest.evil.test",
    "https://evil.test/#https://ok.test/",
    "https://evil.test/?https://ok.test/",
    "https://xok.test/",
    "https://2130706433/",
    "https://0x7f.1/",
    "http://192.168.0.1/",
    "javascript:alert(1)//https://app.test",
    "https://app.test\t.evil.test",
    "https://preview-a.b.vercel.test/",
    "http://app.test/",
    "https://app.test:444/",
    "data:text/html,x",
]


async def test_redirects_stay_on_the_allow_list(auth_with: Opener) -> None:
    auth = await auth_with(URI_ALLOW_LIST="https://ok.test/**,https://preview-*.vercel.test/")
    await auth.confirmed("ada@example.com")
    for target in EVIL_TARGETS:
        body = {"email": "ada@example.com", "redirect_to": target}
        await auth.ok("POST", "/recover", body)
        link = urlsplit((await auth.last_mail()).link)
        assert parse_qs(link.query)["redirect_to"] == ["https://app.test"], target
        # An error must not lead astray either.
        path = f"/verify?token=wrong&type=signup&redirect_to={quote(target, safe='')}"
        answer = await auth.request("GET", path, headers={"referer": target.replace("\t", "")})
        assert answer.status == 303
        location = answer.headers.get("location")
        assert location.startswith("https://app.test#error=access_denied"), target


async def test_redirects_that_are_allowed(auth_with: Opener) -> None:
    auth = await auth_with(URI_ALLOW_LIST="https://ok.test/**,myapp://callback")
    for target in ("https://ok.test/a/b?c=d", "myapp://callback", "https://app.test/path"):
        path = "/verify?token=wrong&type=signup&redirect_to=" + target.replace("?", "%3F")
        answer = await auth.request("GET", path)
        assert answer.headers.get("location").startswith(target)


async def test_a_pkce_link_gives_a_code_that_needs_its_verifier(auth: AuthServer) -> None:
    await auth.confirmed("ada@example.com")
    verifier = "a-verifier-of-at-least-forty-three-characters-long"
    body = {
        "email": "ada@example.com",
        "code_challenge": verifier,
        "code_challenge_method": "plain",
    }
    await auth.ok("POST", "/recover", body)
    link = urlsplit((await auth.last_mail()).link)
    hashed = parse_qs(link.query)["token"][0]
    assert hashed.startswith("pkce_")
    # Without its prefix the hash would ask for a session in the fragment instead of a code.
    stripped = hashed.removeprefix("pkce_")
    answer = await auth.request("GET", f"/verify?token={stripped}&type=recovery")
    assert "access_token" not in answer.headers.get("location")
    answer = await auth.request("GET", f"/verify?token={hashed}&type=recovery")
    location = urlsplit(answer.headers.get("location"))
    code = parse_qs(location.query)["code"][0]
    assert location.fragment == ""
    exchange = "/token?grant_type=pkce"
    wrong = {"auth_code": code, "code_verifier": "x" * 43}
    assert await auth.fails("POST", exchange, wrong) == (400, "bad_code_verifier")
    session = await auth.ok("POST", exchange, {"auth_code": code, "code_verifier": verifier})
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["amr"][0]["method"] == "recovery"
    used = await auth.fails("POST", exchange, {"auth_code": code, "code_verifier": verifier})
    assert used == (404, "flow_state_not_found")


async def test_looking_at_a_link_does_not_use_it(auth: AuthServer) -> None:
    await auth.sign_up("ada@example.com")
    link = urlsplit((await auth.last_mail()).link)
    path = f"/verify?{link.query}"
    for _ in range(3):
        assert (await auth.request("HEAD", path)).status == 200
    answer = await auth.request("GET", path)
    assert "access_token=" in answer.headers.get("location")


async def test_mail_headers_cannot_be_injected(auth_with: Opener) -> None:
    auth = await auth_with(MAILER_SUBJECTS_CONFIRMATION="Welcome {{ .Data.name }}")
    for email in (
        "a@b.test\r\nBcc: x@evil.test",
        "a@b.test\nX: y",
        "a@b.test,c@d.test",
        "<a@b.test>",
    ):
        body = {"email": email, "password": PASSWORD}
        assert await auth.fails("POST", "/signup", body) == (400, "validation_failed")
    await auth.sign_up("ada@example.com", data={"name": "A\r\nBcc: victim@evil.test"})
    mail = (await auth.last_mail()).message
    assert mail["bcc"] is None
    assert mail["subject"] == "Welcome A Bcc: victim@evil.test"


async def test_html_in_metadata_does_not_run_in_mails(auth_with: Opener) -> None:
    auth = await auth_with()
    await auth.auth.core.runtime.update(
        {
            "MAILER_TEMPLATES_CONFIRMATION_CONTENT": '<p>{{ .Data.n }}</p><a href="{{ .Data.u }}">x</a>'
        }
    )
    await auth.sign_up("ada@example.com", data={"n": "<script>", "u": "javascript:alert(1)"})
    html = (await auth.last_mail()).html
    assert "&lt;script&gt;" in html
    assert 'href="#"' in html


async def test_codes_are_stored_as_hashes_only(auth: AuthServer) -> None:
    await auth.sign_up("ada@example.com")
    code = (await auth.last_mail()).code
    rows = auth.sql(
        "select u::text from auth.users u union all select t::text from auth.one_time_tokens t"
    )
    assert len(rows) == 2
    stored = " ".join(re.sub(r"\.\d+", "", row[0]) for row in rows)
    assert code not in re.findall(r"\b\d{6}\b", stored)
    assert PASSWORD not in stored


async def test_nothing_secret_reaches_the_log(auth: AuthServer) -> None:
    await auth.sign_up("ada@example.com")
    mail = await auth.last_mail()
    body = {"type": "signup", "email": "ada@example.com", "token": mail.code}
    session = await auth.ok("POST", "/verify", body)
    await auth.fails("POST", SIGN_IN, {"email": "ada@example.com", "password": "wrong-secret"})
    await auth.ok("POST", REFRESH, {"refresh_token": session["refresh_token"]})
    logged = " ".join(f"{event.name} {event.fields()}" for event in auth.events)
    secrets = (PASSWORD, "wrong-secret", mail.code, session["access_token"])
    for secret in (*secrets, session["refresh_token"], SECRET):
        assert secret not in logged


async def test_codes_from_before_a_change_of_address_are_void(auto: AuthServer) -> None:
    session = await auto.sign_up("ada@example.com")
    await auto.ok("POST", "/recover", {"email": "ada@example.com"})
    old = (await auto.last_mail()).code
    await auto.ok("PUT", "/user", {"email": "new@example.com"}, bearer=session["access_token"])
    to_new = next(m for m in await auto.mails() if m["to"] == "new@example.com")
    body = {"type": "email_change", "email": "new@example.com", "token": Mail(to_new).code}
    changed = await auto.ok("POST", "/verify", body)
    assert changed["user"]["email"] == "new@example.com"
    for email in ("ada@example.com", "new@example.com"):
        recovery = {"type": "recovery", "email": email, "token": old}
        assert await auto.fails("POST", "/verify", recovery) == (403, "otp_expired")


async def test_a_new_password_ends_other_sessions(auto: AuthServer) -> None:
    mine = await auto.sign_up("ada@example.com")
    theirs = await auto.sign_in("ada@example.com")
    await auto.ok("PUT", "/user", {"password": "another pass 2"}, bearer=mine["access_token"])
    assert (await auto.request("GET", "/user", bearer=mine["access_token"])).status == 200
    gone = await auto.fails("GET", "/user", bearer=theirs["access_token"])
    assert gone == (403, "session_not_found")


ODD_BODIES = [
    b"[]", b"1", b'"x"', b"{", b'{"email": 5}', b'{"data": 3}', b"\xff\xfe",
    b'{"email": "a\\u0000@b.test", "password": "xxxxxx"}',
]  # fmt: skip


async def test_odd_bodies_are_the_clients_fault(auto: AuthServer) -> None:
    for path in ("/signup", SIGN_IN, "/otp", "/verify", "/recover", REFRESH):
        for body in ODD_BODIES:
            answer = await auto.client.request("POST", path, content=body)
            assert 400 <= answer.status < 500, (path, body, answer.text)


async def test_oversized_bodies_are_refused(auto: AuthServer) -> None:
    answer = await auto.client.request("POST", "/signup", content=b" " * (1024 * 1024 + 1))
    assert (answer.status, answer.json()["error_code"]) == (413, "request_entity_too_large")


async def test_limits_by_address_hold_over_workers(auth_with: Opener) -> None:
    workers = [
        await auth_with(RATE_LIMIT_HEADER="X-Forwarded-For", RATE_LIMIT_VERIFY="4") for _ in "ab"
    ]
    for worker in workers:
        worker.auth.core.limiter._buckets = PostgresBuckets(worker.auth.core.database)
    body = {"type": "signup", "email": "ada@example.com", "token": "123456"}
    seen = [
        (
            await workers[n % 2].fails(
                "POST", "/verify", body, headers={"X-Forwarded-For": "9.9.9.9"}
            )
        )[0]
        for n in range(6)
    ]
    assert seen == [403, 403, 403, 403, 429, 429]
    other = await workers[0].fails("POST", "/verify", body, headers={"X-Forwarded-For": "8.8.8.8"})
    assert other == (403, "otp_expired")


async def test_many_sign_ups_for_one_address_make_one_account(auto: AuthServer) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(auto.request("POST", "/signup", body) for _ in range(8)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {200, 409, 422}
    assert auto.sql("select count(*) from auth.users") == [(1,)]
    assert not any("constraint" in answer.text for answer in answers)


async def test_many_refreshes_of_one_token_are_all_answered(auto: AuthServer) -> None:
    token = (await auto.sign_up("ada@example.com"))["refresh_token"]
    body = {"refresh_token": token}
    answers = await asyncio.gather(*(auto.request("POST", REFRESH, body) for _ in range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    assert auto.sql("select count(*) from auth.sessions") == [(1,)]


async def test_without_a_database_auth_says_so(auth: AuthServer) -> None:
    core = auth.auth.core
    await auth.ok("GET", "/health")
    await core.database.close()
    core.database.settings = replace(core.database.settings, conninfo="host=/nowhere dbname=x")
    assert (await auth.ok("GET", "/health"))["database"] == "down"
    assert await auth.ok("GET", "/settings")
    body = {"email": "ada@example.com", "password": PASSWORD}
    answer = await auth.request("POST", SIGN_IN, body)
    assert (answer.status, answer.headers.get("retry-after")) == (503, "1")
    assert "nowhere" not in answer.text
