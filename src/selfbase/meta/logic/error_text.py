"""An error of PostgreSQL as `/query` answers it: its fields, and the text psql would print.

Source: reference/meta.md section 5; PostgreSQL documentation, 54.8 (error and notice fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Field letter of the protocol → member of the body, in the protocol's usual order.
WIRE_NAMES = {
    "S": "severity",
    "C": "code",
    "D": "detail",
    "H": "hint",
    "P": "position",
    "p": "internalPosition",
    "q": "internalQuery",
    "W": "where",
    "s": "schema",
    "t": "table",
    "c": "column",
    "d": "dataType",
    "n": "constraint",
    "F": "file",
    "L": "line",
    "R": "routine",
}


def describe_error(said: Mapping[str, str], sql: str) -> dict[str, Any]:
    """The members of the body, from fields by protocol letter (`M` is the message)."""
    members: dict[str, Any] = {"length": _message_length(said), "name": "error"}
    for letter, name in WIRE_NAMES.items():
        if letter in said:
            members[name] = said[letter]
    members["message"] = said.get("M", "")
    text = render_error(said, sql)
    return {"error": text, **members, "formattedError": text}


def render_error(said: Mapping[str, str], sql: str) -> str:
    """As psql prints it, with `LINE n:` and a caret when a position is known."""
    text = ""
    if "S" in said:
        text += f"{said['S']}:  "
    if "C" in said:
        text += f"{said['C']}: "
    text += said.get("M", "") + "\n"
    if "P" in said:
        text += _point_at(sql, int(said["P"]) - 1)
    for letter, label in (("D", "DETAIL"), ("H", "HINT"), ("q", "QUERY"), ("W", "CONTEXT")):
        if letter in said:
            text += f"{label}:  {said[letter]}\n"
    return text


def _point_at(sql: str, position: int) -> str:
    start = 0
    for number, line in enumerate(sql.split("\n"), start=1):
        if start + len(line) > position:
            label = f"LINE {number}: "
            return f"{label}{line}\n{' ' * (len(label) + position - start)}^\n"
        start += len(line) + 1
    # An error at the very end of the text points behind its last line.
    return f"LINE 0: \n{' ' * 8}^\n"


def _message_length(said: Mapping[str, str]) -> int:
    """The length the error message had on the wire, its own length word included."""
    fields = sum(len(text.encode()) + 2 for text in said.values())
    severity = len(said.get("S", "").encode()) + 2
    return fields + severity + 1 + 4
