"""The OAuth server's decisions: redirect targets, PKCE, client proof, scopes."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.auth.logic import oauth_server as oauth

VERIFIER = "v" * 50
CHALLENGE = oauth.s256_challenge(VERIFIER)


def register(**body: Any) -> oauth.ClientForm:
    return oauth.plan_registration(
        oauth.read_client_form({"redirect_uris": ["https://app.example.com/cb"], **body})
    )


def test_defaults_of_a_client() -> None:
    client = register(client_name="App")
    assert client.client_type == "confidential"
    assert client.token_endpoint_auth_method == "client_secret_basic"
    assert client.grant_types == ("authorization_code", "refresh_token")
    assert register(token_endpoint_auth_method="none").client_type == "public"
    assert register(client_type="public").token_endpoint_auth_method == "none"


@pytest.mark.parametrize(
    "body",
    [
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": "https://x.y"},
        {"redirect_uris": [1]},
        {"redirect_uris": [f"https://x.y/{n}" for n in range(11)]},
        {"grant_types": []},
        {"grant_types": ["password"]},
        {"grant_types": ["client_credentials"]},
        {"client_type": "trusted"},
        {"client_type": "public", "token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"client_name": "n" * 1025},
        {"client_uri": "javascript:alert(1)"},
        {"logo_uri": "data:text/html,x"},
        {"logo_uri": "https://" + "x" * 2050},
    ],
)
def test_bad_registrations(body: dict[str, Any]) -> None:
    with pytest.raises(oauth.ClientInvalid):
        register(**body)


@pytest.mark.parametrize(
    "uri",
    ["https://app.example.com/cb", "https://app.example.com/cb?a=b", "http://localhost:3000/",
     "http://127.0.0.1/cb", "http://[::1]:80/cb", "myapp://callback/x", "com.example.app://cb"],
)  # fmt: skip
def test_good_redirects(uri: str) -> None:
    oauth.check_redirect_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["", "/cb", "app.example.com/cb", "http://app.example.com/cb", "https://x.y/#f", "https://x.y/#",
     "javascript://x/%0aalert(1)", "JavaScript://x/", "data://x/y", "file://etc/passwd",
     "https://u:p@x.y/", "https://u@x.y/", "https://x.y/a,b", "https://x.y/a b", "https://x.y\\@evil/",
     "https://x.y/\nSet-Cookie:a", "http://localhost.evil.com/", "http://127.0.0.1.evil.com/",
     "https://[::1", "https://x.y:99999/", "vbscript://x/y", "blob://x/y", "view-source://x/y"],
)  # fmt: skip
def test_bad_redirects(uri: str) -> None:
    with pytest.raises(oauth.ClientInvalid):
        oauth.check_redirect_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["https://app.example.com/cb/", "https://app.example.com/cb?x=1", "https://app.example.com/CB",
     "https://APP.example.com/cb", "https://app.example.com/cb/../evil", "https://app.example.com/cb#f",
     "https://app.example.com:443/cb", "https://app.example.com/c%62", "https://app.example.com",
     "https://app.example.com.evil.com/cb", "https://app.example.com@evil.com/cb", " https://app.example.com/cb"],
)  # fmt: skip
def test_redirects_are_compared_exactly(uri: str) -> None:
    assert oauth.is_registered_redirect(
        "https://app.example.com/cb", ["https://app.example.com/cb"]
    )
    assert not oauth.is_registered_redirect(uri, ["https://app.example.com/cb"])


def plan(**query: str) -> oauth.AuthorizationForm:
    members = {"code_challenge": CHALLENGE, "code_challenge_method": "S256", **query}
    return oauth.plan_authorization(members, default_scope="email")


def test_an_authorization_request() -> None:
    form = plan(scope="openid openid email", state="s", nonce="n")
    assert (form.scope, form.code_challenge_method) == ("openid email", "s256")
    assert plan().scope == "email"


@pytest.mark.parametrize(
    "query",
    [
        {"code_challenge": ""},
        {"code_challenge_method": ""},
        {"code_challenge_method": "none"},
        {"code_challenge": "short"},
        {"code_challenge": "x" * 129},
        {"code_challenge": "=" * 43},
        {"response_type": "token"},
        {"response_type": "code id_token"},
        {"scope": "admin"},
        {"scope": " "},
        {"resource": "relative"},
        {"resource": "https://x.y/#f"},
        {"resource": "https://x.y/?q"},
        {"nonce": "n" * 256},
    ],
)
def test_bad_authorization_requests(query: dict[str, str]) -> None:
    with pytest.raises(oauth.RequestInvalid):
        plan(**query)


def test_pkce_cannot_be_left_out_or_downgraded() -> None:
    assert oauth.verify_pkce(CHALLENGE, "s256", VERIFIER)
    assert oauth.verify_pkce(VERIFIER, "plain", VERIFIER)
    # The method stored with the code counts: the challenge itself is no verifier.
    assert not oauth.verify_pkce(CHALLENGE, "s256", CHALLENGE)
    for challenge, method, verifier in (
        (CHALLENGE, "s256", ""), (CHALLENGE, "s256", "x" * 50), ("", "s256", VERIFIER),
        ("", "plain", ""), (CHALLENGE, "", VERIFIER), (CHALLENGE, "S256", VERIFIER),
        (CHALLENGE, "none", VERIFIER), (CHALLENGE, "s256", VERIFIER * 9),
    ):  # fmt: skip
        assert not oauth.verify_pkce(challenge, method, verifier)


@given(st.text(max_size=130))
def test_no_other_verifier_matches(verifier: str) -> None:
    assert oauth.verify_pkce(CHALLENGE, "s256", verifier) is (verifier == VERIFIER)


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


def test_client_proofs() -> None:
    stored = oauth.hash_client_secret("s3cret")

    def judge(
        proof: oauth.ClientProof, kind: str = "confidential", method: str = "client_secret_basic"
    ) -> None:
        oauth.judge_client_proof(proof, client_type=kind, method=method, secret_hash=stored)

    judge(oauth.read_client_proof(basic("id:s3cret"), {}))
    judge(oauth.read_client_proof(basic("id:s3cret"), {"client_id": "id"}))
    posted = oauth.read_client_proof("", {"client_id": "id", "client_secret": "s3cret"})
    judge(posted, method="client_secret_post")
    judge(oauth.read_client_proof("", {"client_id": "id"}), "public", "none")
    for proof, kind, method in (
        (posted, "confidential", "client_secret_basic"),
        (oauth.ClientProof("id", "none"), "confidential", "client_secret_basic"),
        (
            oauth.ClientProof("id", "client_secret_basic", "wrong"),
            "confidential",
            "client_secret_basic",
        ),
        (oauth.ClientProof("id", "client_secret_basic", ""), "confidential", "client_secret_basic"),
        (oauth.ClientProof("id", "client_secret_post", "s3cret"), "public", "none"),
    ):
        with pytest.raises(oauth.ProofInvalid):
            judge(proof, kind, method)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("", {}),
        ("Basic ???", {}),
        (basic("nocolon"), {}),
        (basic("id:s"), {"client_secret": "s"}),
        (basic("id:s"), {"client_id": "other"}),
        ("", {"client_id": 7}),
        ("Basic " + b64encode(b"\xff\xfe:").decode(), {}),
    ],
)
def test_unreadable_proofs(header: str, body: dict[str, Any]) -> None:
    with pytest.raises(oauth.ProofInvalid):
        oauth.read_client_proof(header, body)


def test_redirects_carry_code_and_state() -> None:
    url = oauth.render_success("https://x.y/cb?keep=1&code=old", "c&d", "s t")
    assert parse_qs(urlsplit(url).query) == {"keep": ["1"], "code": ["c&d"], "state": ["s t"]}
    url = oauth.render_error("myapp://cb/x", "access_denied", "User denied the request", "")
    assert url.startswith("myapp://cb/x?error=access_denied")


def test_userinfo_shows_only_what_the_scopes_cover() -> None:
    facts: dict[str, Any] = {
        "user_id": "u", "email": "a@x.y", "email_confirmed": True, "phone": "1",
        "phone_confirmed": False, "metadata": {"name": "Ada", "secret": 1}, "updated_at_s": 5,
    }  # fmt: skip
    assert oauth.select_userinfo(**facts, scopes=["openid"]) == {"sub": "u"}
    assert oauth.select_userinfo(**facts, scopes=["email"]) == {
        "sub": "u", "email": "a@x.y", "email_verified": True,
    }  # fmt: skip
    profile = oauth.select_userinfo(**facts, scopes=["profile"], id_token=True)
    assert profile == {"sub": "u", "name": "Ada", "updated_at": 5}
    phone = oauth.select_userinfo(**facts, scopes=["phone"], id_token=True)
    assert phone == {"sub": "u", "phone_number": "1", "phone_number_verified": False}
    assert oauth.covers_scopes("openid email", "email")
    assert not oauth.covers_scopes("email", "email profile")
