"""The cursor of list v2: where a page ended, as opaque text.

Lines `l:` last name, `o:` order, `c:` column, `a:` time, in base64; the layout is the reference
server's, so that a listing survives a change of server in between.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime

from selfbase.storage.errors import InvalidParameter

_FIELDS = {"l": "last", "o": "order", "c": "column", "a": "time"}


@dataclass(frozen=True, slots=True)
class Cursor:
    """The order of a listing and where it stands; `last` is None at its start."""

    last: str | None = None
    order: str = "asc"
    column: str = "name"
    time: str | None = None


FIRST_PAGE = Cursor()


def render_cursor(cursor: Cursor) -> str:
    """Opaque text for the client."""
    values = {letter: getattr(cursor, field) for letter, field in _FIELDS.items()}
    lines = [f"{letter}:{value}" for letter, value in values.items() if value]
    return b64encode("\n".join(lines).encode()).decode()


def parse_cursor(text: str) -> Cursor:
    """The cursor a client sends back.  Raises InvalidParameter."""
    invalid = InvalidParameter("Invalid Parameter continuation token")
    try:
        lines = b64decode(text, validate=True).decode().split("\n")
    except (binascii.Error, ValueError):
        raise invalid from None
    found: dict[str, str] = {}
    for line in lines:
        letter, mark, value = line.partition(":")
        if not mark or letter not in _FIELDS or "\0" in value:
            raise invalid
        found[_FIELDS[letter]] = value
    cursor = Cursor(**found)
    if cursor.order not in ("asc", "desc"):
        raise invalid
    if cursor.column not in ("name", "created_at", "updated_at"):
        raise invalid
    if cursor.column != "name" and cursor.last:
        try:
            datetime.fromisoformat(cursor.time or "")
        except ValueError:
            raise invalid from None
    return cursor
