"""Signed URLs: a token that is the right to read, or to write, one object for a while.

Source: reference/storage.md section 1.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any
from urllib.parse import unquote

from selfbase.identity.tokens import TokenInvalid, sign_token
from selfbase.storage.access import describe_token_failure
from selfbase.storage.context import Context
from selfbase.storage.errors import InvalidJwt, InvalidParameter, InvalidSignature

# The last second that clients of every language can hold in a date: 9999-12-31.
_EXPIRY_MAX_S = 253_402_300_799
# What a client's own encoding of the URL would leave alone, or encode twice.
_ENCODED = {"%": "%25", "#": "%23", "?": "%3F"}


class Scope(Enum):
    """What a token is good for."""

    DOWNLOAD = "download"
    UPLOAD = "upload"


def sign_url_token(
    context: Context, scope: Scope, bucket_id: str, name: str, expires_s: int, **claims: Any
) -> str:
    """A token for one object.  Raises InvalidParameter for a time no date can hold."""
    now_s = int(context.clock.now().timestamp())
    if now_s + expires_s > _EXPIRY_MAX_S:
        raise InvalidParameter("Invalid Parameter expiresIn")
    kept = {key: value for key, value in claims.items() if value is not None}
    # What says which object and which right comes last: nothing a caller adds can replace it.
    signed = {
        **kept,
        "url": f"{bucket_id}/{name}",
        "scope": scope.value,
        "iat": now_s,
        "exp": now_s + expires_s,
    }
    return sign_token(context.signing_key, signed)


def verify_url_token(
    context: Context, token: str, bucket_id: str, name: str, scope: Scope
) -> Mapping[str, Any]:
    """The claims of a token for this object and right.  Raises InvalidJwt, InvalidSignature."""
    now_s = context.clock.now().timestamp()
    try:
        claims = context.tokens.verify(token, now_s=now_s)
    except TokenInvalid as failure:
        raise InvalidJwt(describe_token_failure(failure)) from None
    expires = claims.get("exp")
    if not isinstance(expires, (int, float)) or isinstance(expires, bool) or expires <= now_s:
        # Without the leeway bearer tokens have: a link that was given for 10 s ends after 10 s.
        raise InvalidJwt('"exp" claim timestamp check failed')
    if _scope_of(claims) is not scope:
        raise InvalidSignature(f"Token is not scoped for {scope.value}")
    signed = claims.get("url")
    path = f"{bucket_id}/{name}"
    # A path that was encoded once more than needed still names the object that was signed.
    if not isinstance(signed, str) or signed not in (path, unquote(path)):
        raise InvalidSignature
    return claims


def _scope_of(claims: Mapping[str, Any]) -> Scope | None:
    named = claims.get("scope")
    if named is not None:
        return next((scope for scope in Scope if scope.value == named), None)
    # Tokens from before scopes: those for uploads said whether they may replace.
    return Scope.UPLOAD if "upsert" in claims else Scope.DOWNLOAD


def split_signed_path(claims: Mapping[str, Any]) -> tuple[str, str]:
    """Bucket and name that the token names."""
    bucket_id, _, name = str(claims["url"]).partition("/")
    return bucket_id, name


def render_signed_path(prefix: str, bucket_id: str, name: str, token: str) -> str:
    """A URL relative to the service.  Not percent-encoded: clients do that; only what they would
    leave alone or encode twice is."""
    path = "".join(_ENCODED.get(character, character) for character in f"{bucket_id}/{name}")
    return f"{prefix}/{path}?token={token}"
