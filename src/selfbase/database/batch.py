"""A batch: the statements of one request that travel to PostgreSQL together.

Everything up to the one Sync is an implicit transaction: the settings are local to it, an error
undoes all of it, and the connection comes back clean.  Values only; `link` sends them.  They are named tuples because
there are several for each request, and a frozen dataclass takes five times as long to make.
Source: PostgreSQL documentation, 54.2.4 (pipelining); reference/rest.md section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from selfbase.identity.caller import Caller

Settings = tuple[tuple[bytes, bytes], ...]


class Statement(NamedTuple):
    """One SQL statement with `$n` placeholders and text parameters of inferred type.

    `keep` prepares it under a name for the next time; leave it off for SQL that will not recur.
    """

    sql: bytes
    params: tuple[bytes | None, ...] = ()
    keep: bool = True


class Batch(NamedTuple):
    """Settings and statements of one transaction.

    `plan_key` names what a plan depends on besides its SQL: role and search path.  PostgreSQL plans
    a statement again whenever the role changes, so statements are prepared for each key apart.
    `settings` are applied with `set_config(name, value, true)` in order.  `read_only` batches may
    be tried again on a fresh connection and may share one while they are quick.  `begin` and `end`
    make the transaction explicit, for an isolation level or a rollback asked for.
    """

    plan_key: str
    settings: Settings
    statements: tuple[Statement, ...]
    read_only: bool = False
    begin: bytes | None = None
    end: bytes = b"commit"


@dataclass(slots=True)
class Result:
    """What one statement gave: rows of text values, column names, and the rows it affected."""

    rows: list[tuple[bytes | None, ...]]
    columns: tuple[str, ...]
    affected: int
    tag: str


class Cancellation(Protocol):
    """Something that tells when nobody waits for the answer any more (`http.values.Gone`)."""

    is_set: bool

    def add_callback(self, callback: Callable[[], None]) -> None: ...

    def remove_callback(self, callback: Callable[[], None]) -> None: ...


def plan_caller_settings(
    caller: Caller,
    *,
    search_path: str,
    role_settings: Sequence[tuple[str, str]] = (),
    extra: Sequence[tuple[str, str]] = (),
) -> Settings:
    """The settings that make a transaction the caller's, in the order that matters.

    `search_path` is ready-quoted.  Role settings come before the role, because some may be set only
    while still the login role.
    """
    pairs = [("search_path", search_path), *role_settings, ("role", caller.role)]
    pairs += [("request.jwt.claims", caller.claims_json), *extra]
    return tuple((name.encode(), value.encode()) for name, value in pairs)


@lru_cache(maxsize=256)
def render_settings(names: tuple[bytes, ...]) -> bytes:
    """One statement that applies settings of these names and answers four bytes.  The values are
    its parameters; the names stand in the text, because they recur and each parameter costs."""
    calls = (
        b"set_config(%b,$%d,true)" % (_quote_literal(name), number)
        for number, name in enumerate(names, start=1)
    )
    return b"select num_nonnulls(%b)" % b",".join(calls)


def _quote_literal(text: bytes) -> bytes:
    quoted = text.replace(b"'", b"''")
    return b"E'%b'" % quoted.replace(b"\\", b"\\\\") if b"\\" in text else b"'%b'" % quoted
