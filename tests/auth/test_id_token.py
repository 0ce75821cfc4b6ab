"""Signing in with ID tokens: which are taken, and every way to pass off another."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from tests.auth.auth_server import AuthServer
from tests.auth.conftest import Opener
from tests.auth.world import Issuer, World, enter, rsa_key

PATH = "/token?grant_type=id_token"
GOOGLE = "https://accounts.google.com"


class Google:
    def __init__(self, auth: AuthServer) -> None:
        self.auth = auth
        self.world: World = enter(auth)
        self.issuer = Issuer(self.world, GOOGLE)

    def token(self, **claims: Any) -> str:
        return self.issuer.token(self.auth, **claims)

    async def post(self, token: str, **more: Any) -> Any:
        body = {"provider": "google", "id_token": token, **more}
        return await self.auth.request("POST", PATH, body)


@pytest.fixture
async def google(auth_with: Opener) -> Google:
    return Google(
        await auth_with(
            EXTERNAL_GOOGLE_ENABLED="true", EXTERNAL_GOOGLE_CLIENT_ID="app,ios-app",
            EXTERNAL_GOOGLE_SECRET="s", SECURITY_MANUAL_LINKING_ENABLED="true",
        )
    )  # fmt: skip


async def test_a_genuine_token_signs_in(google: Google) -> None:
    answer = await google.post(google.token(name="Ada", hd="example.com"))
    assert answer.status == 200, answer.text
    session = answer.json()
    assert session["user"]["email"] == "ada@example.com"
    assert session["user"]["user_metadata"]["custom_claims"] == {"hd": "example.com"}
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["amr"][0]["method"] == "oauth"
    other = await google.post(google.token(aud="ios-app"))
    assert other.json()["user"]["id"] == session["user"]["id"]


async def test_forged_tokens_are_refused(google: Google) -> None:
    now_s = int(google.auth.clock.now().timestamp())
    evil = Issuer(google.world, "https://evil.example.com", "evil")
    genuine = google.token()
    head, body, signature = genuine.split(".")
    forged = {
        "another key of the same name": jwt.encode(
            jwt.decode(genuine, options={"verify_signature": False}), rsa_key("evil"), "RS256",
            {"kid": "issuer"},
        ),
        "an unknown key": google.token(key="evil"),
        "another issuer": evil.token(google.auth),
        "a false issuer": evil.token(google.auth, iss=GOOGLE),
        "expired": google.token(exp=now_s - 100),
        "unsigned": jwt.encode({"iss": GOOGLE, "aud": "app", "sub": "1"}, None, "none"),
        "a cut signature": f"{head}.{body}.",
        "a changed body": f"{head}.{body[:-4]}AAAA.{signature}",
        "no token": "x",
    }  # fmt: skip
    for what, token in forged.items():
        answer = await google.post(token)
        assert answer.status == 400, what
        assert answer.json() == {
            "error": "invalid request", "error_description": "Bad ID token",
        }, what  # fmt: skip
    assert google.auth.sql("select count(*) from auth.users") == [(0,)]


async def test_a_token_for_another_app_is_refused(google: Google) -> None:
    for audience in ("other", ["other", "third"], None, "APP", ""):
        answer = await google.post(google.token(aud=audience))
        assert answer.status == 400
        assert "Unacceptable audience" in answer.json()["error_description"]
    # What the client claims about itself does not count.
    answer = await google.post(google.token(aud="other"), client_id="other")
    assert answer.status == 400


async def test_nonces(google: Google) -> None:
    hashed = hashlib.sha256(b"raw").hexdigest()
    assert (await google.post(google.token(nonce=hashed), nonce="raw")).status == 200
    for token, more in (
        (google.token(nonce=hashed), {}),
        (google.token(), {"nonce": "raw"}),
    ):
        answer = await google.post(token, **more)
        assert answer.json()["error"] == "invalid request"
    answer = await google.post(google.token(nonce=hashed), nonce="other")
    assert answer.json() == {"error": "invalid nonce", "error_description": "Nonces mismatch"}


async def test_an_access_token_must_belong_to_the_id_token(google: Google) -> None:
    digest = hashlib.sha256(b"access").digest()[:16]
    token = google.token(at_hash=urlsafe_b64encode(digest).rstrip(b"=").decode())
    assert (await google.post(token, access_token="access")).status == 200
    assert (await google.post(token, access_token="stolen")).status == 400
    assert (await google.post(token)).status == 200


async def test_rotated_keys_are_fetched_and_a_flood_of_forgeries_is_not(google: Google) -> None:
    keys = f"{GOOGLE}/keys"
    assert (await google.post(google.token())).status == 200
    google.issuer.publish("issuer", "second")
    google.auth.clock.step(seconds=31)
    assert (await google.post(google.token(key="second"))).status == 200
    before = len(google.world.asked_for(keys))
    for _ in range(5):
        assert (await google.post(google.token(key="evil"))).status == 400
    assert len(google.world.asked_for(keys)) <= before + 1


async def test_an_unreachable_issuer_is_a_refusal_not_a_fault(google: Google) -> None:
    google.world.pages.clear()
    assert (await google.post(google.token())).status == 400


async def test_linking_needs_a_user_and_links(google: Google) -> None:
    token = google.token(email="other@example.com", sub="linked")
    body = {"provider": "google", "id_token": token, "link_identity": True}
    answer = await google.auth.request("POST", PATH, body)
    assert answer.json()["error"] == "invalid request"
    assert (await google.auth.request("POST", PATH, body, bearer=google.auth.admin())).status == 403
    session = await google.auth.confirmed("ada@example.com")
    linked = await google.auth.ok("POST", PATH, body, bearer=session["access_token"])
    assert linked["user"]["id"] == session["user"]["id"]
    providers = [identity["provider"] for identity in linked["user"]["identities"]]
    assert providers == ["email", "google"]
    found = await google.auth.fails("POST", PATH, body, bearer=session["access_token"])
    assert found == (422, "identity_already_exists")


SENSELESS: tuple[Any, ...] = (
    ({}, "invalid request"),
    ({"id_token": "x"}, "invalid request"),
    ({"id_token": "x", "provider": "github"}, "validation_failed"),
    ({"id_token": "x", "provider": "apple"}, "validation_failed"),
    ({"id_token": "x", "provider": "azure"}, "validation_failed"),
    ({"id_token": "x", "provider": "kakao"}, "provider_disabled"),
    ({"id_token": "x", "provider": "custom:none"}, "validation_failed"),
    ({"id_token": "x", "issuer": "https://evil", "client_id": "a"}, "validation_failed"),
    ({"id_token": 7, "provider": "google"}, "bad_json"),
)  # fmt: skip


async def test_requests_that_make_no_sense(google: Google) -> None:
    for body, code in SENSELESS:
        assert (await google.auth.fails("POST", PATH, body))[1] == code


async def test_one_azure_tenant_only_where_one_is_named(auth_with: Opener) -> None:
    tenant = "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111"
    auth = await auth_with(
        EXTERNAL_AZURE_ENABLED="true", EXTERNAL_AZURE_CLIENT_ID="app", EXTERNAL_AZURE_SECRET="s",
        EXTERNAL_AZURE_URL=tenant,
    )  # fmt: skip
    world = enter(auth)
    ours = Issuer(world, f"{tenant}/v2.0")
    other = Issuer(world, tenant.replace("1", "2") + "/v2.0", "other")
    body = {"provider": "azure", "id_token": ours.token(auth)}
    assert (await auth.ok("POST", PATH, body))["user"]["email"] == "ada@example.com"
    body["id_token"] = other.token(auth)
    assert await auth.fails("POST", PATH, body) == (400, "validation_failed")


async def test_a_custom_provider(auth_with: Opener) -> None:
    auth = await auth_with()
    world = enter(auth)
    issuer = Issuer(world)
    provider = {
        "provider_type": "oidc", "identifier": "custom:acme", "name": "Acme", "client_id": "app",
        "client_secret": "hidden", "issuer": issuer.url, "acceptable_client_ids": ["mobile"],
        "custom_claims_allowlist": ["dept"], "attribute_mapping": {"nickname": "nick"},
    }  # fmt: skip
    made = await auth.ok("POST", "/admin/custom-providers", provider, bearer=auth.admin())
    assert made["discovery_document"]["issuer"] == issuer.url
    assert "hidden" not in str(made)
    token = issuer.token(auth, aud="mobile", dept="r", nick="ada", role="service_role")
    session = await auth.ok("POST", PATH, {"provider": "custom:acme", "id_token": token})
    data = session["user"]["identities"][0]["identity_data"]
    assert data["custom_claims"] == {"dept": "r"}
    assert data["nickname"] == "ada"
    assert session["user"]["role"] == "authenticated"
    off = {"enabled": False}
    await auth.ok("PUT", "/admin/custom-providers/custom:acme", off, bearer=auth.admin())
    found = await auth.fails("POST", PATH, {"provider": "custom:acme", "id_token": token})
    assert found == (400, "provider_disabled")
