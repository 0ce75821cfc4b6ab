"""What the generators know of a database: catalog objects as the lists of the API give them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from selfbase.meta.logic.collation import sort_key

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Relationship:
    """A way from one relation to another through a foreign key, views included."""

    foreign_key_name: str
    schema: str
    relation: str
    columns: tuple[str, ...]
    is_one_to_one: bool
    referenced_schema: str
    referenced_relation: str
    referenced_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Introspection:
    """`types` holds all types of the database, the rest only what the chosen schemas hold.  Views
    come as they lie in the catalog."""

    schemas: list[Object] = field(default_factory=list)
    tables: list[Object] = field(default_factory=list)
    foreign_tables: list[Object] = field(default_factory=list)
    views: list[Object] = field(default_factory=list)
    materialized_views: list[Object] = field(default_factory=list)
    columns: list[Object] = field(default_factory=list)
    functions: list[Object] = field(default_factory=list)
    types: list[Object] = field(default_factory=list)
    relationships: list[Relationship] = field(default_factory=list)

    def columns_by_relation(self) -> dict[int, list[Object]]:
        """The columns of each relation, sorted by name."""
        found: dict[int, list[Object]] = {}
        for column in sort_by_name(self.columns):
            found.setdefault(column["table_id"], []).append(column)
        return found


def sort_by_name(objects: Iterable[Object]) -> list[Object]:
    return sorted(objects, key=lambda item: sort_key(item["name"]))


def may_be_null(column: Object, operation: str) -> bool:
    """Whether a field of `Select`, `Insert` or `Update` may be left empty: when reading, where the
    column may be null; when writing, also where the database has a value of its own."""
    if operation == "Update":
        return True
    if operation == "Insert" and (
        column["is_identity"] or column["is_generated"] or column["default_value"]
    ):
        return True
    return bool(column["is_nullable"])


class TypeIndex:
    """Types by what generators look them up by.  Of several types with one name the first counts,
    unless one is in the schema that is preferred."""

    def __init__(self, types: Iterable[Object]) -> None:
        self.by_id: dict[int, Object] = {}
        self._enums: dict[str, list[Object]] = {}
        self._composites: dict[str, list[Object]] = {}
        self.names: dict[str, Object] = {}
        for item in types:
            self.by_id[item["id"]] = item
            self.names.setdefault(item["name"], item)
            if item["enums"]:
                self._enums.setdefault(item["name"], []).append(item)
            if item["attributes"]:
                self._composites.setdefault(item["name"], []).append(item)

    def find_enum(self, name: str, schema: str | None = None) -> Object | None:
        return prefer_schema(self._enums.get(name, []), schema)

    def find_composite(self, name: str, schema: str | None = None) -> Object | None:
        return prefer_schema(self._composites.get(name, []), schema)


def prefer_schema(candidates: list[Object], schema: str | None) -> Object | None:
    """The candidate of that schema, else the first."""
    for candidate in candidates:
        if candidate["schema"] == schema:
            return candidate
    return candidates[0] if candidates else None
