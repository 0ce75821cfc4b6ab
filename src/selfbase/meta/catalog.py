"""Reading the catalog: each kind of object is one `.sql` file, and PostgreSQL builds its JSON.

A list arrives as one JSON text per object and is joined, never parsed.  Columns of relations are
fetched for the listed relations only and spliced in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import orjson

from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import NotFound
from selfbase.meta.logic.values import join_rows

SYSTEM_SCHEMAS = ("information_schema", "pg_catalog", "pg_toast")

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of catalog object.

    `key` is the column that identifies one, `sql_name` the file that lists it, `defaults` the
    parameters of that file besides schemas and paging.  `called` is how errors name it.
    """

    called: str
    sql_name: str
    key: str = "id"
    key_param: str = "ids"
    key_is_number: bool = True
    in_schemas: bool = True
    has_columns: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


SCHEMAS = Kind("schema", "schemas", defaults={"ids": None, "with_system": True})
TABLES = Kind("table", "tables", has_columns=True, defaults={"ids": None})
TABLE_NAMES = Kind("table", "table_names")
VIEWS = Kind("view", "views", has_columns=True, defaults={"ids": None})
MATERIALIZED_VIEWS = Kind(
    "materialized view", "materialized_views", has_columns=True, defaults={"ids": None}
)
FOREIGN_TABLES = Kind("foreign table", "foreign_tables", has_columns=True, defaults={"ids": None})
COLUMNS = Kind("column", "columns", key_is_number=False, defaults={"ids": None, "tables": None})
FUNCTIONS = Kind("function", "functions", defaults={"ids": None})
TRIGGERS = Kind("trigger", "triggers", defaults={"ids": None})
POLICIES = Kind("policy", "policies", defaults={"ids": None})
ROLES = Kind("role", "roles", in_schemas=False, defaults={"ids": None, "with_default": True})
PUBLICATIONS = Kind("publication", "publications", in_schemas=False, defaults={"ids": None})
EXTENSIONS = Kind(
    "extension",
    "extensions",
    key="name",
    key_param="names",
    key_is_number=False,
    in_schemas=False,
    defaults={"names": None},
)
TYPES = Kind("type", "types", defaults={"with_arrays": False, "with_rows": False})
INDEXES = Kind("index", "indexes", defaults={"ids": None})
CONFIG = Kind("setting", "config", key="name", in_schemas=False)
VERSION = Kind("version", "version", key="version_number", in_schemas=False)
TABLE_PRIVILEGES = Kind("relation", "table_privileges", key="relation_id", defaults={"ids": None})
COLUMN_PRIVILEGES = Kind(
    "column", "column_privileges", key="column_id", key_is_number=False, defaults={"ids": None}
)
FOREIGN_KEYS = Kind("foreign key", "foreign_keys")
VIEW_RULES = Kind("view rule", "view_rules")


@dataclass(frozen=True, slots=True)
class Page:
    """Which objects of a kind: schemas, a slice, and whether relations bring their columns."""

    included: list[str] | None = None
    excluded: list[str] | None = None
    limit: int | None = None
    offset: int | None = None
    with_columns: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)


@cache
def read_sql(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return resources.files("selfbase.meta").joinpath("sql", f"{name}.sql").read_text()


async def list_objects(connection: MetaConnection, kind: Kind, page: Page) -> list[bytes]:
    """The objects as JSON texts, sorted by schema and name."""
    rows = await _fetch(connection, kind, page)
    objects = [text.encode() for _, text in rows]
    if not (kind.has_columns and page.with_columns and rows):
        return objects
    ids = [int(key) for key, _ in rows]
    columns: dict[int, list[bytes]] = {key: [] for key in ids}
    listed = await _fetch(connection, COLUMNS, Page(params={"tables": ids}), key="table_id")
    for key, text in listed:
        columns[int(key)].append(text.encode())
    return [
        text[:-1] + b',"columns":' + join_rows(columns[key]) + b"}"
        for key, text in zip(ids, objects, strict=True)
    ]


async def load_objects(connection: MetaConnection, kind: Kind, page: Page) -> list[Object]:
    """As `list_objects`, parsed: for generators and writes."""
    return [orjson.loads(text) for _, text in await _fetch(connection, kind, page)]


async def find_object(connection: MetaConnection, kind: Kind, key: int | str) -> bytes:
    """One object as JSON text, columns included.  Raises NotFound in upstream's words."""
    if kind.key_is_number and not 0 <= int(key) < 2**32:
        raise NotFound(describe_missing(kind, key))
    page = Page(params={kind.key_param: [key]}, with_columns=kind.has_columns)
    found = await list_objects(connection, kind, page)
    if not found:
        raise NotFound(describe_missing(kind, key))
    return found[0]


async def load_object(connection: MetaConnection, kind: Kind, key: int | str) -> Object:
    """As `find_object`, parsed."""
    loaded: Object = orjson.loads(await find_object(connection, kind, key))
    return loaded


def describe_missing(kind: Kind, key: int | str) -> str:
    """Parity: fixed texts that clients match on, "a index" included."""
    if kind.key == "name":
        return f"Cannot find an {kind.called} named {key}"
    return f"Cannot find a {kind.called} with ID {key}"


async def _fetch(
    connection: MetaConnection, kind: Kind, page: Page, key: str | None = None
) -> list[tuple[Any, ...]]:
    inner = read_sql(kind.sql_name)
    query = f"select o.{key or kind.key}, row_to_json(o)::text from (\n{inner}) o"  # noqa: S608
    params: dict[str, Any] = {**kind.defaults, "limit": page.limit, "offset": page.offset}
    if kind.in_schemas:
        params |= {"included": page.included, "excluded": page.excluded}
    return await connection.fetch(query, {**params, **page.params})
