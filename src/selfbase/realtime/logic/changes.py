"""One row change as a client sees it: which columns, which values, which error.

Pure: what the database has to say (types, keys, rights, values only it can render) is handed in.
Source: reference/realtime.md section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from selfbase.realtime.logic.jsonvalues import ColumnType
from selfbase.realtime.logic.pgoutput import Kind, Tuple, Unchanged, Value

SMALL_VALUE_BYTES_MAX = 64
NO_PRIMARY_KEY = "Error 400: Bad Request, no primary key"
UNAUTHORIZED = "Error 401: Unauthorized"
TOO_LARGE = "Error 413: Payload Too Large"

Lookup = Callable[[ColumnType, str], bytes]


@dataclass(frozen=True, slots=True)
class Column:
    """`is_exact` columns are equal exactly when their text forms are (collation included)."""

    name: str
    type: ColumnType
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A replicated table.  `columns` in the order of the log; `key` is the primary key;
    `has_policies` tells that row level security is switched on."""

    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    has_policies: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One committed row change.  `old` is whole with replica identity FULL, else the identity."""

    table: Table
    kind: Kind
    new: Tuple | None
    old: Tuple | None
    old_is_full: bool
    committed_us: int

    def judged_row(self) -> dict[str, Value]:
        """The row that policies and filters are about: the new one, or for a delete the old one.

        Of a deleted row in a table with policies only the primary key counts: nothing else of it
        may be told to anyone, not even by a filter that matches.
        """
        columns = self.table.columns
        if self.new is not None:
            row = {column.name: value for column, value in zip(columns, self.new, strict=False)}
            if self.old is not None and self.old_is_full:
                for column, value in zip(columns, self.old, strict=False):
                    if row[column.name] is Unchanged.TOAST:
                        row[column.name] = value
            return row
        return dict(self._old_values())

    def replaced_row(self) -> dict[str, Value] | None:
        """The row as it was, of an update that shows it in a table with policies."""
        if self.kind != "UPDATE" or not self.old_is_full or not self.table.has_policies:
            return None
        return dict(self._old_values())

    def _old_values(self) -> Iterator[tuple[str, Value]]:
        for column, value in zip(self.table.columns, self.old or (), strict=False):
            if self.kind == "DELETE" and self.table.has_policies:
                known = column.name in self.table.key
            else:
                # Without the whole row, a NULL only says that the column was not sent.
                known = self.old_is_full or value is not None
            if known and not isinstance(value, Unchanged):
                yield column.name, value

    def size_bytes(self) -> int:
        """Roughly what the row takes in the log."""
        values = (*(self.new or ()), *(self.old or ()))
        return sum(len(value) for value in values if isinstance(value, str))

    def find_unrendered(self) -> set[tuple[ColumnType, str]]:
        """Values that only the database can turn into JSON."""
        found = set()
        for row in (self.new, self.old):
            for column, value in zip(self.table.columns, row or (), strict=False):
                if column.type.convert is None and isinstance(value, str):
                    found.add((column.type, value))
        return found


def find_problem(change: Change, selectable: frozenset[str]) -> str | None:
    """Why a role gets no values of this change at all, or None."""
    key = change.table.key
    if not key and change.kind != "DELETE":
        return NO_PRIMARY_KEY
    if key and not selectable.issuperset(key):
        return UNAUTHORIZED
    return UNAUTHORIZED if not selectable else None


def render_problem(change: Change, problem: str) -> bytes:
    """The data of a change that cannot be shown: its table and kind, and why."""
    shown: dict[str, object] = {
        "schema": change.table.schema,
        "table": change.table.name,
        "type": change.kind,
        "commit_timestamp": None,
        "columns": [],
        "record": {},
        "errors": [problem],
    }
    return orjson.dumps(shown)


def render_change(
    change: Change,
    shown: frozenset[str],
    lookup: Lookup,
    *,
    record_bytes_max: int,
    hides_old: bool = False,
) -> bytes:
    """The data of a change for those who see the columns `shown`; with `hides_old` only the key
    of the row as it was."""
    table = change.table
    value_bytes_max = SMALL_VALUE_BYTES_MAX if change.size_bytes() > record_bytes_max else None

    def render(values: Mapping[str, Value]) -> bytes:
        parts = []
        for column in table.columns:
            if column.name not in shown or column.name not in values:
                continue
            value = values[column.name]
            if isinstance(value, Unchanged):
                continue
            text = b"null" if value is None else _render_value(column.type, value, lookup)
            if value_bytes_max is None or len(text) <= value_bytes_max:
                parts.append(orjson.dumps(column.name) + b":" + text)
        return b"{" + b",".join(parts) + b"}"

    columns = [
        {"name": column.name, "type": column.type.name}
        for column in table.columns
        if column.name in shown
    ]
    parts = [
        b'{"schema":' + orjson.dumps(table.schema),
        b'"table":' + orjson.dumps(table.name),
        b'"type":"' + change.kind.encode() + b'"',
        b'"commit_timestamp":"' + render_moment(change.committed_us).encode() + b'"',
        b'"columns":' + orjson.dumps(columns),
    ]
    if change.new is not None:
        parts.append(b'"record":' + render(change.judged_row()))
    if change.kind != "INSERT":
        old = dict(change._old_values())
        if change.old is None and change.new is not None:
            # The identity is sent only when it changed: otherwise it is that of the new row.
            row = change.judged_row()
            old = {name: row[name] for name in table.key if name in row}
        if hides_old:
            old = {name: value for name, value in old.items() if name in table.key}
        parts.append(b'"old_record":' + render(old))
    too_large = orjson.dumps([TOO_LARGE]) if value_bytes_max is not None else b"null"
    parts.append(b'"errors":' + too_large)
    return b",".join(parts) + b"}"


def _render_value(type_: ColumnType, value: str, lookup: Lookup) -> bytes:
    return lookup(type_, value) if type_.convert is None else type_.convert(value)


def render_moment(moment_us: int) -> str:
    """UTC with milliseconds, as clients expect commit timestamps."""
    moment = datetime.fromtimestamp(moment_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_us // 1000 % 1000:03d}Z"


def render_payload(ids: tuple[int, ...], data: bytes) -> bytes:
    """The payload of `postgres_changes` for a channel whose bindings `ids` match."""
    return b'{"ids":' + orjson.dumps(ids) + b',"data":' + data + b"}"
