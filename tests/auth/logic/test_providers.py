"""Provider records and profiles, ID tokens, custom providers."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, note
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from selfbase.auth.logic import custom_providers as custom
from selfbase.auth.logic import idtokens
from selfbase.auth.logic.providers.catalog import (
    PROVIDERS,
    is_azure_issuer,
    settle_azure_issuer,
)
from selfbase.auth.logic.providers.profile import ProfileInvalid
from selfbase.auth.logic.providers.records import (
    Answers,
    ProviderSetup,
    render_authorize_url,
    select_passed_params,
    set_up_provider,
)

NOW_S = 1_800_000_000
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER = "https://idp.example.com"


def jwks() -> dict[str, Any]:
    keys = [
        {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "r", "alg": "RS256"},
        {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "e", "alg": "ES256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "o"},
        {"kty": "unheard-of"},
        "nonsense",
    ]
    return {"keys": keys}


KEYS = idtokens.keys_from_jwks(jwks())


def token(key: Any = RSA, alg: str = "RS256", kid: str | None = "r", **claims: Any) -> str:
    body = {"iss": ISSUER, "sub": "1", "aud": "app", "exp": NOW_S + 60, "iat": NOW_S, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, key, algorithm=alg, headers={"kid": kid} if kid else None)


def verify(text: str, **more: Any) -> Any:
    options = {"issuers": {ISSUER}, "now_s": NOW_S, "audiences": {"app"}, **more}
    return idtokens.verify_id_token(text, KEYS, **options)


def test_genuine_tokens_are_accepted() -> None:
    assert verify(token())["sub"] == "1"
    assert verify(token(EC, "ES256", "e"))["sub"] == "1"
    assert verify(token(aud=["other", "app"]))["sub"] == "1"


PUBLIC_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def hmac_with_public_key() -> str:
    """The classic confusion: the public key used as a shared secret."""
    head = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"r"}').rstrip(b"=")
    body = urlsafe_b64encode(
        orjson.dumps({"iss": ISSUER, "sub": "1", "aud": "app", "exp": NOW_S + 60})
    ).rstrip(b"=")
    mac = hmac.new(PUBLIC_PEM, head + b"." + body, hashlib.sha256).digest()
    return (head + b"." + body + b"." + urlsafe_b64encode(mac).rstrip(b"=")).decode()


FORGED = {
    "signed by a stranger": token(STRANGER),
    "of an unknown key": token(STRANGER, kid="x"),
    "unsigned": token(None, "none", None),
    "signed with the public key as a secret": hmac_with_public_key(),
    "signed with a published shared secret": jwt.encode(
        {"iss": ISSUER, "aud": "app", "exp": NOW_S + 9}, b"secret" * 9, "HS256", {"kid": "o"}
    ),
    "of another issuer": token(iss="https://evil.example.com"),
    "of an issuer with a slash more": token(iss=ISSUER + "/"),
    "of no issuer": token(iss=None),
    "for another application": token(aud="other"),
    "for nobody": token(aud=None),
    "expired": token(exp=NOW_S - 100),
    "without expiry": token(exp=None),
    "with a text for an expiry": token(exp="9999999999"),
    "from the future": token(nbf=NOW_S + 500),
    "not a token": "a.b.c",
    "empty": "",
    "huge": "a" * 100_000,
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED.keys())
def test_forged_tokens_are_refused(text: str) -> None:
    with pytest.raises(idtokens.IdTokenInvalid):
        verify(text)


def test_an_access_token_must_match_its_hash() -> None:
    digest = hashlib.sha256(b"access").digest()[:16]
    text = token(at_hash=urlsafe_b64encode(digest).rstrip(b"=").decode())
    assert verify(text, access_token="access")
    with pytest.raises(idtokens.IdTokenInvalid):
        verify(text, access_token="stolen")
    assert verify(token(), access_token="unbound")


def test_nonces_are_hashed_and_on_both_sides() -> None:
    hashed = hashlib.sha256(b"raw").hexdigest()
    idtokens.check_nonce({"nonce": hashed}, "raw")
    idtokens.check_nonce({}, "")
    with pytest.raises(idtokens.NonceMismatch):
        idtokens.check_nonce({"nonce": hashed}, "other")
    for claims, given_nonce in (({"nonce": hashed}, ""), ({}, "raw")):
        with pytest.raises(idtokens.IdTokenInvalid):
            idtokens.check_nonce(claims, given_nonce)


def test_keys_are_read_from_a_set_with_rubbish_in_it() -> None:
    assert [key.kid for key in KEYS] == ["r", "e"]
    for document in ({}, {"keys": []}, [], None, {"keys": [{"kty": "oct", "k": "eA"}]}):
        with pytest.raises(idtokens.IdTokenInvalid):
            idtokens.keys_from_jwks(document)


def set_up(name: str, **more: Any) -> ProviderSetup:
    options = {"client_ids": ["id"], "secret": "s", "redirect_uri": "https://me/callback", **more}
    return set_up_provider(PROVIDERS[name], **options)


def test_every_provider_has_an_address_and_a_reader() -> None:
    assert len(PROVIDERS) == 24
    for name, record in PROVIDERS.items():
        setup = set_up(name, url="https://realm.example.com/" if record.url_required else "")
        assert setup.authorize_url.startswith("https://")
        assert setup.token_url.startswith("https://")
        assert setup.read is not None or setup.uses_id_token
        assert "{" not in setup.authorize_url + setup.token_url


def test_a_client_cannot_set_what_is_ours() -> None:
    passed = select_passed_params(
        [
            ("provider", "google"), ("redirect_to", "x"), ("State", "forged"), ("CLIENT_ID", "evil"),
            ("redirect_uri", "https://evil"), ("code_challenge", "c"), ("response_type", "token"),
            ("nonce", "n"), ("prompt", "consent"), ("prompt", "none"), ("workos_provider", "okta"),
        ]
    )  # fmt: skip
    assert passed == [("nonce", "n"), ("prompt", "consent"), ("provider", "okta")]
    url = render_authorize_url(set_up("google", extra_scopes="a,b"), state="S", passed=passed)
    query = parse_qs(urlsplit(url).query)
    assert query["client_id"] == ["id"]
    assert query["redirect_uri"] == ["https://me/callback"]
    assert query["state"] == ["S"]
    assert query["scope"] == ["email profile a b"]
    assert "+" not in url


@given(st.lists(st.tuples(st.text(), st.text())))
def test_whatever_is_passed_the_state_stays_ours(pairs: list[tuple[str, str]]) -> None:
    url = render_authorize_url(
        set_up("github"), state="ours", passed=select_passed_params(pairs), code_challenge="c"
    )
    query = parse_qs(urlsplit(url).query)
    assert query["state"] == ["ours"]
    assert query["client_id"] == ["id"]
    assert query["redirect_uri"] == ["https://me/callback"]
    assert query["code_challenge_method"] == ["S256"]


def read(name: str, *replies: Any, token_answer: dict[str, Any] | None = None) -> Any:
    reader = PROVIDERS[name].read
    assert reader is not None
    return reader(Answers(api="https://api", replies=replies, token=token_answer or {}))


PROFILES: list[tuple[str, tuple[Any, ...], str, str | None, bool]] = [
    ("github", ({"id": 7, "login": "ada", "name": "Ada"},
                [{"email": "b@x.y", "verified": True}, {"email": "a@x.y", "primary": True, "verified": False}]),
     "7", "a@x.y", False),
    ("gitlab", ({"id": 7, "email": "a@x.y", "confirmed_at": "2020"}, [{"email": "b@x.y"}]), "7", "a@x.y", True),
    ("gitlab", ({"id": 7, "email": "a@x.y", "confirmed_at": None}, []), "7", "a@x.y", False),
    ("discord", ({"id": "7", "username": "a", "discriminator": "0", "email": "a@x.y", "verified": False},),
     "7", "a@x.y", False),
    ("bitbucket", ({"uuid": "{7}", "display_name": "A"},
                   {"values": [{"email": "a@x.y", "is_primary": True, "is_confirmed": True}]}), "{7}", "a@x.y", True),
    ("facebook", ({"id": "7", "first_name": "A", "last_name": "B", "email": "a@x.y"},), "7", "a@x.y", True),
    ("figma", ({"id": "7", "handle": "a", "email": "a@x.y"},), "7", "a@x.y", True),
    ("fly", ({"user_id": "7", "email": "a@x.y"},), "7", "a@x.y", True),
    ("google", ({"id": "7", "email": "a@x.y", "verified_email": True},), "7", "a@x.y", True),
    ("kakao", ({"id": 7, "kakao_account": {"email": "a@x.y", "is_email_valid": True, "is_email_verified": False}},),
     "7", "a@x.y", False),
    ("keycloak", ({"sub": "7", "email": "a@x.y", "email_verified": True, "org": 1},), "7", "a@x.y", True),
    ("linkedin", ({"id": "7", "firstName": {"localized": {"en_US": "A"}, "preferredLocale": {"language": "en", "country": "US"}}},
                  {"elements": [{"handle~": {"emailAddress": "a@x.y"}}]}), "7", "a@x.y", True),
    ("notion", ({"bot": {"owner": {"user": {"id": "7", "person": {"email": "a@x.y"}}}}},), "7", "a@x.y", True),
    ("slack", ({"https://slack.com/user_id": "7", "email": "a@x.y"},), "7", "a@x.y", True),
    ("slack_oidc", ({"https://slack.com/user_id": "7", "email": "a@x.y", "email_verified": False},), "7", "a@x.y", False),
    ("snapchat", ({"data": {"me": {"externalId": "7", "displayName": "A"}}},), "7", None, False),
    ("spotify", ({"id": "7", "email": "a@x.y", "images": [{"url": "s", "height": 1, "width": 1}, {"url": "l", "height": 9, "width": 9}]},),
     "7", "a@x.y", False),
    ("twitch", ({"data": [{"id": "7", "login": "a", "email": "a@x.y"}]},), "7", "a@x.y", True),
    ("x", ({"data": {"id": "7", "username": "a", "confirmed_email": "a@x.y"}},), "7", "a@x.y", True),
    ("zoom", ({"id": "7", "email": "a@x.y", "login_type": "100", "verified": 0},), "7", "a@x.y", False),
    ("zoom", ({"id": "7", "email": "a@x.y", "login_type": "1"},), "7", "a@x.y", True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "replies", "subject", "address", "verified"), PROFILES)
def test_profiles(
    name: str, replies: tuple[Any, ...], subject: str, address: str | None, verified: bool
) -> None:
    profile = read(name, *replies).settled()
    assert profile.subject == subject
    assert profile.claims["provider_id"] == subject
    assert profile.claims.get("email") == address
    assert profile.claims["email_verified"] is verified


def test_workos_reads_the_token_answer() -> None:
    profile = read("workos", token_answer={"profile": {"id": "7", "email": "a@x.y"}})
    assert profile.subject == "7"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(replies=st.lists(json_values, max_size=2))
def test_no_answer_breaks_a_reader(replies: list[Any]) -> None:
    # Every reader gets every answer: making the answers is what costs.
    for name in sorted(name for name, record in PROVIDERS.items() if record.read):
        note(name)
        with suppress(ProfileInvalid):
            assert read(name, *replies).subject


def test_azure_tenants() -> None:
    tenant = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555"
    assert settle_azure_issuer(tenant + "/") == tenant + "/v2.0"
    assert settle_azure_issuer("") is None
    for shared in ("common", "organizations"):
        assert settle_azure_issuer(f"https://login.microsoftonline.com/{shared}") is None
    assert is_azure_issuer(tenant + "/v2.0")
    for other in (
        "https://login.microsoftonline.com.evil.com/x/v2.0",
        "https://evil.com/https://login.microsoftonline.com/x/v2.0",
        "http://login.microsoftonline.com/x/v2.0",
        "https://login.microsoftonline.com/a/b/v2.0",
    ):
        assert not is_azure_issuer(other)


def test_azure_email_is_verified_unless_told_otherwise() -> None:
    base = {
        "iss": "https://login.microsoftonline.com/t/v2.0",
        "sub": "7",
        "email": "a@x.y",
        "oid": "o",
    }
    for edov, verified in (
        (None, True),
        (True, True),
        ("1", True),
        (False, False),
        ("0", False),
        (2, False),
    ):
        claims = base if edov is None else {**base, "xms_edov": edov}
        profile = idtokens.read_profile(claims).settled()
        assert profile.claims["email_verified"] is verified
        assert profile.claims["custom_claims"]["oid"] == "o"
        assert "iss" not in profile.claims["custom_claims"]


def test_apple_posts_a_name_and_nothing_else() -> None:
    profile = idtokens.read_profile(
        {
            "iss": "https://appleid.apple.com",
            "sub": "7",
            "email": "a@x.y",
            "is_private_email": "true",
        }
    )
    assert profile.claims["custom_claims"] == {"is_private_email": True}
    posted = '{"name":{"firstName":"Ada","lastName":"L"},"email":"victim@x.y","sub":"8"}'
    named = idtokens.with_apple_name(profile, posted).settled()
    assert named.claims["full_name"] == "Ada L"
    assert named.claims["email"] == "a@x.y"
    assert named.subject == "7"
    for rubbish in ("", "[]", "{", '{"name":3}', "null"):
        assert idtokens.with_apple_name(profile, rubbish) == profile


def test_standard_claims_and_a_vercel_subject() -> None:
    profile = idtokens.read_profile(
        {"iss": ISSUER, "sub": "7", "email": "a@x.y", "email_verified": "true", "aud": "app",
         "updated_at": 1_700_000_000, "role": "admin"}
    ).settled()  # fmt: skip
    assert profile.claims["email_verified"] is True
    assert profile.claims["aud"] == ["app"]
    assert "role" not in profile.claims
    vercel = {
        "iss": "https://marketplace.vercel.com",
        "sub": "a",
        "global_user_id": "g",
        "user_email": "a@x.y",
    }
    assert idtokens.read_profile(vercel).subject == "global_user_id:g"


@pytest.mark.parametrize(
    "value",
    ["google", "custom:", "custom:A", "custom:a b", "custom:" + "a" * 60, None, 3, "Custom:a"],
)
def test_bad_identifiers(value: Any) -> None:
    with pytest.raises(custom.CustomProviderInvalid):
        custom.require_identifier(value)


@pytest.mark.parametrize(
    "url",
    ["http://x.y", "https://", "https://u:p@x.y", "https://x.y/#f", "javascript:1", "//x.y", "", None,
     "https://x.y:0/", "https://[::1", "https://x.y:99999"],
)  # fmt: skip
def test_bad_urls(url: Any) -> None:
    with pytest.raises(custom.CustomProviderInvalid):
        custom.require_https_url("issuer", url)


def test_protected_names_cannot_be_set() -> None:
    for name in ("STATE", "redirect_uri", "client_secret"):
        with pytest.raises(custom.CustomProviderInvalid):
            custom.require_authorization_params({name: "x"})
    for name in ("sub", "role", "app_metadata", "email_verified", "iss"):
        with pytest.raises(custom.CustomProviderInvalid):
            custom.require_attribute_mapping({name: "x"})
    with pytest.raises(custom.CustomProviderInvalid):
        custom.require_claims_allowlist(["aud"])


def test_custom_profiles_are_mapped() -> None:
    raw = {"sub": "7", "mail": "a@x.y", "email_verified": True, "dept": "r", "x": 1}
    profile = custom.shape_profile(
        raw, mapping={"email": "mail", "nickname": "dept", "locale": 5}, allowlist=["dept", "gone"]
    ).settled()
    assert profile.claims["email"] == "a@x.y"
    assert profile.claims["email_verified"] is True
    assert profile.claims["nickname"] == "r"
    assert profile.claims["custom_claims"] == {"dept": "r"}
    raw = {"sub": "7", "email": "a@x.y", "email_verified": True, "mail": "victim@x.y"}
    swapped = custom.shape_profile(raw, mapping={"email": "mail"}, allowlist=[]).settled()
    assert swapped.claims["email_verified"] is False
