"""Users, identities, factors and sessions as clients expect them.  Source: reference section 2."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson

from selfbase.auth.types import Factor, Identity, User


def render_moment(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with `Z` and microseconds where there are any."""
    if moment is None:
        return None
    text = moment.astimezone(UTC).isoformat()
    return text.replace("+00:00", "Z")


def dump_json(value: Any) -> bytes:
    """JSON text; metadata may hold integers beyond 64 bits, which orjson refuses."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


_OPTIONAL_MOMENTS = (
    "invited_at", "email_confirmed_at", "phone_confirmed_at", "confirmed_at",
    "confirmation_sent_at", "recovery_sent_at", "email_change_sent_at", "phone_change_sent_at",
    "reauthentication_sent_at", "last_sign_in_at", "banned_until", "deleted_at",
)  # fmt: skip


def render_user(user: User) -> dict[str, Any]:
    """The public form: nothing secret, empty strings for an unset e-mail or phone."""
    shown: dict[str, Any] = {
        "id": user.id,
        "aud": user.aud,
        "role": user.role,
        "email": user.email,
        "phone": user.phone,
    }
    for name in _OPTIONAL_MOMENTS:
        moment = getattr(user, name)
        if moment is not None:
            shown[name] = render_moment(moment)
    if user.email_change:
        shown["new_email"] = user.email_change
    if user.phone_change:
        shown["new_phone"] = user.phone_change
    shown["app_metadata"] = user.app_metadata
    shown["user_metadata"] = user.user_metadata
    shown["identities"] = [render_identity(identity) for identity in user.identities]
    if user.factors:
        shown["factors"] = [render_factor(factor) for factor in user.factors]
    shown["created_at"] = render_moment(user.created_at)
    shown["updated_at"] = render_moment(user.updated_at)
    shown["is_anonymous"] = user.is_anonymous
    return shown


def render_identity(identity: Identity) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "identity_id": identity.id,
        "id": identity.provider_id,
        "user_id": identity.user_id,
        "identity_data": identity.identity_data,
        "provider": identity.provider,
        "last_sign_in_at": render_moment(identity.last_sign_in_at),
        "created_at": render_moment(identity.created_at),
        "updated_at": render_moment(identity.updated_at),
    }
    if identity.email:
        shown["email"] = identity.email
    return shown


def render_factor(factor: Factor) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": factor.id,
        "created_at": render_moment(factor.created_at),
        "updated_at": render_moment(factor.updated_at),
        "status": factor.status,
        "factor_type": factor.factor_type,
    }
    if factor.friendly_name:
        shown["friendly_name"] = factor.friendly_name
    if factor.phone:
        shown["phone"] = factor.phone
    if factor.last_challenged_at is not None:
        shown["last_challenged_at"] = render_moment(factor.last_challenged_at)
    if factor.web_authn_aaguid:
        shown["web_authn_aaguid"] = factor.web_authn_aaguid
    if factor.last_webauthn_challenge_data:
        shown["last_webauthn_challenge_data"] = factor.last_webauthn_challenge_data
    return shown
