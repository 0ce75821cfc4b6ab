"""Who a token says is calling, and until when.

A token needs a role and an expiry; opaque API keys stand for the project's own tokens.
Source: reference/realtime.md section 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from selfbase.identity.apikeys import OPAQUE_PREFIX, KeyRing
from selfbase.identity.caller import Caller, make_caller
from selfbase.identity.tokens import TokenInvalid, TokenVerifier
from selfbase.kit.clock import Clock
from selfbase.realtime.errors import InvalidToken, MalformedToken, TokenMissing, TokenSignature

FIELDS_REQUIRED = "Fields `role` and `exp` are required in JWT"


@dataclass(frozen=True, slots=True)
class Grant:
    """A verified token: the caller it proves and the moment it ends, in seconds since 1970."""

    caller: Caller
    expires_s: float


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Verifies tokens of one project."""

    tokens: TokenVerifier
    keys: KeyRing
    clock: Clock
    validators: Mapping[str, Any]

    def verify(self, token: str) -> Grant:
        """Raises TokenMissing, InvalidToken, MalformedToken, TokenSignature."""
        text = unquote(token).strip()
        if not text:
            raise TokenMissing
        if text.startswith(OPAQUE_PREFIX):
            key = self.keys.find(text)
            if key is None:
                raise MalformedToken
            text = key.token
        now_s = self.clock.now().timestamp()
        try:
            claims = self.tokens.verify(text, now_s=now_s)
        except TokenInvalid as error:
            raise _refusal(error) from None
        return self._judge(claims, text, now_s)

    def _judge(self, claims: Mapping[str, Any], text: str, now_s: float) -> Grant:
        role, expires = claims.get("role"), claims.get("exp")
        if not isinstance(role, str) or not role or expires is None:
            raise InvalidToken(FIELDS_REQUIRED)
        if expires <= now_s:
            # The verifier forgives some clock skew; a live connection is cut off on time.
            raise expired(now_s - expires)
        for name, wanted in self.validators.items():
            if claims.get(name) != wanted:
                raise InvalidToken(f"Claim `{name}` does not have the required value")
        return Grant(make_caller(claims, role, text), float(expires))


def expired(ago_s: float) -> InvalidToken:
    """The refusal of a token that ended `ago_s` seconds ago."""
    return InvalidToken(f"Token has expired {max(0, int(ago_s))} seconds ago")


def _refusal(error: TokenInvalid) -> InvalidToken | MalformedToken | TokenSignature:
    if error.reason == "expired":
        return InvalidToken("Token has expired")
    if error.reason in ("not_yet_valid", "issued_in_future", "claim_type", "audience"):
        return InvalidToken("Token is not valid now or not for this service")
    if error.reason in ("signature", "no_key", "algorithm"):
        return TokenSignature()
    return MalformedToken()
