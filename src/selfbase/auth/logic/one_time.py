"""One-time codes and their hashes: comparing, expiry, and which column holds which.

Source: reference sections 3.2 and 4.8.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta

PKCE_PREFIX = "pkce_"
DIGITS_MIN, DIGITS_MAX, DIGITS_DEFAULT = 6, 10, 6


def hash_code(address: str, code: str) -> str:
    """What is stored for a code: hex SHA-224 of the bare address and the code."""
    return hashlib.sha224((address.lower() + code).encode()).hexdigest()


def decide_digits(wanted: int) -> int:
    """The length of codes: a length out of range falls back to 6."""
    return wanted if DIGITS_MIN <= wanted <= DIGITS_MAX else DIGITS_DEFAULT


def is_expired(sent_at: datetime | None, life_s: int, now: datetime) -> bool:
    return sent_at is None or now > sent_at + timedelta(seconds=life_s)


def is_code_valid(
    hashed: str, stored: str, sent_at: datetime | None, life_s: int, now: datetime
) -> bool:
    """Whether a hashed code is the stored one, sent by either flow, and still in time."""
    if not stored or not hashed:
        return False
    return same_secret(hashed, stored.removeprefix(PKCE_PREFIX)) and not is_expired(
        sent_at, life_s, now
    )


def same_secret(one: str, other: str) -> bool:
    """Equality in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def seconds_to_wait(sent_at: datetime | None, gap_s: float, now: datetime) -> int:
    """How long until another code may be sent, in whole seconds; 0 for at once."""
    if sent_at is None:
        return 0
    left = (sent_at + timedelta(seconds=gap_s) - now).total_seconds()
    return max(0, -int(-left // 1))
