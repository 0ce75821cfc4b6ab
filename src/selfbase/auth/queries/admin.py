"""Lists for administrators."""

from __future__ import annotations

from typing import Any, LiteralString

import orjson

from selfbase.auth.logic.paging import Place
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
    params = {"search": search, "pattern": _pattern(search), "limit": limit, "offset": offset}
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


async def list_users_after(
    tx: Transaction, place: Place, *, search: str, ascending: bool
) -> list[User]:
    """The users behind a place, and one more where there is one."""
    params = {
        "search": search, "pattern": _pattern(search), "limit": place.size + 1,
        "moment": place.moment, "id": place.id,
    }  # fmt: skip
    after: LiteralString = ""
    if place.moment is not None:
        after = (
            " and (u.created_at, u.id) > (%(moment)s, %(id)s::uuid)"
            if ascending
            else " and (u.created_at, u.id) < (%(moment)s, %(id)s::uuid)"
        )
    order: LiteralString = (
        " order by u.created_at asc, u.id asc"
        if ascending
        else " order by u.created_at desc, u.id desc"
    )
    rows = await tx.fetch_all(
        "select (" + USER_DOCUMENT + ")::text as doc from auth.users u where " + _MATCH + after
        + order + " limit %(limit)s",
        params,
    )  # fmt: skip
    return [User.from_document(orjson.loads(row["doc"])) for row in rows]


def _pattern(text: str) -> str:
    escaped = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


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
    params = {"pattern": _pattern(wanted), "limit": limit, "offset": offset}
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
