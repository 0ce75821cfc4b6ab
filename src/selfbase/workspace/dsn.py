"""Database URLs: taking them apart, and whose passwords are ours to set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfbase.kit.failures import ConfigurationError


def split_admin_url(url: str) -> tuple[str, str]:
    """`(where, administrator)`: the same server without a user, and as given, as libpq strings.

    Raises ConfigurationError for what is no URL."""
    # Only here, because a supervisor of an embedded cluster has no other need of psycopg.
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    try:
        parts: dict[str, Any] = dict(conninfo_to_dict(url))
    except ProgrammingError:
        # libpq's words repeat what it could not read, and a password may be in it.
        raise ConfigurationError(
            "The database URL cannot be read",
            hint="It looks like postgresql://user:password@host:5432/postgres, with special"
            " characters of the password written as %40.",
        ) from None
    where = {key: value for key, value in parts.items() if key not in ("user", "password")}
    return make_conninfo(**where), make_conninfo(**parts)


@dataclass(frozen=True)
class Passwords:
    """Passwords of database roles: those we set, and those we log in with."""

    to_set: dict[str, str]
    to_use: dict[str, str]


def plan_passwords(ours: Mapping[str, str], administrator: str) -> Passwords:
    """Without an administrator's URL the cluster is our own, and its private socket wants none.  On
    somebody else's server the role of that URL keeps the password it has."""
    from psycopg.conninfo import conninfo_to_dict

    if not administrator:
        return Passwords(dict(ours), {})
    given = conninfo_to_dict(administrator)
    name = str(given.get("user") or "")
    others = {role: password for role, password in ours.items() if role != name}
    return Passwords(others, {**others, name: str(given.get("password") or "")})
