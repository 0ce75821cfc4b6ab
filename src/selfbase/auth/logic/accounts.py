"""Decisions about accounts: metadata, provider lists, obfuscated answers, durations of a ban."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from selfbase.auth.errors import ValidationFailed
from selfbase.auth.types import User
from selfbase.kit.settings import parse_seconds


def merge_metadata(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level members replaced; a member set to null is removed."""
    merged = {**current, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def plan_providers(user: User) -> dict[str, Any]:
    """app_metadata whose `provider` and `providers` are those of the identities, oldest first."""
    names = list(dict.fromkeys(identity.provider for identity in user.identities))
    planned = dict(user.app_metadata)
    if names:
        planned["provider"] = names[0]
        planned["providers"] = names
    return planned


def obfuscate_user(
    *, user_id: str, aud: str, provider: str, email: str, phone: str, data: Mapping[str, Any],
    now: datetime,
) -> User:  # fmt: skip
    """What a sign-up answers for an account that exists: as for a new one, but nobody's."""
    return User(
        id=user_id,
        aud=aud,
        role="",
        email=email,
        phone=phone,
        app_metadata={"provider": provider, "providers": [provider]},
        user_metadata=dict(data),
        created_at=now,
        updated_at=now,
        confirmation_sent_at=now,
    )


BAN_FOREVER_S = 100 * 365 * 24 * 3600.0


def parse_ban(text: str, now: datetime) -> datetime | None:
    """Until when: a Go duration, or `none` to lift a ban.  Raises ValidationFailed."""
    if text == "none":
        return None
    try:
        seconds = parse_seconds(text)
        if text.strip().replace(".", "", 1).isdigit() and seconds != 0:
            raise ValueError("a duration has a unit")
        return now + timedelta(seconds=min(seconds, BAN_FOREVER_S))
    except (ValueError, OverflowError):
        raise ValidationFailed(f"invalid format for ban duration: {text[:50]!r}") from None
