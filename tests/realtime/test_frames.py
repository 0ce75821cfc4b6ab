"""The serializers: what clients send is read exactly, what makes no sense never breaks anything."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.realtime.logic.frames import (
    V1,
    V2,
    BinaryBroadcast,
    Broadcast,
    Form,
    MalformedFrame,
    Push,
    pack_broadcast,
    parse_frame,
    parse_version,
    render_broadcast,
    unpack_broadcast,
)
from selfbase.realtime.logic.protocol import (
    BroadcastSent,
    Dropped,
    JoinAsked,
    Left,
    SocketProtocol,
)

EXAMPLE = b"\x03\x01\x01\x0a\x02\x00\x01" + b"1" + b"7" + b"realtime:a" + b"hi" + b"{}"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (None, V1),
        ("1.0.0", V1),
        ("1.0.7", V1),
        ("2.0.0", V2),
        ("2.0.1", V2),
        *((bad, None) for bad in ("3.0.0", "", "1", "2", "1.1.0", "x", "1.0\n.0")),
    ],
)
def test_version(text: str | None, version: int | None) -> None:
    assert parse_version(text) == version


def test_binary_example_of_the_reference() -> None:
    assert parse_frame(EXAMPLE, V2) == BinaryBroadcast(
        "1", "7", "realtime:a", "hi", b"{}", True, b""
    )


def test_binary_frames_of_the_server() -> None:
    sent = Broadcast("realtime:a", "hé", b'{"x":1}', Form.JSON, b'{"id":"1"}')
    frame = render_broadcast(sent, V2)
    assert isinstance(frame, bytes)
    assert frame == b"\x04\x0a\x03\x0a\x01realtime:ah\xc3\xa9" + b'{"id":"1"}' + b'{"x":1}'
    text = render_broadcast(sent, V1)
    assert isinstance(text, str)
    assert orjson.loads(text) == {
        "topic": "realtime:a",
        "event": "broadcast",
        "payload": {"type": "broadcast", "event": "hé", "payload": {"x": 1}, "meta": {"id": "1"}},
        "ref": None,
    }


def test_raw_bytes_cannot_reach_a_text_client() -> None:
    assert render_broadcast(Broadcast("realtime:a", "e", b"\xff", Form.RAW), V1) is None


def test_names_too_long_for_a_binary_frame_travel_as_text() -> None:
    long = Broadcast("realtime:" + "a" * 300, "e", b"{}", Form.JSON)
    assert isinstance(render_broadcast(long, V2), str)
    assert render_broadcast(Broadcast(long.topic, "e", b"{}", Form.RAW), V2) is None


@pytest.mark.parametrize(
    ("frame", "version"),
    [
        ("", V1),
        ("[]", V1),
        ("{}", V1),
        ('{"topic":"a","event":"b","payload":{}}', V1),
        ('{"topic":1,"event":"b","payload":{},"ref":"1"}', V1),
        ("{}", V2),
        ('["1","2","t","e"]', V2),
        ('["1",{},"t","e",{}]', V2),
        ("nul", V2),
        ("[" * 2000, V2),
        ('["1","1","t","\\ud800",{}]', V2),
        (b"", V2),
        (EXAMPLE, V1),
        (b"\x03\xff\xff\xff\xff\xff\x01", V2),
        (EXAMPLE[:-1], V2),
        (EXAMPLE[:6] + b"\x02" + EXAMPLE[7:], V2),
        (b"\x09" + EXAMPLE[1:], V2),
        (EXAMPLE.replace(b"hi", b"\xff\xfe"), V2),
    ],
)
def test_malformed_frames_are_refused(frame: str | bytes, version: int) -> None:
    with pytest.raises(MalformedFrame):
        parse_frame(frame, version)


frames = st.one_of(
    st.binary(max_size=400),
    st.binary(max_size=100).map(lambda tail: b"\x03" + tail),
    st.text(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=12,
    ).map(lambda value: orjson.dumps(value).decode()),
    st.tuples(
        *(st.sampled_from([None, "1", "2", 3]),) * 2,
        st.sampled_from(["realtime:a", "realtime:", "phoenix", "other"]),
        st.sampled_from(
            ["phx_join", "phx_leave", "broadcast", "presence", "access_token", "heartbeat", "x"]
        ),
        st.sampled_from([{}, {"event": "e"}, [], None, {"access_token": 1}, {"config": "no"}]),
    ).map(lambda parts: orjson.dumps(parts).decode()),
)


@given(st.lists(frames, max_size=12), st.sampled_from([V1, V2]))
def test_the_protocol_takes_anything(sent: list[str | bytes], version: int) -> None:
    protocol = SocketProtocol(version)
    open_: set[int] = set()
    for frame in sent:
        for happening in protocol.receive(frame):
            if isinstance(happening, JoinAsked):
                open_.add(happening.channel.number)
            elif isinstance(happening, Left):
                open_.remove(happening.channel.number)
            elif not isinstance(happening, Dropped):
                assert happening.channel.number in open_
        for text in protocol.frames_to_send():
            shape = list if version == V2 else dict
            assert isinstance(orjson.loads(text), shape)
    assert protocol.channel_count == len(open_)


@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.binary(max_size=100),
    st.sampled_from([Form.RAW, Form.JSON]),
)
def test_broadcasts_survive_the_bus(topic: str, event: str, payload: bytes, form: Form) -> None:
    try:
        topic.encode(), event.encode()
    except UnicodeEncodeError:
        return
    message = Broadcast(topic, event, payload, form, b'{"id":1}', "1")
    assert unpack_broadcast(pack_broadcast(message)) == message


def test_json_that_is_none_never_reaches_other_clients() -> None:
    """A payload is copied into other people's frames: it must be JSON as it says."""
    protocol = SocketProtocol(V2)
    protocol.receive('["1","1","realtime:a","phx_join",{}]')
    bad = EXAMPLE[:-2] + b'{},"event":"forged"'
    assert [type(item) for item in protocol.receive(bad)] == [Dropped]
    good = protocol.receive(EXAMPLE)
    assert [type(item) for item in good] == [BroadcastSent]


def test_a_second_join_closes_the_first() -> None:
    protocol = SocketProtocol(V2)
    protocol.receive('["1","1","realtime:a","phx_join",{}]')
    happened = protocol.receive('["5","5","realtime:a","phx_join",{}]')
    assert [type(item) for item in happened] == [Left, JoinAsked]
    closed = orjson.loads(protocol.frames_to_send()[0])
    assert closed == ["1", "1", "realtime:a", "phx_close", {}]


def test_a_push_keeps_what_the_client_said() -> None:
    frame = '{"topic":"realtime:a","event":"e","payload":{"a":1},"ref":null}'
    assert parse_frame(frame, V1) == Push(None, None, "realtime:a", "e", {"a": 1})
