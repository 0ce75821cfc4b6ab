"""ID tokens of other parties: are they genuine, meant for us, and what profile do they carry.

The signature is judged by `identity.tokens` with the issuer's published keys only, so that neither
`none` nor a shared-key algorithm can slip in.  Sources: OpenID Connect Core 1.0 sections 2, 3.1.3.7
and 3.1.3.6 (`at_hash`); the issuers' own documentation for their claims.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from selfbase.auth.logic.providers import catalog
from selfbase.auth.logic.providers.profile import (
    Email,
    Profile,
    as_flag,
    as_text,
    make_claims,
    one_email,
)
from selfbase.identity.tokens import Key, TokenInvalid, TokenVerifier, key_from_jwk

Claims = Mapping[str, Any]
ID_TOKEN_BYTES_MAX = 32 * 1024
KEYS_MAX = 64


class IdTokenInvalid(Exception):
    """An ID token that must not be trusted; the text is for the log."""


class NonceMismatch(IdTokenInvalid):
    """The token's nonce is not the hash of the one given."""


class AudienceMismatch(IdTokenInvalid):
    """The token was made for another application."""


def keys_from_jwks(document: Any) -> tuple[Key, ...]:
    """The usable public signature keys of a JWK set; shared secrets in one are ignored, since
    whoever can read the set could sign with them.  Raises IdTokenInvalid when none is left."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    keys = []
    for jwk in (listed if isinstance(listed, list) else [])[:KEYS_MAX]:
        if not isinstance(jwk, Mapping) or jwk.get("kty") == "oct" or jwk.get("use") == "enc":
            continue
        try:
            keys.append(key_from_jwk(jwk))
        except (ValueError, KeyError, TypeError):
            continue
    if not keys:
        raise IdTokenInvalid("the issuer publishes no usable keys")
    return tuple(keys)


def has_key_of(token: str, keys: Collection[Key]) -> bool:
    """Whether the token names a key we hold, or none: if not, the keys may have been rotated."""
    kid = _decode_part(token, 0).get("kid")
    return kid is None or any(key.kid == kid for key in keys)


def peek_issuer(token: str) -> str:
    """The `iss` a token claims, unverified: only to choose whose keys to try.  "" if unreadable."""
    return as_text(_decode_part(token, 1).get("iss"))


def _decode_part(token: str, index: int) -> dict[str, Any]:
    parts = token.split(".") if len(token) <= ID_TOKEN_BYTES_MAX else []
    if len(parts) != 3:
        return {}
    try:
        raw = urlsafe_b64decode(parts[index] + "=" * (-len(parts[index]) % 4))
        decoded = orjson.loads(raw)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def verify_id_token(
    token: str,
    keys: Sequence[Key],
    *,
    issuers: Collection[str],
    now_s: float,
    audiences: Collection[str] | None,
    access_token: str | None = None,
) -> Claims:
    """The claims of a token that is genuine, in time and of one of the issuers.

    `audiences` of None leaves the audience to the caller.  With `access_token`, an `at_hash` in the
    token must match it.  Raises IdTokenInvalid.
    """
    if len(token) > ID_TOKEN_BYTES_MAX:
        raise IdTokenInvalid("too large")
    try:
        claims = TokenVerifier(keys, cache_entries_max=0).verify(token, now_s=now_s)
    except TokenInvalid as error:
        raise IdTokenInvalid(str(error)) from None
    if not isinstance(claims.get("exp"), (int, float)):
        raise IdTokenInvalid("no expiry")
    if as_text(claims.get("iss")) not in issuers:
        raise IdTokenInvalid("another issuer")
    if audiences is not None:
        require_audience(claims, audiences)
    if access_token is not None and claims.get("at_hash"):
        _check_access_token(token, as_text(claims["at_hash"]), access_token)
    return claims


def require_audience(claims: Claims, accepted: Collection[str]) -> None:
    """Raises AudienceMismatch unless one of the accepted client ids is in `aud`, and is the
    authorized party where the token names one of several."""
    listed = audience_list(claims)
    wanted = {item for item in accepted if item}
    if not wanted.intersection(listed):
        raise AudienceMismatch("another audience")


def audience_list(claims: Claims) -> list[str]:
    claimed = claims.get("aud")
    several = claimed if isinstance(claimed, list) else [claimed]
    return [item for item in several if isinstance(item, str)]


def check_nonce(claims: Claims, given: str) -> None:
    """The token must hold the SHA-256 of the nonce in hexadecimal, or neither side has one.
    Raises NonceMismatch for a wrong one, IdTokenInvalid when one side has none."""
    claimed = as_text(claims.get("nonce"))
    if bool(claimed) != bool(given):
        raise IdTokenInvalid("nonce on one side only")
    digest = hashlib.sha256(given.encode()).hexdigest()
    if given and not hmac.compare_digest(digest.encode(), claimed.encode()):
        raise NonceMismatch("nonces differ")


def _check_access_token(token: str, at_hash: str, access_token: str) -> None:
    algorithm = as_text(_decode_part(token, 0).get("alg"))
    size = algorithm[-3:]
    # EdDSA says nothing about a hash; OpenID providers use SHA-512 with Ed25519.
    digest = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}.get(
        size, hashlib.sha512
    )(access_token.encode()).digest()
    expected = urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not hmac.compare_digest(expected, at_hash.encode()):
        raise IdTokenInvalid("at_hash does not match the access token")


def read_profile(claims: Claims) -> Profile:
    """The profile in a verified token, by its issuer."""
    issuer = as_text(claims.get("iss"))
    if catalog.is_azure_issuer(issuer):
        return _read_azure(claims)
    if issuer in catalog.APPLE_ISSUERS:
        return _read_apple(claims)
    return _READERS.get(issuer, read_standard)(claims)


def _common(claims: Claims, **more: Any) -> dict[str, Any]:
    subject = as_text(claims.get("sub"))
    return make_claims(iss=as_text(claims.get("iss")), sub=subject, provider_id=subject, **more)


def _read_google(claims: Claims) -> Profile:
    name, picture = as_text(claims.get("name")), as_text(claims.get("picture"))
    domain = as_text(claims.get("hd"))
    verified = as_flag(claims.get("email_verified")) or as_flag(claims.get("verified_email"))
    made = _common(
        claims,
        name=name,
        picture=picture,
        avatar_url=picture,
        full_name=name,
        custom_claims={"hd": domain} if domain else {},
    )
    return Profile(made, one_email(claims.get("email"), verified=verified))


def _read_facebook(claims: Claims) -> Profile:
    made = _common(claims, name=as_text(claims.get("name")), picture=as_text(claims.get("picture")))
    return Profile(made, one_email(claims.get("email"), verified=True))


def _read_apple(claims: Claims) -> Profile:
    custom: dict[str, Any] = {}
    if "is_private_email" in claims:
        custom["is_private_email"] = as_flag(claims["is_private_email"])
    if isinstance(claims.get("auth_time"), (int, float)):
        custom["auth_time"] = claims["auth_time"]
    if as_text(claims.get("transfer_sub")):
        custom["transfer_sub"] = claims["transfer_sub"]
    return Profile(
        _common(claims, custom_claims=custom), one_email(claims.get("email"), verified=True)
    )


def with_apple_name(profile: Profile, posted: str) -> Profile:
    """Apple posts the name beside the token, and only the first time.  It is unsigned, so nothing
    but the display name is taken from it; unreadable text changes nothing."""
    try:
        user = orjson.loads(posted)
    except orjson.JSONDecodeError:
        return profile
    name = user.get("name") if isinstance(user, dict) else None
    if not isinstance(name, dict):
        return profile
    full = f"{as_text(name.get('firstName'))} {as_text(name.get('lastName'))}".strip()
    if not full:
        return profile
    return Profile({**profile.claims, "name": full, "full_name": full}, profile.emails)


def _read_linkedin(claims: Claims) -> Profile:
    given, family = as_text(claims.get("given_name")), as_text(claims.get("family_name"))
    made = _common(
        claims,
        name=f"{given} {family}".strip(),
        given_name=given,
        family_name=family,
        locale=as_text(claims.get("locale")),
        picture=as_text(claims.get("picture")),
    )
    verified = as_flag(claims.get("email_verified"))
    return Profile(made, one_email(claims.get("email"), verified=verified))


# Protocol members of a Microsoft token: not part of the profile.
_AZURE_DROPPED = frozenset(
    [
        "aud",
        "iss",
        "iat",
        "nbf",
        "exp",
        "c_hash",
        "at_hash",
        "aio",
        "nonce",
        "rh",
        "uti",
        "jti",
        "ver",
        "sub",
        "name",
        "preferred_username",
    ]
)


def _read_azure(claims: Claims) -> Profile:
    """Where `xms_edov` is absent the operator has not asked for it, and an address that Microsoft
    sends counts as verified; where it is there, it decides."""
    edov = claims.get("xms_edov")
    made = _common(
        claims,
        preferred_username=as_text(claims.get("preferred_username")),
        full_name=as_text(claims.get("name")),
        custom_claims={k: v for k, v in claims.items() if k not in _AZURE_DROPPED},
    )
    return Profile(
        made, one_email(claims.get("email"), verified=True if edov is None else as_flag(edov))
    )


def _read_kakao(claims: Claims) -> Profile:
    name = as_text(claims.get("nickname"))
    made = _common(
        claims, name=name, preferred_username=name, picture=as_text(claims.get("picture"))
    )
    return Profile(made, one_email(claims.get("email"), verified=True))


def _read_vercel(claims: Claims) -> Profile:
    subject = as_text(claims.get("sub"))
    if as_text(claims.get("global_user_id")):
        subject = f"global_user_id:{claims['global_user_id']}"
    made = make_claims(
        iss=as_text(claims.get("iss")),
        sub=subject,
        provider_id=subject,
        name=as_text(claims.get("user_name")),
        picture=as_text(claims.get("user_avatar_url")),
    )
    return Profile(made, one_email(claims.get("user_email"), verified=True))


def _read_snapchat(claims: Claims) -> Profile:
    profile = read_standard(claims)
    return Profile(profile.claims, one_email(claims.get("email"), verified=True))


_TEXTS: Final = [
    "iss",
    "sub",
    "name",
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone",
    "full_name",
    "avatar_url",
    "slug",
    "provider_id",
    "user_name",
]


def read_standard(claims: Claims) -> Profile:
    """OpenID Connect's standard claims, as of any provider not known by name."""
    made: dict[str, Any] = {name: as_text(claims.get(name)) for name in _TEXTS}
    audience = audience_list(claims)
    made["aud"] = audience
    for name in ("iat", "exp"):
        if isinstance(claims.get(name), (int, float)):
            made[name] = claims[name]
    updated = claims.get("updated_at")
    if isinstance(updated, (int, float)) and 0 < updated < 1e11:
        moment = datetime.fromtimestamp(int(updated), UTC)
        made["updated_at"] = moment.isoformat().replace("+00:00", "Z")
    elif isinstance(updated, str):
        made["updated_at"] = updated
    if isinstance(claims.get("custom_claims"), Mapping):
        made["custom_claims"] = dict(claims["custom_claims"])
    phone = as_text(claims.get("phone_number"))
    made["phone"] = made["phone"] or phone
    made["phone_verified"] = as_flag(claims.get("phone_verified")) or as_flag(
        claims.get("phone_number_verified")
    )
    address = as_text(claims.get("email"))
    emails = (Email(address, as_flag(claims.get("email_verified"))),) if address else ()
    kept = make_claims(**made)
    kept.pop("email", None)
    return Profile(kept, emails)


_READERS: Final[Mapping[str, Callable[[Claims], Profile]]] = {
    catalog.GOOGLE_ISSUER: _read_google,
    "accounts.google.com": _read_google,
    catalog.LINKEDIN_ISSUER: _read_linkedin,
    catalog.KAKAO_ISSUER: _read_kakao,
    catalog.VERCEL_ISSUER: _read_vercel,
    catalog.FACEBOOK_ISSUER: _read_facebook,
    catalog.SNAPCHAT_ISSUER: _read_snapchat,
}
