"""Creating, changing and dropping roles, and their configuration."""

from __future__ import annotations

from typing import Any

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import ROLES, Object
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.identifiers import (
    join_clauses,
    quote_identifier,
    quote_literal,
    quote_setting,
    quote_setting_value,
)
from selfbase.meta.writes.kinds import Key, Writes, execute_all, wanted

# Member of the body → keyword, and what an absent one means for a new role.
_FLAGS = {
    "is_superuser": ("SUPERUSER", False),
    "can_create_db": ("CREATEDB", False),
    "can_create_role": ("CREATEROLE", False),
    "inherit_role": ("INHERIT", True),
    "can_login": ("LOGIN", False),
    "is_replication_role": ("REPLICATION", False),
    "can_bypass_rls": ("BYPASSRLS", False),
}


async def create_role(connection: MetaConnection, body: Body) -> Key:
    role = quote_identifier(body["name"])
    asked = {**{name: absent for name, (_, absent) in _FLAGS.items()}, "connection_limit": -1}
    members = [
        f"{keyword} {', '.join(quote_identifier(name) for name in body[member])}"
        for member, keyword in (("member_of", "IN ROLE"), ("members", "ROLE"), ("admins", "ADMIN"))
        if body.get(member)
    ]
    options = join_clauses([*_render_options({**asked, **body}), *members])
    settings = [
        f"ALTER ROLE {role} SET {quote_setting(name)} = {quote_setting_value(value)}"
        for name, value in body.get("config", {}).items()
        if name and value
    ]
    await execute_all(connection, [f"CREATE ROLE {role} WITH {options}", *settings])
    found: int = await connection.fetch_value(
        "select oid::int8 from pg_roles where rolname = %(name)s", {"name": body["name"]}
    )
    return found


def _render_options(asked: Body) -> list[str]:
    options = [
        keyword if asked[name] else f"NO{keyword}"
        for name, (keyword, _) in _FLAGS.items()
        if name in asked
    ]
    if "connection_limit" in asked:
        options.append(f"CONNECTION LIMIT {int(asked['connection_limit'])}")
    if "password" in asked:
        options.append(f"PASSWORD {quote_literal(asked['password'])}")
    if "valid_until" in asked:
        options.append(f"VALID UNTIL {quote_literal(asked['valid_until'])}")
    return options


async def update_role(connection: MetaConnection, old: Object, body: Body) -> Key:
    role = quote_identifier(old["name"])
    statements = []
    options = join_clauses(_render_options(body))
    if options:
        statements.append(f"ALTER ROLE {role} WITH {options}")
    statements += [_plan_setting(role, change) for change in body.get("config", [])]
    if wanted(body, old, "name") != old["name"]:
        statements.append(f"ALTER ROLE {role} RENAME TO {quote_identifier(body['name'])}")
    await execute_all(connection, statements)
    return int(old["id"])


def _plan_setting(role: str, change: Any) -> str:
    if not isinstance(change, dict) or not isinstance(change.get("path"), str):
        raise BadRequest("body/config must hold objects with op and path")
    name, value = change["path"], change.get("value") or None
    if not name:
        raise BadRequest(f"Invalid config value {value}")
    if change.get("op") == "remove":
        return f"ALTER ROLE {role} RESET {quote_setting(name)}"
    if change.get("op") not in {"add", "replace"}:
        raise BadRequest(f"Invalid config op {change.get('op')}")
    text = None if value is None else str(value)
    return f"ALTER ROLE {role} SET {quote_setting(name)} = {quote_setting_value(text)}"


def render_drop(old: Object, cascade: bool) -> str:
    return f"DROP ROLE {quote_identifier(old['name'])}"


_SHARED_FIELDS = {
    **{name: Field("bool") for name in _FLAGS},
    "password": Field(),
    "connection_limit": Field("int"),
    "valid_until": Field(),
}
ROLE_WRITES = Writes(
    kind=ROLES,
    create_fields={
        "name": Field(required=True),
        **_SHARED_FIELDS,
        "member_of": Field("texts"),
        "members": Field("texts"),
        "admins": Field("texts"),
        "config": Field("settings"),
    },
    update_fields={"name": Field(), **_SHARED_FIELDS, "config": Field("changes")},
    create=create_role,
    update=update_role,
    drop=render_drop,
)
