"""The service alone, set by the reference server's names."""

import json
from base64 import urlsafe_b64encode

import jwt

from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Events
from selfbase.kit.settings import EnvLayer
from selfbase.storage.service import make_standalone_storage
from selfbase.storage.signing import Scope, sign_url_token, verify_url_token

KEY = {"kty": "oct", "k": urlsafe_b64encode(b"k" * 66).decode(), "alg": "HS512", "kid": "urls"}


def test_the_key_set_may_hold_a_key_for_urls() -> None:
    values = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "AUTH_JWT_SECRET": "a-secret-of-at-least-32-characters",
        "STORAGE_FILE_BACKEND_PATH": "/nowhere",
    }

    def make(**more: str) -> tuple[str, object]:
        layers = (EnvLayer({**values, **more}),)
        context = make_standalone_storage(layers, Events(), SystemClock()).context
        token = sign_url_token(context, Scope.DOWNLOAD, "b", "k", 60)
        verify_url_token(context, token, "b", "k", Scope.DOWNLOAD)
        verify_url_token(context, plain or token, "b", "k", Scope.DOWNLOAD)
        return token, jwt.get_unverified_header(token)

    plain = ""
    plain, header = make()
    assert header == {"alg": "HS256", "typ": "JWT"}
    jwks = json.dumps({"keys": [], "urlSigningKey": KEY})
    _, header = make(JWT_JWKS=jwks)
    assert header == {"alg": "HS512", "typ": "JWT", "kid": "urls"}
