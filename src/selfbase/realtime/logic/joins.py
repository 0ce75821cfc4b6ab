"""What a client asks for when it joins a channel.

Wrong shapes never refuse a join: the part that makes no sense is left out, as upstream does.
Source: reference/realtime.md sections 3.2 and 3.4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from selfbase.realtime.logic.filters import Filter, FilterInvalid, parse_filters

BINDINGS_MAX = 100
REPLAY_MAX = 25
KEY_CHARS_MAX = 512
EVENTS = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class Replay:
    """`since_ms` counts from 1970; `limit` is between 1 and 25."""

    since_ms: int
    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """One wish for database changes.  `asked` is what the client sent, echoed with the id;
    `table` may be `*`; `problem` says why it can never become active."""

    id: int
    asked: dict[str, Any]
    event: str
    schema: str
    table: str
    filters: tuple[Filter, ...] = ()
    select: tuple[str, ...] | None = None
    problem: str | None = None

    def wants(self, event: str) -> bool:
        return self.event in ("*", event)

    def describe(self) -> str:
        """The parameters as the `system` messages name them."""
        filters = ", ".join(part.describe() for part in self.filters)
        columns = ", ".join(json.dumps(name) for name in self.select or ())
        select = "nil" if self.select is None else f"[{columns}]"
        return (
            f"[event: {self.event}, schema: {self.schema}, table: {self.table},"
            f" filters: [{filters}], select: {select}]"
        )


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """`replay_invalid` marks a replay wish whose shape makes no sense."""

    private: bool = False
    ack: bool = False
    echo: bool = False
    replay: Replay | None = None
    replay_invalid: bool = False
    replication_ready: bool = False
    presence_key: str = ""
    presence_enabled: bool = False
    bindings: tuple[Binding, ...] = ()
    token: str | None = None


def parse_join(payload: Mapping[str, Any]) -> JoinRequest:
    """The wishes in a join's payload."""
    config = _object(payload.get("config"))
    broadcast, presence = _object(config.get("broadcast")), _object(config.get("presence"))
    asked = config.get("postgres_changes")
    wishes = [item for item in asked if isinstance(item, dict)] if isinstance(asked, list) else []
    replay, invalid = _parse_replay(broadcast.get("replay"))
    return JoinRequest(
        private=_flag(config.get("private")),
        ack=_flag(broadcast.get("ack")),
        echo=_flag(broadcast.get("self")),
        replay=replay,
        replay_invalid=invalid,
        replication_ready=_flag(broadcast.get("replication_ready")),
        presence_key=_parse_key(presence.get("key")),
        presence_enabled=_flag(presence.get("enabled")),
        bindings=tuple(parse_binding(item) for item in wishes[:BINDINGS_MAX]),
        token=_parse_token(payload),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _flag(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _parse_key(value: Any) -> str:
    if value is None or isinstance(value, (dict, list)):
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text[:KEY_CHARS_MAX]


def _parse_token(payload: Mapping[str, Any]) -> str | None:
    for name in ("access_token", "user_token"):
        token = payload.get(name)
        if isinstance(token, str) and token and not token.startswith("sb_"):
            return token
    return None


def _parse_replay(value: Any) -> tuple[Replay | None, bool]:
    if value is None:
        return None, False
    if not isinstance(value, dict):
        return None, True
    since, limit = _whole(value.get("since")), _whole(value.get("limit", REPLAY_MAX))
    if since is None or limit is None or not 0 <= since < 1 << 50:
        return None, True
    return Replay(since, max(1, min(limit, REPLAY_MAX))), False


def _whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_binding(asked: dict[str, Any]) -> Binding:
    """One entry of `postgres_changes`."""
    event = str(asked.get("event") or "*").upper()
    if event not in EVENTS:
        event = "*"
    schema, table = asked.get("schema"), asked.get("table")
    raw_filter, raw_select = asked.get("filter"), asked.get("select")
    select, problem = _parse_select(raw_select)
    filters: tuple[Filter, ...] = ()
    try:
        filters = parse_filters(raw_filter) if raw_filter else ()
    except FilterInvalid as error:
        problem = f"Error parsing `filter` params: {error}"
    named = [item for item in (schema, table) if item is not None]
    if not named or not all(isinstance(item, str) and item for item in named):
        problem = (
            "No subscription params provided. Please provide at least a `schema` or `table` to"
            " subscribe to."
        )
        schema = table = None
    elif select is not None and (table in (None, "*") or schema == "*"):
        problem = (
            "Column selection is not supported for wildcard subscriptions. Provide an explicit schema"
            " and table name."
        )
    identity = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    number = int.from_bytes(sha256(identity).digest()[:4], "big") >> 5
    return Binding(number, asked, event, schema or "public", table or "*", filters, select, problem)


def _parse_select(value: Any) -> tuple[tuple[str, ...] | None, str | None]:
    if isinstance(value, str):
        return None, "Error parsing `select` params: a list of column names is expected"
    names = [part for part in value if isinstance(part, str)] if isinstance(value, list) else []
    return tuple(dict.fromkeys(names)) or None, None


def render_bindings(bindings: tuple[Binding, ...]) -> bytes:
    """The response of a join: every binding as it was asked for, with its id."""
    echoed = [{**binding.asked, "id": binding.id} for binding in bindings]
    return orjson.dumps({"postgres_changes": echoed})
