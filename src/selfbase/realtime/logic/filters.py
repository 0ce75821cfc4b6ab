"""Filters of database changes: reading them, and judging text values where that is exact.

PostgreSQL decides what a comparison means.  Types whose text form decides equality or order the
same way are judged here; for all others `compile_filter` says so and the database is asked.
Source: reference/realtime.md section 11.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from uuid import UUID

OPERATORS = (
    *("eq", "neq", "lt", "lte", "gt", "gte", "in"),
    *("like", "ilike", "is", "match", "imatch", "isdistinct"),
)
IN_VALUES_MAX = 100
FILTER_CHARS_MAX = 8192
_HEAD = re.compile(r'^("(?:[^"\\]|\\.)+"|[^=]+)=(not\.)?([a-z]+)\.(.*)$', re.DOTALL)


class FilterInvalid(Exception):
    """The filter text makes no sense; the message is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition.  `value` is text; `values` the members of an `in` list."""

    column: str
    op: str
    value: str
    negate: bool = False
    values: tuple[str, ...] = ()

    def describe(self) -> str:
        """As the `system` messages name it."""
        names = ", ".join(json.dumps(part) for part in (self.column, self.op, self.value))
        return f"{{{names}, {str(self.negate).lower()}}}"


def parse_filters(text: object) -> tuple[Filter, ...]:
    """Conditions joined by top-level commas.  Raises FilterInvalid."""
    if not isinstance(text, str):
        raise FilterInvalid("a filter is text such as column=eq.value")
    if len(text) > FILTER_CHARS_MAX:
        raise FilterInvalid(f"a filter has at most {FILTER_CHARS_MAX} characters")
    if not text.strip():
        return ()
    return tuple(_parse_one(part) for part in _split(text))


def _parse_one(text: str) -> Filter:
    if not text.strip():
        raise FilterInvalid("filter must not contain empty segments (check for extra commas)")
    match = _HEAD.match(text.strip())
    if match is None:
        raise FilterInvalid(f"expected column=operator.value, got {text[:100]!r}")
    column, negated, op, value = match.groups()
    column = _unquote(column.strip())
    if op not in OPERATORS:
        raise FilterInvalid(f"unknown operator {op!r}, use one of {', '.join(OPERATORS)}")
    values: tuple[str, ...] = ()
    if op == "in":
        if not (value.startswith("(") and value.endswith(")")):
            raise FilterInvalid("`in` expects a list such as in.(a,b)")
        values = tuple(_unquote(part.strip()) for part in _split(value[1:-1]))
        if not values or len(values) > IN_VALUES_MAX:
            raise FilterInvalid(f"`in` expects 1 to {IN_VALUES_MAX} values")
        value = render_array(values)
    else:
        value = _unquote(value)
    if op == "is" and value.lower() not in ("null", "true", "false", "unknown"):
        raise FilterInvalid("`is` expects null, true, false or unknown")
    return Filter(column, op, value.lower() if op == "is" else value, bool(negated), values)


def _split(text: str) -> list[str]:
    """Parts between commas outside quotes and parentheses."""
    parts: list[str] = []
    start, depth, quoted, escaped = 0, 0, False, False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = char == "\\", char != '"'
        elif char == '"':
            # A quote opens only where a value begins; elsewhere it is an ordinary character.
            quoted = index == 0 or text[index - 1] in ",(.= "
        elif char == "(":
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return parts


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text


def render_array(values: Sequence[str | None]) -> str:
    """A PostgreSQL array literal of text values."""
    quoted = (
        "NULL" if v is None else '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for v in values
    )
    return "{" + ",".join(quoted) + "}"


Test = Callable[[str | None], bool]

_NUMBERS = frozenset({"int2", "int4", "int8", "numeric", "oid"})
_EXACT = frozenset({"text", "varchar"})


def compile_filter(part: Filter, type_name: str, *, is_enum: bool = False) -> Test | None:
    """A test of the column's text value, or None when only the database can tell.

    A NULL never matches, except through `is` and `isdistinct`.
    """
    if part.op == "is":
        return _compile_is(part)
    read = _reader(type_name, is_enum=is_enum)
    if read is None or (part.op not in ("eq", "neq", "in", "isdistinct") and read is not _number):
        return None
    try:
        wanted = {read(value) for value in part.values} if part.op == "in" else {read(part.value)}
    except ValueError:
        return None
    compare = _compare(part.op, wanted)
    if compare is None:
        return None
    negate, on_null = part.negate, part.op == "isdistinct" and not part.negate

    def test(value: str | None) -> bool:
        if value is None:
            return on_null
        try:
            return compare(read(value)) is not negate
        except ValueError:
            return False

    return test


def _compile_is(part: Filter) -> Test:
    meant = {"null": None, "unknown": None, "true": "t", "false": "f"}[part.value]
    negate = part.negate
    return lambda value: (value == meant) is not negate


def _compare(op: str, wanted: set[object]) -> Callable[[object], bool] | None:
    if op in ("eq", "in"):
        return lambda value: value in wanted
    if op in ("neq", "isdistinct"):
        return lambda value: value not in wanted
    limit = next(iter(wanted))
    if not isinstance(limit, Decimal):
        return None
    tests: dict[str, Callable[[Decimal], bool]] = {
        "lt": lambda value: value < limit,
        "lte": lambda value: value <= limit,
        "gt": lambda value: value > limit,
        "gte": lambda value: value >= limit,
    }
    return tests.get(op)  # type: ignore[return-value]  # values of one reader are of one type


def _reader(type_name: str, *, is_enum: bool) -> Callable[[str], object] | None:
    if type_name in _NUMBERS:
        return _number
    if type_name in _EXACT or is_enum:
        return str
    if type_name == "uuid":
        return _uuid
    return _boolean if type_name == "bool" else None


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not number.is_finite():
        raise ValueError("NaN and infinities have an order of their own in PostgreSQL")
    return number


def _uuid(text: str) -> UUID:
    return UUID(text)


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"t", "true", "yes", "on", "1"}:
        return True
    if lowered in {"f", "false", "no", "off", "0"}:
        return False
    raise ValueError(text)
