"""Private channels: what the policies on realtime.messages allow a caller in a topic.

Reading is tried on a probe row that is rolled back, writing by an insert that is rolled back; both
in one round trip and as the caller, so that PostgreSQL alone decides.
Source: reference/realtime.md section 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from selfbase.database.batch import Batch, Result, Statement
from selfbase.database.database import Database
from selfbase.database.failures import (
    DatabaseFailure,
    DatabaseUnavailable,
    InsufficientPrivilege,
    PoolTimeout,
    QueryCanceled,
)
from selfbase.identity.caller import Caller
from selfbase.realtime.errors import (
    DatabaseDown,
    PartitionMissing,
    PolicyFailed,
    PoolExhausted,
    QueryTooSlow,
    RealtimeFailure,
)

Extension = Literal["broadcast", "presence"]

# The role that owns the messages, and may act as every caller.
LOGIN = "supabase_admin"

_PROBE = (
    b"insert into realtime.messages (id, topic, extension)"
    b" select i.id, $1, i.extension"
    b" from unnest($2::uuid[], $3::text[]) as i (id, extension)"
)
_ACT = (
    b"select set_config('role', $1, true), set_config('realtime.topic', $2, true),"
    b" set_config('request.jwt.claims', $3, true), set_config('request.jwt.claim.sub', $4, true),"
    b" set_config('request.jwt.claim.role', $1, true), set_config('request.headers', $5, true)"
)
_SEE = b"select extension from realtime.messages where id = any($1::uuid[])"
_WRITE = b"insert into realtime.messages (topic, extension, private) values ($1, $2, true)"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the caller and the `x-…` headers of its connection as JSON."""

    caller: Caller
    headers: str


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Asks the policies of one project."""

    database: Database
    timeout_s: float

    async def find_readable(
        self, asker: Asker, topic: str, extensions: tuple[Extension, ...]
    ) -> frozenset[str]:
        """The extensions whose messages in `topic` the caller may read.  Raises RealtimeFailure."""
        ids = [str(uuid4()) for _ in extensions]
        probe = Statement(
            _PROBE, (topic.encode(), _array(ids), _array([str(name) for name in extensions]))
        )
        see = Statement(_SEE, (_array(ids),))
        results = await self._run((probe, _act(asker, topic), see))
        return frozenset(row[0].decode() for row in results[-1].rows if row[0] is not None)

    async def may_write(self, asker: Asker, topic: str, extension: Extension) -> bool:
        """Whether the caller may send.  Raises RealtimeFailure."""
        write = Statement(_WRITE, (topic.encode(), extension.encode()))
        try:
            await self._run((_act(asker, topic), write))
        except InsufficientPrivilege:
            return False
        return True

    async def _run(self, statements: tuple[Statement, ...]) -> list[Result]:
        timeout = str(int(self.timeout_s * 1000)).encode()
        batch = Batch(
            plan_key="realtime",
            settings=((b"statement_timeout", timeout), (b"search_path", b"")),
            statements=statements,
            begin=b"begin",
            end=b"rollback",
        )
        try:
            return await self.database.run(batch, login=LOGIN)
        except InsufficientPrivilege:
            raise
        except DatabaseFailure as failure:
            raise _refusal(failure) from failure


def _act(asker: Asker, topic: str) -> Statement:
    caller = asker.caller
    values = (caller.role, topic, caller.claims_json, caller.user_id or "", asker.headers)
    return Statement(_ACT, tuple(value.encode() for value in values))


def _array(values: list[str]) -> bytes:
    return ("{" + ",".join(values) + "}").encode()


def _refusal(failure: DatabaseFailure) -> RealtimeFailure:
    if isinstance(failure, QueryCanceled):
        return QueryTooSlow()
    if isinstance(failure, PoolTimeout):
        return PoolExhausted()
    if isinstance(failure, DatabaseUnavailable) or failure.status == 503:
        return DatabaseDown()
    if failure.sqlstate == "23514" and failure.diagnosis.table == "messages":
        return PartitionMissing()
    return PolicyFailed(failure.sqlstate)
