"""Versions: the names under which bytes are written, each used once.

A UUID of version 7 (RFC 9562 section 5.7): its time tells the collector how old bytes are without
trusting a file system's clock, and sets ours apart from those of the reference server (version 4).
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from uuid import UUID


def make_version(now: datetime) -> str:
    """A new version of this moment."""
    milliseconds = int(now.timestamp() * 1000)
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 7 << 76
    value |= secrets.randbits(12) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return str(UUID(int=value))


def find_made_at(version: str) -> datetime | None:
    """When this version was made, or None when it is not one of ours."""
    try:
        value = UUID(version)
    except ValueError:
        return None
    if value.version != 7:
        return None
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)
