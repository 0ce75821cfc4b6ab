"""What a query string says, as values: select items, filters, logic trees, order terms.

A filter does not hold its value but the number of the slot it is bound to, so that two requests
that differ in values only are equal here.  Source: reference/rest.md section 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class JsonStep:
    """One `->` or `->>` of a path.  `index` tells an array position from an object key."""

    arrow: str
    operand: str
    index: bool


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    path: tuple[JsonStep, ...] = ()


@dataclass(frozen=True, slots=True)
class SelectField:
    """A column, JSON path or aggregate.  The name `*` means all columns."""

    field: Field
    alias: str | None = None
    cast: str | None = None
    aggregate: str | None = None
    aggregate_cast: str | None = None


@dataclass(frozen=True, slots=True)
class SelectRelation:
    """An embedded relation.  `join` is inner or left; `spread` lifts its fields to the parent."""

    name: str
    alias: str | None
    hint: str | None
    join: str | None
    spread: bool
    items: tuple[SelectField | SelectRelation, ...]


SelectItem = SelectField | SelectRelation


class Operation(NamedTuple):
    """`[not.]op[(modifier)]`.  `modifier` is any, all, or a text search language; `word` is the
    operand of `is`; every other operand is in slot number `slot`."""

    op: str
    negated: bool = False
    modifier: str | None = None
    word: str | None = None
    slot: int = -1


@dataclass(frozen=True, slots=True)
class Filter:
    field: Field
    operation: Operation


@dataclass(frozen=True, slots=True)
class Logic:
    """`and` or `or` of at least one condition."""

    op: str
    negated: bool
    conditions: tuple[Filter | Logic, ...]


Condition = Filter | Logic


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """`relation` orders by a column of a to-one embed."""

    field: Field
    relation: str | None = None
    direction: str | None = None
    nulls: str | None = None
