"""Tokens: what is genuine, and every known way to pretend."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from selfbase.identity.secrets import make_secrets
from selfbase.identity.tokens import (
    REASONS,
    Key,
    TokenInvalid,
    TokenVerifier,
    key_from_jwk,
    key_from_secret,
    keys_from_text,
    sign_token,
)

SECRET = "a shared secret of more than 32 characters"
SHARED = key_from_secret(SECRET)
NOW = int(time.time())
CLAIMS = {"sub": "u1", "role": "authenticated", "exp": NOW + 36_000}


def reason(verifier: TokenVerifier, token: str, **options: Any) -> str:
    with pytest.raises(TokenInvalid) as raised:
        verifier.verify(token, **options)
    assert raised.value.reason in REASONS
    return raised.value.reason


def encode(part: dict[str, Any]) -> str:
    return urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=")


def private_keys() -> list[Key]:
    curves = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]
    jwks = [ECAlgorithm.to_jwk(ec.generate_private_key(curve), as_dict=True) for curve in curves]
    jwks.append(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True))
    jwks.append(OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True))
    return [key_from_jwk({**jwk, "kid": f"k{n}"}) for n, jwk in enumerate(jwks)]


KEYS = private_keys()


@pytest.mark.parametrize("key", [SHARED, *KEYS], ids=lambda key: key.algorithm)
def test_what_we_sign_we_verify(key: Key) -> None:
    verifier = TokenVerifier([SHARED, *KEYS])
    token = sign_token(key, CLAIMS)
    assert verifier.verify(token)["sub"] == "u1"
    assert verifier.verify(token)["sub"] == "u1"
    assert (verifier.hits, verifier.misses) == (1, 1)
    assert jwt.get_unverified_header(token).get("kid") == key.kid


def test_a_public_key_has_no_private_parts() -> None:
    for key in KEYS:
        assert key.public_jwk is not None
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.public_jwk.keys()
        assert key_from_jwk(key.public_jwk).signing is None


def test_forged_tokens_are_refused() -> None:
    verifier = TokenVerifier([SHARED, *KEYS])
    good = sign_token(SHARED, CLAIMS)
    header, payload, signature = good.split(".")
    admin = encode({**CLAIMS, "role": "service_role"})
    assert reason(verifier, f"{header}.{admin}.{signature}") == "signature"
    assert reason(verifier, f"{header}.{payload}.") == "signature"
    assert reason(verifier, sign_token(key_from_secret("x" * 40), CLAIMS)) == "signature"
    for algorithm in ("none", "None", "NONE", "nOnE", "", "HS1", None, 7):
        forged = f"{encode({'alg': algorithm})}.{payload}."
        assert reason(verifier, forged) == "algorithm"


def test_a_public_key_is_never_a_shared_secret() -> None:
    """The attack on libraries that let the token choose: HS256 with the public key as secret."""
    for key in KEYS:
        if key.kind != "RSA":
            continue
        for form in (
            serialization.PublicFormat.SubjectPublicKeyInfo,
            serialization.PublicFormat.PKCS1,
        ):
            pem = key.verifying.public_bytes(serialization.Encoding.PEM, form)
            raw = Key(key.kid, "oct", ("HS256",), pem, pem)
            forged = _hs256(pem, {"alg": "HS256", "kid": raw.kid}, CLAIMS)
            assert reason(TokenVerifier([key]), forged) == "no_key"


def _hs256(secret: bytes, header: dict[str, Any], claims: dict[str, Any]) -> str:
    import hashlib
    import hmac

    signed = f"{encode(header)}.{encode(claims)}"
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{urlsafe_b64encode(digest).decode().rstrip('=')}"


def test_a_foreign_kid_is_not_tried_with_other_keys() -> None:
    verifier = TokenVerifier([SHARED, *KEYS])
    token = jwt.encode(CLAIMS, SECRET, "HS256", headers={"kid": "someone else's"})
    assert reason(verifier, token) == "no_key"
    right = KEYS[0]
    stolen = jwt.encode(CLAIMS, KEYS[1].signing, "ES384", headers={"kid": right.kid})
    assert reason(verifier, stolen) == "no_key"


def test_keys_brought_by_the_token_are_ignored() -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    jwk = ECAlgorithm.to_jwk(own.public_key(), as_dict=True)
    token = jwt.encode(CLAIMS, own, "ES256", headers={"jwk": jwk, "jku": "http://evil.test/"})
    assert reason(TokenVerifier(KEYS), token) == "signature"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW - 31}, "expired"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 31}, "issued_in_future"),
        ({"exp": "tomorrow"}, "claim_type"),
        ({"exp": True}, "claim_type"),
        ({"aud": 7}, "claim_type"),
        ({"aud": ["a", 7]}, "claim_type"),
        ({"aud": "other"}, "audience"),
        ({"aud": ["other"]}, "audience"),
    ],
)
def test_claims_are_judged(claims: dict[str, Any], expected: str) -> None:
    token = _hs256(SECRET.encode(), {"alg": "HS256"}, claims)
    assert reason(TokenVerifier([SHARED]), token, now_s=NOW, audience="mine") == expected


@pytest.mark.parametrize(
    "claims",
    [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"exp": None}, {"aud": []}, {"aud": ["x", "mine"]}, {}],
)
def test_claims_in_order_pass(claims: dict[str, Any]) -> None:
    token = _hs256(SECRET.encode(), {"alg": "HS256"}, claims)
    assert TokenVerifier([SHARED]).verify(token, now_s=NOW, audience="mine") == claims


def test_time_is_judged_again_for_remembered_tokens() -> None:
    verifier = TokenVerifier([SHARED])
    token = sign_token(SHARED, CLAIMS)
    verifier.verify(token, now_s=NOW)
    assert reason(verifier, token, now_s=NOW + 360_000) == "expired"


def test_memory_of_tokens_is_bounded() -> None:
    verifier = TokenVerifier([SHARED], cache_entries_max=5)
    for number in range(20):
        verifier.verify(sign_token(SHARED, {"n": number}))
    assert len(verifier._cache) == 5


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_and_never_crashes(text: str) -> None:
    reason(TokenVerifier([SHARED, *KEYS]), text)


def test_keys_can_be_exchanged_and_what_was_verified_is_forgotten() -> None:
    verifier = TokenVerifier([SHARED])
    token = sign_token(SHARED, CLAIMS)
    verifier.verify(token)
    verifier.replace(KEYS)
    assert reason(verifier, token) == "no_key"
    assert verifier.verify(sign_token(KEYS[0], CLAIMS))["sub"] == "u1"


def test_a_token_has_one_spelling() -> None:
    verifier = TokenVerifier([SHARED])
    token = sign_token(SHARED, CLAIMS)
    last = token[-1]
    other = chr(ord(last) + 1) if last not in "zZ9_" else chr(ord(last) - 1)
    assert reason(verifier, token[:-1] + other) in ("signature", "malformed")


def test_keys_come_from_all_forms_of_the_setting() -> None:
    jwk = {"kty": "oct", "k": urlsafe_b64encode(SECRET.encode()).decode().rstrip("="), "kid": "s"}
    for text in (SECRET, orjson.dumps(jwk).decode(), orjson.dumps({"keys": [jwk]}).decode()):
        [key] = keys_from_text(text)
        assert key.verifying == SECRET.encode()


def test_secrets_are_complete_and_verify_each_other() -> None:
    made = make_secrets("abc")
    verifier = TokenVerifier(made.keys())
    for token, role in (
        (made.anon_key, "anon"),
        (made.service_role_key, "service_role"),
        (made.anon_key_asymmetric, "anon"),
        (made.service_role_key_asymmetric, "service_role"),
    ):
        claims = verifier.verify(token)
        assert (claims["role"], claims["ref"], claims["iss"]) == (role, "abc", "supabase")
    assert made.anon_key not in repr(made)
    assert made.jwt_secret not in repr(made)
