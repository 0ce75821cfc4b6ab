"""The service's door to rows: steps of one transaction, each as the caller or as the service.

All steps travel in one round trip.  The service acts as `service_role`, past policies, exactly
where reference/storage.md section 4.5 says so; everything else is decided by users' policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from selfbase.database.batch import Batch, Cancellation, Statement
from selfbase.database.database import AUTHENTICATOR, Database
from selfbase.identity.caller import Caller, make_caller
from selfbase.storage.call import Actor
from selfbase.storage.settings import StorageSettings

SERVICE_ROLE = "service_role"
_SET_ROLE = b"select set_config('role', $1, true)"
_LOCK_TIMEOUT = b"select set_config('lock_timeout', $1, true)"

Value = str | int | bool | None | dict[str, Any] | list[Any] | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement and whose rights decide it."""

    statement: Statement
    as_service: bool


def by_caller(sql: bytes, *params: Value) -> Step:
    """A statement that row level security decides."""
    return Step(Statement(sql, tuple(map(_param, params))), False)


def by_service(sql: bytes, *params: Value) -> Step:
    """A statement past policies."""
    return Step(Statement(sql, tuple(map(_param, params))), True)


def service_actor(operation: str) -> Actor:
    """The service itself, for work that no caller asked for at this moment."""
    return Actor(make_caller({"role": SERVICE_ROLE}, SERVICE_ROLE), operation)


class Rows:
    """Runs steps on one project's database."""

    def __init__(self, database: Database, settings: StorageSettings) -> None:
        self._database = database
        parts = [part.strip() for part in settings.search_path.split(",") if part.strip()]
        self._search_path = ", ".join('"' + part.replace('"', '""') + '"' for part in parts)
        self._timeout_ms = str(settings.statement_timeout_ms)

    async def run(
        self,
        actor: Actor,
        *steps: Step,
        read_only: bool = False,
        roll_back: bool = False,
        lock_timeout_s: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[list[Any]]:
        """The first column of each step's rows, read as JSON.

        `roll_back` undoes everything after it has been judged.  Raises DatabaseFailure; a failed
        step undoes all of them.
        """
        raw = await self.run_raw(
            actor,
            *steps,
            read_only=read_only,
            roll_back=roll_back,
            lock_timeout_s=lock_timeout_s,
            cancellation=cancellation,
        )
        return [[_value(cell) for cell in column] for column in raw]

    async def run_raw(
        self,
        actor: Actor,
        *steps: Step,
        read_only: bool = False,
        roll_back: bool = False,
        lock_timeout_s: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[list[bytes | None]]:
        """As `run`, with the first columns as PostgreSQL wrote them."""
        statements: list[Statement] = []
        wanted: list[int] = []
        role = SERVICE_ROLE if steps[0].as_service else actor.caller.role
        first_role = role
        if lock_timeout_s is not None:
            statements.append(Statement(_LOCK_TIMEOUT, (str(int(lock_timeout_s * 1000)).encode(),)))
        for step in steps:
            needed = SERVICE_ROLE if step.as_service else actor.caller.role
            if needed != role:
                statements.append(Statement(_SET_ROLE, (needed.encode(),)))
                role = needed
            wanted.append(len(statements))
            statements.append(step.statement)
        batch = Batch(
            plan_key=f"storage {actor.caller.role}",
            settings=self._settings(actor, first_role),
            statements=tuple(statements),
            read_only=read_only,
            begin=b"begin" if roll_back else None,
            end=b"rollback" if roll_back else b"commit",
        )
        results = await self._database.run(batch, login=AUTHENTICATOR, cancellation=cancellation)
        return [[row[0] if row else None for row in results[index].rows] for index in wanted]

    def _settings(self, actor: Actor, role: str) -> tuple[tuple[bytes, bytes], ...]:
        pairs = (
            ("search_path", self._search_path),
            ("statement_timeout", self._timeout_ms),
            *actor.settings(),
            ("role", role),
        )
        return tuple((name.encode(), value.encode()) for name, value in pairs)


def _param(value: Value) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (dict, list, tuple)):
        return orjson.dumps(value)
    return str(value).encode()


def _value(cell: bytes | None) -> Any:
    return None if cell is None else orjson.loads(cell)


def caller_of_owner(owner: str | None) -> Caller:
    """The service acting for the owner that a signed token names."""
    claims = {"role": SERVICE_ROLE, **({"sub": owner} if owner else {})}
    return make_caller(claims, SERVICE_ROLE)
