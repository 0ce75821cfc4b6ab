"""Providers added by hand: what may be entered, and signing in through them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.auth.auth_server import AuthServer
from tests.auth.conftest import Opener
from tests.auth.world import Issuer, enter

from selfbase.auth.logic.oauth_server import s256_challenge

PATH = "/admin/custom-providers"
OIDC = {
    "provider_type": "oidc", "identifier": "custom:acme", "name": "Acme", "client_id": "app",
    "client_secret": "hidden", "issuer": "https://idp.example.com",
}  # fmt: skip
OAUTH2 = {
    "provider_type": "oauth2", "identifier": "custom:plain", "name": "Plain", "client_id": "app",
    "client_secret": "hidden", "authorization_url": "https://plain.example.com/authorize",
    "token_url": "https://plain.example.com/token",
    "userinfo_url": "https://plain.example.com/me", "attribute_mapping": {"email": "mail"},
}  # fmt: skip


async def test_adding_changing_and_removing(auth: AuthServer) -> None:
    Issuer(enter(auth))
    admin = auth.admin()
    assert (await auth.request("GET", PATH)).status == 401
    made = await auth.ok("POST", PATH, OIDC, bearer=admin)
    assert made["pkce_enabled"] is True
    await auth.ok("POST", PATH, OAUTH2, bearer=admin)
    assert await auth.fails("POST", PATH, OIDC, bearer=admin) == (400, "conflict")
    listed = (await auth.ok("GET", f"{PATH}?type=oauth2", bearer=admin))["providers"]
    assert [provider["identifier"] for provider in listed] == ["custom:plain"]
    assert len((await auth.ok("GET", PATH, bearer=admin))["providers"]) == 2
    one = f"{PATH}/custom:acme"
    changed = await auth.ok("PUT", one, {"name": "New", "scopes": ["a"]}, bearer=admin)
    assert (changed["name"], changed["scopes"]) == ("New", ["a"])
    assert (await auth.ok("GET", one, bearer=admin))["client_id"] == "app"
    assert (await auth.request("DELETE", one, bearer=admin)).status == 204
    assert await auth.fails("GET", one, bearer=admin) == (404, "custom_provider_not_found")
    assert await auth.fails("GET", f"{PATH}/acme", bearer=admin) == (400, "validation_failed")


SENSELESS: tuple[Any, ...] = (
    {"identifier": "acme"}, {"identifier": "custom:A B"}, {"issuer": "http://idp.example.com"},
    {"issuer": "https://u:p@idp.example.com"}, {"issuer": None}, {"provider_type": "saml"},
    {"client_id": ""}, {"client_secret": None}, {"authorization_params": {"state": "x"}},
    {"authorization_params": {"x": 1}}, {"attribute_mapping": {"role": "x"}},
    {"attribute_mapping": {"sub": "x"}}, {"custom_claims_allowlist": ["aud"]},
    {"issuer": "https://other.example.com"}, {"scopes": "email"},
    {"discovery_url": "https://127.0.0.1/config"},
)  # fmt: skip


async def test_what_makes_no_sense_is_refused(auth: AuthServer) -> None:
    Issuer(enter(auth))
    for change in SENSELESS:
        found = await auth.fails("POST", PATH, {**OIDC, **change}, bearer=auth.admin())
        assert found == (400, "validation_failed")


async def test_addresses_inside_are_refused_by_the_real_client(auth: AuthServer) -> None:
    """No world here: the guarded client itself must not reach what runs beside us."""
    for address in ("https://127.0.0.1:1", "https://localhost", "https://169.254.169.254"):
        for body in ({**OIDC, "issuer": address}, {**OAUTH2, "token_url": address}):
            found = await auth.fails("POST", PATH, body, bearer=auth.admin())
            assert found == (400, "validation_failed")


async def test_a_quota(auth_with: Opener) -> None:
    auth = await auth_with(CUSTOM_OAUTH_MAX_PROVIDERS="1")
    Issuer(enter(auth))
    await auth.ok("POST", PATH, OIDC, bearer=auth.admin())
    found = await auth.fails("POST", PATH, OAUTH2, bearer=auth.admin())
    assert found == (400, "over_custom_provider_quota")


async def test_signing_in_through_plain_oauth(auth: AuthServer) -> None:
    world = enter(auth)
    await auth.ok("POST", PATH, OAUTH2, bearer=auth.admin())
    challenges: list[str] = []

    def exchange(asked: Any) -> Any:
        if "authorization" in asked.headers:
            return 401
        assert asked.form["client_secret"] == "hidden"
        assert s256_challenge(asked.form["code_verifier"]) == challenges[0]
        return {"access_token": "t"}

    world.pages |= {
        "https://plain.example.com/token": exchange,
        "https://plain.example.com/me": {"id": 5, "mail": "a@example.com", "email_verified": True},
    }
    answer = await auth.request("GET", "/authorize?provider=custom:plain&scopes=a%20b")
    sent = parse_qs(urlsplit(answer.headers.get("location")).query)
    assert sent["scope"] == ["a b"]
    challenges += sent["code_challenge"]
    answer = await auth.request("GET", f"/callback?state={sent['state'][0]}&code=c")
    fragment = dict(parse_qsl(urlsplit(answer.headers.get("location")).fragment))
    user = await auth.ok("GET", "/user", bearer=fragment["access_token"])
    assert user["email"] == "a@example.com"
    assert user["identities"][0]["provider"] == "custom:plain"
    assert user["identities"][0]["id"] == "5"
    assert not any(asked.allow_private for asked in world.asked)


async def test_signing_in_through_openid(auth: AuthServer) -> None:
    world = enter(auth)
    issuer = Issuer(world)
    await auth.ok("POST", PATH, OIDC, bearer=auth.admin())
    answers = {"id_token": issuer.token(auth), "access_token": "t"}
    world.pages[f"{issuer.url}/token"] = lambda asked: answers

    async def come() -> dict[str, str]:
        answer = await auth.request("GET", "/authorize?provider=custom:acme")
        sent = parse_qs(urlsplit(answer.headers.get("location")).query)
        assert sent["scope"] == ["openid"]
        answer = await auth.request("GET", f"/callback?state={sent['state'][0]}&code=c")
        return dict(parse_qsl(urlsplit(answer.headers.get("location")).fragment))

    assert "access_token" in await come()
    for forged in (
        issuer.token(auth, aud="other"),
        issuer.token(auth, key="stranger"),
        issuer.token(auth, iss="https://other.example.com"),
    ):
        answers["id_token"] = forged
        assert (await come())["error_code"] == "unexpected_failure"
