"""What happens to a refresh token that comes back: pure decisions and the version 2 codec.

Version 1 tokens are rows; version 2 tokens are signed and carry the session and a counter.
Source: reference section 2.4.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from selfbase.auth.types import RefreshToken, Session, User


@dataclass(frozen=True, slots=True)
class Rotate:
    """The token is good: mark it used and hand out its child."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The client lost our last answer: hand out `token`, the active one, again."""

    token: RefreshToken


@dataclass(frozen=True, slots=True)
class Fork:
    """Reused within the interval: hand out another child."""


@dataclass(frozen=True, slots=True)
class RevokeFamily:
    """Reused too late: perhaps stolen.  Every token of the session dies."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Reused too late, and rotation is off: this token only."""


Decision = Rotate | Replay | Fork | RevokeFamily | Refuse


def decide_refresh(
    token: RefreshToken,
    active: RefreshToken | None,
    now: datetime,
    *,
    reuse_s: int,
    rotation: bool,
) -> Decision:
    """`active` is the session's newest unused token."""
    if not token.revoked:
        return Rotate()
    if (
        active is not None
        and active.parent is not None
        and hmac.compare_digest(active.parent.encode(), token.token.encode())
    ):
        return Replay(active)
    used_at = token.updated_at
    if reuse_s > 0 and used_at is not None and now <= used_at + timedelta(seconds=reuse_s):
        return Fork()
    return RevokeFamily() if rotation else Refuse()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The limits in force; None means none."""

    timebox_s: float | None = None
    inactivity_s: float | None = None
    low_aal_s: float | None = None
    single_per_user: bool = False


def find_session_fault(
    user: User,
    session: Session,
    newest_start: datetime | None,
    now: datetime,
    limits: SessionLimits,
) -> str | None:
    """Why the session may not be refreshed, as the ending of the public message, or None.

    `newest_start` is when the newest session of the same tag group began.
    """
    begun = session.created_at or now
    last = max(moment for moment in (begun, session.refreshed_at) if moment is not None)
    if session.not_after is not None and now > session.not_after:
        return "Session Expired"
    if limits.timebox_s is not None and now > begun + timedelta(seconds=limits.timebox_s):
        return "Session Expired"
    if limits.inactivity_s is not None and now > last + timedelta(seconds=limits.inactivity_s):
        return "Session Expired (Inactivity)"
    if (
        limits.low_aal_s is not None
        and session.aal == "aal1"
        and user.verified_factors
        and now > begun + timedelta(seconds=limits.low_aal_s)
    ):
        return "Session Expired (Low AAL: User Needs MFA Verification)"
    if limits.single_per_user and newest_start is not None and begun < newest_start:
        return "Session Expired (Revoked by Newer Login)"
    return None


VERSION = b"\x00"
SIGNATURE_BYTES, CHECKSUM_BYTES = 16, 4
SIGNED_TOKEN_CHARS_MIN = 48


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A version 2 token taken apart.  Nothing in it is proven until `is_genuine` says so."""

    session_id: str
    counter: int
    payload: bytes
    signature: bytes

    def is_genuine(self, key: str) -> bool:
        return hmac.compare_digest(_sign(key, self.payload), self.signature)


def render_signed_token(session_id: str, counter: int, key: str) -> str:
    """A version 2 token; `key` is 32 bytes in base64url without padding."""
    payload = VERSION + UUID(session_id).bytes + _uvarint(counter)
    signed = payload + _sign(key, payload)
    checksum = hashlib.sha256(signed).digest()[:CHECKSUM_BYTES]
    return urlsafe_b64encode(signed + checksum).rstrip(b"=").decode()


def parse_signed_token(text: str) -> SignedToken | None:
    """The parts of a version 2 token, or None when it is not one."""
    if len(text) < SIGNED_TOKEN_CHARS_MIN or len(text) > 80:
        return None
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    signed, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    expected = hashlib.sha256(signed).digest()[:CHECKSUM_BYTES]
    if raw[:1] != VERSION or not hmac.compare_digest(expected, checksum):
        return None
    payload, signature = signed[:-SIGNATURE_BYTES], signed[-SIGNATURE_BYTES:]
    counter = _read_uvarint(payload[17:])
    if len(payload) < 18 or counter is None:
        return None
    return SignedToken(str(UUID(bytes=payload[1:17])), counter, payload, signature)


def is_stored_token(text: str) -> bool:
    """Whether the text has the shape of a version 1 token."""
    return len(text) == 12 and text.isascii() and text.isalnum() and text == text.lower()


def decide_signed_refresh(
    counter: int,
    session: Session,
    now: datetime,
    *,
    reuse_s: int,
    allow_reuse: bool,
    rotation: bool,
) -> int | RevokeFamily | Refuse | None:
    """The counter of the token to hand out; None when the token is ahead of its session."""
    current = session.refresh_token_counter or 0
    behind = current - counter
    if behind < 0:
        return None
    if behind == 0:
        return current + 1
    recent = session.refreshed_at is not None and now <= session.refreshed_at + timedelta(
        seconds=reuse_s
    )
    if behind == 1 or recent or allow_reuse:
        return current
    return RevokeFamily() if rotation else Refuse()


def decide_upgrade(session_id: str, percentage: int) -> bool:
    """Whether a version 1 session moves to version 2: the same answer for a session every time."""
    return UUID(session_id).int % 100 < percentage


def _sign(key: str, payload: bytes) -> bytes:
    raw = urlsafe_b64decode(key + "=" * (-len(key) % 4))
    return hmac.new(raw, payload, hashlib.sha256).digest()[:SIGNATURE_BYTES]


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_uvarint(raw: bytes) -> int | None:
    number = 0
    for index, byte in enumerate(raw[:10]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number if index == len(raw) - 1 else None
    return None
