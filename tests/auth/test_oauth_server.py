"""Auth as an OAuth server: clients, consent, codes, tokens, and what they must not be bent to."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from tests.auth.auth_server import AuthServer
from tests.auth.conftest import Opener

from selfbase.auth.logic.oauth_server import s256_challenge

VERIFIER = "v" * 50
CALLBACK = "https://client.test/cb"
SIGNING = ec.generate_private_key(ec.SECP256R1())


def signing_keys() -> str:
    jwk = ECAlgorithm.to_jwk(SIGNING, as_dict=True)
    return orjson.dumps([{**jwk, "kid": "k", "alg": "ES256", "key_ops": ["sign"]}]).decode()


class Server:
    """The server, a person, and a client of theirs."""

    def __init__(self, auth: AuthServer) -> None:
        self.auth = auth

    async def set_up(self, **more: Any) -> dict[str, Any]:
        self.session = await self.auth.confirmed("ada@example.com")
        self.bearer = self.session["access_token"]
        return await self.register(**more)

    async def register(self, **more: Any) -> dict[str, Any]:
        body = {"client_name": "App", "redirect_uris": [CALLBACK], **more}
        admin = self.auth.admin()
        self.client = await self.auth.ok("POST", "/admin/oauth/clients", body, bearer=admin)
        return self.client

    async def authorize(self, **change: str | None) -> Any:
        query = {
            "client_id": self.client["client_id"], "redirect_uri": CALLBACK, "state": "s&1",
            "response_type": "code", "scope": "openid email profile", "nonce": "n",
            "code_challenge": s256_challenge(VERIFIER), "code_challenge_method": "S256", **change,
        }  # fmt: skip
        members = {name: value for name, value in query.items() if value is not None}
        return await self.auth.request("GET", f"/oauth/authorize?{urlencode(members)}")

    async def begin(self, **change: str | None) -> str:
        answer = await self.authorize(**change)
        assert answer.status == 302, answer.text
        location = answer.headers.get("location")
        assert location.startswith("https://app.test/consent?authorization_id="), location
        return parse_qs(urlsplit(location).query)["authorization_id"][0]

    async def consent(self, authorization_id: str, action: str = "approve") -> dict[str, str]:
        """The members the client is sent."""
        path = f"/oauth/authorizations/{authorization_id}"
        shown = await self.auth.ok("GET", path, bearer=self.bearer)
        if "redirect_url" not in shown:
            body = {"action": action}
            shown = await self.auth.ok("POST", f"{path}/consent", body, bearer=self.bearer)
        assert shown["redirect_url"].startswith(CALLBACK + "?")
        return dict(parse_qsl(urlsplit(shown["redirect_url"]).query))

    async def token(self, client: dict[str, Any] | None = None, **body: Any) -> Any:
        client = client or self.client
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if client["token_endpoint_auth_method"] == "client_secret_basic":
            pair = f"{client['client_id']}:{client['client_secret']}"
            headers["authorization"] = "Basic " + b64encode(pair.encode()).decode()
        else:
            body["client_id"] = client["client_id"]
        return await self.auth.client.request(
            "POST", "/oauth/token", content=urlencode(body).encode(), headers=headers
        )

    async def exchange(self, code: str, **change: Any) -> Any:
        body = {
            "grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER, **change,
        }  # fmt: skip
        return await self.token(**{k: v for k, v in body.items() if v is not None})

    async def code(self, **change: str | None) -> str:
        return (await self.consent(await self.begin(**change)))["code"]


@pytest.fixture
async def server(auth_with: Opener) -> Server:
    return Server(
        await auth_with(
            OAUTH_SERVER_ENABLED="true", OAUTH_SERVER_AUTHORIZATION_PATH="/consent",
            JWT_KEYS=signing_keys(), OAUTH_SERVER_ALLOW_DYNAMIC_REGISTRATION="true",
        )
    )  # fmt: skip


def error(answer: Any) -> str:
    body = answer.json()
    assert answer.status == 400, answer.text
    return str(body.get("error") or body.get("error_code") or body["code"])


async def test_from_the_request_to_the_user_info(server: Server) -> None:
    client = await server.set_up(client_uri="https://client.test")
    authorization_id = await server.begin()
    path = f"/oauth/authorizations/{authorization_id}"
    shown = await server.auth.ok("GET", path, bearer=server.bearer)
    assert shown == {
        "authorization_id": authorization_id, "redirect_uri": CALLBACK,
        "client": {"id": client["client_id"], "name": "App", "uri": "https://client.test"},
        "user": {"id": server.session["user"]["id"], "email": "ada@example.com"},
        "scope": "openid email profile",
    }  # fmt: skip
    members = await server.consent(authorization_id)
    assert members["state"] == "s&1"
    answer = await server.exchange(members["code"], redirect_uri=CALLBACK)
    assert answer.status == 200, answer.text
    assert answer.headers.get("cache-control") == "no-store"
    tokens = answer.json()
    assert set(tokens) == {
        "access_token", "token_type", "expires_in", "refresh_token", "id_token",
    }  # fmt: skip
    identity = jwt.decode(
        tokens["id_token"], SIGNING.public_key(), ["ES256"], audience=client["client_id"]
    )
    assert identity["iss"] == "https://project.test/auth/v1"
    assert (identity["nonce"], identity["email"]) == ("n", "ada@example.com")
    assert identity["exp"] - identity["iat"] == 3600
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert claims["client_id"] == client["client_id"]
    assert claims["scope"] == "openid email profile"
    assert claims["amr"][0]["method"] == "oauth_provider/authorization_code"
    info = await server.auth.ok("GET", "/oauth/userinfo", bearer=tokens["access_token"])
    assert info["sub"] == server.session["user"]["id"]
    assert info["email_verified"] is True
    assert "phone" not in info
    refreshed = await server.token(
        grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert refreshed.status == 200
    assert refreshed.json()["access_token"] != tokens["access_token"]


async def test_earlier_consent_covers_no_more_than_it_did(server: Server) -> None:
    await server.set_up()
    await server.code(scope="email")
    again = await server.begin(scope="email")
    path = f"/oauth/authorizations/{again}"
    assert "redirect_url" in await server.auth.ok("GET", path, bearer=server.bearer)
    more = await server.begin(scope="email profile")
    path = f"/oauth/authorizations/{more}"
    assert "redirect_url" not in await server.auth.ok("GET", path, bearer=server.bearer)


async def test_denying(server: Server) -> None:
    await server.set_up()
    authorization_id = await server.begin()
    members = await server.consent(authorization_id, "deny")
    assert members["error"] == "access_denied"
    assert members["state"] == "s&1"
    path = f"/oauth/authorizations/{authorization_id}/consent"
    found = await server.auth.fails("POST", path, {"action": "approve"}, bearer=server.bearer)
    assert found == (400, "validation_failed")


UNREGISTERED = (
    "https://client.test/cb/", "https://client.test/cb?x=1", "https://evil.test/cb",
     "https://client.test/cb/../x", "https://client.test@evil.test/cb", "https://CLIENT.test/cb",
     "https://client.test/cb#f", "javascript:alert(1)", "", "//client.test/cb",
)  # fmt: skip


async def test_no_redirect_to_what_is_not_registered(server: Server) -> None:
    await server.set_up()
    for uri in UNREGISTERED:
        answer = await server.authorize(redirect_uri=uri)
        assert answer.status == 400, uri
        assert answer.headers.get("location") == "", uri


async def test_repeated_members_cannot_smuggle(server: Server) -> None:
    await server.set_up()
    query = urlencode(
        {"client_id": server.client["client_id"], "redirect_uri": CALLBACK,
         "code_challenge": s256_challenge(VERIFIER), "code_challenge_method": "S256"}
    )  # fmt: skip
    path = f"/oauth/authorize?{query}&redirect_uri=https%3A%2F%2Fevil.test%2F"
    answer = await server.auth.request("GET", path)
    assert answer.headers.get("location").startswith("https://app.test/consent?")
    ((stored,),) = server.auth.sql("select redirect_uri from auth.oauth_authorizations")
    assert stored == CALLBACK


FAULTS: tuple[dict[str, str | None], ...] = (
    {"code_challenge": None, "code_challenge_method": None},
    {"code_challenge_method": None},
    {"code_challenge": "short"},
    {"code_challenge_method": "none"},
    {"response_type": "token"},
    {"scope": "admin"},
    {"resource": "not-absolute"},
)


async def test_faults_go_to_the_client(server: Server) -> None:
    await server.set_up()
    for change in FAULTS:
        answer = await server.authorize(**change)
        location = answer.headers.get("location")
        assert location.startswith(CALLBACK + "?")
        members = dict(parse_qsl(urlsplit(location).query))
        assert (members["error"], members["state"]) == ("invalid_request", "s&1")


async def test_unknown_clients(server: Server) -> None:
    await server.set_up()
    for client_id in ("", "x", "00000000-0000-0000-0000-000000000000"):
        assert (await server.authorize(client_id=client_id)).status == 400


async def test_a_code_needs_its_verifier_client_and_address(server: Server) -> None:
    await server.set_up()
    for change in (
        {"code_verifier": None},
        {"code_verifier": "w" * 50},
        {"code_verifier": s256_challenge(VERIFIER)},
        {"redirect_uri": "https://client.test/other"},
        {"resource": "https://other.test"},
    ):
        code = await server.code()
        assert error(await server.exchange(code, **change)) == "invalid_grant"
        # One wrong try and the code is spent: it cannot be guessed at.
        assert error(await server.exchange(code)) == "invalid_grant"
    code = await server.code()
    other = await server.register(client_name="Other")
    assert error(await server.exchange(code)) == "invalid_grant"
    assert other["client_id"] != code


async def test_a_code_works_once_and_in_time(server: Server) -> None:
    await server.set_up()
    code = await server.code()
    assert (await server.exchange(code)).status == 200
    assert error(await server.exchange(code)) == "invalid_grant"
    code = await server.code()
    server.auth.clock.step(seconds=601)
    assert error(await server.exchange(code)) == "invalid_grant"
    assert error(await server.exchange("")) == "invalid_request"


async def test_requests_belong_to_who_saw_them_first(server: Server) -> None:
    await server.set_up()
    authorization_id = await server.begin()
    path = f"/oauth/authorizations/{authorization_id}"
    mallory = (await server.auth.confirmed("mallory@example.com"))["access_token"]
    # Nobody can decide a request they have not been shown.
    body = {"action": "approve"}
    found = await server.auth.fails("POST", f"{path}/consent", body, bearer=mallory)
    assert found == (404, "oauth_authorization_not_found")
    await server.auth.ok("GET", path, bearer=server.bearer)
    for method, where in (("GET", path), ("POST", f"{path}/consent")):
        found = await server.auth.fails(
            method, where, body if method == "POST" else None, bearer=mallory
        )
        assert found == (404, "oauth_authorization_not_found")
    server.auth.clock.step(seconds=601)
    found = await server.auth.fails("GET", path, bearer=server.bearer)
    assert found == (404, "oauth_authorization_not_found")
    assert server.auth.sql("select status::text from auth.oauth_authorizations") == [("expired",)]


async def test_consent_is_for_our_own_pages(server: Server) -> None:
    await server.set_up()
    authorization_id = await server.begin()
    path = f"/oauth/authorizations/{authorization_id}"
    evil = {"origin": "https://evil.test"}
    found = await server.auth.fails("GET", path, bearer=server.bearer, headers=evil)
    assert found == (400, "validation_failed")
    # A client that acts for the user cannot grant itself more.
    tokens = (await server.exchange(await server.code())).json()
    found = await server.auth.fails("GET", path, bearer=tokens["access_token"])
    assert found == (403, "no_authorization")


async def test_clients_prove_who_they_are(server: Server) -> None:
    client = await server.set_up()
    code = await server.code()
    for wrong in (
        {**client, "client_secret": "wrong"},
        {**client, "client_secret": ""},
        {**client, "token_endpoint_auth_method": "none"},
        {**client, "client_id": "00000000-0000-0000-0000-000000000000"},
    ):
        answer = await server.token(wrong, grant_type="authorization_code", code=code)
        assert error(answer) == "invalid_credentials"
    fresh = await server.auth.ok(
        "POST", f"/admin/oauth/clients/{client['client_id']}/regenerate_secret",
        bearer=server.auth.admin(),
    )  # fmt: skip
    assert error(await server.exchange(code)) == "invalid_credentials"
    server.client = fresh
    assert (await server.exchange(code)).status == 200


async def test_refresh_tokens_belong_to_their_client(server: Server) -> None:
    await server.set_up()
    tokens = (await server.exchange(await server.code())).json()
    plain = "/token?grant_type=refresh_token"
    body = {"refresh_token": tokens["refresh_token"]}
    assert (await server.auth.fails("POST", plain, body))[1] == "invalid_client"
    first = server.client
    await server.register(client_name="Other")
    answer = await server.token(grant_type="refresh_token", **body)
    assert error(answer) == "invalid_client"
    server.client = first
    own = {"grant_type": "refresh_token", "refresh_token": server.session["refresh_token"]}
    assert error(await server.token(**own)) == "invalid_client"
    assert (await server.token(grant_type="refresh_token", **body)).status == 200


async def test_public_clients_and_registration(server: Server) -> None:
    await server.set_up()
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    client = await server.auth.ok("POST", "/oauth/clients/register", body)
    assert client["registration_type"] == "dynamic"
    assert "client_secret" not in client
    server.client = client
    assert (await server.exchange(await server.code())).status == 200
    for bad in ({}, {"redirect_uris": ["http://evil.test"]}, {"redirect_uris": "x"}):
        found = await server.auth.fails("POST", "/oauth/clients/register", bad)
        assert found == (400, "validation_failed")
    path = f"/admin/oauth/clients/{client['client_id']}/regenerate_secret"
    found = await server.auth.fails("POST", path, bearer=server.auth.admin())
    assert found == (400, "validation_failed")


async def test_registration_can_be_closed_and_the_server_off(auth_with: Opener) -> None:
    closed = await auth_with(OAUTH_SERVER_ENABLED="true")
    found = await closed.fails("POST", "/oauth/clients/register", {})
    assert found == (403, "oauth_dynamic_client_registration_disabled")
    off = await auth_with()
    for method, path in (
        ("GET", "/oauth/authorize"), ("POST", "/oauth/token"),
        ("POST", "/oauth/clients/register"), ("GET", "/.well-known/oauth-authorization-server"),
    ):  # fmt: skip
        assert await off.fails(method, path) == (404, "feature_disabled")


async def test_looking_after_clients(server: Server) -> None:
    client = await server.set_up()
    admin, auth = server.auth.admin(), server.auth
    path = f"/admin/oauth/clients/{client['client_id']}"
    shown = await auth.ok("GET", path, bearer=admin)
    assert "client_secret" not in shown
    ((stored,),) = auth.sql("select client_secret_hash from auth.oauth_clients")
    assert client["client_secret"] not in stored
    changed = await auth.ok("PUT", path, {"client_name": "New"}, bearer=admin)
    assert changed["client_name"] == "New"
    for bad in ({}, {"redirect_uris": []}, {"token_endpoint_auth_method": "none"}):
        assert await auth.fails("PUT", path, bad, bearer=admin) == (400, "validation_failed")
    await server.register(client_name="Second")
    answer = await auth.request("GET", "/admin/oauth/clients?page=1&per_page=1", bearer=admin)
    assert [c["client_name"] for c in answer.json()["clients"]] == ["Second"]
    assert answer.headers.get("x-total-count") == "2"
    assert (await auth.fails("GET", path, bearer=server.bearer))[1] == "not_admin"
    tokens = None
    server.client = {**client}
    tokens = (await server.exchange(await server.code())).json()
    assert (await auth.request("DELETE", path, bearer=admin)).status == 204
    assert await auth.fails("GET", path, bearer=admin) == (404, "oauth_client_not_found")
    gone = await auth.fails("GET", "/user", bearer=tokens["access_token"])
    assert gone == (403, "session_not_found")


async def test_people_see_and_revoke_their_grants(server: Server) -> None:
    client = await server.set_up()
    tokens = (await server.exchange(await server.code())).json()
    path = "/user/oauth/grants"
    (grant,) = await server.auth.ok("GET", path, bearer=server.bearer)
    assert grant["client"]["id"] == client["client_id"]
    assert grant["scopes"] == ["openid", "email", "profile"]
    revoke = f"{path}?client_id={client['client_id']}"
    assert (await server.auth.request("DELETE", revoke, bearer=server.bearer)).status == 204
    assert await server.auth.ok("GET", path, bearer=server.bearer) == []
    gone = await server.auth.fails("GET", "/user", bearer=tokens["access_token"])
    assert gone == (403, "session_not_found")
    found = await server.auth.fails("DELETE", revoke, bearer=server.bearer)
    assert found == (404, "oauth_consent_not_found")
    assert (await server.auth.fails("DELETE", path, bearer=server.bearer))[0] == 400


async def test_banned_people_get_no_tokens(server: Server) -> None:
    await server.set_up()
    code = await server.code()
    path = f"/admin/users/{server.session['user']['id']}"
    await server.auth.ok("PUT", path, {"ban_duration": "1h"}, bearer=server.auth.admin())
    assert error(await server.exchange(code)) == "access_denied"


async def test_discovery(server: Server) -> None:
    await server.set_up()
    for path in (
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/auth/v1",
        "/.well-known/openid-configuration",
    ):
        document = await server.auth.ok("GET", path)
        assert document["issuer"] == "https://project.test/auth/v1"
        assert document["token_endpoint"] == "https://project.test/auth/v1/oauth/token"
        assert document["registration_endpoint"].endswith("/oauth/clients/register")


async def test_no_id_token_where_only_a_shared_secret_signs(auth_with: Opener) -> None:
    server = Server(
        await auth_with(OAUTH_SERVER_ENABLED="true", OAUTH_SERVER_AUTHORIZATION_PATH="consent")
    )
    await server.set_up()
    tokens = (await server.exchange(await server.code())).json()
    assert "id_token" not in tokens
