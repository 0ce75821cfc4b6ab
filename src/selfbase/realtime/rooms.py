"""Rooms: who is in a topic on this worker, and how a message reaches all of them.

A message is encoded once for each serializer and the same bytes are written to every socket.
Rooms reach other workers through the bus.  Source: reference/realtime.md sections 5 and 6.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import orjson

from selfbase.http.values import encode_frame
from selfbase.realtime.bus.port import Bus, BusUnavailable
from selfbase.realtime.logic.frames import (
    Broadcast,
    Encoded,
    pack_broadcast,
    render_message,
    unpack_broadcast,
)
from selfbase.realtime.logic.presence import (
    Diff,
    OutOfStep,
    PresenceState,
    pack_entries,
    render_diff,
    unpack_entries,
)
from selfbase.realtime.logic.protocol import PREFIX

RoomKey = tuple[bool, str]  # private, subtopic
_BROADCAST, _CHANGED, _ASK, _STATE = b"B", b"P", b"Q", b"S"


class Member(Protocol):
    """A channel in a room.  `deliver` writes a ready frame and changes no room; `hold` keeps it for a channel that is
    still joining.  `sees_presence` and `hears` say which extensions it may read; `replayed` are the
    ids of stored messages it has had already."""

    version: int
    replayed: frozenset[str]
    hears: bool
    sees_presence: bool

    def deliver(self, frame: bytes) -> None: ...

    def hold(self, message: Encoded) -> None: ...


class Room:
    """One topic on this worker."""

    __slots__ = ("joining", "key", "members", "pending", "presence", "ready", "scheduled")

    def __init__(self, key: RoomKey, presence: PresenceState) -> None:
        self.key = key
        self.members: dict[Member, None] = {}
        self.joining: dict[Member, None] = {}
        self.presence = presence
        self.pending = Diff()
        self.scheduled = False
        self.ready: asyncio.Task[None] | None = None

    @property
    def topic(self) -> str:
        return PREFIX + self.key[1]

    @property
    def bus_topic(self) -> str:
        return f"room:{int(self.key[0])}:{self.key[1]}"

    @property
    def is_empty(self) -> bool:
        return not self.members and not self.joining


class Rooms:
    """All rooms of one worker.  `on_delivered` is told how often a message was written."""

    def __init__(self, bus: Bus, worker: str, on_delivered: Callable[[int], None]) -> None:
        self._bus = bus
        self._worker = worker
        self._rooms: dict[RoomKey, Room] = {}
        self._by_bus_topic: dict[str, Room] = {}
        self._on_delivered = on_delivered
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, key: RoomKey) -> Room | None:
        return self._rooms.get(key)

    async def enter(self, key: RoomKey, member: Member) -> Room:
        """Puts a joining channel into its room: from now on it misses nothing.  A bus that is away
        does not keep anyone from joining."""
        room = self._rooms.get(key)
        if room is None:
            room = Room(key, PresenceState(self._worker, time.time_ns() // 1000))
            self._rooms[key] = room
            if self._bus.is_shared:
                self._by_bus_topic[room.bus_topic] = room
                room.ready = asyncio.ensure_future(self._announce(room))
        room.joining[member] = None
        if room.ready is not None:
            await asyncio.shield(room.ready)
        return room

    async def _announce(self, room: Room) -> None:
        try:
            await self._bus.subscribe(room.bus_topic)
        except BusUnavailable:
            return
        self._bus.publish(room.bus_topic, _ASK + self._worker.encode())

    def admit(self, room: Room, member: Member) -> None:
        """The channel has joined."""
        room.joining.pop(member, None)
        room.members[member] = None

    def leave(self, room: Room, member: Member, name: str) -> None:
        """Takes a channel out, and its presence with it."""
        room.joining.pop(member, None)
        room.members.pop(member, None)
        self._changed(room, room.presence.untrack(name))
        if room.is_empty and self._rooms.get(room.key) is room:
            del self._rooms[room.key]
            if self._bus.is_shared:
                del self._by_bus_topic[room.bus_topic]
                self._start(self._forget(room))

    async def _forget(self, room: Room) -> None:
        if room.ready is not None:
            await room.ready
        if room.bus_topic not in self._by_bus_topic:
            await self._bus.unsubscribe(room.bus_topic)

    def send(self, key: RoomKey, message: Broadcast, sender: Member | None = None) -> int:
        """A message for everyone in the room but `sender`, here and on other workers.  How many
        it was written to here."""
        if self._bus.is_shared:
            topic = f"room:{int(key[0])}:{key[1]}"
            self._bus.publish(topic, _BROADCAST + pack_broadcast(message))
        return self._send_here(key, message, sender)

    def _send_here(self, key: RoomKey, message: Broadcast, sender: Member | None) -> int:
        room = self._rooms.get(key)
        if room is None:
            return 0
        encoded, id_ = Encoded(message), message.id
        count = 0
        for member in room.members:
            if member is sender or not member.hears:
                continue
            if id_ is not None and id_ in member.replayed:
                continue
            frame = encoded.frame(member.version)
            if frame is not None:
                member.deliver(frame)
                count += 1
        for member in room.joining:
            if member is not sender:
                member.hold(encoded)
        self._on_delivered(count)
        return count

    # Presence

    def track(self, room: Room, name: str, key: str, payload: dict[str, object]) -> None:
        """Sets the presence of the channel called `name`."""
        self._changed(room, room.presence.track(name, key, _make_ref(), payload))

    def untrack(self, room: Room, name: str) -> None:
        self._changed(room, room.presence.untrack(name))

    def _changed(self, room: Room, diff: Diff) -> None:
        if not diff:
            return
        if self._bus.is_shared:
            change = [
                self._worker,
                room.presence.own_version,
                pack_entries(diff.joins),
                pack_entries(diff.leaves),
            ]
            self._bus.publish(room.bus_topic, _CHANGED + orjson.dumps(change))
        self._tell(room, diff)

    def _tell(self, room: Room, diff: Diff) -> None:
        if not diff:
            return
        room.pending.add(diff)
        if not room.scheduled:
            # What happens in one turn of the loop goes out as one diff.
            room.scheduled = True
            asyncio.get_running_loop().call_soon(self._flush, room)

    def _flush(self, room: Room) -> None:
        diff, room.pending, room.scheduled = room.pending, Diff(), False
        if not diff:
            return
        payload = render_diff(diff)
        frames: dict[int, bytes] = {}
        count = 0
        for member in room.members:
            if member.sees_presence:
                version = member.version
                if version not in frames:
                    text = render_message(version, None, None, room.topic, "presence_diff", payload)
                    frames[version] = encode_frame(text)
                member.deliver(frames[version])
                count += 1
        self._on_delivered(count)

    # Other workers

    def receive(self, bus_topic: str, data: bytes) -> None:
        """What another worker published on a room's topic."""
        room = self._by_bus_topic.get(bus_topic)
        if room is None:
            return
        kind, body = data[:1], data[1:]
        if kind == _BROADCAST:
            self._send_here(room.key, unpack_broadcast(body), None)
        elif kind == _ASK:
            self._publish_state(room)
        elif kind == _STATE:
            owner, version, entries = orjson.loads(body)
            self._tell(room, room.presence.merge(owner, version, unpack_entries(entries)))
        elif kind == _CHANGED:
            owner, version, joins, leaves = orjson.loads(body)
            change = Diff(unpack_entries(joins), unpack_entries(leaves))
            try:
                self._tell(room, room.presence.apply(owner, version, change))
            except OutOfStep:
                self._bus.publish(bus_topic, _ASK + self._worker.encode())

    def _publish_state(self, room: Room) -> None:
        own = room.presence.list_own()
        state = [self._worker, room.presence.own_version, pack_entries(own)]
        self._bus.publish(room.bus_topic, _STATE + orjson.dumps(state))

    def resync(self) -> None:
        """After the bus was away: says what we have and asks for what others have."""
        for room in self._rooms.values():
            self._publish_state(room)
            self._bus.publish(room.bus_topic, _ASK + self._worker.encode())

    def drop_worker(self, worker: str) -> None:
        """A worker is gone and all who were present through it."""
        for room in self._rooms.values():
            self._tell(room, room.presence.drop_owner(worker))

    def list_members(self) -> Iterable[Member]:
        for room in self._rooms.values():
            yield from room.members

    def _start(self, coroutine: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _make_ref() -> str:
    return "F" + secrets.token_urlsafe(9)
