"""The channel protocol of one socket: frames in, events out, frames to send back.

Keeps which topics are joined under which join_ref, answers what needs no thought (heartbeats,
unknown topics, repeated joins), and turns the rest into events.  Owns no socket, no clock and no
rights; what the caller decides comes back through `reply`, `accept`, `refuse`, `push`, `end`.
Source: reference/realtime.md sections 2 and 3; Phoenix channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import orjson

from selfbase.realtime.logic.frames import (
    BinaryBroadcast,
    Broadcast,
    Form,
    MalformedFrame,
    Push,
    Ref,
    parse_frame,
    render_message,
)

PREFIX: Final = "realtime:"
EMPTY: Final = b"{}"


class ChannelState(Enum):
    JOINING = "joining"
    JOINED = "joined"


@dataclass(slots=True)
class Joined:
    """One channel of a socket: `number` is never reused within it."""

    number: int
    topic: str
    join_ref: Ref
    ref: Ref
    state: ChannelState


@dataclass(frozen=True, slots=True)
class JoinAsked:
    channel: Joined
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Left:
    """The channel is gone: the client left it, or joined the topic again."""

    channel: Joined


@dataclass(frozen=True, slots=True)
class BroadcastSent:
    channel: Joined
    ref: Ref
    message: Broadcast


@dataclass(frozen=True, slots=True)
class PresenceSent:
    channel: Joined
    ref: Ref
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenSent:
    channel: Joined
    token: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A frame that was ignored, and why."""

    reason: str


Happening = JoinAsked | Left | BroadcastSent | PresenceSent | TokenSent | Dropped


class SocketProtocol:
    """The channels of one socket."""

    __slots__ = ("_joined", "_next", "_out", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self._joined: dict[str, Joined] = {}
        self._out: list[str] = []
        self._next = 0

    @property
    def channel_count(self) -> int:
        return len(self._joined)

    def frames_to_send(self) -> list[str]:
        """What has to be written, in order; empty afterwards."""
        frames, self._out = self._out, []
        return frames

    def receive(self, frame: str | bytes) -> list[Happening]:
        """Takes one frame.  Never raises: what makes no sense is `Dropped`."""
        try:
            message = parse_frame(frame, self.version)
        except MalformedFrame as error:
            return [Dropped(str(error))]
        if isinstance(message, BinaryBroadcast):
            return self._take_broadcast(message)
        if message.topic == "phoenix":
            if message.event == "heartbeat":
                self._reply(None, message.ref, "phoenix", "ok", EMPTY)
                return []
            return [Dropped("unknown event on topic phoenix")]
        if message.event == "phx_join":
            return self._join(message)
        channel = self._joined.get(message.topic)
        if message.event == "phx_leave":
            return self._leave(message, channel)
        if channel is None:
            self._reply_unmatched(message.join_ref, message.ref, message.topic)
            return []
        return self._take(channel, message)

    def _join(self, message: Push) -> list[Happening]:
        if not message.topic.startswith(PREFIX):
            self._reply_unmatched(message.join_ref, message.ref, message.topic)
            return []
        happened: list[Happening] = []
        earlier = self._joined.pop(message.topic, None)
        if earlier is not None:
            self._send(earlier.join_ref, earlier.join_ref, earlier.topic, "phx_close", EMPTY)
            happened.append(Left(earlier))
        # Without a join_ref the ref of the join names the channel, as Phoenix has it.
        join_ref = message.ref if message.join_ref is None else message.join_ref
        self._next += 1
        channel = Joined(self._next, message.topic, join_ref, message.ref, ChannelState.JOINING)
        self._joined[message.topic] = channel
        happened.append(JoinAsked(channel, message.payload))
        return happened

    def _leave(self, message: Push, channel: Joined | None) -> list[Happening]:
        join_ref = message.join_ref if channel is None else channel.join_ref
        self._reply(join_ref, message.ref, message.topic, "ok", EMPTY)
        if channel is None:
            return []
        del self._joined[message.topic]
        self._send(join_ref, join_ref, message.topic, "phx_close", EMPTY)
        return [Left(channel)]

    def _take(self, channel: Joined, message: Push) -> list[Happening]:
        payload = message.payload
        if message.event == "broadcast":
            # Passed on as it came: what it means is between the clients.
            sent = Broadcast(channel.topic, "", orjson.dumps(payload), Form.OBJECT)
            return [BroadcastSent(channel, message.ref, sent)]
        if message.event == "presence":
            return [PresenceSent(channel, message.ref, payload)]
        if message.event == "access_token":
            token = payload.get("access_token")
            return [TokenSent(channel, token)] if isinstance(token, str) else []
        return [Dropped("unknown event")]

    def _take_broadcast(self, message: BinaryBroadcast) -> list[Happening]:
        channel = self._joined.get(message.topic)
        if channel is None:
            self._reply_unmatched(message.join_ref, message.ref, message.topic)
            return []
        form = Form.JSON if message.is_json else Form.RAW
        sent = Broadcast(channel.topic, message.event, message.payload, form, message.meta)
        return [BroadcastSent(channel, message.ref, sent)]

    def is_current(self, channel: Joined) -> bool:
        """Whether this very channel is still there: not left, ended or replaced."""
        return self._joined.get(channel.topic) is channel

    def accept(self, channel: Joined, response: bytes) -> None:
        """Answers the join; the channel is joined."""
        if self.is_current(channel):
            channel.state = ChannelState.JOINED
            self._reply(channel.join_ref, channel.ref, channel.topic, "ok", response)

    def refuse(self, channel: Joined, reason: str) -> None:
        """Answers the join with an error; the channel is gone."""
        if self.is_current(channel):
            del self._joined[channel.topic]
            response = orjson.dumps({"reason": reason})
            self._reply(channel.join_ref, channel.ref, channel.topic, "error", response)

    def reply(self, channel: Joined, ref: Ref, status: str, response: bytes = EMPTY) -> None:
        """Answers a message of a joined channel.  One that carries no ref wants no answer."""
        if ref is not None and self.is_current(channel):
            self._reply(channel.join_ref, ref, channel.topic, status, response)

    def push(self, channel: Joined, event: str, payload: bytes) -> None:
        """Sends an event to this channel alone."""
        if self.is_current(channel):
            self._send(channel.join_ref, None, channel.topic, event, payload)

    def end(self, channel: Joined, *, rejoin: bool) -> None:
        """Ends a channel: with `rejoin` the client is to try again, otherwise it is final."""
        if self.is_current(channel):
            del self._joined[channel.topic]
            event = "phx_error" if rejoin else "phx_close"
            self._send(channel.join_ref, channel.join_ref, channel.topic, event, EMPTY)

    def _reply_unmatched(self, join_ref: Ref, ref: Ref, topic: str) -> None:
        self._reply(join_ref, ref, topic, "error", b'{"reason":"unmatched topic"}')

    def _reply(self, join_ref: Ref, ref: Ref, topic: str, status: str, response: bytes) -> None:
        payload = b'{"status":"%s","response":%s}' % (status.encode(), response)
        self._send(join_ref, ref, topic, "phx_reply", payload)

    def _send(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: bytes) -> None:
        self._out.append(render_message(self.version, join_ref, ref, topic, event, payload))
