"""Who may see which row: asked of PostgreSQL once for each caller and batch of changes.

Policies that compare columns with what a caller is (`logic/policies.py`) are judged here, with
values PostgreSQL computed for the caller; everything else is a query as the caller.
Source: reference/realtime.md section 12.1.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from selfbase.database.batch import Batch, Result, Statement
from selfbase.database.database import AUTHENTICATOR, Database
from selfbase.database.failures import DatabaseFailure, DatabaseUnavailable, PoolTimeout
from selfbase.identity.caller import Caller
from selfbase.realtime.logic.changes import Change, Table
from selfbase.realtime.logic.filters import render_array
from selfbase.realtime.logic.pgoutput import Unchanged
from selfbase.realtime.logic.policies import Plan, fits
from selfbase.realtime.replication.subscriptions import CallerKey, Constants, Place

CALLERS_PER_TRIP = 50
TRIPS_AT_ONCE = 3
CONSTANTS_MAX = 50_000


class Visibility:
    """Answers for one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._constants: OrderedDict[tuple[str, CallerKey], Constants | None] = OrderedDict()
        self._trips = asyncio.Semaphore(TRIPS_AT_ONCE)

    def forget(self) -> None:
        self._constants.clear()

    async def find_constants(
        self, plan: Plan, places: Iterable[Place]
    ) -> dict[CallerKey, Constants]:
        """What the plan compares columns with, for each caller.  A caller for whom PostgreSQL
        could not compute it, or computed another type, is missing."""
        if not plan.constants:
            return {place.key: () for place in places}
        name = "\x00".join(plan.constants)
        found: dict[CallerKey, Constants] = {}
        asked: list[Place] = []
        for place in places:
            if (name, place.key) in self._constants:
                known = self._constants[(name, place.key)]
                if known is not None:
                    found[place.key] = known
            else:
                asked.append(place)
        if asked:
            sql = "select " + ", ".join(
                f"({text})::text, pg_typeof(({text}))::text" for text in plan.constants
            )
            answers = await self.ask_as([place.caller for place in asked], Statement(sql.encode()))
            for place, result in zip(asked, answers, strict=True):
                constants = _read_constants(plan, result)
                self._remember(name, place.key, constants)
                if constants is not None:
                    found[place.key] = constants
        return found

    def _remember(self, name: str, key: CallerKey, constants: Constants | None) -> None:
        self._constants[(name, key)] = constants
        while len(self._constants) > CONSTANTS_MAX:
            self._constants.popitem(last=False)

    async def find_visible(
        self, table: Table, changes: Mapping[int, Change], callers: Sequence[Caller]
    ) -> list[frozenset[int]]:
        """For each caller the numbers of those changes whose row it can see now."""
        columns = [column for column in table.columns if column.name in table.key]
        rows: dict[int, list[str]] = {}
        for number, change in changes.items():
            row = change.judged_row()
            values = [row.get(column.name) for column in columns]
            texts = [value for value in values if value is not None]
            if len(texts) == len(table.key) and not any(isinstance(v, Unchanged) for v in texts):
                rows[number] = [str(text) for text in texts]
        if not rows or len(columns) != len(table.key):
            return [frozenset() for _ in callers]
        statement = _make_statement(table, [column.name for column in columns], rows)
        results = await self.ask_as(callers, statement)
        return [
            frozenset(int(row[0]) for row in result.rows if row[0] is not None)
            if result is not None
            else frozenset()
            for result in results
        ]

    async def ask_as(self, callers: Sequence[Caller], statement: Statement) -> list[Result | None]:
        """The statement run as each caller; None where it failed.  Callers of one role travel
        together.  Raises DatabaseUnavailable and PoolTimeout only."""
        answers: dict[int, Result | None] = {}
        by_role: dict[str, list[int]] = {}
        for position, caller in enumerate(callers):
            by_role.setdefault(caller.role, []).append(position)

        async def ask(role: str, positions: list[int]) -> None:
            async with self._trips:
                results = await self._ask_role(role, [callers[p] for p in positions], statement)
            answers.update(zip(positions, results, strict=True))

        await asyncio.gather(
            *(
                ask(role, positions[start : start + CALLERS_PER_TRIP])
                for role, positions in by_role.items()
                for start in range(0, len(positions), CALLERS_PER_TRIP)
            )
        )
        return [answers[position] for position in range(len(callers))]

    async def _ask_role(
        self, role: str, callers: list[Caller], statement: Statement
    ) -> list[Result | None]:
        statements: list[Statement] = []
        for caller in callers:
            claims = caller.claims_json.encode()
            statements.append(Statement(_SET_CLAIMS, (claims,)))
            statements.append(statement)
        batch = Batch(
            plan_key=f"realtime:{role}",
            settings=(
                (b"search_path", b""),
                (b"statement_timeout", b"10000"),
                (b"role", role.encode()),
                (b"row_security", b"on"),
            ),
            statements=tuple(statements),
        )
        try:
            results = await self._database.run(batch, login=AUTHENTICATOR)
        except (DatabaseUnavailable, PoolTimeout):
            raise
        except DatabaseFailure as failure:
            if failure.status == 503:
                raise
            # A policy that fails for one caller must not hide rows from the others.
            if len(callers) == 1:
                return [None]
            half = len(callers) // 2
            first = await self._ask_role(role, callers[:half], statement)
            return first + await self._ask_role(role, callers[half:], statement)
        return list(results[1::2])


# Filled with quoted identifiers and placeholders only; values are bound.
_SEE = (
    "select k.number from unnest($1::int[], %s) as k (number, %s)"
    " where exists (select from %s as t where %s)"
)
_SET_CLAIMS = b"select set_config('request.jwt.claims', $1, true)"


def _read_constants(plan: Plan, result: Result | None) -> Constants | None:
    if result is None or not result.rows:
        return None
    row = [None if value is None else value.decode() for value in result.rows[0]]
    types = [text or "" for text in row[1::2]]
    return tuple(row[0::2]) if fits(plan.families, types) else None


def _make_statement(table: Table, key: list[str], rows: Mapping[int, list[str]]) -> Statement:
    """Which of the rows, named by primary key, the current role can see.

    Keys are cast to the column's type by comparing with it; identifiers are quoted, values bound.
    """
    names = [f"k{position}" for position in range(len(key))]
    types = {column.name: column.type for column in table.columns}
    arrays = ", ".join(f"${position + 2}::text[]" for position in range(len(key)))
    conditions = " and ".join(
        f"t.{_quote(column)} = k.{name}::pg_catalog.{_quote(types[column].name)}"
        if types[column].oid < 10_000
        else f"t.{_quote(column)}::text = k.{name}"
        for column, name in zip(key, names, strict=True)
    )
    target = f"{_quote(table.schema)}.{_quote(table.name)}"
    sql = _SEE % (arrays, ", ".join(names), target, conditions)
    numbers = "{" + ",".join(map(str, rows)) + "}"
    columns = [render_array([row[place] for row in rows.values()]) for place in range(len(key))]
    return Statement(sql.encode(), (numbers.encode(), *(text.encode() for text in columns)))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
