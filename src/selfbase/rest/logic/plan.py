"""What a plan is made of: a tree of read nodes, a write or call before it, and how to render it.

Values only; `plan_read` and `plan_request` build them, `render*` turns them into SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from selfbase.rest.logic.catalog import AnyRelationship, Function, Table
from selfbase.rest.logic.media import MediaType
from selfbase.rest.logic.names import Name
from selfbase.rest.logic.syntax import JsonStep, Operation


@dataclass(frozen=True, slots=True)
class Reference:
    """A column of a node, or what a JSON path finds in it.

    `to_json` converts before the path is walked.  `transform` is a data representation's function.
    `vectorize` wraps the column for text search.  `whole_row` stands for the row itself.
    """

    name: str
    path: tuple[JsonStep, ...] = ()
    to_json: bool = False
    transform: str | None = None
    vectorize: bool = False
    whole_row: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """One selected item.  With `source` it is a field lifted from that child's alias."""

    reference: Reference
    alias: str | None = None
    cast: str | None = None
    aggregate: str | None = None
    aggregate_cast: str | None = None

    @property
    def name(self) -> str:
        return self.alias or self.reference.name


@dataclass(frozen=True, slots=True)
class Compare:
    """A filter on a column."""

    reference: Reference
    operation: Operation


@dataclass(frozen=True, slots=True)
class EmbedIsNull:
    """Whether a child found nothing, or with `negated` that it found something."""

    child: ReadNode
    negated: bool


@dataclass(frozen=True, slots=True)
class Junctor:
    """`and` or `or`."""

    op: str
    negated: bool
    parts: tuple[Condition, ...]


Condition = Compare | EmbedIsNull | Junctor


@dataclass(frozen=True, slots=True)
class Order:
    """`child` orders by a column of a to-one child."""

    reference: Reference
    direction: str | None
    nulls: str | None
    child: ReadNode | None = None


# Where a bound value comes from: the number of a scanned value, a constant, several values as one
# array, or one of the numbers below.  Field n of a form is FIELD - n.
Source = int | bytes | tuple[int, ...]
BODY, LIMIT, OFFSET, FIELD = -1, -2, -3, -100


# Half a megabyte.
SMALL_PAGES = 64


@dataclass(eq=False, slots=True)
class ReadNode:
    """One level of the answer.

    `alias` names its rows in SQL, `key` names the join that carries it into its parent, `label` the
    field it becomes.  `limit` and `offset` are sources of values.  `hoisted` are aggregates of
    spread children that are computed here, by the child's key and field.
    """

    table: Name
    alias: str
    name: str
    depth: int
    label: str | None = None
    join: str | None = None
    spread: Literal["one", "many"] | None = None
    link: AnyRelationship | None = None
    key: str = ""
    outputs: list[Output] = field(default_factory=list)
    where: list[Condition] = field(default_factory=list)
    order: list[Order] = field(default_factory=list)
    limit: Source | None = None
    offset: Source | None = None
    children: list[ReadNode] = field(default_factory=list)
    from_source: bool = False
    known: Table | None = None
    lifted: list[Output] = field(default_factory=list)
    null_checked: bool = False
    parent: ReadNode | None = None

    @property
    def title(self) -> str:
        return self.label or self.name

    @property
    def is_empty(self) -> bool:
        """Nothing of it is put out: it only joins."""
        return not self.outputs and all(child.is_empty for child in self.children)

    @property
    def to_one(self) -> bool:
        return self.link is not None and self.link.to_one

    @property
    def has_aggregates(self) -> bool:
        return any(output.aggregate for output in self.outputs) or any(
            output.aggregate for child in self.children for output in child.lifted
        )

    @property
    def is_small(self) -> bool:
        """Whether all it reads was found to be small tables."""
        return all(
            node.known is not None
            and node.known.pages is not None
            and node.known.pages <= SMALL_PAGES
            for node in self.walk()
        )

    def walk(self) -> Iterator[ReadNode]:
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class BodyColumn:
    """A column filled from the body.  `transform` turns JSON into its domain."""

    name: str
    type: str
    transform: str | None = None
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """An insert, update or delete, and what of it is returned.

    `conflict` are the columns of ON CONFLICT, `merge` whether duplicates are updated; for a PUT
    `conditions` compare the body with the address, else they choose the rows.
    """

    kind: Literal["insert", "update", "delete"]
    table: Name
    columns: tuple[BodyColumn, ...] = ()
    body_is_object: bool = True
    conditions: tuple[Condition, ...] = ()
    returning: tuple[str, ...] = ()
    conflict: tuple[str, ...] | None = None
    merge: bool = False
    put: bool = False
    defaults: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function call.  `arguments` are (parameter position, source) of values that come as text;
    None means that the body, as JSON or as a whole, holds them."""

    function: Function
    parameters: tuple[int, ...]
    arguments: tuple[Source, ...] | None
    whole_body: bool
    body_is_object: bool
    returning: tuple[str, ...]


HandlerKind = Literal["array", "object", "csv", "geojson", "custom", "none"]


@dataclass(frozen=True, slots=True)
class Handler:
    """How rows become a body, and the media type of the answer.  `octets` is a body of bytea."""

    kind: HandlerKind
    media: MediaType
    stripped: bool = False
    function: Name | None = None
    target: Name | None = None
    any_element: bool = False
    octets: bool = False


@dataclass(slots=True)
class Plan:
    """A request ready to be rendered."""

    read: ReadNode
    handler: Handler
    headers_only: bool
    write: Write | None = None
    call: Call | None = None
    count: str | None = None
    location_columns: tuple[str, ...] = ()
    read_only: bool = True
    isolation: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    primary_key: tuple[str, ...] = ()
    on_conflict: bool = False
