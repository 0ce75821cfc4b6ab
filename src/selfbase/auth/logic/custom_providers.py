"""Providers an operator adds by hand: checking what was entered, and shaping their profiles.

Source: reference/auth.md sections 1.5 (custom providers) and 4.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from selfbase.auth.logic.idtokens import read_standard
from selfbase.auth.logic.providers.profile import Email, Profile, as_flag
from selfbase.auth.logic.providers.records import RESERVED_PARAMS

PREFIX: Final = "custom:"
_IDENTIFIER = re.compile(r"custom:[a-z0-9][a-z0-9:-]{0,48}[a-z0-9]|custom:[a-z0-9]")
TEXT_MAX: Final = 2048
LIST_MAX: Final = 100

# What a mapping may never write: these decide who the account is and what it may do.
PROTECTED_TARGETS: Final = frozenset(
    [
        "id",
        "aud",
        "role",
        "app_metadata",
        "user_metadata",
        "email_verified",
        "phone_verified",
        "banned_until",
        "is_anonymous",
        "is_super_admin",
        "is_sso_user",
        "confirmed_at",
        "email_confirmed_at",
        "phone_confirmed_at",
        "created_at",
        "updated_at",
        "deleted_at",
        "encrypted_password",
        "factors",
        "identities",
        "iss",
        "sub",
        "exp",
        "iat",
        "provider_id",
        "custom_claims",
    ]
)
# Protocol members that a claim allow-list may not copy.
PROTOCOL_CLAIMS: Final = frozenset(
    ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "azp"]
)


class CustomProviderInvalid(Exception):
    """What was entered makes no sense; the text is for the operator."""


def require_identifier(value: Any) -> str:
    """`custom:` and lower-case letters, digits, colons and dashes.  Raises CustomProviderInvalid."""
    if not isinstance(value, str) or not value.startswith(PREFIX):
        raise CustomProviderInvalid('identifier must start with "custom:"')
    if not _IDENTIFIER.fullmatch(value):
        raise CustomProviderInvalid(
            "identifier may hold lower-case letters, digits, colons and dashes, at most 50"
            " characters after the prefix"
        )
    return value


def require_https_url(name: str, value: Any) -> str:
    """An absolute https URL without credentials or fragment.  Where it leads is checked when it is
    used, by address.  Raises CustomProviderInvalid."""
    if not isinstance(value, str) or not value or len(value) > TEXT_MAX:
        raise CustomProviderInvalid(f"{name} must be a URL of at most {TEXT_MAX} characters")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise CustomProviderInvalid(f"{name} is not a valid URL") from None
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise CustomProviderInvalid(f"{name} must be an https URL")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise CustomProviderInvalid(f"{name} must not hold credentials or a fragment")
    return value


def require_text(name: str, value: Any, length_max: int = 255) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > length_max:
        raise CustomProviderInvalid(f"{name} is required, at most {length_max} characters")
    return value


def require_texts(name: str, value: Any) -> list[str]:
    """A list of non-empty texts, empty when absent.  Raises CustomProviderInvalid."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > LIST_MAX:
        raise CustomProviderInvalid(f"{name} must be a list of at most {LIST_MAX}")
    if not all(isinstance(item, str) and item and len(item) <= TEXT_MAX for item in value):
        raise CustomProviderInvalid(f"{name} must hold non-empty texts")
    return list(value)


def require_authorization_params(value: Any) -> dict[str, str]:
    """Text by name, none of them reserved.  Raises CustomProviderInvalid."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > LIST_MAX:
        raise CustomProviderInvalid("authorization_params must be an object")
    for name, item in value.items():
        if str(name).lower() in RESERVED_PARAMS or str(name).lower() == "nonce":
            raise CustomProviderInvalid(f"authorization_params may not set {name}")
        if not isinstance(item, str) or len(item) > TEXT_MAX:
            raise CustomProviderInvalid(f"authorization_params.{name} must be a text")
    return dict(value)


def require_attribute_mapping(value: Any) -> dict[str, Any]:
    """Target claim → source claim or literal.  Raises CustomProviderInvalid."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > LIST_MAX:
        raise CustomProviderInvalid("attribute_mapping must be an object")
    for target in value:
        if str(target).lower() in PROTECTED_TARGETS:
            raise CustomProviderInvalid(f"attribute_mapping may not set {target}")
    return dict(value)


def require_claims_allowlist(value: Any) -> list[str]:
    names = require_texts("custom_claims_allowlist", value)
    for name in names:
        if name in PROTOCOL_CLAIMS:
            raise CustomProviderInvalid(f"custom_claims_allowlist may not hold {name}")
    return names


def default_discovery_url(issuer: str) -> str:
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def shape_profile(
    raw: Mapping[str, Any],
    *,
    base: Profile | None = None,
    mapping: Mapping[str, Any],
    allowlist: Sequence[str],
) -> Profile:
    """The profile of a custom provider from its raw claims.

    Listed claims are copied into `custom_claims`; then each mapping entry sets a target from the
    claim it names, or to the literal it holds.  Only claims take part that the provider sent.
    """
    source = base or read_standard(raw)
    email = source.email
    claims = dict(source.claims)
    if email is not None:
        claims["email"] = email.address
    kept = {name: raw[name] for name in allowlist if name in raw}
    if kept:
        claims["custom_claims"] = {**claims.get("custom_claims", {}), **kept}
    for target, wanted in mapping.items():
        if not isinstance(wanted, str):
            claims[target] = wanted
        elif wanted in raw:
            claims[target] = raw[wanted]
        elif wanted in source.claims:
            claims[target] = source.claims[wanted]
    address = claims.pop("email", None)
    if not isinstance(address, str) or not address:
        return Profile(claims, ())
    if email is None:
        verified = as_flag(raw.get("email_verified"))
    else:
        # The flag speaks of the address it came with, not of one mapped in its place.
        verified = email.address == address and email.verified
    return Profile(claims, (Email(address, verified),))
