"""Whether a password may be used: length, characters, and leaks (Have I Been Pwned ranges)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import ClassVar

from selfbase.auth.context import Context
from selfbase.auth.errors import UnexpectedFailure, WeakPassword
from selfbase.auth.logic.passwords import check_length, find_weaknesses, parse_character_sets
from selfbase.auth.outgoing import AddressRefused, FetchFailed
from selfbase.kit.events import Event

RANGE_URL = "https://api.pwnedpasswords.com/range/"
TIMEOUT_S = 5.0
_LEAKED = "Password is known to be weak and easy to guess, please choose a different one."


@dataclass(frozen=True, slots=True)
class LeakCheckFailed(Event):
    """The leak service did not answer."""

    name: ClassVar[str] = "auth.password.leak_check_failed"
    level: ClassVar = "warning"
    service: ClassVar[str] = "auth"
    reason: str


async def check_new_password(ctx: Context, password: str) -> None:
    """Raises ValidationFailed for a password too long to hash, WeakPassword with its reasons."""
    check_length(password)
    reasons, words = find_weaknesses(
        password,
        length_min=ctx.settings.password_min_length,
        sets=parse_character_sets(ctx.settings.password_required_characters),
    )
    if ctx.settings.password_hibp_enabled and await is_leaked(ctx, password):
        reasons.append("pwned")
        words.append(_LEAKED)
    if reasons:
        raise WeakPassword(" ".join(words), reasons)


async def is_leaked(ctx: Context, password: str) -> bool:
    """Asks by the first five characters of the digest only (k-anonymity)."""
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
    try:
        reply = await ctx.core.outgoing.fetch(
            "GET", RANGE_URL + digest[:5], timeout_s=TIMEOUT_S, headers={"Add-Padding": "true"}
        )
    except (FetchFailed, AddressRefused, TimeoutError) as error:
        return _unanswered(ctx, type(error).__name__)
    if reply.status != 200:
        return _unanswered(ctx, f"status {reply.status}")
    for line in reply.body.decode("ascii", "replace").splitlines():
        suffix, _, count = line.partition(":")
        if hmac.compare_digest(suffix.strip().encode(), digest[5:].encode()):
            return count.strip() not in ("", "0")
    return False


def _unanswered(ctx: Context, reason: str) -> bool:
    ctx.core.events.emit(LeakCheckFailed(reason))
    if ctx.settings.password_hibp_fail_closed:
        raise UnexpectedFailure(
            "Unable to perform password strength check with HaveIBeenPwned.org."
        )
    return False
