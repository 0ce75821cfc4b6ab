"""Taking a database URL apart."""

from __future__ import annotations

from typing import Any


def split_admin_url(url: str) -> tuple[str, str]:
    """`(where, administrator)`: the same server without a user, and as given, as libpq strings."""
    # Only here, because a supervisor of an embedded cluster has no other need of psycopg.
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parts: dict[str, Any] = dict(conninfo_to_dict(url))
    where = {key: value for key, value in parts.items() if key not in ("user", "password")}
    return make_conninfo(**where), make_conninfo(**parts)
