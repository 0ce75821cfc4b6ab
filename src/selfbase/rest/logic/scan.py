"""Splits a query string into its shape and its values.

The shape is hashable and says everything that decides the SQL; values are only bound.  Two requests
of one shape share one compiled request.  Source: reference/rest.md sections 1.1 and 10.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from selfbase.rest.logic.grammar import (
    Slots,
    SyntaxFailure,
    find_operation,
    operator_failure,
    parse_logic,
    parse_path,
)
from selfbase.rest.logic.grammar import guard as guard_syntax
from selfbase.rest.logic.syntax import Field, Logic, Operation

_INTEGER = re.compile(r"^\s*\(?(-?\d+)\)?\s*$")
_CANONICAL = re.compile(r"^[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]*$")
_SAFE = re.compile(r"^[A-Za-z0-9_.~=&-]*$")
# More than this is no request but an attack on the planner.
PARAMETERS_MAX = 2000
INTEGER_MAX = 2**63 - 1


class FilterItem(NamedTuple):
    key: str
    operation: Operation


class LogicItem(NamedTuple):
    embeds: tuple[str, ...]
    tree: Logic


class ArgumentItem(NamedTuple):
    """A query parameter that is (perhaps) an argument of a function."""

    key: str
    slot: int


class OrderItem(NamedTuple):
    key: str
    text: str


class RangeItem(NamedTuple):
    """`limit` or `offset` of an embed, its value in a slot."""

    embeds: tuple[str, ...]
    kind: str
    slot: int


class TextItem(NamedTuple):
    """`select`, `columns` or `on_conflict`: decides the SQL word by word."""

    kind: str
    text: str


Item = FilterItem | LogicItem | ArgumentItem | OrderItem | RangeItem | TextItem
Shape = tuple[Item, ...]


@dataclass(slots=True)
class Scan:
    """`limit` and `offset` are those of the root, as asked for; `limit` may be negative."""

    shape: Shape
    values: list[bytes | None]
    limit: int | None
    offset: int | None


def split_query(raw: str) -> list[tuple[str, str | None]]:
    """Decoded parameters in order; `+` is a space; a parameter without `=` has no value."""
    if not raw:
        return []
    encoded = "%" in raw or "+" in raw
    pairs: list[tuple[str, str | None]] = []
    for part in raw.split("&"):
        if not part:
            continue
        key, found, value = part.partition("=")
        if encoded:
            pairs.append((_decode(key), _decode(value) if found else None))
        else:
            pairs.append((key, value if found else None))
    return pairs


def _decode(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    return unquote_to_bytes(text).decode("utf-8", "replace")


def scan_query(raw: str, *, calling: bool = False, rows_max: int | None = None) -> Scan:
    """The shape and values of a query string.

    `calling` is set for functions called by GET, where a parameter without an operator is an
    argument.  `rows_max` caps the limits of embeds.  Raises RestFailure PGRST100.
    """
    slots = Slots()
    items: list[Item] = []
    seen: set[str] = set()
    root: dict[str, int | None] = {}
    pairs = split_query(raw)
    if len(pairs) > PARAMETERS_MAX:
        raise operator_failure("")
    for key, value in pairs:
        if value is None:
            continue
        if key in ("select", "columns", "on_conflict"):
            if key not in seen:
                seen.add(key)
                items.append(TextItem(key, value))
            continue
        last = key[key.rfind(".") + 1 :] if "." in key else key
        if last in ("and", "or"):
            items.append(LogicItem(*parse_logic(key, value, slots)))
        elif last == "order":
            items.append(OrderItem(key, value))
        elif last in ("limit", "offset"):
            if key == last:
                root[key] = _parse_integer(value)
            else:
                _scan_embed_range(key, last, value, slots, items, rows_max)
        else:
            items.append(_scan_filter(key, value, slots, calling))
    return Scan(tuple(items), slots.values, root.get("limit"), root.get("offset"))


def _scan_filter(key: str, value: str, slots: Slots, calling: bool) -> Item:
    mark = len(slots.values)
    try:
        operation = find_operation(value, slots)
    except SyntaxFailure as failure:
        del slots.values[mark:]
        if not calling:
            raise guard_failure(value, failure) from None
        operation = None
    if operation is not None:
        return FilterItem(key, operation)
    if not calling:
        # The path is judged first, as clients see it reported first.
        parse_path(key)
        raise operator_failure(value)
    return ArgumentItem(key, slots.add(value))


def guard_failure(value: str, failure: SyntaxFailure) -> Exception:
    """The public form of a malformed operand."""

    def fail() -> None:
        raise failure

    try:
        guard_syntax("filter", value, fail)
    except Exception as error:
        return error
    raise AssertionError("guard lets no failure pass")


def _scan_embed_range(
    key: str, kind: str, value: str, slots: Slots, items: list[Item], rows_max: int | None
) -> None:
    number = _parse_integer(value)
    embeds, _ = parse_path(key)
    if number is None or (kind == "offset" and number < 0):
        return
    if kind == "limit":
        if number < 0:
            items.append(RangeItem(embeds, "negative", -1))
            return
        if rows_max is not None:
            number = min(number, rows_max)
    items.append(RangeItem(embeds, kind, slots.add(str(number))))


def _parse_integer(value: str) -> int | None:
    found = _INTEGER.match(value) if len(value) < 40 else None
    if found is None:
        return None
    return max(-1, min(int(found[1]), INTEGER_MAX))


@lru_cache(maxsize=1024)
def parse_key(key: str) -> tuple[tuple[str, ...], Field]:
    """As `parse_path`, remembered: keys recur."""
    return parse_path(key)


def render_canonical(raw: str) -> str:
    """The query string with its parameters sorted by name, for Content-Location."""
    if "&" not in raw and _CANONICAL.match(raw):
        return raw
    pairs = split_query(raw)
    if len(pairs) > 1:
        pairs.sort(key=lambda pair: pair[0])
    return "&".join(f"{_encode(key)}={_encode(value or '')}" for key, value in pairs)


def _encode(text: str) -> str:
    return text if _SAFE.match(text) and "=" not in text and "&" not in text else quote(text, "")
