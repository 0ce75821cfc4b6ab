"""Access tokens: the keys Auth signs and verifies with, and what it publishes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from selfbase.auth.settings import AuthSettings
from selfbase.identity.tokens import (
    Key,
    TokenVerifier,
    key_from_jwk,
    key_from_secret,
    sign_token,
)
from selfbase.kit.failures import ConfigurationError


class TokenIssuer:
    """Signs with one key, verifies with all.  Keys can be exchanged while running."""

    def __init__(self, signing: Key, verifying: Sequence[Key]) -> None:
        self.replace(signing, verifying)

    def replace(self, signing: Key, verifying: Sequence[Key]) -> None:
        """Takes over a new set of keys, for the next token on."""
        self.signing = signing
        self.verifier = TokenVerifier(tuple(verifying))

    def sign(self, claims: Mapping[str, Any]) -> str:
        return sign_token(self.signing, claims)

    def verify(self, token: str, now: datetime) -> Mapping[str, Any]:
        """The claims of a genuine token in time.  Raises TokenInvalid."""
        return self.verifier.verify(token, now_s=now.timestamp())

    def public_keys(self) -> list[dict[str, Any]]:
        """The JWK set's members: public keys only, never a shared secret."""
        return [dict(key.public_jwk) for key in self.verifier.keys if key.public_jwk is not None]


def load_keys(settings: AuthSettings, given: Sequence[Key] = ()) -> tuple[Key, tuple[Key, ...]]:
    """The signing key and all verifying keys.

    `GOTRUE_JWT_KEYS` decides where it is set; else the project's own keys (`given`, the first one
    signs); else the shared secret.  Raises ConfigurationError.
    """
    legacy = (
        (key_from_secret(settings.jwt_secret.reveal(), kid=settings.jwt_key_id or None),)
        if settings.jwt_secret
        else ()
    )
    if settings.jwt_keys:
        parsed = _parse_keys(settings.jwt_keys.reveal())
        signing = [key for key, signs in parsed if signs]
        if len(signing) != 1:
            raise ConfigurationError(
                "GOTRUE_JWT_KEYS must hold exactly one key with `sign` in its key_ops"
            )
        # The project's own keys stay good: its API keys are signed with them.
        keys = (*(key for key, _ in parsed), *legacy, *given)
        return _keep_methods(signing[0], keys, settings.jwt_valid_methods)
    keys = (*given, *legacy) if given else legacy
    if not keys:
        raise ConfigurationError("Auth has no key to sign with", hint="Set GOTRUE_JWT_SECRET.")
    return _keep_methods(keys[0], keys, settings.jwt_valid_methods)


def _keep_methods(
    signing: Key, keys: Sequence[Key], methods: Sequence[str]
) -> tuple[Key, tuple[Key, ...]]:
    """The keys with only those algorithms that `GOTRUE_JWT_VALID_METHODS` names, where it is set.
    Raises ConfigurationError when it leaves out what we sign with."""
    if not methods:
        return signing, tuple(keys)
    kept = {
        index: replace(key, algorithms=allowed)
        for index, key in enumerate(keys)
        if (allowed := tuple(name for name in key.algorithms if name in methods))
    }
    chosen = next((made for index, made in kept.items() if keys[index] is signing), None)
    if chosen is None:
        raise ConfigurationError(
            "GOTRUE_JWT_VALID_METHODS leaves out the algorithm that tokens are signed with"
        )
    return chosen, tuple(kept.values())


def _parse_keys(text: str) -> list[tuple[Key, bool]]:
    try:
        jwks = orjson.loads(text)
        if isinstance(jwks, dict):
            jwks = jwks["keys"]
        keys = [(key_from_jwk(jwk), "sign" in jwk.get("key_ops", ())) for jwk in jwks]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The text is secret: only the kind of problem may be told.
        raise ConfigurationError(
            f"GOTRUE_JWT_KEYS is not usable ({type(error).__name__})"
        ) from None
    return keys
