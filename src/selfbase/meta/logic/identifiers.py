"""Names, literals and types as SQL text: the only place where a value may become part of SQL.

Values travel as parameters wherever PostgreSQL allows it; DDL takes no parameters, so what it
names goes through here.  Source: PostgreSQL documentation, 4.1 (lexical structure).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from selfbase.meta.errors import BadRequest


def quote_identifier(name: str) -> str:
    """A delimited identifier: always quoted, so that no keyword list can be out of date."""
    if "\x00" in name:
        raise BadRequest("A name cannot contain a null character")
    return '"' + name.replace('"', '""') + '"'


def quote_qualified(schema: str, name: str) -> str:
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


def quote_text(text: str) -> str:
    """A string literal that means the same with `standard_conforming_strings` on or off."""
    if "\x00" in text:
        raise BadRequest("A value cannot contain a null character")
    quoted = "'" + text.replace("'", "''") + "'"
    # The leading space keeps E from joining a word before it.
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def quote_literal(value: object) -> str:
    """A literal of any JSON value, untyped: the column's type decides how it is read."""
    if value is None:
        return "NULL"
    if value is True:
        return "'t'"
    if value is False:
        return "'f'"
    if isinstance(value, list):
        return ",".join(
            f"({quote_literal(item)})" if isinstance(item, list) else quote_literal(item)
            for item in value
        )
    if isinstance(value, dict):
        return quote_text(orjson.dumps(value).decode()) + "::jsonb"
    return quote_text(str(value))


def quote_role(name: str) -> str:
    """A role, or PUBLIC in any spelling."""
    return "PUBLIC" if name.lower() == "public" else quote_identifier(name)


_RELATION = re.compile(r"^([^.]*)\.(.*)$", re.DOTALL)


def quote_relation(text: str) -> str:
    """`table` or `schema.table`; everything after the first dot is the table's name."""
    match = _RELATION.match(text)
    if match is None:
        return quote_identifier(text)
    return quote_qualified(match[1], match[2])


def quote_setting(name: str) -> str:
    """The name of a configuration parameter: one word, or two for an extension's own."""
    return ".".join(quote_identifier(part) for part in name.split("."))


def quote_setting_value(value: str | None) -> str:
    """A parameter's value.  A list is quoted item by item, since `'a, b'` would be one item."""
    if value is None:
        return "DEFAULT"
    return ", ".join(quote_text(_unquote(part.strip())) for part in value.split(","))


def _unquote(part: str) -> str:
    for mark in ('"', "'"):
        if len(part) >= 2 and part.startswith(mark) and part.endswith(mark):
            return part[1:-1].replace(mark * 2, mark)
    return part


# Spellings the grammar knows and that are no names of types in the catalog.
_SPELLINGS = frozenset(
    {"bigint", "bit varying", "boolean", "character", "character varying", "dec", "decimal"}
    | {"double precision", "float", "int", "integer", "national character", "real", "smallint"}
    | {"char", "nchar", "bit", "varchar", "numeric", "timestamp", "time", "interval"}
)
_MODIFIERS = r"(?P<modifiers>\s*\(\s*\w+(?:\s*,\s*-?\w+)*\s*\))?"
_NAME = r"(?P<name>[^\W\d]\w*(?: +[^\W\d]\w*)?)"
_PLAIN_TYPE = re.compile(rf"^{_NAME}{_MODIFIERS}$")
_ZONED_TYPE = re.compile(
    r"^time(?:stamp)?\s*(?:\(\d\))?\s+with(?:out)?\s+time\s+zone$", re.IGNORECASE
)
_PART = r'(?:[^\W\d][\w$]*|"(?:[^"\x00]|"")+")'
_QUALIFIED_TYPE = re.compile(rf"^{_PART}(?:\.{_PART})+{_MODIFIERS}$")
_ARRAY = re.compile(r"^(?P<element>.+?)\s*\[\d*\]$", re.DOTALL)


def render_type(name: str) -> str:
    """A type as DDL wants it: `int4`, `numeric(10,2)`, `myschema.mytype[]`, or a strange name.

    Spellings of the grammar and qualified names pass as they are; any other text is the name of a
    type and is quoted, its modifiers apart.  Raises BadRequest for text with a dot that is no
    qualified name.
    """
    text = name.strip()
    array = _ARRAY.match(text)
    if array is not None:
        return render_type(array["element"]) + "[]"
    if _ZONED_TYPE.match(text) or _QUALIFIED_TYPE.match(text):
        return text
    plain = _PLAIN_TYPE.match(text)
    if plain is not None and " ".join(plain["name"].lower().split()) in _SPELLINGS:
        return text
    if "." in text:
        raise BadRequest(f"Invalid type: {name}")
    if plain is not None and plain["modifiers"]:
        return quote_identifier(plain["name"]) + plain["modifiers"]
    return quote_identifier(text)


def join_clauses(clauses: Iterable[str]) -> str:
    """The clauses that are there, separated by spaces."""
    return " ".join(clause for clause in clauses if clause)
