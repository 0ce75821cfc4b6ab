"""What happens in Realtime, as types.  Log lines and metrics are made from these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selfbase.kit.events import Event


@dataclass(frozen=True, slots=True)
class RealtimeEvent(Event):
    service: ClassVar[str] = "realtime"


@dataclass(frozen=True, slots=True)
class ConnectionRefused(RealtimeEvent):
    name: ClassVar[str] = "realtime.connection.refused"
    code: str
    client: str


@dataclass(frozen=True, slots=True)
class FrameDropped(RealtimeEvent):
    """MalformedWebSocketMessage of upstream: the frame was ignored, the connection lives on."""

    name: ClassVar[str] = "realtime.frame.dropped"
    level: ClassVar = "debug"
    reason: str


@dataclass(frozen=True, slots=True)
class JoinRefused(RealtimeEvent):
    name: ClassVar[str] = "realtime.join.refused"
    code: str


@dataclass(frozen=True, slots=True)
class PolicyBroken(RealtimeEvent):
    """RlsPolicyError of upstream: a policy on realtime.messages raised an error."""

    name: ClassVar[str] = "realtime.policy.failed"
    level: ClassVar = "error"
    sqlstate: str


@dataclass(frozen=True, slots=True)
class ChannelEnded(RealtimeEvent):
    """The server ended a channel: token, rate, rights."""

    name: ClassVar[str] = "realtime.channel.ended"
    reason: str


@dataclass(frozen=True, slots=True)
class SlowConsumerDropped(RealtimeEvent):
    name: ClassVar[str] = "realtime.consumer.dropped"
    level: ClassVar = "warning"
    unsent_bytes: int


@dataclass(frozen=True, slots=True)
class MessageDropped(RealtimeEvent):
    """UnableToBroadcastChanges of upstream: a message from SQL was not delivered."""

    name: ClassVar[str] = "realtime.message.dropped"
    level: ClassVar = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class StreamStarted(RealtimeEvent):
    name: ClassVar[str] = "realtime.stream.started"
    slot: str
    temporary: bool
    resumed: bool


@dataclass(frozen=True, slots=True)
class StreamStopped(RealtimeEvent):
    name: ClassVar[str] = "realtime.stream.stopped"
    slot: str
    reason: str


@dataclass(frozen=True, slots=True)
class StreamFailed(RealtimeEvent):
    name: ClassVar[str] = "realtime.stream.failed"
    level: ClassVar = "warning"
    error: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class ChangesLost(RealtimeEvent):
    """The slot could not be continued: changes committed meanwhile were not delivered."""

    name: ClassVar[str] = "realtime.changes.lost"
    level: ClassVar = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class SlotLags(RealtimeEvent):
    name: ClassVar[str] = "realtime.slot.lags"
    level: ClassVar = "warning"
    lag_bytes: int


@dataclass(frozen=True, slots=True)
class BusLost(RealtimeEvent):
    name: ClassVar[str] = "realtime.bus.lost"
    level: ClassVar = "warning"
    bus: str


@dataclass(frozen=True, slots=True)
class BusRestored(RealtimeEvent):
    name: ClassVar[str] = "realtime.bus.restored"
    bus: str


@dataclass(frozen=True, slots=True)
class WorkerLost(RealtimeEvent):
    name: ClassVar[str] = "realtime.worker.lost"
    level: ClassVar = "warning"
    worker: str


@dataclass(frozen=True, slots=True)
class TaskFailed(RealtimeEvent):
    """Something raised what it should have handled: a bug of ours.  Never holds user data."""

    name: ClassVar[str] = "realtime.task.failed"
    level: ClassVar = "error"
    task: str
    error: str
