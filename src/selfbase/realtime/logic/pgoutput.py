"""Decodes the messages of logical replication's pgoutput plugin, protocol version 1.

Bytes in, values out; knows no connection.  Source: PostgreSQL documentation, 55.9 (logical
replication message formats) and 55.4 (streaming replication).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

EPOCH_2000_US = 946_684_800_000_000
Kind = Literal["INSERT", "UPDATE", "DELETE"]


class DecodeError(Exception):
    """Bytes that are no pgoutput message: the server speaks something we do not know."""


class Unchanged(Enum):
    """A large value stored out of line that an update did not touch: it is not sent."""

    TOAST = "unchanged"


Value = str | None | Unchanged
Tuple = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column as replicated.  `is_key` belongs to the replica identity, not the primary key."""

    name: str
    type_oid: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """`edition` counts the descriptions of a table: the log repeats one after every change to the
    table, its rights or its policies."""

    oid: int
    schema: str
    table: str
    identity: str
    columns: tuple[Attribute, ...]
    edition: int = 0


@dataclass(frozen=True, slots=True)
class Begin:
    final_lsn: int
    committed_us: int


@dataclass(frozen=True, slots=True)
class Commit:
    lsn: int
    end_lsn: int


@dataclass(frozen=True, slots=True)
class RowChange:
    """`old` holds the whole old row when `old_is_full`, otherwise only the identity's columns."""

    oid: int
    kind: Kind
    new: Tuple | None
    old: Tuple | None
    old_is_full: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that changes nothing for us: types, origins, truncations, logical messages."""

    tag: str


Message = Begin | Commit | Relation | RowChange | Ignored

_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")
_BEGIN, _COMMIT = struct.Struct(">qqi"), struct.Struct(">Bqqq")


def find_relation_oid(message: bytes) -> int | None:
    """The relation of a row change without decoding the rest, or None for other messages."""
    if message[:1] in (b"I", b"U", b"D") and len(message) >= 5:
        return int.from_bytes(message[1:5], "big")
    return None


def decode(message: bytes) -> Message:
    """One message.  Raises DecodeError."""
    tag = message[:1]
    decoder = _DECODERS.get(tag)
    if decoder is None:
        if tag in (b"Y", b"O", b"T", b"M"):
            return Ignored(tag.decode())
        raise DecodeError(f"unknown message {tag!r}")
    try:
        return decoder(message)
    except (struct.error, IndexError, ValueError) as error:
        raise DecodeError(f"message {tag!r} is cut or torn: {error}") from None


def _decode_begin(message: bytes) -> Begin:
    final_lsn, moment_us, _xid = _BEGIN.unpack_from(message, 1)
    return Begin(final_lsn, moment_us + EPOCH_2000_US)


def _decode_commit(message: bytes) -> Commit:
    _flags, lsn, end_lsn, _moment = _COMMIT.unpack_from(message, 1)
    return Commit(lsn, end_lsn)


def _decode_relation(message: bytes) -> Relation:
    oid = int.from_bytes(message[1:5], "big")
    schema, at = _text(message, 5)
    table, at = _text(message, at)
    identity = chr(message[at])
    (count,) = _INT16.unpack_from(message, at + 1)
    at += 3
    columns: list[Attribute] = []
    for _ in range(count):
        is_key = bool(message[at] & 1)
        name, at = _text(message, at + 1)
        (type_oid,) = _INT32.unpack_from(message, at)
        columns.append(Attribute(name, type_oid & 0xFFFFFFFF, is_key))
        at += 8
    if at > len(message):
        raise ValueError("columns longer than their message")
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _decode_insert(message: bytes) -> RowChange:
    oid = int.from_bytes(message[1:5], "big")
    _expect(message, 5, b"N")
    new, _ = _tuple(message, 6)
    return RowChange(oid, "INSERT", new, None, False)


def _decode_update(message: bytes) -> RowChange:
    oid, at = int.from_bytes(message[1:5], "big"), 5
    old, full = None, False
    if message[at : at + 1] in (b"K", b"O"):
        full = message[at : at + 1] == b"O"
        old, at = _tuple(message, at + 1)
    _expect(message, at, b"N")
    new, _ = _tuple(message, at + 1)
    return RowChange(oid, "UPDATE", new, old, full)


def _decode_delete(message: bytes) -> RowChange:
    oid = int.from_bytes(message[1:5], "big")
    full = message[5:6] == b"O"
    if not full:
        _expect(message, 5, b"K")
    old, _ = _tuple(message, 6)
    return RowChange(oid, "DELETE", None, old, full)


def _expect(message: bytes, at: int, wanted: bytes) -> None:
    if message[at : at + 1] != wanted:
        raise ValueError(f"expected {wanted!r}")


def _text(message: bytes, start: int) -> tuple[str, int]:
    end = message.index(0, start)
    return message[start:end].decode(), end + 1


def _tuple(message: bytes, at: int) -> tuple[Tuple, int]:
    (count,) = _INT16.unpack_from(message, at)
    at += 2
    values: list[Value] = []
    for _ in range(count):
        mark = message[at]
        at += 1
        if mark == 0x74:  # t: text
            (length,) = _INT32.unpack_from(message, at)
            at += 4
            if length < 0 or at + length > len(message):
                raise ValueError("value longer than its message")
            values.append(message[at : at + length].decode())
            at += length
        elif mark == 0x6E:  # n: null
            values.append(None)
        elif mark == 0x75:  # u: unchanged
            values.append(Unchanged.TOAST)
        else:
            raise ValueError(f"unknown column mark {mark}")
    return tuple(values), at


_DECODERS: dict[bytes, Callable[[bytes], Message]] = {
    b"B": _decode_begin,
    b"C": _decode_commit,
    b"R": _decode_relation,
    b"I": _decode_insert,
    b"U": _decode_update,
    b"D": _decode_delete,
}


def parse_lsn(text: str) -> int:
    """A log position such as `0/16B3748` as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def render_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


_XLOG, _KEEPALIVE = struct.Struct(">cqqq"), struct.Struct(">cqqB")


@dataclass(frozen=True, slots=True)
class WalData:
    end_lsn: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Keepalive:
    end_lsn: int
    wants_reply: bool


def decode_copy_data(data: bytes) -> WalData | Keepalive:
    """What the walsender wraps around its messages.  Raises DecodeError."""
    try:
        if data[:1] == b"w":
            _, _start, end, _moment = _XLOG.unpack_from(data)
            return WalData(end, data[_XLOG.size :])
        if data[:1] == b"k":
            _, end, _moment, wants = _KEEPALIVE.unpack_from(data)
            return Keepalive(end, bool(wants))
    except struct.error as error:
        raise DecodeError(str(error)) from None
    raise DecodeError(f"unknown copy data {data[:1]!r}")


def render_status(lsn: int, now_us: int) -> bytes:
    """Tells the server how far everything has been received and handled."""
    moment = max(0, now_us - EPOCH_2000_US)
    return struct.pack(">cqqqqB", b"r", lsn, lsn, lsn, moment, 0)
