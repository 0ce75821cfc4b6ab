"""Qualified names and the quoting of identifiers.

Values never come through here: they are bound as parameters.
Source: PostgreSQL documentation, 4.1.1 (identifiers and key words).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

IDENTIFIER_BYTES_MAX = 63


class Name(NamedTuple):
    """A relation, function or type in a schema."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def quote_ident(text: str) -> str:
    """A quoted identifier.  A NUL would end the SQL text early, so the name ends there instead."""
    if "\0" in text:
        text = text[: text.index("\0")]
    return '"' + text.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A string constant, for text that comes from the catalog itself."""
    if "\0" in text:
        text = text[: text.index("\0")]
    doubled = text.replace("'", "''")
    return f" E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{doubled}'"


def quote_name(name: Name) -> str:
    return f"{quote_ident(name.schema)}.{quote_ident(name.name)}"


def make_alias(*parts: object) -> str:
    """An alias from parts, kept below PostgreSQL's limit without two of them growing equal."""
    alias = "_".join(str(part) for part in parts)
    raw = alias.encode()
    if len(raw) <= IDENTIFIER_BYTES_MAX:
        return alias
    digest = hashlib.blake2b(raw, digest_size=6).hexdigest()
    return raw[:48].decode("utf-8", "ignore") + "_" + digest


def build_array_literal(values: list[str]) -> str:
    """The text form of an array, every element quoted, for a parameter of inferred array type."""
    quoted = (
        '"' + value.split("\0", 1)[0].replace("\\", "\\\\").replace('"', '\\"') + '"'
        for value in values
    )
    return "{" + ",".join(quoted) + "}"
