"""What Auth speaks to: hooks, mail servers, the catcher, captcha services; and settings at run time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import argon2
import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tests.auth.auth_server import PASSWORD, AuthServer
from tests.auth.conftest import Opener

from selfbase.auth.captcha import Captcha
from selfbase.auth.mail.catcher import MailCatcher
from selfbase.auth.mail.delivery import Outbox, SmtpSink
from selfbase.auth.outgoing import AddressRefused, Outgoing, is_public, names_private
from selfbase.http.server import Server
from selfbase.http.values import Request, Response, WebSocket, json_response
from selfbase.kit.events import Events

HOOK_KEY = base64.b64encode(b"k" * 32).decode()
HOOK_SECRET = f"v1,whsec_{HOOK_KEY}"


@dataclass
class Outside:
    """A service of somebody else's on loopback; answers what the test says."""

    answers: list[Response] = field(default_factory=list)
    seen: list[tuple[Request, bytes]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: Request) -> Response:
        self.seen.append((request, await request.body.read(10**6)))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404))

    def body(self) -> Any:
        return orjson.loads(self.seen[-1][1])


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    made = Outside()
    server = Server(made, Events())
    port = await server.listen("127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{port}/hook"
    yield made
    await server.close()


def hook(name: str, uri: str) -> dict[str, str]:
    return {
        f"HOOK_{name}_ENABLED": "true",
        f"HOOK_{name}_URI": uri,
        f"HOOK_{name}_SECRETS": HOOK_SECRET,
    }


async def test_a_hook_over_http_is_signed_and_may_refuse(
    auth_with: Opener, outside: Outside
) -> None:
    auth = await auth_with(MAILER_AUTOCONFIRM="true", **hook("BEFORE_USER_CREATED", outside.url))
    outside.answers = [
        json_response({"error": {"http_code": 403, "message": "not from here"}}),
        json_response({}),
    ]
    body = {"email": "ada@example.com", "password": PASSWORD}
    answer = await auth.request("POST", "/signup", body)
    assert (answer.status, answer.json()["message"]) == (403, "not from here")
    assert auth.sql("select count(*) from auth.users") == [(0,)]
    request, sent = outside.seen[0]
    signed = f"{request.headers.get('webhook-id')}.{request.headers.get('webhook-timestamp')}."
    digest = hmac.new(b"k" * 32, signed.encode() + sent, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    assert request.headers.get("webhook-signature") == expected
    payload = orjson.loads(sent)
    assert payload["metadata"]["name"] == "before-user-created"
    assert payload["user"]["email"] == "ada@example.com"
    session = await auth.sign_up("ada@example.com")
    assert session["user"]["id"] == outside.body()["user"]["id"]


async def test_a_hook_in_postgres_changes_claims(auth_with: Opener) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true",
        **hook("CUSTOM_ACCESS_TOKEN", "pg-functions://postgres/public/add_claims"),
    )
    auth.sql(
        """create function public.add_claims(event jsonb) returns jsonb language sql as $$
             select jsonb_set(event, '{claims,plan}', '"pro"') $$"""
    )
    auth.sql("grant execute on function public.add_claims to supabase_auth_admin")
    session = await auth.sign_up("ada@example.com")
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["plan"] == "pro"
    assert claims["aud"] == "authenticated"
    refreshed = await auth.ok(
        "POST", "/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]}
    )
    claims = jwt.decode(refreshed["access_token"], options={"verify_signature": False})
    assert claims["plan"] == "pro"
    auth.sql(
        """create or replace function public.add_claims(event jsonb) returns jsonb language sql
           as $$ select '{"claims": {"sub": "x"}}'::jsonb $$"""
    )
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await auth.fails("POST", "/token?grant_type=password", body))[0] == 500
    again = {"refresh_token": refreshed["refresh_token"]}
    assert (await auth.fails("POST", "/token?grant_type=refresh_token", again))[0] == 500
    auth.sql(
        """create or replace function public.add_claims(event jsonb) returns jsonb language sql
           as $$ select event $$"""
    )
    # The refused refresh has not used the token up.
    assert await auth.ok("POST", "/token?grant_type=refresh_token", again)


async def test_a_slow_hook_in_postgres_is_stopped(auth_with: Opener) -> None:
    auth = await auth_with(
        **hook("BEFORE_USER_CREATED", "pg-functions://postgres/public/slow"),
    )
    auth.sql(
        """create function public.slow(event jsonb) returns jsonb language plpgsql as $$
           begin perform pg_sleep(30); return '{}'; end $$"""
    )
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert await auth.fails("POST", "/signup", body) == (422, "hook_timeout")


async def test_the_send_email_hook_replaces_the_mail_server(
    auth_with: Opener, outside: Outside
) -> None:
    auth = await auth_with(**hook("SEND_EMAIL", outside.url))
    outside.answers = [json_response({})]
    await auth.sign_up("ada@example.com")
    assert await auth.mails() == []
    data = outside.body()["email_data"]
    assert data["email_action_type"] == "signup"
    assert data["site_url"] == "https://project.test/auth/v1"
    proof = {"type": "signup", "token_hash": data["token_hash"]}
    session = await auth.ok("POST", "/verify", proof)
    # The pairs of a change of address are crossed: (token, token_hash_new) is the current one's.
    await auth.ok("PUT", "/user", {"email": "new@example.com"}, bearer=session["access_token"])
    data = outside.body()["email_data"]
    current = {"type": "email_change", "email": "ada@example.com", "token": data["token"]}
    assert (await auth.ok("POST", "/verify", current))["code"] == "200"
    new = {"type": "email_change", "token_hash": data["token_hash"]}
    assert (await auth.ok("POST", "/verify", new))["user"]["email"] == "new@example.com"


async def test_the_password_hook_may_lock_out(auth_with: Opener, outside: Outside) -> None:
    auth = await auth_with(**hook("PASSWORD_VERIFICATION_ATTEMPT", outside.url))
    outside.answers = [json_response({"decision": "continue"})]
    await auth.confirmed("ada@example.com")
    assert outside.body()["valid"] is True
    outside.answers = [
        json_response({"decision": "reject", "message": "locked", "should_logout_user": True})
    ]
    body = {"email": "ada@example.com", "password": "wrong"}
    answer = await auth.request("POST", "/token?grant_type=password", body)
    assert answer.json() == {"code": "invalid_credentials", "message": "locked"}
    assert outside.body()["valid"] is False
    assert auth.sql("select count(*) from auth.sessions") == [(0,)]


BAD_REPLIES: list[tuple[Callable[[], Response], int, str]] = [
    (lambda: Response(200, [("content-type", "text/plain")], b"{}"), 400,
     "hook_payload_invalid_content_type"),
    (lambda: Response(200, [("content-type", "application/json")], b"x" * 300_000), 422,
     "hook_payload_over_size_limit"),
    (lambda: Response(200, [("content-type", "application/json")], b"{"), 500, "unexpected_failure"),
    (lambda: Response(418), 500, "unexpected_failure"),
    (lambda: Response(302, [("location", "http://127.0.0.1/")]), 500, "unexpected_failure"),
]  # fmt: skip


async def test_odd_replies_of_hooks(auth_with: Opener, outside: Outside) -> None:
    auth = await auth_with(**hook("BEFORE_USER_CREATED", outside.url))
    body = {"email": "ada@example.com", "password": PASSWORD}
    for reply, status, code in BAD_REPLIES:
        outside.answers = [reply()]
        assert await auth.fails("POST", "/signup", body) == (status, code)
    outside.answers = [Response(204)]
    await auth.sign_up("ada@example.com")


async def test_hooks_do_not_reach_into_private_networks(
    auth_with: Opener, outside: Outside
) -> None:
    private = outside.url.replace("127.0.0.1", "127.0.0.2").replace("http:", "https:")
    uris = (
        private,
        "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://[::1]:1/",
        "https://0.0.0.0/", "https://[::ffff:10.0.0.1]/", "http://example.com/", "file:///etc/passwd",
    )  # fmt: skip
    body = {"email": "ada@example.com", "password": PASSWORD}
    auth = await auth_with()
    for uri in uris:
        await auth.auth.core.runtime.update(hook("BEFORE_USER_CREATED", uri))
        status, _ = await auth.fails("POST", "/signup", body)
        assert status in (500, 422), uri
    assert outside.seen == []


async def test_outgoing_requests_check_what_a_name_resolves_to() -> None:
    outgoing = Outgoing()
    for url in ("http://localhost:1/", "http://127.0.0.1:1/", "http://[::1]:1/", "http://0:1/"):
        with pytest.raises(AddressRefused):
            await outgoing.fetch("GET", url)
    await outgoing.close()
    assert is_public("93.184.216.34")
    for address in ("10.1.2.3", "192.168.1.1", "100.64.0.1", "fe80::1%eth0", "::ffff:127.0.0.1",
                    "224.0.0.1", "fc00::1", "0.0.0.0", "64:ff9b::7f00:1", "2002:a00:1::"):  # fmt: skip
        assert not is_public(address)
    for host in ("LOCALHOST", "a.localhost.", "127.0.0.1", "[::1]", "10.0.0.1"):
        assert names_private(host)
    assert not names_private("example.com")


async def test_captcha(auth_with: Opener, outside: Outside) -> None:
    auth = await auth_with(
        MAILER_AUTOCONFIRM="true", SECURITY_CAPTCHA_ENABLED="true", SECURITY_CAPTCHA_SECRET="shh"
    )
    core = auth.auth.core
    core.captcha = Captcha(core.outgoing, {"hcaptcha": outside.url}, private=True)
    body: dict[str, Any] = {"email": "ada@example.com", "password": PASSWORD}
    assert await auth.fails("POST", "/signup", body) == (400, "captcha_failed")
    assert outside.seen == []
    body["gotrue_meta_security"] = {"captcha_token": "t"}
    outside.answers = [json_response({"success": False, "error-codes": ["timeout"]})]
    assert await auth.fails("POST", "/signup", body) == (400, "captcha_failed")
    outside.answers = [json_response({"success": True})]
    session = await auth.ok("POST", "/signup", body)
    assert b"secret=shh" in outside.seen[-1][1]
    sign_in = {"email": "ada@example.com", "password": PASSWORD}
    refused = await auth.fails("POST", "/token?grant_type=password", sign_in)
    assert refused == (400, "captcha_failed")
    refresh = {"refresh_token": session["refresh_token"]}
    assert await auth.ok("POST", "/token?grant_type=refresh_token", refresh)


async def test_mails_go_through_a_server_into_the_catcher(auth_with: Opener) -> None:
    catcher = MailCatcher("127.0.0.1", 0)
    await catcher.open()
    auth = await auth_with()
    core = auth.auth.core
    sink = SmtpSink(("127.0.0.1", catcher.smtp_port))
    core.mailer.outbox = Outbox(sink, core.events, core.clock)
    for name in ("ada", "bob"):
        await auth.sign_up(f"{name}@example.com", data={"n": "Ädä"})
    await core.mailer.outbox.drain()
    assert [delivery.state for delivery in core.mailer.outbox.deliveries] == ["sent", "sent"]
    page = Server(catcher, Events())
    port = await page.listen("127.0.0.1", 0)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        listed = (await client.get("/api/v1/messages")).json()
        assert listed["total"] == 2
        newest = listed["messages"][0]["ID"]
        mail = (await client.get(f"/api/v1/message/{newest}")).json()
        assert mail["HTML"].startswith("<h2>Confirm your email address</h2>")
        assert mail["Links"][0].startswith("https://project.test/auth/v1/verify?token=")
        assert "Or enter this code" in mail["Text"]
        box = (await client.get("/api/v1/mailbox/ada")).json()
        assert [entry["to"] for entry in box] == [["ada@example.com"]]
        latest = (await client.get("/api/v1/mailbox/ada/latest")).json()
        assert latest["body"]["html"]
        index = await client.get("/")
        assert "bob@example.com" in index.text
        shown = await client.get(f"/mail/{newest}")
        assert "sandbox" in shown.text
        framed = await client.get(f"/view/{newest}.html")
        assert "sandbox" in framed.headers["content-security-policy"]
        rebound = await client.get("/api/v1/messages", headers={"host": "evil.test"})
        assert rebound.status_code == 403
        await client.delete("/api/v1/messages")
        assert (await client.get("/api/v1/messages")).json()["total"] == 0
    await page.close()
    await core.mailer.outbox.close()
    await sink.close()
    await catcher.close()


async def test_mail_that_cannot_be_sent_is_seen(auth_with: Opener) -> None:
    auth = await auth_with()
    core = auth.auth.core
    core.mailer.outbox = Outbox(SmtpSink(), core.events, core.clock)
    await auth.sign_up("ada@example.com")
    await core.mailer.outbox.drain()
    (delivery,) = core.mailer.outbox.deliveries
    assert (delivery.state, delivery.to) == ("failed", "ada@example.com")
    assert "auth.mail.failed" in [event.name for event in auth.events]
    await core.mailer.outbox.close()


async def test_changed_settings_hold_from_the_next_request_in_every_worker(
    auth_with: Opener,
) -> None:
    one, two = await auth_with(), await auth_with()
    assert (await two.ok("GET", "/settings"))["disable_signup"] is False
    changed = await one.auth.core.runtime.update({"DISABLE_SIGNUP": True, "JWT_EXP": 60})
    assert changed["DISABLE_SIGNUP"] is True
    body = {"email": "ada@example.com", "password": PASSWORD}
    for worker in (two, one):
        assert (await worker.ok("GET", "/settings"))["disable_signup"] is True
        assert await worker.fails("POST", "/signup", body) == (422, "signup_disabled")
    session = await two.confirmed("ada@example.com")
    assert session["expires_in"] == 60
    await one.auth.core.runtime.update({"DISABLE_SIGNUP": None})
    assert (await two.ok("GET", "/settings"))["disable_signup"] is False


async def test_settings_that_make_no_sense_are_refused_whole(auth: AuthServer) -> None:
    runtime = auth.auth.core.runtime
    for changes in (
        {"JWT_EXP": "soon"},
        {"NO_SUCH_SETTING": 1},
        {"JWT_SECRET": "x"},
        {"MAILER_SUBJECTS_INVITE": "{{ if }}"},
        {"MAILER_TEMPLATES_RECOVERY_CONTENT": "{{ .Token | html }}"},
        {"DISABLE_SIGNUP": True, "JWT_EXP": "x"},
        {"MAILER_SUBJECTS_INVITE": "x" * 300_000},
    ):
        with pytest.raises(Exception, match=r"setting|not valid|line 1|too long"):
            await runtime.update(changes)
    assert (await auth.ok("GET", "/settings"))["disable_signup"] is False


async def test_secrets_are_masked_when_settings_are_read(auth: AuthServer) -> None:
    await auth.auth.core.runtime.update({"SMTP_PASS": "hidden-pass", "SMTP_HOST": "mail.test"})
    shown = await auth.auth.core.runtime.read()
    assert shown["SMTP_PASS"] == "********"
    assert shown["SMTP_HOST"] == "mail.test"
    assert "hidden-pass" not in str(auth.events)


def firebase_hash(password: str) -> str:
    """As Firebase exports it (published parameters of its scrypt)."""
    signer, separator, salt = b"s" * 32, b"\x10", b"salt-of-ada"
    key = hashlib.scrypt(
        password.encode(), salt=salt + separator, n=2**10, r=8, p=1, maxmem=2**26, dklen=32
    )
    encryptor = Cipher(algorithms.AES(key), modes.CTR(b"\0" * 16)).encryptor()
    b64 = [
        base64.b64encode(x).decode() for x in (separator, signer, salt, encryptor.update(signer))
    ]
    return f"$fbscrypt$v=1,n=10,r=8,p=1,ss={b64[0]},sk={b64[1]}${b64[2]}${b64[3]}"


async def test_imported_hashes_sign_in_and_become_bcrypt(auth: AuthServer) -> None:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    hashes = {"argon": hasher.hash(PASSWORD), "firebase": firebase_hash(PASSWORD)}
    for name, hashed in hashes.items():
        email = f"{name}@example.com"
        body = {"email": email, "password_hash": hashed, "email_confirm": True}
        await auth.ok("POST", "/admin/users", body, bearer=auth.admin())
        wrong = {"email": email, "password": "wrong"}
        refused = await auth.fails("POST", "/token?grant_type=password", wrong)
        assert refused == (400, "invalid_credentials")
        await auth.sign_in(email)
        stored = auth.sql("select encrypted_password from auth.users where email = %s", email)
        assert stored[0][0].startswith("$2b$")
        await auth.sign_in(email)
    bad = {"email": "x@example.com", "password_hash": "$argon2id$v=19$m=999999999,t=1,p=1$aa$bb"}
    refused = await auth.fails("POST", "/admin/users", bad, bearer=auth.admin())
    assert refused == (400, "validation_failed")


async def test_signing_keys_rotate_without_a_restart_in_every_worker(auth_with: Opener) -> None:
    one = await auth_with(MAILER_AUTOCONFIRM="true")
    two = await auth_with(MAILER_AUTOCONFIRM="true")
    old = await one.sign_up("ada@example.com")
    keys = one.auth.core.signing_keys
    for algorithm in ("ES256", "RS256", "EdDSA", "HS256"):
        made = await keys.create(algorithm)
        published = (await two.ok("GET", "/.well-known/jwks.json"))["keys"]
        # Known to everybody before the first token is signed with it; shared secrets never shown.
        assert (made.id in {key["kid"] for key in published}) is (algorithm != "HS256")
        assert not any(part in key for key in published for part in ("d", "p", "q", "k"))
        await keys.move(made.id, "in_use")
        session = await two.sign_in("ada@example.com")
        header = jwt.get_unverified_header(session["access_token"])
        assert (header["alg"], header["kid"]) == (algorithm, made.id)
        for worker in (one, two):
            for token in (old["access_token"], session["access_token"]):
                assert await worker.ok("GET", "/user", bearer=token)
    states = {key.algorithm: key for key in await keys.list_keys()}
    assert states["HS256"].state == "in_use"
    assert states["RS256"].state == "previously_used"
    with pytest.raises(Exception, match="cannot become revoked"):
        await keys.move(states["HS256"].id, "revoked")
    es = await two.sign_in("ada@example.com")
    await keys.move(states["RS256"].id, "standby")
    await keys.move(states["RS256"].id, "in_use")
    await keys.move(states["HS256"].id, "revoked")
    for worker in (two, one):
        refused = await worker.fails("GET", "/user", bearer=es["access_token"])
        assert refused == (403, "bad_jwt")
    await keys.delete(states["HS256"].id)
    assert "HS256" not in {key.algorithm for key in await keys.list_keys()}


async def test_stored_signing_keys_are_sealed(auth: AuthServer) -> None:
    made = await auth.auth.core.signing_keys.create("ES256")
    (row,) = auth.sql("select k::text from _selfbase_auth.signing_keys k")
    assert made.public_jwk is not None
    assert made.public_jwk["x"] not in row[0]
    assert '"d"' not in base64.b64decode(row[0].split(",")[3]).decode("latin-1")


async def test_passwords_and_token_keys_can_be_sealed_in_the_database(auth_with: Opener) -> None:
    plain = await auth_with()
    await plain.confirmed("before@example.com")
    key = base64.urlsafe_b64encode(b"0" * 32).rstrip(b"=").decode()
    auth = await auth_with(
        SECURITY_DB_ENCRYPTION_ENCRYPT="true",
        SECURITY_DB_ENCRYPTION_ENCRYPTION_KEY_ID="one",
        SECURITY_DB_ENCRYPTION_ENCRYPTION_KEY=key,
        SECURITY_DB_ENCRYPTION_DECRYPTION_KEYS=f"one:{key}",
        SECURITY_REFRESH_TOKEN_ALGORITHM_VERSION="2",
    )
    assert (await auth.sign_in("before@example.com"))["access_token"]
    session = await auth.confirmed("ada@example.com")
    stored = auth.sql("select encrypted_password from auth.users where email = 'ada@example.com'")
    assert orjson.loads(stored[0][0])["key_id"] == "one"
    refresh = {"refresh_token": session["refresh_token"]}
    session = await auth.ok("POST", "/token?grant_type=refresh_token", refresh)
    keys = auth.sql("select refresh_token_hmac_key from auth.sessions")
    assert all(row[0] is None or row[0].startswith("{") for row in keys)
    await auth.ok("PUT", "/user", {"password": "another pass 2"}, bearer=session["access_token"])
    assert (await auth.sign_in("ada@example.com", "another pass 2"))["access_token"]
