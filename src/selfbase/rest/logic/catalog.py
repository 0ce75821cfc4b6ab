"""The schema cache as values: relations, relationships, functions, representations, handlers.

Built by `logic/build_catalog` from what `schema_cache` reads.  Immutable once made; a reload makes a
new one.  Source: reference/rest.md section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from selfbase.rest.logic.names import Name


@dataclass(frozen=True, slots=True)
class Column:
    """`type` looks through domains; `nominal_type` is the declared one, with its modifiers."""

    name: str
    type: str
    nominal_type: str
    nullable: bool = True
    default: str | None = None
    description: str | None = None
    length_max: int | None = None
    enum: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table, view, materialized view or foreign table.  `primary_key` is in alphabetical order.
    `pages` is its size in pages when that was known."""

    name: Name
    description: str | None
    is_view: bool
    insertable: bool
    updatable: bool
    deletable: bool
    primary_key: tuple[str, ...]
    columns: Mapping[str, Column]
    pages: int | None = None


class Cardinality(Enum):
    """The values are the words clients see; their order is the order of hints."""

    ONE_TO_MANY = "one-to-many"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_ONE = "one-to-one"
    MANY_TO_MANY = "many-to-many"


Columns = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Junction:
    """The table between two others.  Pairs are (column of the end, column of the junction)."""

    table: Name
    constraint_from: str
    constraint_to: str
    columns_from: Columns
    columns_to: Columns


@dataclass(frozen=True, slots=True)
class Relationship:
    """How `table` reaches `target`.  `columns` pairs (column of table, column of target)."""

    table: Name
    target: Name
    cardinality: Cardinality
    constraint: str = ""
    columns: Columns = ()
    junction: Junction | None = None
    table_is_view: bool = False
    target_is_view: bool = False
    is_parent: bool = False

    @property
    def is_self(self) -> bool:
        return self.table == self.target

    @property
    def to_one(self) -> bool:
        return self.cardinality in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_ONE)


@dataclass(frozen=True, slots=True)
class ComputedRelationship:
    """A function from a row of `table` to rows of `target`."""

    function: Name
    table: Name
    target: Name
    to_one: bool


AnyRelationship = Relationship | ComputedRelationship


@dataclass(frozen=True, slots=True)
class Parameter:
    """`type` is as declared; `wide_type` has no length, for values that come as text."""

    name: str
    type: str
    wide_type: str
    required: bool
    variadic: bool


@dataclass(frozen=True, slots=True)
class Function:
    """`returns` names the type; `composite` says that it has columns."""

    oid: int
    name: Name
    description: str | None
    parameters: tuple[Parameter, ...]
    returns: Name
    returns_set: bool
    composite: bool
    volatility: str
    variadic: bool
    isolation: str | None
    settings: tuple[tuple[str, str], ...]

    @property
    def returns_scalar(self) -> bool:
        return not self.returns_set and not self.composite

    @property
    def returns_set_of_scalar(self) -> bool:
        return self.returns_set and not self.composite

    @property
    def returns_single(self) -> bool:
        return not self.returns_set

    @property
    def returns_single_composite(self) -> bool:
        return not self.returns_set and self.composite

    @property
    def returns_void(self) -> bool:
        return not self.returns_set and self.returns == ("pg_catalog", "void")

    @property
    def table_name(self) -> str | None:
        """The relation whose rows it returns, if it has one."""
        return self.returns.name if self.composite else None


@dataclass(frozen=True, slots=True)
class MediaHandler:
    """A function that renders rows as a media type, and the type it names in the answer.  `octets`
    says that it gives bytea."""

    function: Name
    any_element: bool
    target: Name
    content_type: str
    octets: bool


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """What `ALTER ROLE … SET` says for one role, as far as the login role may set it."""

    settings: tuple[tuple[str, str], ...] = ()
    isolation: str | None = None


@dataclass(frozen=True)
class Catalog:
    """Everything planning may look at.  `relationships` go by origin; `handlers` by (target or
    None for any, media type); `representations` by (source type, target type).  `login_settings`
    are those that sessions of the login role begin with."""

    generation: int = 0
    tables: Mapping[Name, Table] = field(default_factory=dict)
    relationships: Mapping[Name, tuple[AnyRelationship, ...]] = field(default_factory=dict)
    functions: Mapping[Name, tuple[Function, ...]] = field(default_factory=dict)
    representations: Mapping[tuple[str, str], str] = field(default_factory=dict)
    handlers: Mapping[tuple[Name | None, str], MediaHandler] = field(default_factory=dict)
    roles: Mapping[str, RoleSettings] = field(default_factory=dict)
    schema_descriptions: Mapping[str, str] = field(default_factory=dict)
    login_settings: str = ""
