"""Request bodies: JSON, CSV and forms become one JSON text and the set of its keys.

A JSON body is read only to learn its keys; its bytes go to the database as they came.
Source: reference/rest.md section 2.3.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from selfbase.rest.errors import invalid_body
from selfbase.rest.logic.media import CSV, FORM, JSON, OCTETS, PLAIN, XML, MediaType

_RAW = (PLAIN, XML, OCTETS)


@dataclass(frozen=True, slots=True)
class Payload:
    """`kind` is object, array, raw or form; `body` is JSON text for the first two.  `fields` are
    the decoded pairs of a form, and its `keys` their names in that order."""

    kind: str
    keys: tuple[str, ...]
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()


def parse_payload(
    raw: bytes, media: MediaType, columns: tuple[str, ...] | None, *, calling: bool
) -> Payload:
    """The body of a write or a call.  `columns` are those of the `columns` parameter: with them
    the body is not read at all.  Raises RestFailure PGRST102."""
    if media == JSON:
        return _parse_json(raw, columns, calling)
    if media == CSV:
        return _parse_csv(raw)
    if media == FORM:
        pairs = tuple(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
        if calling:
            return Payload("form", tuple(name for name, _ in pairs), b"", pairs)
        return Payload("object", _sorted_keys(dict(pairs)), orjson.dumps(dict(pairs)))
    if calling and media in _RAW:
        return Payload("raw", (), raw)
    raise invalid_body(f"Content-Type not acceptable: {media.text}")


def _sorted_keys(item: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(item))


def _parse_json(raw: bytes, columns: tuple[str, ...] | None, calling: bool) -> Payload:
    if columns is not None:
        kind = "object" if raw.lstrip(b" \t\r\n")[:1] == b"{" else "array"
        return Payload(kind, tuple(sorted(set(columns))), raw)
    if not raw and calling:
        return Payload("object", (), b"{}")
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise invalid_body("Empty or invalid json") from None
    if isinstance(parsed, dict):
        return Payload("object", _sorted_keys(parsed), raw)
    if not isinstance(parsed, list) or not parsed:
        return Payload("array", (), b"[]")
    first = parsed[0]
    keys = first.keys() if isinstance(first, dict) else None
    if keys is None or not all(isinstance(one, dict) and one.keys() == keys for one in parsed):
        raise invalid_body("All object keys must match")
    return Payload("array", _sorted_keys(first), raw)


def _parse_csv(raw: bytes) -> Payload:
    try:
        rows = list(
            csv.reader(io.StringIO(raw.decode("utf-8", "replace"), newline=""), strict=True)
        )
    except csv.Error as error:
        raise invalid_body(f"Invalid csv: {error}") from None
    rows = [row for row in rows if row]
    if not rows:
        raise invalid_body("not enough input")
    header, *lines = rows
    if any(len(line) != len(header) for line in lines):
        raise invalid_body("All lines must have same number of fields")
    items = [
        {name: None if text == "NULL" else text for name, text in zip(header, line, strict=True)}
        for line in lines
    ]
    keys = _sorted_keys(dict.fromkeys(header)) if items else ()
    return Payload("array", keys, orjson.dumps(items))
