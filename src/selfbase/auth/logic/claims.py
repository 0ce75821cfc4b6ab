"""The claims of an access token: what a user and a session say, and nothing else.

Source: reference section 2.3.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from selfbase.auth.types import Session, User

SECOND_FACTORS = frozenset({"totp", "mfa/phone", "mfa/webauthn"})


def decide_expiry(
    user: User, session: Session, now: datetime, *, life_s: int, low_aal_s: float | None
) -> int:
    """When the token ends, in unix seconds: earlier for a factor holder who has not used one."""
    expires = int(now.timestamp()) + life_s
    if low_aal_s is None or session.aal != "aal1" or not user.verified_factors:
        return expires
    if session.created_at is None:
        return expires
    return min(expires, int((session.created_at + timedelta(seconds=low_aal_s)).timestamp()))


def build_amr(user: User, session: Session) -> list[dict[str, Any]]:
    """How the session was proven, newest first; a SAML entry names its provider."""
    entries: list[dict[str, Any]] = []
    for claim in session.amr:
        entry: dict[str, Any] = {"method": claim.method, "timestamp": int(claim.at.timestamp())}
        if claim.method == "sso/saml":
            provider = next(
                (i.provider for i in user.identities if i.provider.startswith("sso:")), None
            )
            if provider is not None:
                entry["provider"] = provider.removeprefix("sso:")
        entries.append(entry)
    return entries


def find_assurance(session: Session) -> str:
    """aal2 when a second factor is among the session's methods."""
    return "aal2" if any(claim.method in SECOND_FACTORS for claim in session.amr) else "aal1"


def build_claims(
    user: User, session: Session, *, issuer: str, issued_at: int, expires_at: int
) -> dict[str, Any]:
    """The claims of an access token for this session."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": user.id,
        "aud": user.aud,
        "exp": expires_at,
        "iat": issued_at,
        "email": user.email,
        "phone": user.phone,
        "app_metadata": user.app_metadata,
        "user_metadata": user.user_metadata,
        "role": user.role,
        "aal": session.aal,
        "amr": build_amr(user, session),
        "session_id": session.id,
        "is_anonymous": user.is_anonymous,
    }
    if session.oauth_client_id:
        claims["client_id"] = session.oauth_client_id
        if session.scopes:
            claims["scope"] = session.scopes
    return claims


_REQUIRED = {
    "aud": (str, list), "exp": (int, float), "iat": (int, float), "sub": (str,), "email": (str,),
    "phone": (str,), "role": (str,), "aal": (str,), "session_id": (str,), "is_anonymous": (bool,),
}  # fmt: skip


def check_hook_claims(claims: Any) -> str | None:
    """What is wrong with the claims a hook returned, or None."""
    if not isinstance(claims, dict):
        return "claims must be an object"
    for name, kinds in _REQUIRED.items():
        if name not in claims:
            return f"(root): {name} is required"
        value = claims[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return f"{name}: invalid type"
    return None
