"""The workers of one project: who is alive, who reads the log, and what they tell each other.

Every worker shows itself once a beat; one that has been silent for a few is gone, and with it the
presences it owned.  Source: reference/realtime.md section 6; DESIGN section 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.realtime.bus.port import Bus, BusUnavailable
from selfbase.realtime.events import BusLost, BusRestored, TaskFailed, WorkerLost

WORKERS_TOPIC = "workers"
CHANGES_TOPIC = "changes"
BEATS_MISSED_MAX = 4
PROJECT_ACTIONS = ("disconnect",)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What happens on this worker when something happens among them."""

    receive_room: Callable[[str, bytes], None]
    receive_changes: Callable[[bytes], None]
    on_worker_lost: Callable[[str], None]
    on_leader: Callable[[bool], None]  # another worker leads; whether it reads the log
    on_bus: Callable[[bool], None]
    on_disconnect: Callable[[], None]
    is_leading: Callable[[], bool]
    is_wanted_here: Callable[[], bool]


@dataclass(slots=True)
class Peer:
    seen_s: float
    wants: bool
    leads: bool


class Cluster:
    """This worker among the others."""

    def __init__(
        self, bus: Bus, worker: str, hooks: Hooks, *, beat_s: float, clock: Clock, events: Events
    ) -> None:
        self.bus = bus
        self.worker = worker
        self._hooks = hooks
        self._beat_s = beat_s
        self._clock = clock
        self._events = events
        self._peers: dict[str, Peer] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def peers(self) -> list[str]:
        return list(self._peers)

    def is_wanted(self) -> bool:
        """Whether any worker has clients."""
        return self._hooks.is_wanted_here() or any(peer.wants for peer in self._peers.values())

    def list_workers(self) -> list[str]:
        """Those alive, this one included."""
        return [self.worker, *self._peers]

    async def open(self) -> None:
        await self.bus.open(self._receive, self._on_bus)
        if not self.bus.is_shared:
            return
        for topic in (WORKERS_TOPIC, CHANGES_TOPIC):
            try:
                await self.bus.subscribe(topic)
            except BusUnavailable:
                continue  # subscribed as soon as the bus is there
        self._task = asyncio.get_running_loop().create_task(self._beat(), name="worker beat")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self.bus.publish(WORKERS_TOPIC, orjson.dumps({"worker": self.worker, "bye": True}))
        await self.bus.close()

    def disconnect_all(self) -> None:
        """Has every worker end its connections."""
        self.bus.publish(WORKERS_TOPIC, orjson.dumps({"worker": self.worker, "disconnect": True}))
        self._hooks.on_disconnect()

    async def _beat(self) -> None:
        while True:
            self.show()
            await asyncio.sleep(self._beat_s)
            now_s = self._clock.monotonic_s()
            for worker, peer in list(self._peers.items()):
                if now_s - peer.seen_s > self._beat_s * BEATS_MISSED_MAX:
                    self._lose(worker)

    def show(self) -> None:
        """Tells the others that we live, and how."""
        if not self.bus.is_shared:
            return
        beat = {
            "worker": self.worker,
            "wants": self._hooks.is_wanted_here(),
            "leads": self._hooks.is_leading(),
        }
        self.bus.publish(WORKERS_TOPIC, orjson.dumps(beat))

    def _lose(self, worker: str) -> None:
        peer = self._peers.pop(worker, None)
        if peer is not None:
            self._events.emit(WorkerLost(worker))
            self._hooks.on_worker_lost(worker)
            if peer.leads:
                self._hooks.on_leader(False)

    def _on_bus(self, up: bool) -> None:
        self._events.emit(BusRestored(self.bus.name) if up else BusLost(self.bus.name))
        self._hooks.on_bus(up)
        if up:
            self.show()

    def _receive(self, topic: str, data: bytes) -> None:
        try:
            if topic == CHANGES_TOPIC:
                self._hooks.receive_changes(data)
            elif topic == WORKERS_TOPIC:
                self._take(orjson.loads(data))
            else:
                self._hooks.receive_room(topic, data)
        except (ValueError, TypeError, KeyError) as error:
            # Another release on the same bus, or somebody else: not worth more than a line.
            self._events.emit(TaskFailed("receive from bus", type(error).__name__))

    def _take(self, message: dict[str, object]) -> None:
        worker = str(message["worker"])
        if message.get("bye"):
            self._lose(worker)
        elif message.get("disconnect"):
            self._hooks.on_disconnect()
        else:
            known = self._peers.get(worker)
            leads = bool(message["leads"])
            self._peers[worker] = Peer(self._clock.monotonic_s(), bool(message["wants"]), leads)
            if leads or (known is not None and known.leads):
                self._hooks.on_leader(leads)
            if known is None:
                self.show()
