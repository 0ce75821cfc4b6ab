"""The port through which workers of a project pass messages to each other.

A bus promises little: what one worker publishes on a topic reaches all others subscribed to it, in
the order of that worker, while the bus is up.  Whoever needs more repairs it after `on_state(True)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Receive = Callable[[str, bytes], None]
OnState = Callable[[bool], None]

# What may wait for a bus that does not take it fast enough.
QUEUED_MAX = 10_000


class BusUnavailable(Exception):
    """The bus cannot be reached now."""


class Bus(Protocol):
    """One worker's end.  `is_shared` tells whether there can be other workers at all."""

    name: str
    is_shared: bool
    is_up: bool

    async def open(self, receive: Receive, on_state: OnState) -> None:
        """Starts and keeps trying.  `receive` gets topic and data of what others published,
        `on_state` every loss and repair after the first success."""

    async def close(self) -> None: ...

    def publish(self, topic: str, data: bytes) -> None:
        """Sends to all others, without waiting; lost while the bus is down."""

    async def subscribe(self, topic: str) -> None:
        """Returns when messages on the topic arrive.  Raises BusUnavailable; the topic is then
        subscribed when the bus is back."""

    async def unsubscribe(self, topic: str) -> None: ...
