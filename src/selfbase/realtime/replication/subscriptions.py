"""Who wants which changes: subscriptions of channels, found by table, kind, filter and caller.

Pure memory of one worker.  Callers with the same role and the same claims (but for those that
every token changes) share one place, so that their rights are asked for once.
Source: reference/realtime.md sections 11.2 and 12.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import orjson

from selfbase.identity.caller import Caller
from selfbase.realtime.logic.changes import Change, Table
from selfbase.realtime.logic.filters import Filter, Test, compile_filter
from selfbase.realtime.logic.joins import Binding
from selfbase.realtime.logic.policies import Plan

HELD_MAX = 1000
# Claims that say nothing about who is calling, only about this token.
_TOKEN_CLAIMS = frozenset({"iat", "exp", "jti", "nbf"})

CallerKey = tuple[str, bytes]
Constants = tuple[str | None, ...]
Tell = Callable[[str, str, str], None]


def make_caller_key(caller: Caller) -> CallerKey:
    """What two tokens have in common when policies cannot tell them apart."""
    claims = {name: value for name, value in caller.claims.items() if name not in _TOKEN_CLAIMS}
    return caller.role, orjson.dumps(claims, option=orjson.OPT_SORT_KEYS)


@dataclass(eq=False, slots=True)
class Subscription:
    """The wishes of one channel.  `active` are the bindings that changes are matched with;
    `held` keeps frames while the channel is still joining, None afterwards."""

    id: UUID
    bindings: tuple[Binding, ...]
    caller: Caller
    topic: str
    version: int
    send: Callable[[bytes], None]
    tell: Tell
    active: dict[Binding, None] = field(default_factory=dict)
    waiting: dict[Binding, str] = field(default_factory=dict)
    failed: dict[Binding, str] = field(default_factory=dict)
    held: list[bytes] | None = field(default_factory=list)
    ended: bool = False
    rows: bool = False

    def write(self, frame: bytes) -> None:
        if self.held is None:
            self.send(frame)
        elif len(self.held) < HELD_MAX:
            self.held.append(frame)

    def release(self) -> None:
        """The channel has joined: what came meanwhile goes out."""
        held, self.held = self.held or [], None
        for frame in held:
            self.send(frame)


@dataclass(eq=False, slots=True)
class Place:
    """One caller among the subscribers of a group: subscriptions and the ids of their bindings."""

    key: CallerKey
    caller: Caller
    seats: dict[Subscription, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a group's callers under one plan: their constants, those for whom there
    are none, and places by the constant of the plan's index.  Right for one version of the group.
    """

    plan: Plan
    version: int
    constants: dict[CallerKey, Constants]
    unknown: list[Place]
    by_value: dict[str, list[Place]]


GroupKey = tuple[str, str, str, tuple[Filter, ...], tuple[str, ...] | None, str]


@dataclass(eq=False, slots=True)
class Group:
    """Subscribers with the same table, kind, filters, columns and role."""

    key: GroupKey
    event: str
    filters: tuple[Filter, ...]
    select: tuple[str, ...] | None
    role: str
    places: dict[CallerKey, Place] = field(default_factory=dict)
    version: int = 0
    judged: Judged | None = None
    _compiled: tuple[Table, list[tuple[Filter, Test | None]]] | None = None

    def tests(self, table: Table) -> list[tuple[Filter, Test | None]]:
        """The filters compiled for the columns of the table; None where PostgreSQL must judge."""
        if self._compiled is None or self._compiled[0] is not table:
            columns = {column.name: column for column in table.columns}
            compiled: list[tuple[Filter, Test | None]] = []
            for part in self.filters:
                column = columns.get(part.column)
                if column is None:
                    compiled.append((part, _never))
                    continue
                exact = column.is_exact or column.type.name in ("numeric", "oid")
                test = compile_filter(part, column.type.name, is_enum=column.type.is_enum)
                compiled.append((part, test if exact or part.op == "is" else None))
            self._compiled = (table, compiled)
        return self._compiled[1]


def _never(value: str | None) -> bool:
    return False


class Registry:
    """All active bindings of this worker."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], dict[GroupKey, Group]] = {}
        self.binding_count = 0

    def wants(self, schema: str, table: str) -> bool:
        """Whether anyone could want a change of this table.  Safe to call from another thread."""
        tables = self._tables
        return (
            (schema, table) in tables
            or (schema, "*") in tables
            or ("*", "*") in tables
            or ("*", table) in tables
        )

    def add(self, subscription: Subscription, binding: Binding) -> None:
        if binding in subscription.active:
            return
        subscription.active[binding] = None
        key = _group_key(subscription, binding)
        groups = self._tables.setdefault((binding.schema, binding.table), {})
        group = groups.get(key)
        if group is None:
            group = Group(
                key, binding.event, binding.filters, binding.select, subscription.caller.role
            )
            groups[key] = group
        caller_key = make_caller_key(subscription.caller)
        place = group.places.get(caller_key)
        if place is None:
            place = group.places[caller_key] = Place(caller_key, subscription.caller)
            group.version += 1
        place.caller = subscription.caller
        known = place.seats.get(subscription, ())
        if binding.id not in known:
            place.seats[subscription] = (*known, binding.id)
        self.binding_count += 1

    def remove(self, subscription: Subscription) -> None:
        """Takes all bindings of a subscription out."""
        caller_key = make_caller_key(subscription.caller)
        for binding in subscription.active:
            self._remove(subscription, binding, caller_key)
        subscription.active.clear()

    def remove_binding(self, subscription: Subscription, binding: Binding) -> None:
        """Takes one binding out.  The same wish made twice goes as a whole."""
        if binding in subscription.active:
            del subscription.active[binding]
            self._remove(subscription, binding, make_caller_key(subscription.caller))

    def _remove(self, subscription: Subscription, binding: Binding, caller_key: CallerKey) -> None:
        table = (binding.schema, binding.table)
        key = _group_key(subscription, binding)
        self.binding_count -= 1
        group = self._tables.get(table, {}).get(key)
        place = group.places.get(caller_key) if group is not None else None
        if group is None or place is None:
            return  # the same wish twice: gone with the first
        place.seats.pop(subscription, None)
        if not place.seats:
            del group.places[caller_key]
            group.version += 1
        if not group.places:
            del self._tables[table][key]
        if not self._tables[table]:
            del self._tables[table]

    def find_groups(self, change: Change) -> Iterator[Group]:
        """Groups whose table and kind fit, filters not yet asked."""
        schema, name = change.table.schema, change.table.name
        for key in ((schema, name), (schema, "*"), ("*", "*"), ("*", name)):
            for group in self._tables.get(key, {}).values():
                if group.event in ("*", change.kind):
                    yield group


def _group_key(subscription: Subscription, binding: Binding) -> GroupKey:
    return (
        binding.schema,
        binding.table,
        binding.event,
        binding.filters,
        binding.select,
        subscription.caller.role,
    )
