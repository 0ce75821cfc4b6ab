"""Column values in PostgreSQL's text form as JSON, the way `to_jsonb(value::type)` gives them.

Common types are turned here; for the others there is no converter and the database is asked.
Source: PostgreSQL documentation, chapters 8 and 9.16.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

Convert = Callable[[str], bytes]
Nested = list["str | Nested | None"]


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type of the database.  `convert` is None when only the database can render it.

    `exact` types are equal exactly when their text forms are.
    """

    oid: int
    name: str
    convert: Convert | None
    exact: bool = False
    is_enum: bool = False


_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?\Z")
_OFFSET = re.compile(r"([-+]\d\d)(:\d\d)?\Z")


def convert_text(text: str) -> bytes:
    return orjson.dumps(text)


def convert_number(text: str) -> bytes:
    """Digits as they are; NaN and the infinities are text in JSON."""
    return text.encode() if _NUMBER.match(text) else orjson.dumps(text)


def convert_bool(text: str) -> bytes:
    return b"true" if text == "t" else b"false"


def convert_json(text: str) -> bytes:
    return text.encode()


def convert_timestamp(text: str) -> bytes:
    return orjson.dumps(text.replace(" ", "T", 1) if " BC" not in text else text)


def convert_timestamptz(text: str) -> bytes:
    if " BC" in text:
        return orjson.dumps(text)
    stamped = text.replace(" ", "T", 1)
    match = _OFFSET.search(stamped)
    if match is not None and match[2] is None and "T" in stamped:
        stamped += ":00"
    return orjson.dumps(stamped)


def convert_bytea(text: str) -> bytes:
    return orjson.dumps(text.removeprefix("\\x"))


def make_array_converter(element: Convert) -> Convert:
    """For arrays of a type that has a converter."""

    def render(items: Nested) -> bytes:
        parts = (
            b"null" if item is None else render(item) if isinstance(item, list) else element(item)
            for item in items
        )
        return b"[" + b",".join(parts) + b"]"

    return lambda text: render(parse_array(text))


def parse_array(text: str) -> Nested:
    """An array literal as nested lists of text.  Raises ValueError when it is none."""
    if text.startswith("["):
        text = text.partition("=")[2]
    if not text.startswith("{"):
        raise ValueError("not an array literal")
    stack: list[Nested] = [[]]
    index, length = 0, len(text)
    while index < length:
        char = text[index]
        if char == "{":
            stack.append([])
            index += 1
        elif char == "}":
            closed = stack.pop()
            if not stack:
                raise ValueError("array literal closes too often")
            stack[-1].append(closed)
            index += 1
        elif char == ",":
            index += 1
        else:
            item, index = _parse_item(text, index)
            stack[-1].append(item)
    if len(stack) != 1 or len(stack[0]) != 1 or not isinstance(stack[0][0], list):
        raise ValueError("array literal does not close")
    return stack[0][0]


def _parse_item(text: str, start: int) -> tuple[str | None, int]:
    if text[start] != '"':
        match = re.compile(r"[^,{}]+").match(text, start)
        if match is None:
            raise ValueError("array item expected")
        return (None if match[0] == "NULL" else match[0]), match.end()
    parts: list[str] = []
    index = start + 1
    while text[index] != '"':
        if text[index] == "\\":
            index += 1
        parts.append(text[index])
        index += 1
    return "".join(parts), index + 1


# Built-in types by OID: name, converter, whether text equality is equality.
_BUILT_IN: dict[int, tuple[str, Convert, bool]] = {
    16: ("bool", convert_bool, True),
    17: ("bytea", convert_bytea, True),
    18: ("char", convert_text, False),
    19: ("name", convert_text, True),
    20: ("int8", convert_number, True),
    21: ("int2", convert_number, True),
    23: ("int4", convert_number, True),
    25: ("text", convert_text, True),
    26: ("oid", convert_number, True),
    114: ("json", convert_json, False),
    650: ("cidr", convert_text, False),
    700: ("float4", convert_number, False),
    701: ("float8", convert_number, False),
    829: ("macaddr", convert_text, False),
    869: ("inet", convert_text, False),
    1042: ("bpchar", convert_text, False),
    1043: ("varchar", convert_text, True),
    1082: ("date", convert_text, False),
    1083: ("time", convert_text, False),
    1114: ("timestamp", convert_timestamp, False),
    1184: ("timestamptz", convert_timestamptz, False),
    1186: ("interval", convert_text, False),
    1266: ("timetz", convert_text, False),
    1700: ("numeric", convert_number, False),
    2950: ("uuid", convert_text, True),
    3802: ("jsonb", convert_json, False),
}


def find_built_in(oid: int) -> ColumnType | None:
    """A type we know without asking, or None."""
    known = _BUILT_IN.get(oid)
    return ColumnType(oid, *known) if known else None


def make_type(
    oid: int, name: str, kind: str, *, base_oid: int, element_oid: int, casts_to_json: bool
) -> ColumnType:
    """A type from its catalog entry.

    `kind` is `pg_type.typtype`; `base_oid` the type under a domain, `element_oid` that of an
    array's items, 0 for none.
    """
    known = find_built_in(oid)
    if known is not None:
        return known
    if kind == "e":
        return ColumnType(oid, name, convert_text, exact=True, is_enum=True)
    if kind == "d":
        base = find_built_in(base_oid)
        return ColumnType(oid, name, base.convert if base else None, exact=False)
    if element_oid:
        element = find_built_in(element_oid)
        convert = make_array_converter(element.convert) if element and element.convert else None
        return ColumnType(oid, name, convert)
    if kind in ("r", "m") or (kind == "b" and not casts_to_json):
        return ColumnType(oid, name, convert_text)
    return ColumnType(oid, name, None)
