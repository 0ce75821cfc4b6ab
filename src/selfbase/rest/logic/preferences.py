"""The `Prefer` header: exact tokens, the first of each family wins (RFC 7240).

Source: reference/rest.md section 2.5.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_FAMILIES = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "return": ("representation", "headers-only", "minimal"),
    "count": ("exact", "planned", "estimated"),
    "tx": ("commit", "rollback"),
    "missing": ("default", "null"),
    "handling": ("strict", "lenient"),
}


class Preferences(NamedTuple):
    """What the client prefers; None where it said nothing (or nothing known)."""

    resolution: str | None = None
    representation: str | None = None
    counting: str | None = None
    tx: str | None = None
    missing: str | None = None
    handling: str | None = None
    timezone: str | None = None
    affected_max: int | None = None
    unknown: tuple[str, ...] = ()

    @property
    def strict(self) -> bool:
        return self.handling == "strict"

    def without_timezone(self) -> Preferences:
        """The same when the named time zone is not known: one more unknown preference."""
        return self._replace(timezone=None, unknown=(*self.unknown, f"timezone={self.timezone}"))

    @property
    def full(self) -> bool:
        return self.representation == "representation"


@lru_cache(maxsize=512)
def parse_preferences(header: str) -> Preferences:
    """`header` is all `Prefer` headers joined by commas."""
    if not header:
        return Preferences()
    found: dict[str, str] = {}
    unknown: list[str] = []
    for token in (part.strip() for part in header.split(",")):
        family, _, value = token.partition("=")
        if value in _FAMILIES.get(family, ()) or (
            family in ("timezone", "max-affected") and "=" in token
        ):
            found.setdefault(family, value)
        else:
            unknown.append(token)
    affected = found.get("max-affected", "")
    return Preferences(
        resolution=found.get("resolution"),
        representation=found.get("return"),
        counting=found.get("count"),
        tx=found.get("tx"),
        missing=found.get("missing"),
        handling=found.get("handling"),
        timezone=found.get("timezone"),
        affected_max=int(affected) if affected.lstrip("-").isdecimal() else None,
        unknown=tuple(unknown),
    )


def list_applied(
    preferences: Preferences,
    *,
    resolution: bool = False,
    missing: bool = False,
    representation: bool = False,
    affected: bool = False,
    tx: bool = False,
) -> str:
    """The value of `Preference-Applied`, empty when nothing applied.  The flags say which
    preferences meant something for this plan."""
    p = preferences
    parts = [
        f"resolution={p.resolution}" if resolution and p.resolution else "",
        f"missing={p.missing}" if missing and p.missing else "",
        f"return={p.representation}" if representation and p.representation else "",
        f"count={p.counting}" if p.counting else "",
        f"tx={p.tx}" if tx and p.tx else "",
        f"handling={p.handling}" if p.handling else "",
        f"timezone={p.timezone}" if p.timezone else "",
        f"max-affected={p.affected_max}"
        if affected and p.strict and p.affected_max is not None
        else "",
    ]
    return ", ".join(part for part in parts if part)
