"""Column values from PostgreSQL's text format to JSON, by type, as clients of `/query` know them.

Numbers that a JavaScript number holds exactly are numbers; int8 beyond that and numeric are
strings; dates and times stay as the server printed them; json is inlined untouched.
Source: reference/meta.md section 3 (value encoding).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import orjson

Encoder = Callable[[bytes], bytes]

_SAFE_MAX = 2**53 - 1


def _text(raw: bytes) -> bytes:
    return orjson.dumps(raw.decode("utf-8", "replace"))


def _plain(raw: bytes) -> bytes:
    return raw


def _int8(raw: bytes) -> bytes:
    return raw if abs(int(raw)) <= _SAFE_MAX else _text(raw)


def _float(raw: bytes) -> bytes:
    number = float(raw)
    return orjson.dumps(number) if math.isfinite(number) else b"null"


def _bool(raw: bytes) -> bytes:
    return b"true" if raw == b"t" else b"false"


def _bytea(raw: bytes) -> bytes:
    data = bytes.fromhex(raw[2:].decode()) if raw.startswith(b"\\x") else raw
    return orjson.dumps({"type": "Buffer", "data": list(data)})


def _array(element: Encoder) -> Encoder:
    def encode(raw: bytes) -> bytes:
        return _encode_items(parse_array(raw), element)

    return encode


def _encode_items(items: list[ArrayItem], element: Encoder) -> bytes:
    return b"[" + b",".join(_encode_item(item, element) for item in items) + b"]"


def _encode_item(item: ArrayItem, element: Encoder) -> bytes:
    if item is None:
        return b"null"
    return _encode_items(item, element) if isinstance(item, list) else element(item)


ArrayItem = bytes | None | list["ArrayItem"]


def parse_array(raw: bytes) -> list[ArrayItem]:
    """The items of an array in text format, nested as its dimensions are.

    Source: PostgreSQL documentation, 8.15.6 (array input and output syntax).
    """
    at = raw.index(b"=") + 1 if raw.startswith(b"[") else 0
    top: list[ArrayItem] = []
    stack: list[list[ArrayItem]] = [top]
    while at < len(raw):
        mark = raw[at : at + 1]
        if mark == b"{":
            inner: list[ArrayItem] = []
            stack[-1].append(inner)
            stack.append(inner)
            at += 1
        elif mark == b"}":
            stack.pop()
            at += 1
        elif mark == b'"':
            item, at = _quoted_item(raw, at + 1)
            stack[-1].append(item)
        elif mark == b",":
            at += 1
        else:
            end = at
            while raw[end : end + 1] not in (b",", b"}", b""):
                end += 1
            bare = raw[at:end]
            stack[-1].append(None if bare == b"NULL" else bare)
            at = end
    first = top[0]
    return first if isinstance(first, list) else []


def _quoted_item(raw: bytes, at: int) -> tuple[bytes, int]:
    item = bytearray()
    while raw[at : at + 1] != b'"':
        if raw[at : at + 1] == b"\\":
            at += 1
        item += raw[at : at + 1]
        at += 1
    return bytes(item), at + 1


_BY_TYPE: dict[int, Encoder] = {
    16: _bool,
    17: _bytea,
    20: _int8,
    21: _plain,
    23: _plain,
    26: _plain,
    114: _plain,
    700: _float,
    701: _float,
    3802: _plain,
}
# Arrays by the type of their elements.  Arrays of int8 hold strings, arrays of numeric numbers.
_ARRAYS: dict[Encoder, Sequence[int]] = {
    _bool: (1000,),
    _bytea: (1001,),
    _plain: (1005, 1007, 1028, 199, 3807),
    _float: (1021, 1022, 1231),
    _text: (
        *(1016, 1014, 1015, 1008, 1009, 651, 1040, 1041, 1115, 1182, 1185, 1187),
        *(3907, 2951, 791, 1183, 1270),
    ),
}
for _element, _oids in _ARRAYS.items():
    for _oid in _oids:
        _BY_TYPE[_oid] = _array(_element)


class RowEncoder:
    """Encodes the rows of one result as JSON objects.

    Of several columns with one name the last one counts, as in any JavaScript object.
    """

    def __init__(self, columns: Sequence[tuple[str, int]]) -> None:
        last = {name: index for index, (name, _) in enumerate(columns)}
        self._columns = [
            (
                (b"{" if place == 0 else b",") + orjson.dumps(name) + b":",
                index,
                _BY_TYPE.get(columns[index][1], _text),
            )
            for place, (name, index) in enumerate(last.items())
        ]

    def encode(self, row: Sequence[bytes | None]) -> bytes:
        if not self._columns:
            return b"{}"
        pieces: list[bytes] = []
        for prefix, index, encode in self._columns:
            raw = row[index]
            pieces.append(prefix)
            pieces.append(b"null" if raw is None else encode(raw))
        pieces.append(b"}")
        return b"".join(pieces)


def join_rows(rows: Iterable[bytes]) -> bytes:
    """A JSON array of encoded rows."""
    return b"[" + b",".join(rows) + b"]"
