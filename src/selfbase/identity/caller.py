"""The caller: a database role and the claims the token proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling.

    `role` is the database role to act as.  `claims` are the verified claims; `claims_json` the
    same as JSON text with `role` set to the effective role, ready for `request.jwt.claims`.
    `token` is the compact JWT it came from, or empty for an anonymous caller.
    """

    role: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    claims_json: str = "{}"
    token: str = field(default="", repr=False)

    @property
    def user_id(self) -> str | None:
        """The subject of the token, or None."""
        subject = self.claims.get("sub")
        return subject if isinstance(subject, str) and subject else None

    @property
    def is_service(self) -> bool:
        return self.role == "service_role"

    @property
    def is_anonymous(self) -> bool:
        """Nobody has signed in: no subject."""
        return self.user_id is None


def make_caller(claims: Mapping[str, Any], role: str, token: str = "") -> Caller:
    """A caller whose claims carry the effective role."""
    effective = {**claims, "role": role}
    return Caller(role, effective, orjson.dumps(effective).decode(), token)
