"""What the database says about replicated tables: keys, types, rights and policies, remembered.

The log names a table again after every change to it, to its rights or its policies; what is
remembered of it is then asked for anew.  Source: reference/realtime.md sections 11 and 12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import orjson

from selfbase.database.batch import Batch, Statement
from selfbase.database.database import Database
from selfbase.realtime.authorization import LOGIN
from selfbase.realtime.logic.changes import Column, Table
from selfbase.realtime.logic.jsonvalues import ColumnType, make_type
from selfbase.realtime.logic.pgoutput import Relation
from selfbase.realtime.logic.policies import Plan, Policy, plan_policies

_QUERIES = resources.files("selfbase.realtime") / "sql" / "queries"
RENDERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Rights:
    """What a role may do with a table.  `plan` is how its policies can be judged here, None when
    PostgreSQL has to; it says nothing unless `is_limited`."""

    selectable: frozenset[str]
    is_limited: bool
    plan: Plan | None


class Catalog:
    """Remembered facts of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table_sql = (_QUERIES / "describe_table.sql").read_bytes()
        self._rights_sql = (_QUERIES / "describe_rights.sql").read_bytes()
        self._tables: dict[int, tuple[Relation, Table]] = {}
        self._rights: dict[tuple[int, str], tuple[Table, Rights]] = {}
        self._rendered: dict[tuple[int, str], bytes] = {}

    def forget(self) -> None:
        self._tables.clear()
        self._rights.clear()

    async def get_table(self, relation: Relation) -> Table:
        """The table as it is now.  Raises DatabaseFailure."""
        known = self._tables.get(relation.oid)
        if known is not None and known[0] is relation:
            return known[1]
        facts = await self._ask(self._table_sql, str(relation.oid))
        columns = {item["name"]: item for item in facts["columns"]} if facts else {}
        table = Table(
            oid=relation.oid,
            schema=relation.schema,
            name=relation.table,
            columns=tuple(
                _make_column(attribute.name, attribute.type_oid, columns)
                for attribute in relation.columns
            ),
            key=tuple(facts["key"]) if facts else (),
            # A table that is gone: its last changes are shown as if policies were on.
            has_policies=facts["has_policies"] if facts else True,
        )
        self._tables[relation.oid] = (relation, table)
        return table

    async def get_rights(self, table: Table, role: str) -> Rights:
        """What `role` may do with the table.  Raises DatabaseFailure."""
        known = self._rights.get((table.oid, role))
        if known is not None and known[0] is table:
            return known[1]
        facts = await self._ask(self._rights_sql, str(table.oid), role)
        rights = _make_rights(table, facts) if facts else Rights(frozenset(), True, None)
        self._rights[(table.oid, role)] = (table, rights)
        return rights

    async def render_values(self, values: Sequence[tuple[ColumnType, str]]) -> None:
        """Has the database turn values into JSON that only it can; see `look_up`."""
        wanted = [item for item in values if (item[0].oid, item[1]) not in self._rendered]
        if len(self._rendered) > RENDERED_MAX:
            self._rendered.clear()
        by_type: dict[int, list[str]] = {}
        for type_, text in wanted:
            by_type.setdefault(type_.oid, []).append(text)
        for oid, texts in by_type.items():
            given = orjson.dumps(texts).decode()
            answer = await self._ask(
                b'select json_agg(realtime."cast"(v.value, $1::oid::regtype) order by v.ordinality)'
                b" from json_array_elements_text($2::json) with ordinality as v",
                str(oid),
                given,
            )
            for text, value in zip(texts, answer, strict=True):
                self._rendered[(oid, text)] = orjson.dumps(value)

    def look_up(self, type_: ColumnType, text: str) -> bytes:
        """A value rendered before; as text when the database could not."""
        return self._rendered.get((type_.oid, text)) or orjson.dumps(text)

    async def _ask(self, sql: bytes, *values: str) -> Any:
        batch = Batch(
            plan_key="realtime",
            settings=((b"search_path", b""), (b"statement_timeout", b"10000")),
            statements=(Statement(sql, tuple(value.encode() for value in values)),),
            read_only=True,
        )
        result = (await self._database.run(batch, login=LOGIN))[0]
        value = result.rows[0][0] if result.rows else None
        return orjson.loads(value) if value is not None else None


def _make_column(name: str, type_oid: int, facts: Mapping[str, Any]) -> Column:
    found = facts.get(name)
    if found is None:
        return Column(
            name,
            make_type(type_oid, "unknown", "b", base_oid=0, element_oid=0, casts_to_json=False),
        )
    type_ = make_type(
        type_oid,
        found["type"],
        found["kind"],
        base_oid=found["base"],
        element_oid=found["element"],
        casts_to_json=found["casts_to_json"],
    )
    return Column(name, type_, type_.exact and found["deterministic"])


def _make_rights(table: Table, facts: Mapping[str, Any]) -> Rights:
    policies = [Policy(item["permissive"], item["qual"]) for item in facts["policies"]]
    exact = {column.name: column.type.name for column in table.columns if column.is_exact}
    plan = plan_policies(policies, exact) if facts["plain_functions"] else None
    return Rights(frozenset(facts["selectable"]), facts["is_limited"], plan)
