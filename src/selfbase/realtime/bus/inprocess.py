"""Workers in one process, or a single one: messages are handed over directly."""

from __future__ import annotations

import asyncio

from selfbase.realtime.bus.port import OnState, Receive


class Meeting:
    """Where the ends of one process meet.  `cut` plays a lost bus in tests."""

    def __init__(self) -> None:
        self.ends: list[InProcessBus] = []

    def cut(self, *, up: bool) -> None:
        for end in self.ends:
            end.is_up = up
            end.on_state(up)


class InProcessBus:
    """One end.  Without a meeting of its own it is alone."""

    name = "in process"

    def __init__(self, meeting: Meeting | None = None) -> None:
        self.is_shared = meeting is not None
        self.is_up = True
        self._meeting = meeting or Meeting()
        self._topics: set[str] = set()
        self.receive: Receive = _ignore
        self.on_state: OnState = _ignore_state

    async def open(self, receive: Receive, on_state: OnState) -> None:
        self.receive, self.on_state = receive, on_state
        self._meeting.ends.append(self)

    async def close(self) -> None:
        if self in self._meeting.ends:
            self._meeting.ends.remove(self)

    def publish(self, topic: str, data: bytes) -> None:
        if not self.is_up or len(self._meeting.ends) < 2:
            return
        loop = asyncio.get_running_loop()
        for end in self._meeting.ends:
            if end is not self and topic in end._topics:
                loop.call_soon(end.receive, topic, data)

    async def subscribe(self, topic: str) -> None:
        self._topics.add(topic)

    async def unsubscribe(self, topic: str) -> None:
        self._topics.discard(topic)


def _ignore(topic: str, data: bytes) -> None:
    """Before `open` there is nobody to tell."""


def _ignore_state(up: bool) -> None:
    """Before `open` there is nobody to tell."""
