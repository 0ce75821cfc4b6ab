"""The two serializers of the channel protocol: frames to messages and back.

Version 1 is one JSON object a message, version 2 a JSON array or a binary frame.  Nothing here
knows sockets or channels.  Source: reference/realtime.md section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from selfbase.http.values import encode_frame

V1, V2 = 1, 2
Ref = str | int | None

_USER_PUSH, _USER_BROADCAST = 3, 4
_JSON, _RAW = 1, 0
NAME_BYTES_MAX = 255


class MalformedFrame(Exception):
    """A frame that is no message.  The text says why, without repeating what was sent."""


@dataclass(frozen=True, slots=True)
class Push:
    """A text message of a client.  `payload` is a JSON object."""

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BinaryBroadcast:
    """A broadcast in a binary frame: `payload` is JSON text when `is_json`, otherwise raw bytes."""

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: bytes
    is_json: bool
    meta: bytes


def parse_version(text: str | None) -> int | None:
    """The serializer of the `vsn` parameter: none means 1.0.0; None when it is unknown."""
    if text is None:
        return V1
    return {"1.0": V1, "2.0": V2}.get(".".join(text.split(".")[:2]))


def parse_frame(frame: str | bytes, version: int) -> Push | BinaryBroadcast:
    """One client frame.  Raises MalformedFrame."""
    if isinstance(frame, str):
        return _parse_text(frame, version)
    if version != V2:
        raise MalformedFrame("binary frame on a text serializer")
    return _parse_binary(frame)


def _parse_text(frame: str, version: int) -> Push:
    try:
        value = orjson.loads(frame)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        raise MalformedFrame("not JSON") from None
    if version == V1:
        if not isinstance(value, dict) or "ref" not in value:
            raise MalformedFrame("not an object with topic, event, payload and ref")
        parts = [value.get(name) for name in ("join_ref", "ref", "topic", "event", "payload")]
    else:
        if not isinstance(value, list) or len(value) < 5:
            raise MalformedFrame("not an array of join_ref, ref, topic, event, payload")
        parts = value[:5]
    join_ref, ref, topic, event, payload = parts
    if not isinstance(topic, str) or not isinstance(event, str):
        raise MalformedFrame("topic and event must be text")
    if not isinstance(payload, dict):
        if event == "broadcast":
            raise MalformedFrame("payload must be an object")
        payload = {}
    return Push(_ref(join_ref), _ref(ref), topic, event, payload)


def _ref(value: Any) -> Ref:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise MalformedFrame("refs must be text, numbers or null")


def _parse_binary(frame: bytes) -> BinaryBroadcast:
    if len(frame) < 7:
        raise MalformedFrame("binary frame too short")
    if frame[0] != _USER_PUSH:
        raise MalformedFrame("unknown kind of binary frame")
    if frame[6] not in (_JSON, _RAW):
        raise MalformedFrame("unknown payload encoding")
    parts: list[bytes] = []
    start = 7
    for length in frame[1:6]:
        parts.append(frame[start : start + length])
        start += length
    if start > len(frame):
        raise MalformedFrame("binary frame shorter than its header says")
    payload = frame[start:]
    is_json = frame[6] == _JSON
    meta = parts[4]
    if is_json:
        _check_json(payload)
    if meta and not isinstance(_check_json(meta), dict):
        raise MalformedFrame("metadata is not a JSON object")
    try:
        join_ref, ref, topic, event = (part.decode() for part in parts[:4])
    except UnicodeDecodeError:
        raise MalformedFrame("names are not UTF-8") from None
    return BinaryBroadcast(join_ref or None, ref or None, topic, event, payload, is_json, meta)


def _check_json(text: bytes) -> Any:
    # The bytes travel on inside other frames: what is not JSON would break every receiver.
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise MalformedFrame("payload is not JSON") from None


def render_message(
    version: int, join_ref: Ref, ref: Ref, topic: str, event: str, payload: bytes
) -> str:
    """A text message of the server; `payload` is JSON.  Version 1 never names the join."""
    name, kind = orjson.dumps(topic), orjson.dumps(event)
    if version == V1:
        parts = (b'{"topic":', name, b',"event":', kind, b',"payload":', payload, b',"ref":')
        return (b"".join(parts) + orjson.dumps(ref) + b"}").decode()
    refs = (b"[", orjson.dumps(join_ref), b",", orjson.dumps(ref), b",")
    return b"".join((*refs, name, b",", kind, b",", payload, b"]")).decode()


class Form(Enum):
    """How a broadcast came in, which decides how it goes out."""

    OBJECT = "object"  # payload is the whole JSON object {type, event, payload, …}
    JSON = "json"  # payload is the JSON of the inner payload
    RAW = "raw"  # payload is bytes


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A message for everyone in a room.  `topic` has its `realtime:` prefix; `meta` is JSON or
    empty; `id` names a stored message."""

    topic: str
    event: str
    payload: bytes
    form: Form
    meta: bytes = b""
    id: str | None = None


def render_broadcast(message: Broadcast, version: int) -> str | bytes | None:
    """The message for one serializer; None when it cannot be expressed in it."""
    if message.form is not Form.OBJECT and version == V2:
        framed = _render_binary(message)
        if framed is not None:
            return framed
    if message.form is Form.RAW:
        return None
    payload = message.payload
    if message.form is Form.JSON:
        payload = render_object(message.event, payload, message.meta)
    return render_message(version, None, None, message.topic, "broadcast", payload)


def render_object(event: str, payload: bytes, meta: bytes = b"") -> bytes:
    """The JSON object of a text broadcast from its parts."""
    parts = [b'{"type":"broadcast","event":', orjson.dumps(event), b',"payload":', payload]
    if meta:
        parts += [b',"meta":', meta]
    return b"".join(parts) + b"}"


def _render_binary(message: Broadcast) -> bytes | None:
    topic, event = message.topic.encode(), message.event.encode()
    lengths = (len(topic), len(event), len(message.meta))
    if max(lengths) > NAME_BYTES_MAX:
        return None
    encoding = _JSON if message.form is Form.JSON else _RAW
    header = bytes((_USER_BROADCAST, *lengths, encoding))
    return b"".join((header, topic, event, message.meta, message.payload))


class Encoded:
    """A message rendered at most once for each serializer, as ready WebSocket frames."""

    __slots__ = ("_frames", "message")

    def __init__(self, message: Broadcast) -> None:
        self.message = message
        self._frames: dict[int, bytes | None] = {}

    def frame(self, version: int) -> bytes | None:
        """The WebSocket frame for sockets of this version, or None."""
        if version not in self._frames:
            rendered = render_broadcast(self.message, version)
            self._frames[version] = None if rendered is None else encode_frame(rendered)
        return self._frames[version]


def pack_broadcast(message: Broadcast) -> bytes:
    """The message as bytes for the bus."""
    head = [message.topic, message.event, message.form.value, message.meta.decode(), message.id]
    header = orjson.dumps(head)
    return len(header).to_bytes(4, "big") + header + message.payload


def unpack_broadcast(data: bytes) -> Broadcast:
    """The reverse of `pack_broadcast`.  Raises ValueError on bytes that are none."""
    length = int.from_bytes(data[:4], "big")
    topic, event, form, meta, id_ = orjson.loads(data[4 : 4 + length])
    return Broadcast(topic, event, data[4 + length :], Form(form), meta.encode(), id_)
