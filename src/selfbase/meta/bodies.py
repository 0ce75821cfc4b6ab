"""Reading request bodies: which members, of which kind, and which words are allowed.

Words that end up as SQL keywords are always checked against a closed list here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from selfbase.meta.errors import BadRequest

Body = dict[str, Any]
FieldKind = Literal["text", "bool", "int", "texts", "names", "settings", "changes", "any", "id"]

_COLUMN_ID = re.compile(r"^\d{1,10}\.\d{1,5}$")


@dataclass(frozen=True, slots=True)
class Field:
    """One member.  `null` tells whether null is a value of its own; else it counts as absent."""

    kind: FieldKind = "text"
    required: bool = False
    choices: tuple[str, ...] = ()
    null: bool = False


def read_fields(body: Any, fields: Mapping[str, Field]) -> Body:
    """The known members that are there.  Raises BadRequest naming the first that is wrong."""
    if not isinstance(body, dict):
        raise BadRequest("body must be object")
    read: Body = {}
    for name, field in fields.items():
        value = body.get(name)
        if value is None and not (field.null and name in body):
            if field.required:
                raise BadRequest(f"body must have required property '{name}'")
            continue
        if value is not None:
            value = _convert(name, value, field)
        read[name] = value
    return read


def _convert(name: str, value: Any, field: Field) -> Any:
    kind = field.kind
    if kind == "any":
        return value
    if kind == "bool":
        if isinstance(value, str) and value in {"true", "false"}:
            return value == "true"
        return _expect(isinstance(value, bool), name, value, "boolean")
    if kind == "int":
        return _read_int(name, value)
    if kind == "texts":
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return _expect(good, name, value, "array of strings")
    if kind == "names":
        good = isinstance(value, list) and all(
            isinstance(item, dict) and isinstance(item.get("name"), str) for item in value
        )
        return _expect(good, name, value, "array of objects with a name")
    if kind == "settings":
        good = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
        return _expect(good, name, value, "object of strings")
    if kind == "changes":
        return _expect(isinstance(value, list), name, value, "array")
    return _read_text(name, value, field)


def _read_text(name: str, value: Any, field: Field) -> str:
    text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise BadRequest(f"body/{name} must be string")
    if field.kind == "id" and not _COLUMN_ID.match(text):
        raise BadRequest("Invalid format for column ID")
    if field.choices:
        upper = text.upper()
        if upper not in field.choices:
            raise BadRequest(f"body/{name} must be one of {', '.join(field.choices)}")
        return upper
    return text


def _read_int(name: str, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"body/{name} must be integer")
    return value


def _expect(good: bool, name: str, value: Any, wanted: str) -> Any:
    if not good:
        raise BadRequest(f"body/{name} must be {wanted}")
    return value
