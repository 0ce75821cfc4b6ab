"""The decoder of the log: what PostgreSQL sends is read, torn bytes are an error of one kind."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.realtime.logic.changes import Change, Column, Table, find_problem, render_moment
from selfbase.realtime.logic.jsonvalues import find_built_in
from selfbase.realtime.logic.pgoutput import (
    Attribute,
    Begin,
    Commit,
    DecodeError,
    Keepalive,
    Relation,
    RowChange,
    Unchanged,
    WalData,
    decode,
    decode_copy_data,
    find_relation_oid,
    parse_lsn,
    render_lsn,
    render_status,
)

RELATION = (
    b"R" + struct.pack(">I", 7) + b"public\0notes\0d" + struct.pack(">h", 2)
    + b"\x01id\0" + struct.pack(">Ii", 23, -1) + b"\x00body\0" + struct.pack(">Ii", 25, -1)
)  # fmt: skip
ROW = struct.pack(">h", 2) + b"t" + struct.pack(">i", 1) + b"5" + b"u"
UPDATE = b"U" + struct.pack(">I", 7) + b"K" + struct.pack(">h", 2) + b"t\0\0\0\x014n" + b"N" + ROW
MESSAGES = [
    (b"B" + struct.pack(">qqi", 9, 0, 1), Begin(9, 946_684_800_000_000)),
    (b"C" + struct.pack(">Bqqq", 0, 9, 10, 0), Commit(9, 10)),
    (
        RELATION,
        Relation(
            7, "public", "notes", "d", (Attribute("id", 23, True), Attribute("body", 25, False))
        ),
    ),
    (
        b"I" + struct.pack(">I", 7) + b"N" + ROW,
        RowChange(7, "INSERT", ("5", Unchanged.TOAST), None, False),
    ),
    (UPDATE, RowChange(7, "UPDATE", ("5", Unchanged.TOAST), ("4", None), False)),
    (
        b"D" + struct.pack(">I", 7) + b"O" + ROW,
        RowChange(7, "DELETE", None, ("5", Unchanged.TOAST), True),
    ),
]


@pytest.mark.parametrize(("sent", "read"), MESSAGES)
def test_messages(sent: bytes, read: object) -> None:
    assert decode(sent) == read


@pytest.mark.parametrize("sent", [sent for sent, _ in MESSAGES])
def test_every_cut_is_an_error(sent: bytes) -> None:
    for length in range(len(sent)):
        with pytest.raises(DecodeError):
            decode(sent[:length])


@given(st.binary(max_size=80), st.sampled_from(b"BCRIUDTYOMx"))
def test_any_bytes_are_a_message_or_an_error(tail: bytes, tag: int) -> None:
    message = bytes([tag]) + tail
    find_relation_oid(message)
    try:
        decode(message)
    except DecodeError:
        return


@given(st.binary(max_size=60))
def test_any_copy_data_is_known_or_an_error(data: bytes) -> None:
    try:
        assert isinstance(decode_copy_data(data), WalData | Keepalive)
    except DecodeError:
        return


def test_what_the_walsender_wraps_around() -> None:
    assert decode_copy_data(b"w" + struct.pack(">qqq", 1, 2, 3) + b"x") == WalData(2, b"x")
    assert decode_copy_data(b"k" + struct.pack(">qqB", 5, 0, 1)) == Keepalive(5, True)
    status = render_status(6, 946_684_800_000_001)
    assert struct.unpack(">cqqqqB", status) == (b"r", 6, 6, 6, 1, 0)


@given(st.integers(0, 2**64 - 1))
def test_positions(lsn: int) -> None:
    assert parse_lsn(render_lsn(lsn)) == lsn


def test_of_a_deleted_row_under_policies_only_the_key_is_known() -> None:
    number, text = find_built_in(23), find_built_in(25)
    assert number is not None
    assert text is not None
    columns = (Column("id", number), Column("body", text))
    table = Table(7, "public", "notes", columns, ("id",), has_policies=True)
    change = Change(table, "DELETE", None, ("5", "secret"), True, 0)
    assert change.judged_row() == {"id": "5"}
    assert find_problem(change, frozenset({"body"})) == "Error 401: Unauthorized"
    assert render_moment(1_500_123_456) == "1970-01-01T00:25:00.123Z"
