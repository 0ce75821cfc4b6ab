"""One joined channel: how it is joined, what its client may do in it, and how it ends.

What needs no waiting is done at once; what does (joining, asking policies) runs in one task a
channel, and later messages of the client wait behind it in order.
Source: reference/realtime.md sections 3, 5, 6 and 9.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from selfbase.realtime.authorization import Asker
from selfbase.realtime.errors import (
    InvalidToken,
    PolicyFailed,
    PrivateOnly,
    RealtimeFailure,
    ReplayRefused,
    Restarting,
    Suspended,
    TooManyChannels,
    TooManyJoins,
    TopicMissing,
    Unauthorized,
)
from selfbase.realtime.events import ChannelEnded, JoinRefused, PolicyBroken
from selfbase.realtime.logic.frames import Broadcast, Encoded, Ref
from selfbase.realtime.logic.joins import JoinRequest, parse_join, render_bindings
from selfbase.realtime.logic.limits import CallLimit
from selfbase.realtime.logic.presence import render_state
from selfbase.realtime.logic.protocol import (
    PREFIX,
    BroadcastSent,
    Joined,
    PresenceSent,
    TokenSent,
)
from selfbase.realtime.replay import list_stored
from selfbase.realtime.replication.subscriptions import Subscription
from selfbase.realtime.rooms import Room
from selfbase.realtime.tokens import Grant, expired

if TYPE_CHECKING:
    from selfbase.realtime.connection import Connection

Wish = BroadcastSent | PresenceSent | TokenSent
INBOX_MAX = 100
HELD_MAX = 1000
TOO_MANY_JOINS_CODE = 1001


class Channel:
    """A channel of one connection.  It is the `Member` of its room."""

    __slots__ = (
        "_calls",
        "_grant",
        "_held",
        "_inbox",
        "_key",
        "_request",
        "_room",
        "_subscription",
        "_task",
        "_timer",
        "_writable",
        "connection",
        "hears",
        "joined",
        "replayed",
        "sees_presence",
        "version",
    )

    def __init__(self, connection: Connection, joined: Joined) -> None:
        self.connection = connection
        self.joined = joined
        self.version = connection.version
        self.hears = self.sees_presence = False
        self.replayed: frozenset[str] = frozenset()
        self._request = JoinRequest()
        self._key = ""
        self._grant: Grant | None = None
        self._room: Room | None = None
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inbox: deque[Wish] | None = None
        self._held: list[Encoded] | None = []
        self._writable: dict[str, bool] | None = None
        self._calls: CallLimit | None = None

    @property
    def subtopic(self) -> str:
        return self.joined.topic[len(PREFIX) :]

    @property
    def _name(self) -> str:
        return f"{id(self.connection):x}.{self.joined.number}"

    # Joining

    def start(self, payload: dict[str, Any]) -> None:
        """Begins to join."""
        core = self.connection.core
        core.meters.channel_joins.inc()
        core.meters.joins.add(1, core.clock.monotonic_s())
        self._task = core.tasks.start("join", self._run_join(payload))

    async def _run_join(self, payload: dict[str, Any]) -> None:
        try:
            await self._join(payload)
        except RealtimeFailure as failure:
            await self._refuse(failure)
            return
        self.connection.flush()
        await self._drain()

    async def _refuse(self, failure: RealtimeFailure) -> None:
        core = self.connection.core
        core.events.emit(JoinRefused(failure.code))
        self._leave_room()
        if failure.closes_socket:
            self.connection.drop(TOO_MANY_JOINS_CODE, failure.reason)
            return
        await asyncio.sleep(core.settings.join_error_pause_s)
        self.connection.protocol.refuse(self.joined, failure.reason)
        self._task = None
        self.connection.forget(self.joined.number)
        self.connection.flush()

    async def _join(self, payload: dict[str, Any]) -> None:
        core, protocol = self.connection.core, self.connection.protocol
        request = self._request = parse_join(payload)
        self._check_limits(request)
        grant = core.doorkeeper.verify(request.token or self.connection.token)
        self._take_grant(grant)
        await self._check_readable(grant)
        replayed = await self._list_replayed(request)
        self._room = await core.rooms.enter((request.private, self.subtopic), self)
        if request.bindings:
            self._subscription = core.feed.make_subscription(
                request.bindings,
                grant.caller,
                topic=self.joined.topic,
                version=self.version,
                write=self.connection.write,
                tell=self.tell_system,
            )
            await core.feed.subscribe(self._subscription)
        if request.bindings or request.private or request.replication_ready:
            # What is committed after the reply must arrive, so the stream comes first.
            await core.feed.wait_ready(core.settings.subscribe_wait_s)
        if not protocol.is_current(self.joined) or self.connection.closed:
            self.leave()
            return
        protocol.accept(self.joined, render_bindings(request.bindings))
        core.meters.channels.inc()
        core.meters.joined.inc()
        if self.sees_presence:
            self._push_presence_state()
        self._release(replayed)
        if self._subscription is not None:
            core.feed.announce(self._subscription)
        if request.replication_ready:
            core.tasks.start("announce", self._announce_replication())

    def _check_limits(self, request: JoinRequest) -> None:
        core = self.connection.core
        settings, now_s = core.settings, core.clock.monotonic_s()
        if core.draining:
            raise Restarting
        if settings.is_off:
            raise Suspended
        if not self.subtopic:
            raise TopicMissing
        if settings.private_only and not request.private:
            raise PrivateOnly
        if 0 < settings.joins_per_second_max < core.meters.joins.average_per_s(now_s):
            raise TooManyJoins
        if self.connection.protocol.channel_count > settings.channels_per_socket_max:
            raise TooManyChannels

    async def _check_readable(self, grant: Grant) -> None:
        """What the caller may read here.  Raises Unauthorized when it is nothing."""
        core = self.connection.core
        presence = core.settings.presence_enabled and self._request.presence_enabled
        self._writable = {}
        if not self._request.private:
            self.hears, self.sees_presence = True, presence
            return
        began_s = core.clock.monotonic_s()
        asker = Asker(grant.caller, self.connection.headers)
        try:
            readable = await core.authorizer.find_readable(
                asker, self.subtopic, ("broadcast", "presence") if presence else ("broadcast",)
            )
        except PolicyFailed as failure:
            # To the client the same as a policy that says no; who wrote it finds it in the log.
            core.events.emit(PolicyBroken(failure.sqlstate))
            raise self._no_read() from failure
        finally:
            core.meters.authorization_ms.observe((core.clock.monotonic_s() - began_s) * 1000)
        if not readable:
            raise self._no_read()
        self.hears = "broadcast" in readable
        self.sees_presence = presence and "presence" in readable

    def _no_read(self) -> Unauthorized:
        return Unauthorized(
            f"You do not have permissions to read from this Channel topic: {self.subtopic}"
        )

    async def _list_replayed(self, request: JoinRequest) -> list[Broadcast]:
        if request.replay is None and not request.replay_invalid:
            return []
        if not request.private:
            raise ReplayRefused("Replay is not allowed for public channels")
        if request.replay is None:
            raise ReplayRefused("Replay params are not valid")
        if not self.hears:
            raise self._no_read()
        return await list_stored(self.connection.core.database, self.subtopic, request.replay)

    def _release(self, replayed: list[Broadcast]) -> None:
        """Writes stored messages, then those that came while joining; each once."""
        self.connection.flush()
        for stored in replayed:
            self._deliver_encoded(Encoded(stored))
        # The log is behind the table: what was replayed may still come through it.
        self.replayed = frozenset(stored.id for stored in replayed if stored.id is not None)
        held, self._held = self._held or [], None
        for encoded in held:
            if encoded.message.id not in self.replayed:
                self._deliver_encoded(encoded)
        if self._room is not None:
            self.connection.core.rooms.admit(self._room, self)

    async def _announce_replication(self) -> None:
        core = self.connection.core
        while not await core.feed.wait_ready(core.settings.subscribe_retry_s):
            if self._room is None:
                return
        self.tell_system("system", "ok", "Replication connection established")

    # The member of a room

    def deliver(self, frame: bytes) -> None:
        self.connection.write(frame)

    def hold(self, message: Encoded) -> None:
        if self._held is not None and self.hears and len(self._held) < HELD_MAX:
            self._held.append(message)

    def _deliver_encoded(self, encoded: Encoded) -> None:
        frame = encoded.frame(self.version)
        if frame is not None and self.hears:
            self.connection.write(frame)

    def tell_system(self, extension: str, status: str, message: str) -> None:
        """A `system` event, the protocol's way of telling people what is going on."""
        payload = {
            "extension": extension,
            "status": status,
            "message": message,
            "channel": self.subtopic,
        }
        self.connection.protocol.push(self.joined, "system", orjson.dumps(payload))
        self.connection.flush()

    # What the client wants

    def take(self, wish: Wish) -> None:
        """One message of the client.  Those that come too early wait, but not without limit."""
        if self._task is not None:
            if self._inbox is None:
                self._inbox = deque()
            if len(self._inbox) < INBOX_MAX:
                self._inbox.append(wish)
            return
        if self._must_wait(wish):
            self._inbox = deque([wish])
            self._task = self.connection.core.tasks.start("channel", self._drain())
        elif isinstance(wish, BroadcastSent):
            self._broadcast(wish)
        elif isinstance(wish, PresenceSent):
            self._set_presence(wish)

    def _must_wait(self, wish: Wish) -> bool:
        if isinstance(wish, TokenSent):
            return True
        extension = "broadcast" if isinstance(wish, BroadcastSent) else "presence"
        return self._request.private and extension not in (self._writable or {})

    async def _drain(self) -> None:
        while self._inbox:
            wish = self._inbox.popleft()
            if isinstance(wish, TokenSent):
                await self._change_token(wish.token)
            elif isinstance(wish, BroadcastSent):
                await self._ask_writable("broadcast", wish)
            else:
                await self._ask_writable("presence", wish)
            self.connection.flush()
        self._inbox = None
        self._task = None

    async def _ask_writable(self, extension: Any, wish: BroadcastSent | PresenceSent) -> None:
        writable, grant = self._writable, self._grant
        if writable is None or grant is None:
            return
        if self._request.private and extension not in writable:
            asker = Asker(grant.caller, self.connection.headers)
            authorizer = self.connection.core.authorizer
            try:
                allowed = await authorizer.may_write(asker, self.subtopic, extension)
                if extension == "presence" and not self._request.presence_enabled:
                    readable = await authorizer.find_readable(asker, self.subtopic, (extension,))
                    self._switch_presence_on(bool(readable))
            except RealtimeFailure as failure:
                self._reply_error(wish.ref, failure.reason)
                return
            writable[extension] = allowed
        if isinstance(wish, BroadcastSent):
            self._broadcast(wish)
        else:
            self._set_presence(wish)

    def _may_write(self, extension: str) -> bool:
        return not self._request.private or bool((self._writable or {}).get(extension))

    def _broadcast(self, wish: BroadcastSent) -> None:
        core, room = self.connection.core, self._room
        if room is None:
            return
        core.meters.count_messages(1)
        if 0 < core.settings.messages_per_second_max < core.meters.message_rate():
            self.end("Too many messages per second")
            return
        ref = wish.ref if self._request.ack else None
        size = len(wish.message.payload)
        core.meters.payload_size.observe(size)
        if size > core.settings.payload_bytes_max:
            self._reply_error(ref, "payload_size_exceeded")
        elif not self._may_write("broadcast"):
            self._reply_error(ref, self._no_write())
        else:
            core.rooms.send(room.key, wish.message, None if self._request.echo else self)
            self.connection.protocol.reply(self.joined, ref, "ok")

    def _no_write(self) -> str:
        return f"Unauthorized: You do not have permissions to write to this Channel topic: {self.subtopic}"

    def _reply_error(self, ref: Ref, reason: str) -> None:
        response = orjson.dumps({"reason": reason})
        self.connection.protocol.reply(self.joined, ref, "error", response)

    # Presence

    def _set_presence(self, wish: PresenceSent) -> None:
        core, room = self.connection.core, self._room
        settings = core.settings
        if room is None:
            return
        core.meters.count_presence()
        if self._calls is None:
            self._calls = CallLimit(
                settings.client_presence_calls_max, settings.client_presence_window_s
            )
        if 0 < settings.presence_per_second_max < core.meters.presence_rate():
            self.end("Too many presence messages per second")
        elif not self._calls.allow(core.clock.monotonic_s()):
            self.end("Client presence rate limit exceeded")
        elif not settings.presence_enabled:
            self._reply_error(wish.ref, "Presence is disabled for this project")
        elif "event" not in wish.payload:
            self.connection.protocol.reply(self.joined, wish.ref, "ok")
        elif str(wish.payload["event"]).lower() == "untrack":
            core.rooms.untrack(room, self._name)
            self.connection.protocol.reply(self.joined, wish.ref, "ok")
        else:
            self._track(wish, room)

    def _track(self, wish: PresenceSent, room: Room) -> None:
        core = self.connection.core
        payload = wish.payload.get("payload", {})
        event = str(wish.payload.get("event", "")).lower()
        if event != "track":
            self._reply_error(wish.ref, "Presence event must be track or untrack")
        elif not isinstance(payload, dict):
            self._reply_error(wish.ref, "Presence track payload must be a map")
        elif not self._may_write("presence"):
            self._reply_error(wish.ref, self._no_write())
        elif (
            len(payload) > core.settings.presence_keys_max
            or len(orjson.dumps(payload)) > core.settings.payload_bytes_max
        ):
            self.end("Track message size exceeded")
        else:
            if not self._request.presence_enabled:
                self._switch_presence_on(readable=True)
            core.rooms.track(room, self._name, self._presence_key(), payload)
            self.connection.protocol.reply(self.joined, wish.ref, "ok")

    def _switch_presence_on(self, readable: bool) -> None:
        """The first track does, if the join did not: without a state the client would never sync."""
        self._request = replace(self._request, presence_enabled=True)
        self.sees_presence = readable and self.connection.core.settings.presence_enabled
        if self.sees_presence:
            self._push_presence_state()

    def _presence_key(self) -> str:
        if not self._key:
            # Chosen once and kept: it names this channel to everyone else.
            self._key = self._request.presence_key or str(uuid4())
        return self._key

    def _push_presence_state(self) -> None:
        if self._room is not None:
            state = render_state(self._room.presence.list_all())
            self.connection.protocol.push(self.joined, "presence_state", state)

    # The token

    def _take_grant(self, grant: Grant) -> None:
        self._grant = grant
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.connection.core.call_at(grant.expires_s, self._check_expiry)

    def _check_expiry(self) -> None:
        grant, core = self._grant, self.connection.core
        if grant is None:
            return
        ago_s = core.clock.now().timestamp() - grant.expires_s
        if ago_s < 0:
            self._timer = core.call_at(grant.expires_s, self._check_expiry)
        else:
            # An error, not a close: the client is to join again with the token it has by then.
            self.end(expired(ago_s).message, rejoin=True)

    async def _change_token(self, token: str) -> None:
        core = self.connection.core
        if not token or token.startswith("sb_") or self._grant is None:
            return
        if token == self._grant.caller.token:
            return
        heard, saw_presence = self.hears, self.sees_presence
        try:
            grant = core.doorkeeper.verify(token)
            await self._check_readable(grant)
        except RealtimeFailure as failure:
            expired_now = isinstance(failure, InvalidToken) and "expired" in failure.message
            self.end(failure.message, rejoin=expired_now)
            return
        if (heard and not self.hears) or (saw_presence and not self.sees_presence):
            self.end(
                f"You no longer have permission to read from this Channel topic: {self.subtopic}"
            )
            return
        self._take_grant(grant)
        if self._subscription is not None:
            await core.feed.change_caller(self._subscription, grant.caller)

    # The end

    def end(self, message: str, *, rejoin: bool = False) -> None:
        """The server ends the channel, and says why first."""
        core = self.connection.core
        core.events.emit(ChannelEnded(message))
        self.tell_system("system", "error", message)
        self.connection.protocol.end(self.joined, rejoin=rejoin)
        self.connection.forget(self.joined.number)
        self.connection.flush()

    def leave(self) -> None:
        """Takes the channel out of everything.  May be called again."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._grant = None
        self._leave_room()

    def _leave_room(self) -> None:
        core = self.connection.core
        if self._room is not None:
            if self in self._room.members:
                core.meters.channels.dec()
            core.rooms.leave(self._room, self, self._name)
            self._room = None
        if self._subscription is not None:
            core.feed.unsubscribe(self._subscription)
            self._subscription = None
