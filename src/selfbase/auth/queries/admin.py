"""Lists for administrators."""

from __future__ import annotations

from typing import Any, LiteralString

import orjson

from selfbase.auth.queries.users import USER_DOCUMENT
from selfbase.auth.types import User
from selfbase.database.database import Transaction

_MATCH: LiteralString = """u.instance_id = '00000000-0000-0000-0000-000000000000'
  and (%(search)s::text = '' or u.email like %(pattern)s escape '!'
    or u.raw_user_meta_data ->> 'full_name' ilike %(pattern)s escape '!')"""


async def list_users(
    tx: Transaction, *, limit: int, offset: int, search: str, ascending: bool
) -> tuple[list[User], int]:
    """A page of users by creation, and how many there are in all."""
    escaped = search.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    params = {"search": search, "pattern": f"%{escaped}%", "limit": limit, "offset": offset}
    total = await tx.fetch_value("select count(*) from auth.users u where " + _MATCH, params)
    order: LiteralString = (
        " order by u.created_at asc, u.id asc" if ascending else " order by u.created_at desc, u.id"
    )
    rows = await tx.fetch_all(
        "select (" + USER_DOCUMENT + ")::text as doc from auth.users u where " + _MATCH + order
        + " limit %(limit)s offset %(offset)s",
        params,
    )  # fmt: skip
    return [User.from_document(orjson.loads(row["doc"])) for row in rows], int(total or 0)


_AUDIT_FIELDS: dict[str, LiteralString] = {
    "": "true",
    "author": "(a.payload ->> 'actor_username' like %(pattern)s escape '!'"
    " or a.payload ->> 'actor_name' like %(pattern)s escape '!')",
    "action": "a.payload ->> 'action' like %(pattern)s escape '!'",
    "type": "a.payload ->> 'log_type' like %(pattern)s escape '!'",
}


async def list_audit(
    tx: Transaction, *, limit: int, offset: int, field: str, wanted: str
) -> tuple[list[dict[str, Any]], int]:
    """A page of audit entries, newest first, and how many there are in all."""
    escaped = wanted.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    params = {"pattern": f"%{escaped}%", "limit": limit, "offset": offset}
    where = _AUDIT_FIELDS[field]
    total = await tx.fetch_value(
        "select count(*) from auth.audit_log_entries a where " + where, params
    )
    rows = await tx.fetch_all(
        "select a.id::text as id, a.payload::text as payload, a.created_at, a.ip_address"
        " from auth.audit_log_entries a where " + where
        + " order by a.created_at desc, a.id limit %(limit)s offset %(offset)s",
        params,
    )  # fmt: skip
    return rows, int(total or 0)
