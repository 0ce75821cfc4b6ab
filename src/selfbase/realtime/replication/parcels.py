"""Chunks of changes as bytes, for the way to other workers."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import orjson

from selfbase.realtime.logic.pgoutput import (
    Attribute,
    Begin,
    Relation,
    RowChange,
    Tuple,
    Unchanged,
)
from selfbase.realtime.replication.stream import Chunk


def pack_chunk(chunk: Chunk) -> bytes:
    """Each relation travels once; an unchanged value is 0."""
    relations: dict[int, Any] = {}
    rows: list[Any] = []
    for relation, row, begin in chunk.changes:
        relations.setdefault(relation.oid, astuple(relation))
        rows.append(
            [
                *(row.oid, row.kind, _pack(row.new), _pack(row.old), row.old_is_full),
                *(begin.final_lsn, begin.committed_us),
            ]
        )
    return orjson.dumps([chunk.end_lsn, chunk.commit_lsn, list(relations.values()), rows])


class Unpacker:
    """The reverse; keeps relations, so that a table stays the same value until it changes."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}

    def unpack(self, data: bytes) -> Chunk:
        end_lsn, commit_lsn, relations, rows = orjson.loads(data)
        for oid, schema, table, identity, columns, edition in relations:
            attributes = tuple(Attribute(*column) for column in columns)
            fresh = Relation(oid, schema, table, identity, attributes, edition)
            if self._relations.get(oid) != fresh:
                self._relations[oid] = fresh
        chunk = Chunk(end_lsn=end_lsn, commit_lsn=commit_lsn)
        for oid, kind, new, old, old_is_full, lsn, committed_us in rows:
            row = RowChange(oid, kind, _unpack(new), _unpack(old), old_is_full)
            chunk.changes.append((self._relations[oid], row, Begin(lsn, committed_us)))
        return chunk


def _pack(row: Tuple | None) -> list[Any] | None:
    return None if row is None else [0 if v is Unchanged.TOAST else v for v in row]


def _unpack(row: list[Any] | None) -> Tuple | None:
    return None if row is None else tuple(Unchanged.TOAST if v == 0 else v for v in row)
