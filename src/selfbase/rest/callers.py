"""Who calls: from the `Authorization` header to a caller, with the errors clients know.

Source: reference/rest.md section 6.
"""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfbase.identity.caller import Caller, make_caller
from selfbase.identity.tokens import (
    SKEW_S,
    TokenInvalid,
    TokenVerifier,
    key_from_secret,
    keys_from_text,
)
from selfbase.kit.failures import ConfigurationError
from selfbase.rest.errors import RestFailure
from selfbase.rest.logic.claims import find_role
from selfbase.rest.settings import RestSettings

_DECODE = {
    "empty": "Empty JWT is sent in Authorization header",
    "no_key": "No suitable key or wrong key type",
    "algorithm": "Wrong or unsupported encoding algorithm",
    "signature": "No suitable key or wrong key type",
    "too_large": "JWT cryptographic operation failed",
}
_CLAIMS = {
    "expired": "JWT expired",
    "not_yet_valid": "JWT not yet valid",
    "issued_in_future": "JWT issued at future",
    "audience": "JWT not in audience",
}


def make_verifier(settings: RestSettings) -> TokenVerifier | None:
    """The verifier of the service's own secret, or None when it has none."""
    secret = settings.jwt_secret.reveal()
    if not secret:
        return None
    raw = secret.encode("utf-8", "surrogateescape")
    if settings.jwt_secret_is_base64:
        padded = secret.strip().replace(".", "=").translate({ord("+"): "-", ord("/"): "_"})
        raw = urlsafe_b64decode(padded + "=" * (-len(padded) % 4))
    if raw.lstrip().startswith((b"{", b"[")):
        keys = keys_from_text(raw.decode("utf-8", "surrogateescape"))
    elif len(raw) < 32:
        raise ConfigurationError("The JWT secret must be at least 32 characters long.")
    else:
        keys = (key_from_secret(raw),)
    return TokenVerifier(keys, cache_entries_max=settings.jwt_cache_max_entries)


class Callers:
    """Turns tokens into callers and remembers those it has made."""

    def __init__(self, settings: RestSettings, tokens: TokenVerifier | None) -> None:
        self.tokens = tokens
        self._settings = settings
        self.hits = 0
        self.evictions = 0
        self._made: dict[str, _Known] = {}
        self._anonymous = make_caller({}, settings.db_anon_role) if settings.db_anon_role else None

    def identify(self, authorization: str | None, now_s: float) -> Caller:
        """The caller of a request.  Raises RestFailure PGRST300 to PGRST303."""
        token = _read_bearer(authorization)
        if token is None:
            if self._anonymous is None:
                raise _unauthorized("PGRST302", "Anonymous access is disabled")
            return self._anonymous
        if self.tokens is None:
            raise RestFailure("PGRST300", 500, "Server lacks JWT secret")
        known = self._made.get(token)
        if known is not None and known.from_s <= now_s <= known.until_s:
            self.hits += 1
            return known.caller
        try:
            claims = self.tokens.verify(token, now_s=now_s, audience=self._settings.jwt_aud or None)
        except TokenInvalid as failure:
            raise _render_invalid(failure, token) from None
        made = _Known(self._make(claims, token), *_find_span(claims))
        self._made[token] = made
        if len(self._made) > self._settings.jwt_cache_max_entries:
            del self._made[next(iter(self._made))]
            self.evictions += 1
        return made.caller

    def _make(self, claims: Mapping[str, Any], token: str) -> Caller:
        role = find_role(claims, self._settings.jwt_role_claim_key) or self._settings.db_anon_role
        if not role:
            raise _unauthorized("PGRST302", "Anonymous access is disabled")
        return make_caller(claims, role, token)


@dataclass(frozen=True, slots=True)
class _Known:
    """A caller whose token was found genuine, and the time (Unix seconds) in which it is valid."""

    caller: Caller
    from_s: float
    until_s: float


def _find_span(claims: Mapping[str, Any]) -> tuple[float, float]:
    """When a verified token is valid, with the skew verification allows."""
    starts = [int(claims[name]) for name in ("nbf", "iat") if claims.get(name) is not None]
    expires = claims.get("exp")
    until_s = math.inf if expires is None else float(int(expires) + SKEW_S)
    return (max(starts) - SKEW_S if starts else -math.inf), until_s


def _read_bearer(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme in ("Bearer", "bearer") else None


def _unauthorized(code: str, message: str, details: str | None = None) -> RestFailure:
    challenge = "Bearer"
    if code != "PGRST302":
        challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return RestFailure(code, 401, message, details, headers=[("WWW-Authenticate", challenge)])


def _render_invalid(failure: TokenInvalid, token: str) -> RestFailure:
    reason = failure.reason
    if reason == "malformed":
        parts = token.count(".") + 1
        if parts != 3:
            return _unauthorized("PGRST301", f"Expected 3 parts in JWT; got {parts}")
        return _unauthorized("PGRST301", "JWT cryptographic operation failed")
    if reason in _DECODE:
        details = None
        if reason in ("no_key", "signature"):
            details = "None of the keys was able to decode the JWT"
        elif reason == "algorithm" and failure.detail == "none":
            details = "JWT is unsecured but expected 'alg' was not 'none'"
        return _unauthorized("PGRST301", _DECODE[reason], details)
    if reason == "claim_type":
        what = "a string or an array of strings" if failure.detail == "aud" else "a number"
        return _unauthorized("PGRST303", f"The JWT '{failure.detail}' claim must be {what}")
    return _unauthorized("PGRST303", _CLAIMS.get(reason, "Parsing claims failed"))
